"""Star ratings in the XMP of JPEG, PNG and WebP files: which bytes to replace. Nothing is decoded.

Only XMP and what counts its bytes change: lengths, checksums, the flags of a WebP file, and the positions of further
images in a JPEG file (of cameras: previews, depth, gain maps). Ratings in EXIF or by Microsoft's names stay.

Sources: XMP specification, part 3 (JPEG 1.1.3, PNG 1.1.5); WebP container specification (VP8X); CIPA DC-007 (MPF).
"""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..errors import StorageError
from ..images.png import SIGNATURE
from .edits import Edit, refuse_read_only
from .xmp import with_rating

MAX_METADATA = 16 * 2**20
"""Maximum size of an XMP packet in bytes, unpacked; in JPEG files it is 64 KB."""
_JPEG_XMP, _JPEG_EXIF, _JPEG_IMAGES = b"http://ns.adobe.com/xap/1.0/\0", b"Exif\0\0", b"MPF\0"
_JPEG_PACKET = 65502
_APP0, _APP1, _APP2, _SCAN = 0xE0, 0xE1, 0xE2, 0xDA
_MARKERS_ALONE = {0x01, *range(0xD0, 0xD8)}
_IMAGE_LIST = 0xB002
_PNG_XMP = b"XML:com.adobe.xmp"
_WEBP_ALPHA, _WEBP_EXIF, _WEBP_XMP = 0x10, 0x08, 0x04
_WEBP_EXTENDED_ONLY = {b"ICCP", b"ANIM", b"ANMF", b"ALPH"}
_CUT = "the file is truncated or damaged"
_PIECE = 2**16


def rating_edits(path: str | Path, rating: int) -> list[Edit]:
    """Return how to write a rating into an image file.

    Args:
        path: the file. Its first bytes decide its format, not its name.
        rating: 0 to 5.

    Returns:
        the bytes to replace, by rising offset; none if the file has the rating already.

    Raises:
        StorageError: the file is of another format, damaged, read-only or cannot be read, or its XMP is damaged or too
            large. The message names the file.
    """
    try:
        refuse_read_only(path)
        with open(path, "rb") as file:
            edits = _format(_at(file, 0, 12, short=True))(file, os.path.getsize(path), rating)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, struct.error) as error:
        raise StorageError(f"{path}: {_CUT if isinstance(error, struct.error) else error}") from None
    return sorted((edit for edit in edits if edit.old != edit.new), key=lambda edit: edit.start)


def _format(start: bytes) -> Callable[[BinaryIO, int, int], list[Edit]]:
    if start.startswith(b"\xff\xd8\xff"):
        return _jpeg
    if start.startswith(SIGNATURE):
        return _png
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return _webp
    raise ValueError("only JPEG, PNG and WebP files can hold a rating here; write it into a sidecar (--ratings)")


def _at(file: BinaryIO, place: int, count: int, short: bool = False) -> bytes:
    """Read bytes at an offset; fewer only if ``short``."""
    if count > MAX_METADATA:
        raise ValueError(f"its XMP has {count} bytes, more than the limit of {MAX_METADATA}")
    file.seek(place)
    found = file.read(count)
    if len(found) < count and not short:
        raise ValueError(_CUT)
    return found


def _rated(packet: bytes | None, rating: int) -> bytes:
    try:
        return with_rating(packet, rating)
    except ValueError as error:
        raise ValueError(f"its XMP cannot be changed: {error}") from None


# ---------------------------------------------------------------------- JPEG


def _jpeg(file: BinaryIO, size: int, rating: int) -> list[Edit]:
    edits: list[Edit] = []
    lists: list[tuple[int, bytes]] = []
    place = free = 2
    while True:
        first, kind = _at(file, place, 2)
        if first != 0xFF:
            raise ValueError(_CUT)
        if kind == 0xFF or kind in _MARKERS_ALONE:  # a byte of padding, or a marker without a segment
            place += 1 if kind == 0xFF else 2
            continue
        (length,) = struct.unpack(">H", _at(file, place + 2, 2))
        content, end = place + 4, place + 2 + length
        if length < 2 or end > size or not 0xC0 <= kind or kind in (0xD8, 0xD9):
            raise ValueError(_CUT)
        if kind == _SCAN:
            break
        name = _at(file, content, min(len(_JPEG_XMP), length - 2))
        if free == place and (kind == _APP0 or kind == _APP1 and name.startswith(_JPEG_EXIF)):
            free = end
        elif kind == _APP1 and name == _JPEG_XMP:
            segment = _at(file, place, 2 + length)
            edits.append(Edit(place, segment, _jpeg_segment(_rated(segment[4 + len(name) :], rating))))
        elif kind == _APP2 and name.startswith(_JPEG_IMAGES):
            start = content + len(_JPEG_IMAGES)
            lists.append((start, _at(file, start, end - start)))
        place = end
    _refuse_without_end(file, place, size)
    edits = edits or [Edit(free, b"", _jpeg_segment(_rated(None, rating)))]
    return edits + [moved for start, data in lists for moved in _moved_images(start, data, edits)]


def _jpeg_segment(packet: bytes) -> bytes:
    if len(packet) > _JPEG_PACKET:
        raise ValueError("its XMP has no space left for a rating: a JPEG file takes 64 KB")
    return struct.pack(">BBH", 0xFF, _APP1, 2 + len(_JPEG_XMP) + len(packet)) + _JPEG_XMP + packet


def _refuse_without_end(file: BinaryIO, start: int, size: int) -> None:
    """Raise ValueError unless an end marker is behind ``start``; most are at the end of the file."""
    while start < size:
        place = max(start, size - _PIECE)
        if b"\xff\xd9" in _at(file, place, size - place):
            return
        size = place + 1 if place > start else start
    raise ValueError(_CUT)


