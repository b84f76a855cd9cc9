"""Image files: opened in any thread, and checked for damage that Pillow does not report."""

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DamagedFile
from . import jpeg as jpeg_data
from . import png as png_chunks
from .colour_profiles import ProfileError, coded_profile
from .pillow import MAX_PIXELS, instance, open_image

MAX_BYTES = 8 * MAX_PIXELS + 2**26
"""Most bytes of a PNG or JPEG file, which are read as a whole: enough for 4 channels of 16 bits."""

_HEAD = 2**16
"""Bytes at the beginning of a file in which its boxes are looked for."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[object, list[str]]]:
    """Open an image file.

    Returns:
        in a ``with`` statement, a lazy Pillow image, whose pixels are not decoded yet, and what is odd about the file
        though it can be judged, one line each. Images of more than ``MAX_PIXELS`` are not checked.

    Raises:
        DamagedFile: truncated or damaged data.
        Exception: nearly anything, by Pillow's readers of damaged files.
    """
    with path.open("rb") as stream:
        head = stream.read(8)
        if head == png_chunks.SIGNATURE:
            png = png_chunks.read(_whole(stream), MAX_PIXELS)
            image, notices = open_image(io.BytesIO(png.data)), png.notices
            if png.profile is not None:
                image.info["icc_profile"] = png.profile
        elif head[:2] == b"\xff\xd8":
            data = _whole(stream)
            image, odd = open_image(io.BytesIO(data)), None
            if image.width * image.height <= MAX_PIXELS:
                odd = jpeg_data.check(data, _jpeg_pixels)
            notices = [odd] if odd else []
        else:
            image, notices = open_image(stream), []
            if image.format == "AVIF" and "icc_profile" not in image.info:
                _add_coded_profile(image, stream, notices)
        yield image, notices


def _add_coded_profile(image, stream: io.BufferedReader, notices: list[str]) -> None:
    """Give an AVIF image the profile of its code points (a box ``colr`` of type ``nclx``), which Pillow leaves out."""
    place = stream.tell()
    stream.seek(0)
    _, box, codes = stream.read(_HEAD).partition(b"colrnclx")
    stream.seek(place)
    if box and len(codes) >= 4:
        try:
            image.info["icc_profile"] = coded_profile(*struct.unpack(">HH", codes[:4]))
        except ProfileError as error:
            notices.append(f"{error}; they were taken as sRGB")


def _whole(stream: io.BufferedReader) -> bytes:
    if stream.seek(0, os.SEEK_END) > MAX_BYTES:
        raise DamagedFile(f"the file has more than {MAX_BYTES} bytes")
    stream.seek(0)
    return stream.read()


def _jpeg_pixels(data: bytes, coarse: bool) -> bytes:
    """``decode`` of ``jpeg_data.check``."""
    image = instance().JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    if coarse:
        image.draft("L", (1, 1))
    image.load()
    return image.tobytes()
