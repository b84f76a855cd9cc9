"""Image files that are read once and checked, and whose pixels are read again when they are needed."""

from collections.abc import Iterable, Iterator

import numpy as np

from ..errors import ImageError
from ..results import Failure
from ..runtime.byte_cache import ByteCache
from .image import RGBImage, as_image

AT_ONCE = 32
"""Maximum number of files that are loaded before they are judged."""
PIXELS = ByteCache(192 * 2**20)
"""LRU cache of the pixels of image files."""


class FileImage(RGBImage):
    """A checked image file. Its pixels are in the cache ``PIXELS`` and are loaded again if needed, so that a folder of
    any size fits into memory.

    Attributes:
        name: the path as the user wrote it.

    Raises:
        ImageError: the image cannot be judged; also raised by ``rgb`` if the file was changed or removed.
    """

    _shape: tuple[int, int]

    def __init__(self, name: str) -> None:
        picture = as_image(name)
        shape = picture.height, picture.width
        facts = {"name": name, "key": picture.key, "notices": picture.notices, "_shape": shape}
        self.__dict__.update(facts)
        PIXELS.put(self.key, picture.rgb, picture.rgb.nbytes)

    @property
    def rgb(self) -> np.ndarray:
        rgb: np.ndarray | None = PIXELS.get(self.key)
        if rgb is None:
            picture = as_image(self.name)
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


def lost(pictures: Iterable[RGBImage]) -> list[Failure]:
    """Return the images that cannot be read again, with the reason."""
    failures = []
    for picture in pictures:
        try:
            picture.rgb  # noqa: B018
        except ImageError as error:
            failures.append(Failure.of(picture.name, error))
    return failures


def load_images(names: Iterable[str]) -> Iterator[tuple[list[RGBImage], list[Failure]]]:
    """Load image files in groups; yield the images of each group, and its failures.

    No group has more than ``AT_ONCE`` files or (except for one large image) half of the pixels in the cache.
    """
    pictures: list[RGBImage] = []
    failures: list[Failure] = []
    size = 0
    for name in names:
        try:
            pictures.append(FileImage(name))
            size += pictures[-1].height * pictures[-1].width
        except ImageError as error:
            failures.append(Failure.of(name, error))
        if len(pictures) + len(failures) == AT_ONCE or 3 * size >= PIXELS.budget / 2:
            yield pictures, failures
            pictures, failures, size = [], [], 0
    if pictures or failures:
        yield pictures, failures


# the names until 0.5, for scripts
FilePicture = FileImage
load_pictures = load_images
