"""Where the inputs of a large run lie: on disks of this machine, or behind a URL that the package fsspec opens."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ..errors import ImageError, PackageError, quoted
from ..images.search import leads_around, natural_key, search


class Place(Protocol):
    """What the readers of ``sources`` need from a file system."""

    def is_folder(self, path: str) -> bool:
        """Tell whether a path is a folder."""

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        """List the files and the folders in a folder, each in natural order, without hidden ones."""

    def expand(self, source: str) -> list[str]:
        """List the files that a pattern fits; a name that exists stands for itself."""

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""

    def read(self, path: str, start: int, length: int) -> bytes:
        """Read ``length`` bytes of a file from the byte ``start`` on, in any thread; fewer at its end."""

    def image(self, path: str) -> Callable[[], Path | bytes]:
        """Return what gives the path of an image file, or its content; it can be pickled."""

    def join(self, listing: str, name: str) -> str:
        """Make a name in the file ``listing`` a path: relative ones are relative to its folder."""


class LocalPlace:
    """The disks of this machine."""

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        files: list[str] = []
        folders: list[str] = []
        with os.scandir(folder) as found:
            for entry in found:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.path)
        folders = [path for path in folders if not leads_around(path)]
        return sorted(files, key=natural_key), sorted(folders, key=natural_key)

    def expand(self, source: str) -> list[str]:
        return list(search([source]).names)

    def open(self, path: str) -> BinaryIO:
        return open(path, "rb")

    def read(self, path: str, start: int, length: int) -> bytes:
        with open(path, "rb") as stream:
            stream.seek(start)
            return stream.read(length)

    def image(self, path: str) -> Callable[[], Path | bytes]:
        return partial(Path, path)

    def join(self, listing: str, name: str) -> str:
        return os.path.join(os.path.dirname(listing), name)


class RemotePlace:
    """A file system of the package fsspec, such as ``s3://`` or ``memory://``.

    Args:
        system: the ``fsspec.AbstractFileSystem``.
    """

    def __init__(self, system: Any) -> None:
        self._system = system

    def is_folder(self, path: str) -> bool:
        return bool(self._system.isdir(path))

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        files: list[str] = []
        folders: list[str] = []
        for entry in self._system.ls(folder, detail=True):
            if not entry["name"].rstrip("/").rsplit("/", 1)[-1].startswith("."):
                (folders if entry["type"] == "directory" else files).append(entry["name"])
        return sorted(files, key=natural_key), sorted(folders, key=natural_key)

    def expand(self, source: str) -> list[str]:
        if self._system.exists(source):
            return [source]
        found = sorted(map(str, self._system.glob(source)), key=natural_key)
        if not found:
            raise ImageError(f"{source}: no such file, and no file fits it as a pattern; check the URL.")
        return found

    def open(self, path: str) -> BinaryIO:
        return self._system.open(path, "rb")

    def read(self, path: str, start: int, length: int) -> bytes:
        return self._system.cat_file(path, start=start, end=start + length)

    def image(self, path: str) -> Callable[[], Path | bytes]:
        return partial(self._system.cat_file, path)

    def join(self, listing: str, name: str) -> str:
        if "://" in name:  # another protocol than that of the list is no file here
            return str(self._system._strip_protocol(name))
        return name if name.startswith("/") else f"{listing.rpartition('/')[0]}/{name}"


def place_of(source: str) -> tuple[Place, str]:
    """Find the file system of a source.

    Args:
        source: a path or pattern, or one with a protocol in front ("s3://bucket/folder").

    Returns:
        the place, and the path in it.

    Raises:
        PackageError: the package for this protocol is not installed.
    """
    if "://" not in source:
        return LocalPlace(), source
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(source)
    except (ImportError, ValueError) as error:
        raise PackageError(
            f"{source}: cannot be opened ({quoted(error)}); install the package that it names"
        ) from error
    return RemotePlace(system), path


def walk(place: Place, folder: str, recursive: bool) -> Iterator[str]:
    """Yield the files in a folder, and with ``recursive`` those in its folders, one folder in memory at a time."""
    files, folders = place.entries(folder)
    yield from files
    if recursive:
        for inner in folders:
            yield from walk(place, inner, True)
