"""Image files that are read once and checked, and whose pixels are read again when they are needed."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..errors import ImageError
from ..results import Failure
from ..runtime.byte_cache import ByteCache
from .image import Picture, as_picture

AT_ONCE = 32
"""Most files that are read before they are judged."""
PIXELS = ByteCache(192 * 2**20)
"""Pixels of image files that were read lately."""


class FilePicture(Picture):
    """An image file that was read and checked once. Its pixels are read again when they are needed and gone: all
    images of a run share ``PIXELS``, so a folder of any size fits into memory.

    Attributes:
        name: the path, as the user wrote it.

    Raises:
        ImageError: by ``rgb`` as well, when the file was changed or removed in the meantime.
    """

    def __init__(self, name: str):
        picture = as_picture(name)
        facts = {"name": name, "key": picture.key, "notices": picture.notices, "_shape": picture.rgb.shape}
        self.__dict__.update(facts)
        PIXELS.put(self.key, picture.rgb, picture.rgb.nbytes)

    @property
    def rgb(self) -> np.ndarray:
        rgb = PIXELS.get(self.key)
        if rgb is None:
            picture = as_picture(self.name)
            if picture.key != self.key:
                raise ImageError(f"{self.name}: was changed during the run; judge it again")
            rgb = picture.rgb
            PIXELS.put(self.key, rgb, rgb.nbytes)
        return rgb

    @property
    def height(self) -> int:
        return self._shape[0]

    @property
    def width(self) -> int:
        return self._shape[1]


def lost(pictures: Iterable[Picture]) -> list[Failure]:
    """Which of some images that were read once cannot be read again, and why."""
    failures = []
    for picture in pictures:
        try:
            picture.rgb  # noqa: B018
        except ImageError as error:
            failures.append(Failure(picture.name, str(error)))
    return failures


def load_pictures(names: Iterable[str]) -> Iterator[tuple[list[Picture], list[Failure]]]:
    """Read image files, a few at a time: yields the images that can be read, and why the others cannot.

    No group has more than ``AT_ONCE`` files or (but for one large image) half of the pixels that are kept.
    """
    pictures, failures, size = [], [], 0
    for name in names:
        try:
            pictures.append(FilePicture(name))
            size += math.prod(pictures[-1]._shape)
        except ImageError as error:
            failures.append(Failure(name, str(error).removeprefix(f"image ({Path(name)}): ")))
        if len(pictures) + len(failures) == AT_ONCE or size >= PIXELS.budget / 2:
            yield pictures, failures
            pictures, failures, size = [], [], 0
    if pictures or failures:
        yield pictures, failures
