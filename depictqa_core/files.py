"""Picture files as a command line names them: files, folders, patterns, in natural order; reading those that can be."""

import glob
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from .caches import ByteCache
from .errors import ImageError
from .images import Picture, as_picture
from .results import Failure

EXTENSIONS = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm"),
    *(".tga", ".tif", ".tiff", ".webp"),
)
"""What a folder is searched for; files that are named one by one may end in anything."""
AT_ONCE = 32
"""Most files that are read before they are judged."""
PIXELS = ByteCache(192 * 2**20)
"""Pixels of picture files that were read lately."""


def natural_key(text: str) -> list:
    """Sort key under which "x2" comes before "x10" and capitals do not matter."""
    parts = re.split(r"(\d+)", text)
    return [(int(p), "") if i % 2 else (0, p.casefold()) for i, p in enumerate(parts)] + [(0, text)]


def find_pictures(sources: list[str], recursive: bool = False, leave_out: list[str] = ()) -> list[str]:
    """Paths of pictures, as the user would write them.

    Args:
        sources: files, taken in this order whatever they are; folders, which give their picture files (by extension,
            hidden ones left out) in natural order; and patterns such as ``*.png`` where the shell does not expand them.
        recursive: whether folders inside folders count.
        leave_out: files that are not taken from folders (this run's own outputs).

    Raises:
        ImageError: a folder without pictures, or a pattern that fits nothing.
    """
    found = []
    outputs = {os.path.realpath(path) for path in leave_out}
    for source in sources:
        if os.path.isdir(source):
            inside = [path for path in _walk(source, recursive) if os.path.realpath(path) not in outputs]
            if not inside:
                hint = "" if recursive else "; --recursive looks into its folders as well"
                raise ImageError(f"{source}: no pictures in this folder (looked for {' '.join(EXTENSIONS)}){hint}")
            found += inside
        elif not os.path.exists(source) and glob.has_magic(source):
            fitting = sorted(filter(os.path.isfile, glob.glob(source)), key=natural_key)
            if not fitting:
                raise ImageError(f"{source}: no file fits this pattern")
            found += fitting
        else:
            found.append(source)
    return found


def _walk(folder: str, recursive: bool) -> list[str]:
    paths = []
    for root, folders, files in os.walk(folder, onerror=_raise):
        visible = [name for name in files if name.lower().endswith(EXTENSIONS) and not name.startswith(".")]
        paths += [os.path.join(root, name) for name in sorted(visible, key=natural_key)]
        folders[:] = sorted((f for f in folders if recursive and not f.startswith(".")), key=natural_key)
    return paths


def _raise(error: OSError):
    raise error


class FilePicture(Picture):
    """A picture file that was read and checked once. Its pixels are read again when they are needed and gone: all
    pictures of a run share ``PIXELS``, so a folder of any size fits into memory.

    Attributes:
        name: the path, as the user wrote it.

    Raises:
        ImageError: by ``rgb`` as well, when the file was changed or removed in the meantime.
    """

    def __init__(self, name: str):
        picture = as_picture(name)
        for attribute, value in (("name", name), ("key", picture.key), ("_shape", picture.rgb.shape)):
            self.__dict__[attribute] = value
        PIXELS.put(self.key, picture.rgb, picture.rgb.nbytes)

    @property
    def rgb(self) -> np.ndarray:
        rgb = PIXELS.get(self.key)
        if rgb is None:
            picture = as_picture(self.name)
            if picture.key != self.key:
                raise ImageError(f"{self.name}: was changed while it was judged; judge it again")
            rgb = picture.rgb
            PIXELS.put(self.key, rgb, rgb.nbytes)
        return rgb

    @property
    def height(self) -> int:
        return self._shape[0]

    @property
    def width(self) -> int:
        return self._shape[1]


def load_pictures(names: Iterable[str]) -> Iterator[tuple[list[Picture], list[Failure]]]:
    """Read picture files, a few at a time: yields the pictures that can be read, and why the others cannot.

    No group has more than ``AT_ONCE`` files or (but for one large picture) half of the pixels that are kept.
    """
    pictures, failures, size = [], [], 0
    for name in names:
        try:
            pictures.append(FilePicture(name))
            size += math.prod(pictures[-1]._shape)
        except ImageError as error:
            failures.append(Failure(name, str(error).removeprefix(f"picture ({Path(name)}): ")))
        if len(pictures) + len(failures) == AT_ONCE or size >= PIXELS.budget / 2:
            yield pictures, failures
            pictures, failures, size = [], [], 0
    if pictures or failures:
        yield pictures, failures
