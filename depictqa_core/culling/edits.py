"""Bytes of a file replaced by others, streamed, and only if the file still is what it was."""

from __future__ import annotations

import base64
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import StorageError
from ..storage.files import readable_file_errors, replacing

_PIECE = 2**20


@dataclass(frozen=True)
class Edit:
    """Bytes that are replaced.

    Attributes:
        start: their offset in the old file.
        old: the bytes there; empty where others are inserted.
        new: the bytes instead.
    """

    start: int
    old: bytes
    new: bytes

    @property
    def growth(self) -> int:
        return len(self.new) - len(self.old)

    def packed(self) -> list:
        """Return the edit as values of JSON."""
        return [self.start, *(base64.b64encode(part).decode() for part in (self.old, self.new))]


def unpacked(values: Any) -> list[Edit]:
    """Read edits from values of JSON.

    Raises:
        StorageError: they are none.
    """
    try:
        return [Edit(int(start), base64.b64decode(old), base64.b64decode(new)) for start, old, new in values]
    except (TypeError, ValueError):
        raise StorageError("its bytes to restore are damaged in the undo list") from None


def inverse(edits: Iterable[Edit]) -> list[Edit]:
    """Return the edits that take edits back."""
    result: list[Edit] = []
    moved = 0
    for edit in edits:
        result.append(Edit(edit.start + moved, edit.new, edit.old))
        moved += edit.growth
    return result


def hashes(path: str | Path, edits: Sequence[Edit] = ()) -> tuple[str, str]:
    """Return the SHA-256 of a file as it is, and with edits.

    Raises:
        OSError: it cannot be read.
    """
    before, after = sha256(), sha256()
    with open(path, "rb") as file:
        for piece in _edited(file, edits, before):
            after.update(piece)
    return before.hexdigest(), after.hexdigest()


def edit_file(path: str | Path, edits: Sequence[Edit], before: str, after: str) -> None:
    """Replace bytes of a file atomically. Links are followed.

    Permissions and extended attributes stay. So does the time of the last change: what a program knows of the pixels by
    name and time stays valid, folders stay sorted, and a file whose edits are taken back is as it was. A program that
    looks for new metadata by that time has to be told to read them again.

    Args:
        path: a regular file.
        edits: what to replace, by rising offset, without overlaps.
        before: SHA-256 of the file.
        after: SHA-256 of the file with the edits.

    Raises:
        StorageError: the file is read-only or cannot be written, or has or would get another hash; it is as it was.
    """
    refuse_read_only(path)
    read, written = sha256(), sha256()
    with readable_file_errors(path), replacing(path) as part:
        with open(path, "rb") as source, open(part, "wb") as target:
            for piece in _edited(source, edits, read):
                written.update(piece)
                target.write(piece)
        if (read.hexdigest(), written.hexdigest()) != (before, after):
            raise StorageError(f"{path}: was changed since; it stays as it is")
        shutil.copystat(path, part)


def refuse_read_only(path: str | Path) -> None:
    """Raise StorageError for a file that is read-only: replacing it would be allowed by its folder."""
    if not os.stat(path).st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(path, os.W_OK):
        raise StorageError(f"{path}: is read-only; change its permissions")


def _edited(file: BinaryIO, edits: Sequence[Edit], read: Any) -> Iterator[bytes]:
    """Yield the pieces of a file with edits, and update the hash ``read`` with those without."""

    def pieces(length: int | None) -> Iterator[bytes]:
        while length is None or length > 0:
            piece = file.read(_PIECE if length is None else min(_PIECE, length))
            if not piece:
                return
            read.update(piece)
            yield piece
            length = None if length is None else length - len(piece)

    place = 0
    for edit in edits:
        yield from pieces(edit.start - place)
        for _ in pieces(len(edit.old)):
            pass
        yield edit.new
        place = edit.start + len(edit.old)
    yield from pieces(None)
