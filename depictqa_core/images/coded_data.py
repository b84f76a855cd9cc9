"""Damaged image data in WebP and AVIF files, which their decoders do not report.

Both store one long arithmetic or prefix code. Behind a damaged place the decoder goes on at a wrong state, and so comes
to the end of the image at another byte than the encoder did. Where it comes too late, it misses data and says so. Where
it comes too early, the last bytes of the data do not matter any more: then other bytes in their place change no pixel.
"""

import io
import struct
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

Span = tuple[int, int]
"""(start, end) of bytes in a file."""
_TAIL = np.random.default_rng(0).integers(0, 255, 32, np.uint8).tobytes()
"""Stands in place of the last bytes. Fewer could be padding, or pixels of the last block that lie outside the image."""
_SHORTEST = 128
"""Bytes of data below which the code of an even image may mean the same with another end."""
_SEQUENCE_HEADER, _TILE_GROUP, _FRAME = 1, 4, 6


def ends_early(
    data: bytes, span: Span | None, image: Image.Image, opened: Callable[[io.BytesIO], Image.Image]
) -> str | None:
    """Tell whether coded data go on after the image is complete.

    Args:
        data: the file.
        span: where the coded data lie; None if they cannot be checked.
        image: opened from the file. It is decoded here, unless the data cannot be checked.
        opened: opens changed files.

    Returns:
        what is odd about the file, one line; None if nothing is.

    Raises:
        Exception: any exception of Pillow's readers where the file itself cannot be decoded.
    """
    if span is None or span[1] - span[0] < _SHORTEST:
        return None
    image.load()
    end = span[1]
    try:
        other = opened(io.BytesIO(data[: end - len(_TAIL)] + _TAIL + data[end:]))
        other.load()
        changed = other.tobytes() != image.tobytes()
    except Exception:  # the decoder needed these bytes
        changed = True
    return None if changed else "the file is probably damaged: its image data continue after the image is complete"


def webp_span(data: bytes) -> Span | None:
    """Find the coded pixels of a WebP file, lossy or lossless; None in an animation."""
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        if kind in (b"VP8 ", b"VP8L"):
            return (place + 8, place + 8 + length) if place + 8 + length <= len(data) else None
        place += 8 + length + length % 2
    return None


def avif_span(data: bytes) -> Span | None:
    """Find the coded frame of an AVIF file; None where it has several, or is not stored in one piece.

    Source: ISO/IEC 14496-12 (boxes ``meta``, ``pitm``, ``iloc``); AV1 specification 5.3 (headers of its units).
    """
    try:
        boxes = {kind: span for kind, *span in _boxes(data, 0, len(data))}
        start, end = boxes[b"meta"]
        inside = {kind: span for kind, *span in _boxes(data, start + 4, end)}
        place, _ = inside[b"pitm"]
        (item,) = struct.unpack_from(">I" if data[place] else ">H", data, place + 4)
        extents = _extents(data, inside[b"iloc"][0], item)
        units = [unit for start, end in extents for unit in _units(data, start, end)]
        spans = [(start, end) for kind, start, end in units if kind != _SEQUENCE_HEADER]
    except (LookupError, struct.error):
        return None
    return spans[0] if len(extents) == len(spans) == 1 and spans[0][1] <= len(data) else None


def _boxes(data: bytes, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the contents of the boxes in a part of a file."""
    while place + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, place + 8), 16
        stop = place + size if size else end
        if size and size < head:
            return
        yield kind, place + head, stop
        place = stop


def _extents(data: bytes, place: int, wanted: int) -> list[Span]:
    """Where the box ``iloc`` says that an item lies in the file; empty if that is elsewhere."""
    version = data[place]
    sizes = [half for byte in data[place + 4 : place + 6] for half in (byte >> 4, byte & 15)]
    place += 6

    def number(size: int) -> int:
        nonlocal place
        place += size
        return int.from_bytes(data[place - size : place], "big")

    for _ in range(number(4 if version == 2 else 2)):
        item = number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)  # the number of the file that holds the data: 0 is this one
        base, extents = number(sizes[2]), []
        for _ in range(number(2)):
            number(sizes[3] if version else 0)
            start, length = base + number(sizes[0]), number(sizes[1])
            extents.append((start, start + length))
        if item == wanted:
            return [] if method else extents
    return []


def _units(data: bytes, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(kind, start, end) of the units of AV1 that hold pixels or say how they are coded."""
    while place < end:
        kind, extended, sized = data[place] >> 3 & 15, data[place] >> 2 & 1, data[place] >> 1 & 1
        place += 1 + extended
        length = shift = 0
        while sized:
            length |= (data[place] & 127) << shift
            shift, sized, place = shift + 7, data[place] >> 7, place + 1
        stop = place + length if shift else end
        if kind in (_SEQUENCE_HEADER, _TILE_GROUP, _FRAME):
            yield kind, place, stop
        place = stop
