"""Picture files as a command line names them: files, folders, patterns, in natural order; reading those that can be."""

import dataclasses
import glob
import os
import re
from pathlib import Path

from .errors import ImageError
from .images import Picture, as_picture
from .results import Failure

EXTENSIONS = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm"),
    *(".tga", ".tif", ".tiff", ".webp"),
)
"""What a folder is searched for; files that are named one by one may end in anything."""


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


def load_pictures(names: list[str]) -> tuple[list[Picture], list[Failure]]:
    """The pictures that can be read, and why the others cannot."""
    pictures, failures = [], []
    for name in names:
        try:
            pictures.append(named_picture(name))
        except ImageError as error:
            failures.append(Failure(name, str(error).removeprefix(f"picture ({Path(name)}): ")))
    return pictures, failures


def named_picture(name: str) -> Picture:
    """One picture that goes by its path as given."""
    return dataclasses.replace(as_picture(name), name=name)
