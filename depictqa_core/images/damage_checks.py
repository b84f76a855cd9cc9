"""Opening image files: thread-safe, with checks for damage that Pillow does not report."""

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from ..errors import DamagedFile
from . import coded_data, tiff
from . import jpeg as jpeg_data
from . import png as png_chunks
from .colour_profiles import ProfileError, coded_profile
from .pillow import MAX_PIXELS, instance, open_image

MAX_BYTES = 8 * MAX_PIXELS + 2**26
"""Maximum size of a PNG or JPEG file in bytes, which is read as a whole: enough for 4 channels of 16 bits."""

_HEAD = 2**16
"""Number of bytes at the start of a file that are searched for its boxes."""


@contextmanager
def opened(source: Path | bytes) -> Iterator[tuple[Image.Image, list[str]]]:
    """Open an image file.

    Args:
        source: its path, or its content.

    Yields:
        A lazy Pillow image, whose pixels are decoded only if the checks needed them, and notices about the file, one
        line each. Images of more than ``MAX_PIXELS`` are not checked.

    Raises:
        DamagedFile: the data are truncated or damaged.
        Exception: any exception of Pillow's readers for damaged files.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        head = stream.read(8)
        if head == png_chunks.SIGNATURE:
            png = png_chunks.read(_whole(stream), MAX_PIXELS)
            image, notices = open_image(io.BytesIO(png.data)), png.notices
            if png.profile is not None:
                image.info["icc_profile"] = png.profile
        elif head[:2] == b"\xff\xd8":
            image, odd = _open_jpeg(_whole(stream))
            notices = [odd] if odd else []
        else:
            image, notices = open_image(stream), []
            if image.width * image.height <= MAX_PIXELS:
                odd = _check(image, stream)
                notices = [odd] if odd else []
            if image.format == "AVIF" and "icc_profile" not in image.info:
                _add_coded_profile(image, stream, notices)
        yield image, notices


def _check(image: Image.Image, stream: BinaryIO) -> str | None:
    """Refuse or doubt damaged data of a format that Pillow does not check: what is odd, or None."""
    if image.format == "TIFF":
        return tiff.check(stream, getattr(image, "tag_v2", {}), lambda data: _open_jpeg(data)[1])
    find = {"WEBP": coded_data.webp_span, "AVIF": coded_data.avif_span}.get(image.format or "")
    if find is None:
        return None
    place = stream.tell()
    try:
        data = _whole(stream)
    finally:
        stream.seek(place)
    return coded_data.ends_early(data, find(data), image, open_image)


def _add_coded_profile(image: Image.Image, stream: BinaryIO, notices: list[str]) -> None:
    """Add the profile of an AVIF image's code points (a box ``colr`` of type ``nclx``), which Pillow ignores."""
    place = stream.tell()
    stream.seek(0)
    _, box, codes = stream.read(_HEAD).partition(b"colrnclx")
    stream.seek(place)
    if box and len(codes) >= 4:
        try:
            image.info["icc_profile"] = coded_profile(*struct.unpack(">HH", codes[:4]))
        except ProfileError as error:
            notices.append(f"{error}; they were taken as sRGB")


def _whole(stream: BinaryIO) -> bytes:
    if stream.seek(0, os.SEEK_END) > MAX_BYTES:
        raise DamagedFile(f"the file has more than {MAX_BYTES} bytes")
    stream.seek(0)
    return stream.read()


def _open_jpeg(data: bytes) -> tuple[Image.Image, str | None]:
    """Open and check a JPEG: the image, and what is odd about it."""
    stream = jpeg_data.Watched(data)
    image = open_image(stream)
    small = image.width * image.height <= MAX_PIXELS
    return image, jpeg_data.check(stream, image, _jpeg_pixels) if small else None


def _jpeg_pixels(data: bytes, coarse: bool) -> np.ndarray:
    """Decode a JPEG for ``jpeg.check``."""
    image = instance().JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    if coarse:
        image.draft(None, (1, 1))  # with its colours, which come last in the data
    image.load()
    return np.asarray(image)
