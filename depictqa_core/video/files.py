"""Video files, decoded frame by frame with PyAV: only the frames that are being judged are in memory."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from statistics import median
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..errors import ImageError, PackageError, quoted
from ..images.image import RGBImage
from .frames import Frame, frame_name
from .timeline import brightness

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

SMALL = 64
"""Side in pixels of the copies from which the brightness of a frame is measured."""
_SAME = 1e-6  # seconds within which two times are equal


class VideoFile:
    """The frames of a video file (a ``FrameSource``).

    The file is read once without decoding to know the time of every frame, and once more by ``frames``.

    Args:
        source: a path, or an open file in binary mode.
        name: of the video; a path without a name gets its file name.
        start: seconds of the file at which the video starts.
        length: seconds that it lasts from there; 0: to the end of the file.

    Raises:
        PackageError: PyAV is not installed.
        ImageError: the file is missing, is not a video, or has no frame in this range.
    """

    def __init__(
        self, source: str | os.PathLike[str] | BinaryIO, name: str = "", start: float = 0.0, length: float = 0.0
    ):
        self._source: str | BinaryIO
        if isinstance(source, (str, os.PathLike)):
            self._source = os.fspath(source)
            name = name or os.path.basename(self._source)
        else:
            self._source = source
        self.name = name or "video"
        self._start, self._length = start, length
        self.notices: list[str] = []
        with self._opened() as (container, stream):
            times, last = _packet_times(container, stream)
        self._origin = start if start else min(times, default=0.0)
        self.times: Sequence[float] = [time - self._origin for time in times if self._inside(time - self._origin)]
        if not self.times:
            raise ImageError(f"{self.name}: has no frame{' in this range' if start or length else ''}.")
        self.duration = min(self.times[-1] + last, length or float("inf"))

    def frames(self, chosen: Sequence[int]) -> Iterator[Frame]:
        """As in ``FrameSource``. Data that cannot be decoded are left out, with a notice.

        Raises:
            ImageError: no frame can be decoded, or the file cannot be read any more.
        """
        times = [self.times[index] for index in chosen]
        number = waiting = 0
        with self._opened() as (container, stream):
            stream.thread_type = "AUTO"
            if self._start and stream.time_base:
                container.seek(int(self._start / stream.time_base), stream=stream)
            for decoded, time in self._decoded(container, stream):
                seconds = time - self._origin
                if seconds < -_SAME:
                    continue
                if not self._inside(seconds):
                    break
                before = waiting
                while waiting < len(times) and times[waiting] <= seconds + _SAME:
                    waiting += 1
                name = frame_name(number, seconds)
                image = RGBImage(_rgb(decoded), name) if waiting > before else None
                yield Frame(number, seconds, _brightness(decoded), image)
                number += 1
        if not number:
            raise ImageError(f"{self.name}: no frame can be decoded; save the video again.")

    def _inside(self, seconds: float) -> bool:
        return -_SAME <= seconds and (not self._length or seconds < self._length - _SAME)

    @contextmanager
    def _opened(self) -> Iterator[tuple["InputContainer", "VideoStream"]]:
        av = load_av()
        if isinstance(self._source, str):
            if not os.path.exists(self._source):
                raise ImageError(f"{self.name}: no such file; check the path.")
        else:
            self._source.seek(0)
        try:
            container = av.open(self._source, mode="r")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise ImageError(f"{self.name}: cannot be read as a video ({quoted(error)}).") from error
        with container:
            if not container.streams.video:
                raise ImageError(f"{self.name}: has no video stream; give a video.")
            yield container, container.streams.video[0]

    def _decoded(self, container: "InputContainer", stream: "VideoStream") -> Iterator[tuple["av.VideoFrame", float]]:
        """Yield the frames with their time in the file; a notice counts the packets that cannot be decoded."""
        error = load_av().error.FFmpegError
        damaged, count, rate = 0, 0, float(stream.average_rate or 1)
        for packet in _packets(container, stream):
            try:
                frames = packet.decode()
            except error:
                damaged += 1
                continue
            for frame in frames:
                yield frame, count / rate if frame.time is None else float(frame.time)
                count += 1
        if damaged:
            packets = "1 packet" if damaged == 1 else f"{damaged} packets"
            self.notices.append(f"{self.name}: {packets} of the video cannot be decoded; those frames are left out.")


def _packets(container: "InputContainer", stream: "VideoStream") -> Iterator["av.Packet"]:
    """Yield the packets of a stream; a file that breaks off ends there."""
    with suppress(load_av().error.FFmpegError):
        yield from container.demux(stream)


def load_av() -> Any:
    """Import PyAV.

    Raises:
        PackageError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise PackageError("videos need the package av: pip install av") from error
    return av


def _packet_times(container: "InputContainer", stream: "VideoStream") -> tuple[list[float], float]:
    """Return the time of every frame in seconds, ascending, and how long the last one lasts, without decoding."""
    base, rate = float(stream.time_base or 0), float(stream.average_rate or 1)
    times: list[float] = []
    lasts = 0.0
    for packet in _packets(container, stream):
        if not packet.size:
            continue  # the mark of the end
        ticks = packet.dts if packet.pts is None else packet.pts
        times.append(len(times) / rate if ticks is None else ticks * base)
        lasts = (packet.duration or 0) * base
    times.sort()
    steps = [later - earlier for earlier, later in zip(times, times[1:])]
    return times, lasts or (median(steps) if steps else 1 / rate)


def _rgb(frame: "av.VideoFrame") -> np.ndarray:
    """Return the pixels of a frame as it is shown, uint8 ``[H, W, 3]``."""
    turns = round(getattr(frame, "rotation", 0) / 90)
    return np.rot90(frame.to_ndarray(format="rgb24"), turns)


def _brightness(frame: "av.VideoFrame") -> float:
    width, height = min(SMALL, frame.width), min(SMALL, frame.height)
    small = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
    return brightness(small.to_ndarray())
