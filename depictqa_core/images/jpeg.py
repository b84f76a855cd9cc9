"""Detect damaged data in JPEG files: libjpeg only warns about it, and Pillow does not report it.

The data of a scan are one long bit stream: after an error, the decoder continues at a wrong position and reaches the
end of the image too early or too late. libjpeg then fills in the missing data or drops the rest. To detect both, the
file is decoded again with other bytes after, or instead of, the end of the data:

- Bytes after complete data change nothing. If they do, the data end too early.
- Bytes instead of the last data change the image. If they do not, there are data after the end.

Most files are intact and pass two cheaper tests, so that only the others are decoded again:

- The header is made to claim more rows. The decoder tries to decode the first unit of the added rows, runs out of data,
  and skips the next units, which become grey. If the data of the image ended too early, it skips the first one as well.
- The decoder is given the last data only when it asks for them. If it never does, there are data after the end.

Data that were overwritten with zeros are a third sign: in most files, zeros are not a valid code.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ..errors import DamagedFile

_MARKER = re.compile(rb"\xff\xff*([^\x00\xff])", re.DOTALL)
"""Begins with a plain byte, which makes the search 15 times as fast as with ``\xff+``."""
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
_READ_AHEAD = 9
"""The decoder reads at most this many bytes ahead of the bits that it decodes."""
_BLOCK = 8
_MAX_HEIGHT = 65500
"""libjpeg rejects more rows."""

Decode = Callable[[bytes, bool], np.ndarray]
"""(file, coarse) -> pixels, uint8 [H, W] or [H, W, C]. Coarse is about a pixel for each block, in colour: it takes half
the time, and detects nearly any change if one scan has all data."""


class Watched(io.BytesIO):
    """A file in memory that tells whether its reader asked for what is behind a place.

    Attributes:
        place: no read goes across this offset.
        passed: whether a read began at or behind it.
    """

    place, passed = 0, False

    def watch(self, place: int) -> None:
        """Begin to watch an offset."""
        self.place, self.passed = place, False

    def read(self, size: int | None = -1) -> bytes:
        here = self.tell()
        if here >= self.place:
            self.passed = True
            return super().read(size)
        most = self.place - here
        return super().read(most if size is None or size < 0 else min(size, most))


@dataclass
class Layout:
    """The segments of a JPEG file.

    Attributes:
        pieces: (start, end) of each piece of entropy-coded data; restart markers divide the data of a scan.
        scans: number of scans.
        frame: the frame marker (SOF).
        size: (height, width) of the image in pixels.
        height_place: offset of the height in the file.
        unit: (height, width) of the coded units in blocks if one scan without restart markers has all data, else None.
        end: offset after the end marker.
        missing_restarts: number of restart markers that are missing or out of order.
        incomplete: number of coefficients that no scan of a progressive image brings to full precision.
        zeros_mean_empty: whether zeros are valid data of a uniform area, by the Huffman tables of the last scan.
    """

    pieces: list[tuple[int, int]] = field(default_factory=list)
    scans: int = 0
    frame: int = 0
    size: tuple[int, int] = (0, 0)
    height_place: int = 0
    unit: tuple[int, int] | None = None
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
    components, precision, zero_symbols = {}, {}, {}
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
            found.size = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            found.height_place = place - len(segment) + 1
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
            simple = found.scans == 1 and len(names) == len(components) and not restart
            found.unit = _unit(components) if simple else None
            wanted = -(-_units(found.size, components, names) // restart) - 1 if restart else 0
            found.missing_restarts += abs(wanted - expected)
    if found.frame == _PROGRESSIVE:
        found.incomplete = sum(precision.get((name, index)) != 0 for name in components for index in range(64))
    return found


def _unit(components: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Return the (height, width) in blocks of the coded units of a scan with all components."""
    if len(components) == 1:
        return 1, 1
    across, down = (max(c[axis] for c in components.values()) for axis in (0, 1))
    return down, across


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


def check(stream: Watched, image: Image.Image, decode: Decode) -> str | None:
    """Decode a JPEG file and check its image data for damage.

    Args:
        stream: the file.
        image: opened from ``stream``, not decoded yet. It is decoded here, unless its data cannot be checked.
        decode: decodes changed files.

    Returns:
        One line if the data are probably damaged, else None.

    Raises:
        DamagedFile: the file is truncated or damaged.
        Exception: any exception of Pillow's reader for damaged files.
    """
    data = stream.getvalue()
    found = layout(data)
    if found.frame not in _HUFFMAN_FRAMES:
        return None
    if found.missing_restarts:
        raise DamagedFile(f"the file is damaged: {found.missing_restarts} restart markers are missing or out of order")
    if found.frame != _PROGRESSIVE and not found.zeros_mean_empty:
        if any(_ZEROS in data[start:end].rstrip(b"\0") for start, end in found.pieces):
            raise DamagedFile("the file is damaged: some of its image data were overwritten with zeros")
    start, end = found.pieces[-1]
    padding = end - start - len(data[start:end].rstrip(data[end - 1 : end]))
    surplus = min(min(padding, _PADDING) + _SURPLUS, (end - start) // 2)
    # a byte 0xFF has a 0 behind it, which is not data
    stream.watch(min(end, end - surplus + _READ_AHEAD + data.count(b"\xff", end - surplus, end)))
    image.load()
    if _may_end_early(data, found, decode) and _ends_early(data, found, image, decode):
        raise DamagedFile("the file is damaged: its image data end before the image is complete")
    if found.incomplete:
        return "scans of the progressive file are missing, so details may be"
    if found.scans == 1 and surplus and not stream.passed and _goes_on(data, found, surplus, image, decode):
        return "the file is probably damaged: it has image data after the end of the image"
    return None


def _may_end_early(data: bytes, found: Layout, decode: Decode) -> bool:
    """Tell whether the data may end before the image is complete; False is certain."""
    height, width = found.size
    if found.unit is None or found.frame == _PROGRESSIVE or min(height, width) < _BLOCK:
        return True
    rows, columns = found.unit
    units = _up(height, _BLOCK * rows)
    taller = _BLOCK * rows * (units + 2)
    if taller > _MAX_HEIGHT:
        return True
    place = found.height_place
    pixels = decode(data[:place] + taller.to_bytes(2, "big") + data[place + 2 :], True)  # one for each block
    first, skipped = pixels[rows * units : rows * (units + 1), :columns], pixels[-1, -1]
    return bool((first == skipped).all())


def _ends_early(data: bytes, found: Layout, image: Image.Image, decode: Decode) -> bool:
    """Tell whether bytes after the data change the image."""
    coarse = found.scans == 1
    pixels = decode(data, True) if coarse else np.asarray(image)
    return not np.array_equal(decode(_replaced(data, found.pieces, 0), coarse), pixels)


def _goes_on(data: bytes, found: Layout, surplus: int, image: Image.Image, decode: Decode) -> bool:
    """Tell whether other bytes instead of the last ``surplus`` leave the image as it is."""
    pixels = decode(data, True)
    if (pixels == pixels[:1, :1]).all():  # its few codes may all mean the same
        return False
    other = _replaced(data, found.pieces[-1:], surplus)
    return np.array_equal(decode(other, True), pixels) and np.array_equal(decode(other, False), np.asarray(image))


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
