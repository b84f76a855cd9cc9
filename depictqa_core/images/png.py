"""PNG files: remove chunks that do not affect the pixels, and detect damaged pixel data that Pillow does not report.

Texts (ComfyUI stores whole workflows in them) and profiles may be large, damaged or unpack to gigabytes, although the
pixels are intact. So they are removed before Pillow reads the file, and unpacked with limits, if at all.
"""

import struct
import zlib
from dataclasses import dataclass, field

from ..errors import DamagedFile
from .colour_profiles import ProfileError, coded_profile, png_profile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PROFILE = 16 * 2**20
"""Maximum size of an unpacked colour profile in bytes; those of printers have up to 4 MB."""
MAX_TEXT = 2**20
_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_COLOUR_CHUNKS = {b"cICP", b"sRGB", b"gAMA", b"cHRM"}
_ORIENTATION_TEXTS = {b"XML:com.adobe.xmp", b"Raw profile type exif"}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, row step and column step of each pass of an interlaced image."""
_PIECE = 2**20
_IDAT_CRC = zlib.crc32(b"IDAT")
_MAX_STORED = 2**26
"""Maximum size in bytes of pixel data that Pillow gets unpacked."""


@dataclass
class PNG:
    """The contents of a PNG file.

    Attributes:
        data: the file with only its pixels and orientation. Pixel data that are not too large are not compressed: they
            were unpacked for the check, and Pillow need not do it again.
        profile: the embedded colour profile, or one built from the chunks cICP or gAMA and cHRM, or None.
        notices: one line for each profile that cannot be read.
    """

    data: bytes
    profile: bytes | None = None
    notices: list[str] = field(default_factory=list)


def read(data: bytes, max_pixels: int) -> PNG:
    """Parse a PNG file and check its pixel data.

    Args:
        data: the file, which starts with ``SIGNATURE``.
        max_pixels: the data of larger images are not checked; the caller rejects them.

    Raises:
        DamagedFile: the pixel data are truncated or damaged.
    """
    kept, pixels, header, colours, found = [SIGNATURE], [], b"", {}, PNG(b"")
    first = 0  # where in ``kept`` the pixel data belong
    place = len(SIGNATURE)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        checksum = data[place + 8 + length : place + 12 + length]
        whole = checksum == struct.pack(">I", zlib.crc32(kind + content))
        if kind in _PIXEL_CHUNKS:
            if len(checksum) < 4:
                break
            if not whole:
                raise DamagedFile(f"the file is damaged: its chunk {kind.decode()} has a wrong checksum")
            header = content if kind == b"IHDR" and not header else header
            if kind == b"IDAT":
                first = first or len(kept)
                pixels.append(content)
            else:
                kept.append(data[place : place + 12 + length])
        elif kind == b"iCCP" and not pixels:
            found.profile = _profile(content) if whole else None
            if found.profile is None:
                found.notices.append("its colour profile is damaged or too large and was ignored")
        elif whole and kind in _COLOUR_CHUNKS and not pixels:
            colours[kind] = content
        elif whole and (kind == b"eXIf" or _is_orientation(kind, content)):
            kept.append(data[place : place + 12 + length])
        place += 12 + length
        if kind == b"IEND":
            break
    if not header or not pixels:
        raise DamagedFile("the file is truncated: it has no pixel data")
    kept[first:first] = map(_idat, _checked_pixels(header, pixels, max_pixels))
    try:
        if len(colours.get(b"cICP", b"")) == 4:  # before an embedded profile, and that before all others
            found.profile = coded_profile(*colours[b"cICP"][:2])
        elif found.profile is None and b"sRGB" not in colours:
            found.profile = png_profile(colours)
    except ProfileError as error:
        found.notices.append(f"{error}; they were taken as sRGB")
    found.data = b"".join(kept)
    return found


def _profile(content: bytes) -> bytes | None:
    name, _, packed = content.partition(b"\0")
    return _unpacked(packed[1:], MAX_PROFILE)


def _is_orientation(kind: bytes, content: bytes) -> bool:
    """Return whether a text chunk may have the orientation and is small enough to be read."""
    keyword, _, rest = content.partition(b"\0")
    if keyword not in _ORIENTATION_TEXTS or len(content) > MAX_TEXT:
        return False
    if kind == b"zTXt":
        return _unpacked(rest[1:], MAX_TEXT) is not None
    if kind == b"iTXt" and rest[:1] == b"\1":
        return _unpacked(rest[2:].split(b"\0", 2)[-1], MAX_TEXT) is not None
    return kind in (b"tEXt", b"iTXt")


def _unpacked(packed: bytes, limit: int) -> bytes | None:
    """Unpack bytes; None if they are damaged or more than ``limit``."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(packed, limit)
    except zlib.error:
        return None
    return content if unpacker.eof else None


def _idat(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + b"IDAT" + content + struct.pack(">I", zlib.crc32(content, _IDAT_CRC))


def _checked_pixels(header: bytes, pixels: list[bytes], max_pixels: int) -> list[bytes]:
    """Reject pixel data that cannot be unpacked or are incomplete; return them, without compression if possible."""
    if len(header) != 13:
        raise DamagedFile("the file is damaged: its header has a wrong length")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if width * height > max_pixels or colour not in _CHANNELS:
        return pixels
    wanted, bits = 0, depth * _CHANNELS[colour]
    for top, left, down, across in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        rows, columns = -(-max(0, height - top) // down), -(-max(0, width - left) // across)
        wanted += rows * (1 + -(-columns * bits // 8)) if columns else 0
    unpacker, packer, count = zlib.decompressobj(), zlib.compressobj(0), 0
    stored: list[bytes] = []

    def add(piece: bytes) -> None:
        nonlocal count
        count += len(piece)
        if wanted <= _MAX_STORED:
            stored.append(packer.compress(piece))

    try:
        for packed in pixels:
            while packed and count < wanted:
                add(unpacker.decompress(packed, _PIECE))
                packed = unpacker.unconsumed_tail
        if count < wanted:
            add(unpacker.flush())
    except zlib.error as error:
        raise DamagedFile(f"the file is damaged: its pixel data cannot be unpacked ({error})") from error
    if count < wanted:
        raise DamagedFile(f"the file is truncated: {count} of {wanted} bytes of its pixel data are present")
    return [b"".join([*stored, packer.flush()])] if stored else pixels
