"""Readers of human rating sets in their native layouts, by name: a folder goes in, rated images or pairs come out."""

from dataclasses import dataclass
from pathlib import Path

from . import bapps, restoration, tables, workbooks
from .base import Preferred, Rated, Reader, ReaderError

__all__ = ["READERS", "Preferred", "Rated", "RatingData", "Reader", "ReaderError", "read_set"]

_MODULES = (bapps, restoration, tables, workbooks)
READERS: dict[str, Reader] = {reader.name: reader for module in _MODULES for reader in module.READERS}


@dataclass(frozen=True)
class RatingData:
    """What was read: rated images or pairs, and the names of images that are rated, but not there."""

    found: list[Rated | Preferred]
    missing: list[str]


def read_set(name: str, folder: str | Path) -> RatingData:
    """All rated images (or pairs) of a set.

    Raises:
        ReaderError: unknown set, a folder that is not in its layout, or none of its images is there.
    """
    if name not in READERS:
        raise ReaderError(f"unknown rating set '{name}': choose one of {', '.join(READERS)}")
    reader, folder = READERS[name], Path(folder)
    if not folder.is_dir():
        raise ReaderError(f"{folder}: no such folder; {reader.origin}")
    missing: list[str] = []
    try:
        found = list(reader.read(folder, missing))
    except ReaderError as error:
        raise ReaderError(f"{error}; {reader.origin}") from error
    except UnicodeDecodeError as error:
        raise ReaderError(f"{folder}: a table of {reader.title} is not text ({error})") from error
    if not found:
        raise ReaderError(f"{folder}: none of the images of {reader.title} is there; {reader.origin}")
    return RatingData(found, missing)
