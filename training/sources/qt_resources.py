"""Unpacks Qt resource files (.rcc), in which educational programs keep their photographs."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

_FOLDER, _ZLIB, _ZSTD = 2, 1, 4  # node flags of the rcc format


def unpack(file: str | Path, folder: str | Path, suffixes: tuple[str, ...] | None = None) -> int:
    """Writes the files of one .rcc below `folder`, keeping their paths, and returns how many were written.

    Args:
        suffixes: lower-case suffixes to keep; None keeps all. Entries compressed with zstd are skipped.

    Raises:
        ValueError: the file is not a Qt resource file, or it is damaged.
    """
    data = Path(file).read_bytes()
    if data[:4] != b"qres":
        raise ValueError(f"{Path(file).name} is not a Qt resource file (.rcc)")
    try:
        version, tree, contents, names = struct.unpack_from(">4I", data, 4)
        return _walk(data, tree, contents, names, 14 if version == 1 else 22, 0, Path(folder), suffixes, 0)
    except (struct.error, zlib.error, UnicodeDecodeError, IndexError) as error:
        raise ValueError(f"{Path(file).name} is damaged: {error}") from error


def _walk(data, tree, contents, names, size, node, folder, suffixes, depth) -> int:
    if depth > 64:
        raise IndexError("folders are nested too deeply")
    at = tree + node * size
    name_offset, flags = struct.unpack_from(">IH", data, at)
    name = ""
    if node:  # the root has no name
        length = struct.unpack_from(">H", data, names + name_offset)[0]
        start = names + name_offset + 6
        name = data[start : start + 2 * length].decode("utf-16-be")
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise IndexError(f"unsafe file name {name!r}")
    if flags & _FOLDER:
        count, first = struct.unpack_from(">II", data, at + 6)
        target = folder / name if name else folder
        return sum(
            _walk(data, tree, contents, names, size, first + i, target, suffixes, depth + 1) for i in range(count)
        )
    if flags & _ZSTD or (suffixes and Path(name).suffix.lower() not in suffixes):
        return 0
    offset = contents + struct.unpack_from(">I", data, at + 10)[0]
    body = data[offset + 4 : offset + 4 + struct.unpack_from(">I", data, offset)[0]]
    if flags & _ZLIB:
        body = zlib.decompress(body[4:])  # the first four bytes are the unpacked size
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(body)
    return 1


def unpack_folder(folder: str | Path, suffixes: tuple[str, ...] | None = None) -> int:
    """Unpack every .rcc in `folder` into `<file>.unpacked` next to it and return the number of files written."""
    return sum(
        unpack(file, file.with_name(file.name + ".unpacked"), suffixes) for file in sorted(Path(folder).rglob("*.rcc"))
    )
