"""Image files: opened in any thread, and checked for damage that Pillow does not report."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import jpeg_data, png_chunks
from .errors import DamagedFile
from .pillow import MAX_PIXELS, instance, open_image

MAX_BYTES = 8 * MAX_PIXELS + 2**26
"""Most bytes of a PNG or JPEG file, which are read as a whole: enough for 4 channels of 16 bits."""


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
        yield image, notices


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
