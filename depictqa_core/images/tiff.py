"""Damaged image data in TIFF files, which libtiff and Pillow do not report.

Strips and tiles that are missing or too short are read as zeros, or as what stands behind them in the file; checksums
of Deflate and errors in JPEG data are passed over.
"""

import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..errors import DamagedFile

_PLAIN, _JPEG, _DEFLATE = 1, 7, (8, 32946)
_YCBCR = 6
_PLANES = 2


@dataclass(frozen=True)
class Parts:
    """The strips or tiles of one image.

    Attributes:
        spans: (offset, bytes) of each that the file lists; 0 bytes where it does not say.
        wanted: how many the image needs.
        sizes: bytes that each of them holds when it is unpacked, of ``wanted``.
        compression: number of the method.
        tables: the JPEG tables that all share.
    """

    spans: list[tuple[int, int]]
    wanted: int
    sizes: list[int]
    compression: int
    tables: bytes


def check(stream: BinaryIO, tags: Mapping[int, Any], check_jpeg: Callable[[bytes], str | None]) -> str | None:
    """Refuse damaged image data of a TIFF file, and doubt those that are probably damaged.

    Args:
        stream: the file; its place is restored.
        tags: number -> value or values, of the image (Pillow's ``tag_v2``).
        check_jpeg: checks a JPEG file in the same way.

    Returns:
        what is odd about the data, one line; None if nothing is, or if the tags do not tell.

    Raises:
        DamagedFile: the image is damaged or truncated.
    """
    found = parts(tags)
    if found is None:
        return None
    if len(found.spans) < found.wanted:
        raise DamagedFile(f"the file is damaged: it has {len(found.spans)} of {found.wanted} parts of its image")
    place, length = stream.tell(), stream.seek(0, io.SEEK_END)
    try:
        return next(filter(None, _checked(stream, length, found, check_jpeg)), None)
    finally:
        stream.seek(place)


def _checked(
    stream: BinaryIO, length: int, found: Parts, check_jpeg: Callable[[bytes], str | None]
) -> Iterator[str | None]:
    for (offset, count), size in zip(found.spans, found.sizes):
        stored = found.compression == _PLAIN
        if offset + max(count, size * stored) > length:
            raise DamagedFile("the file is truncated: a part of its image lies behind its end")
        if stored:
            short = 0 < count < size
            yield "the file is probably damaged: a part of its image has fewer bytes than its rows" if short else None
            continue
        stream.seek(offset)
        if found.compression in _DEFLATE:
            _check_deflate(stream.read(count), size, max(found.sizes))
        elif found.compression == _JPEG and (data := stream.read(count))[:2] == b"\xff\xd8":
            yield check_jpeg(b"\xff\xd8" + found.tables[2:-2] + data[2:])


def parts(tags: Mapping[int, Any]) -> Parts | None:
    """Compute what strips or tiles an image needs, and which its file lists; None where the tags do not tell."""

    def values(*numbers: int) -> list[int]:
        found = next((tags[number] for number in numbers if number in tags), ())
        return [int(value) for value in (found if isinstance(found, (tuple, list)) else (found,))]

    def value(number: int, default: int = 0) -> int:
        return (values(number) or [default])[0]

    width, height, compression = value(256), value(257), value(259, _PLAIN)
    tiled = 324 in tags
    across, down = (value(322), value(323)) if tiled else (width, min(value(278, height), height))
    offsets, counts = values(324, 273), values(325, 279)
    bits, channels, planes = values(258) or [1], value(277, 1), value(284, 1) == _PLANES
    subsampled = value(262) == _YCBCR and compression != _JPEG  # then rows have fewer bytes than pixels
    if subsampled or not offsets or min(width, height, across, down, channels) < 1:
        return None
    bits = bits * channels if len(bits) == 1 else bits
    groups = [[one] for one in bits] if planes else [bits]
    columns, rows = -(-width // across), -(-height // down)
    heights = [down if tiled else min(down, height - down * row) for row in range(rows) for _ in range(columns)]
    sizes = [tall * -(-across * sum(group) // 8) for group in groups for tall in heights]
    spans = list(zip(offsets, counts + [0] * (len(offsets) - len(counts))))
    tables = tags[347] if isinstance(tags.get(347), bytes) else b""
    return Parts(spans, len(sizes), sizes, compression, tables)


def _check_deflate(data: bytes, size: int, longest: int) -> None:
    """Refuse a part that unpacks to less than ``size`` or more than ``longest`` bytes: the last may be filled up."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, longest + 1)
        unpacker.decompress(unpacker.unconsumed_tail, 1)  # reads the checksum
    except zlib.error as error:
        raise DamagedFile(f"the file is damaged: a part of its image cannot be unpacked ({error})") from None
    if not size <= len(unpacked) <= longest:
        raise DamagedFile("the file is damaged: a part of its image has another size than its rows")
