"""Writes files as ``depictqa_core.storage.files`` does; a full disk is reported with how to continue."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from depictqa_core.errors import StorageError
from depictqa_core.storage import appending
from depictqa_core.storage import files as storing


@contextlib.contextmanager
def writing(target: str | Path) -> Iterator[None]:
    """Turns the errors of a full or closed disk into a StorageError that names file or folder and says what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write to {target} ({error.strerror or error}): free some space, then run the same command again; "
            "it resumes where it stopped"
        ) from error


def append_text(file: str | Path, text: str) -> None:
    """Add whole lines at the end of a file: all of them, or none where the disk is full.

    Raises:
        StorageError: they cannot be written.
    """
    with writing(file):
        appending.append_text(file, text)


def write_file(file: Path, write: Callable[[Path], object]) -> None:
    """Make a file's folder and write the file whole or not at all (``storing.replacing``); raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    storing.write_file(file, write)


def write_text(file: str | Path, text: str) -> None:
    """Write a whole text file in UTF-8.

    Raises:
        StorageError: it cannot be written; what was there before is untouched.
    """
    with writing(file):
        write_file(
            Path(file),
            lambda part: part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n"),
        )