def _moved_images(start: int, data: bytes, edits: list[Edit]) -> list[Edit]:
    """Correct a list of the images in a JPEG file, which counts from its own offset ``start``."""
    order = "<" if data[:2] == b"II" else ">"
    (place,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, place)
    moved = []
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, _, length, where = struct.unpack_from(order + "HHII", data, entry)
        for image in range(where, where + length, 16) if tag == _IMAGE_LIST else ():
            size, offset = struct.unpack_from(order + "II", data, image + 4)
            if offset:
                offset += sum(edit.growth for edit in edits if edit.start >= start)
            else:  # the first image, which has the metadata
                size += sum(edit.growth for edit in edits)
            new = struct.pack(order + "II", size, offset)
            moved.append(Edit(start + image + 4, data[image + 4 : image + 12], new))
    return moved


# ---------------------------------------------------------------------- PNG


def _png(file: BinaryIO, size: int, rating: int) -> list[Edit]:
    edits: list[Edit] = []
    place, pixels, kind = len(SIGNATURE), 0, b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", _at(file, place, 8))
        if place + 12 + length > size or not kind.isalpha() or (kind == b"IHDR") != (place == len(SIGNATURE)):
            raise ValueError(_CUT)
        if kind == b"IDAT":
            pixels = pixels or place
        elif kind == b"iTXt" and _at(file, place + 8, min(length, len(_PNG_XMP) + 1)) == _PNG_XMP + b"\0":
            chunk = _at(file, place, 12 + length)
            if _png_chunk(chunk[8:-4]) != chunk:
                raise ValueError("the file is damaged: its XMP has a wrong checksum")
            edits.append(Edit(place, chunk, _png_chunk(_rated_text(chunk[8:-4], rating))))
        place += 12 + length
    if not pixels:
        raise ValueError(_CUT)
    return edits or [Edit(pixels, b"", _png_chunk(_PNG_XMP + bytes(5) + _rated(None, rating)))]


def _png_chunk(content: bytes) -> bytes:
    named = b"iTXt" + content
    return struct.pack(">I", len(content)) + named + struct.pack(">I", zlib.crc32(named))


def _rated_text(content: bytes, rating: int) -> bytes:
    """Put a rating into a text chunk: keyword, compression flag and method, language, translated keyword, text."""
    options, rest = content[len(_PNG_XMP) + 1 :][:2], content[len(_PNG_XMP) + 3 :].split(b"\0", 2)
    if len(rest) < 3 or options not in (b"\0\0", b"\0\1", b"\1\0"):
        raise ValueError("its XMP is damaged")
    text = rest[2]
    if options[0]:
        unpacker = zlib.decompressobj()
        try:
            text = unpacker.decompress(text, MAX_METADATA)
        except zlib.error:
            raise ValueError("its XMP is damaged") from None
        if not unpacker.eof:
            raise ValueError(f"its XMP is damaged, or has more than {MAX_METADATA} bytes")
    rated = _rated(text, rating)
    if rated == text:
        return content
    return content[: len(content) - len(rest[2])] + (zlib.compress(rated) if options[0] else rated)


# ---------------------------------------------------------------------- WebP


def _webp(file: BinaryIO, size: int, rating: int) -> list[Edit]:
    (end,) = struct.unpack("<I", _at(file, 4, 4))
    end += 8
    chunks: list[tuple[bytes, int, int]] = []
    place = 12
    while place < end:
        kind, length = struct.unpack("<4sI", _at(file, place, 8))
        chunks.append((kind, place, length))
        place += 8 + length + length % 2
    kinds = {kind for kind, _, _ in chunks}
    if place != end or end > size or not kinds & {b"VP8 ", b"VP8L", b"ANMF"}:
        raise ValueError(_CUT)
    edits = []
    for kind, place, length in chunks:
        if kind == b"XMP ":
            chunk = _at(file, place, 8 + length + length % 2)
            edits.append(Edit(place, chunk, _webp_chunk(kind, _rated(chunk[8 : 8 + length], rating))))
    if not edits:
        edits.append(Edit(end, b"", _webp_chunk(b"XMP ", _rated(None, rating))))
    edits += _webp_header(file, *chunks[0], kinds)
    new_size = end - 8 + sum(edit.growth for edit in edits)
    if new_size > 2**32 - 10:
        raise ValueError("it has no space left for a rating: a WebP file takes 4 GiB")
    return [*edits, Edit(4, struct.pack("<I", end - 8), struct.pack("<I", new_size))]


def _webp_header(file: BinaryIO, first: bytes, place: int, length: int, kinds: set[bytes]) -> list[Edit]:
    """Set the flag for XMP in the header of a file; a simple file, which has only pixels, gets such a header."""
    head = _at(file, place + 8, min(length, 10))
    if first == b"VP8X" and len(head) == 10:
        return [Edit(place + 8, head[:1], bytes([head[0] | _WEBP_XMP]))]
    flags = _WEBP_XMP | (_WEBP_EXIF if b"EXIF" in kinds else 0)
    if first == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", head, 6))
    elif first == b"VP8L" and head[:1] == b"\x2f":
        (bits,) = struct.unpack_from("<I", head, 1)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags |= _WEBP_ALPHA if bits >> 28 & 1 else 0
    else:
        raise ValueError(_CUT)
    if kinds & _WEBP_EXTENDED_ONLY or not width or not height:
        raise ValueError(_CUT)
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    return [Edit(place, b"", _webp_chunk(b"VP8X", struct.pack("<I", flags) + sides))]


def _webp_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
