"""Frames of a video one by one, as a judge reads them; those of a batch of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import ImageError, TaskError
from ..images.image import RGBImage, as_image
from .timeline import brightness


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        number: of the frame in the video, from 0.
        seconds: its time from the start of the video.
        brightness: its mean brightness, 0 (black) to 100 (white).
        image: its pixels; None for a frame that is not judged.
    """

    number: int
    seconds: float
    brightness: float
    image: RGBImage | None


class FrameSource(Protocol):
    """What has frames.

    Attributes:
        name: of the video.
        times: the time of every frame in seconds from the start of the video, ascending.
        duration: in seconds.
        notices: warnings, one line each; complete after ``frames`` has ended.
    """

    name: str
    times: Sequence[float]
    duration: float
    notices: list[str]

    def frames(self, chosen: Sequence[int]) -> Iterator[Frame]:
        """Yield every frame in order; those whose index is in ``chosen`` (ascending) have their image."""


class ImageFrames:
    """The frames of a video that are images already (a ``FrameSource``).

    Args:
        images: one per frame: anything that ``as_image`` takes.
        frame_rate: frames per second.
        name: of the video.

    Raises:
        ImageError: there is no image.
        TaskError: the rate is not positive.
    """

    def __init__(self, images: Sequence[Any], frame_rate: float, name: str = "frames"):
        if not images:
            raise ImageError(f"{name}: there is no frame; give at least one.")
        if not frame_rate > 0:
            raise TaskError(f"the frame rate is {frame_rate:g}: give more than 0 frames per second")
        self.name, self._images = name, images
        self.times: Sequence[float] = [number / frame_rate for number in range(len(images))]
        self.duration = len(images) / frame_rate
        self.notices: list[str] = []

    def frames(self, chosen: Sequence[int]) -> Iterator[Frame]:
        """As in ``FrameSource``.

        Raises:
            ImageError: a frame is not an image that can be judged.
        """
        wanted = set(chosen)
        for number, seconds in enumerate(self.times):
            image = as_image(self._images[number], frame_name(number, seconds))
            yield Frame(number, seconds, brightness(image.rgb), image if number in wanted else None)


def frame_name(number: int, seconds: float) -> str:
    """The name of a frame in tables and messages.

    >>> frame_name(12, 0.5)
    'frame 12 (0.50 s)'
    """
    return f"frame {number} ({seconds:.2f} s)"
