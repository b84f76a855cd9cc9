"""Detect damaged data in JPEG files: libjpeg only warns about it, and Pillow does not report it.

The data of a scan are one long bit stream: after an error, the decoder continues at a wrong position and reaches the
end of the image too early or too late. libjpeg then fills in the missing data or drops the rest. To detect both, the
file is decoded again with other bytes after, or instead of, the end of the data:

- Bytes after complete data change nothing. If they do, the data end too early.
- Bytes instead of the last data change the image. If they do not, there are data after the end.

Data that were overwritten with zeros are a third sign: in most files, zeros are not a valid code.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..errors import DamagedFile

_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_RESTARTS, _TABLES, _END, _SCAN, _RESTART_INTERVAL = range(0xD0, 0xD8), 0xC4, 0xD9, 0xDA, 0xDD
_ALONE = {0x01, 0xD8, *_RESTARTS}
"""Markers without a segment."""
_PROGRESSIVE = 0xC2
_HUFFMAN_FRAMES = {0xC0, 0xC1, _PROGRESSIVE}
"""Baseline, extended, progressive. Arithmetic coders may omit the end of their data, so those are not checked."""
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_OTHER_BYTES = np.random.default_rng(0).integers(0, 255, 4096, np.uint8).tobytes()
"""Without 0xFF, which would start a marker."""


_PADDING = 64
"""Some cameras pad their data with at most this many equal bytes."""
_SURPLUS = 16
"""From this many bytes after the end of the image, without padding, the data are probably damaged."""
_ZEROS = bytes(32)
"""More bits than a block of 63 coefficients of -1, which is what zeros mean where they do not mean an empty block."""


@dataclass
class Layout:
    """The segments of a JPEG file.

    Attributes:
        pieces: (start, end) of each piece of entropy-coded data; restart markers divide the data of a scan.
        scans: number of scans.
        frame: the frame marker (SOF).
        end: offset after the end marker.
        missing_restarts: number of restart markers that are missing or out of order.
        incomplete: number of coefficients that no scan of a progressive image brings to full precision.
        zeros_mean_empty: whether zeros are valid data of a uniform area, by the Huffman tables of the last scan.
    """

    pieces: list[tuple[int, int]] = field(default_factory=list)
    scans: int = 0
    frame: int = 0
    end: int = 0
    missing_restarts: int = 0
    incomplete: int = 0
    zeros_mean_empty: bool = True


def layout(data: bytes) -> Layout:
    """Read the markers of a JPEG file.

    Raises:
        DamagedFile: the file ends before its end marker.
    """
    found, place, restart = Layout(), 2, 0
    components, sizes, precision, zero_symbols = {}, (0, 0), {}, {}
    while found.frame == 0 or not found.end:
        marker = _MARKER.search(data, place)
        if marker is None:
            raise DamagedFile("the file is truncated: it has no end-of-image marker")
        kind, place = marker[1][0], marker.end()
        if kind == _END:
            found.end = place
            break
        if kind in _ALONE:
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        segment, place = data[place + 2 : place + length], place + length
        if length < 2 or place > len(data):
            raise DamagedFile("the file is truncated or damaged: a segment is longer than the file")
        if kind in _FRAMES and len(segment) >= 6:
            found.frame = found.frame or kind
            sizes = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            parts = [segment[6 + 3 * i : 9 + 3 * i] for i in range(segment[5])]
            components = {part[0]: (part[1] >> 4, part[1] & 15) for part in parts if len(part) == 3}
        elif kind == _TABLES:
            while len(segment) > 17:  # class and id, the number of codes of each length, their symbols
                zero_symbols[segment[0]] = segment[17]  # the first code is all zeros
                segment = segment[17 + sum(segment[1:17]) :]
        elif kind == _RESTART_INTERVAL:
            restart = int.from_bytes(segment[:2], "big")
        elif kind == _SCAN:
            found.scans += 1
            start, expected = place, 0
            parts = [segment[1 + 2 * i : 3 + 2 * i] for i in range(segment[0] if len(segment) > 3 else 0)]
            names = [part[0] for part in parts if part]
            found.zeros_mean_empty = all(not zero_symbols.get(0x10 | part[-1] & 15) for part in parts if part)
            for name in names:
                first, last, low = segment[-3], segment[-2], segment[-1] & 15
                precision.update({(name, index): low for index in range(first, min(last, 63) + 1)})
            for marker in _MARKER.finditer(data, place):
                found.pieces.append((start, marker.start()))
                if marker[1][0] not in _RESTARTS:
                    place = marker.start()
                    break
                found.missing_restarts += marker[1][0] != 0xD0 + expected % 8
                start, expected = marker.end(), expected + 1
            else:
                raise DamagedFile("the file is truncated: its image data end without an end-of-image marker")
            wanted = -(-_units(sizes, components, names) // restart) - 1 if restart else 0
            found.missing_restarts += abs(wanted - expected)
    if found.frame == _PROGRESSIVE:
        found.incomplete = sum(precision.get((name, index)) != 0 for name in components for index in range(64))
    return found


def _units(sizes: tuple[int, int], components: dict[int, tuple[int, int]], names: list[int]) -> int:
    """Return the number of coded units of a scan with these components: blocks of one, or MCUs of several."""
    across, down = (max((c[axis] for c in components.values()), default=1) for axis in (0, 1))
    height, width = sizes
    if len(names) != 1:
        return _up(height, 8 * down) * _up(width, 8 * across)
    own = components.get(names[0], (1, 1))
    return _up(_up(height * own[1], down), 8) * _up(_up(width * own[0], across), 8)


def _up(number: int, divisor: int) -> int:
    return -(-number // max(1, divisor))


def check(data: bytes, decode: Callable[[bytes, bool], bytes]) -> str | None:
    """Check the image data of a JPEG file for damage.

    Args:
        data: the file.
        decode: (file, coarse) -> pixels; coarse is about a pixel for each block, in colour, which is several times
            faster and detects nearly any change if one scan has all data.

    Returns:
        One line if the data are probably damaged, else None.

    Raises:
        DamagedFile: the file is truncated or damaged.
    """
    found = layout(data)
    if found.frame not in _HUFFMAN_FRAMES:
        return None
    if found.missing_restarts:
        raise DamagedFile(f"the file is damaged: {found.missing_restarts} restart markers are missing or out of order")
    if found.frame != _PROGRESSIVE and not found.zeros_mean_empty:
        if any(_ZEROS in data[start:end].rstrip(b"\0") for start, end in found.pieces):
            raise DamagedFile("the file is damaged: some of its image data were overwritten with zeros")
    coarse = found.scans == 1
    pixels = decode(data, coarse)
    if decode(_replaced(data, found.pieces, 0), coarse) != pixels:
        raise DamagedFile("the file is damaged: its image data end before the image is complete")
    if found.incomplete:
        return "scans of the progressive file are missing, so details may be"
    start, end = found.pieces[-1]
    padding = end - start - len(data[start:end].rstrip(data[end - 1 : end]))
    surplus = min(min(padding, _PADDING) + _SURPLUS, (end - start) // 2)
    even = any(pixels == pixels[:n] * (len(pixels) // n) for n in (1, 3, 4))  # its few codes may all mean the same
    if coarse and surplus and not even:
        other = _replaced(data, found.pieces[-1:], surplus)
        if decode(other, True) == pixels and decode(other, False) == decode(data, False):
            return "the file is probably damaged: it has image data after the end of the image"
    return None


def _replaced(data: bytes, pieces: list[tuple[int, int]], count: int) -> bytes:
    """Return the file with other bytes instead of the last ``count`` of each piece of data, and after it."""
    parts, place = [], 0
    for _, end in pieces:
        cut = end - count
        if data[cut - 1] == 0xFF:  # the following 0 belongs to it
            cut -= 1
        parts += [data[place:cut], _OTHER_BYTES]
        place = end
    return b"".join([*parts, data[place:]])
