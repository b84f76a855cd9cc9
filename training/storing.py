"""Writes files so that nobody sees them half written, and says what to do when a disk is full."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from depictqa_core.errors import StorageError


@contextlib.contextmanager
def writing(target: str | Path) -> Iterator[None]:
    """Turns the errors of a full or closed disk into a StorageError that names file or folder and says what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write to {target} ({error.strerror or error}): make room, then run the same command again; "
            "it goes on where it stopped"
        ) from error


@contextlib.contextmanager
def appending(path: Path) -> Iterator[TextIO]:
    """A text file to append to; what could not be written comes up again when it is closed, as a StorageError."""
    with writing(path):
        file = path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n")
    try:
        yield file
    finally:
        with writing(path):
            file.close()


def write_file(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and rename it, so that nobody ever sees it half written; makes its folder.

    Two processes may write the same file at the same time. A write that fails leaves nothing behind.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    try:
        write(part)
        os.replace(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(file: str | Path, text: str) -> None:
    """Write a whole text file in UTF-8.

    Raises:
        StorageError: it cannot be written; what was there before is untouched.
    """
    with writing(file):
        write_file(Path(file), lambda part: part.write_text(text, encoding="utf-8", errors="backslashreplace"))
