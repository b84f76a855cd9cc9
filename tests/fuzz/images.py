"""Damaged image files: ``python -m tests.fuzz.images --cases 20000``."""

import io
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from depictqa_core.images.image import as_image, as_images
from depictqa_core.images.size_policy import SizePolicy, fit

from .harness import Case, command, damaged_bytes

LARGE = 2**24
"""Pixels above which an image takes longer for its size alone."""


def whole_files() -> list[tuple[str, bytes]]:
    """(suffix, content) of small whole files of every format and mode that Pillow writes here."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
    modes = {mode: rgb.convert(mode) for mode in ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "YCbCr", "I", "F")}
    modes["I;16"] = Image.fromarray(rng.integers(0, 2**16, (24, 32)).astype(np.uint16))
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", "x" * 300, zip=True)
    text.add_itxt("workflow", "{}" * 50, zip=True)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 100
    profile = bytes(128)
    more = {
        "PNG": [{}, {"pnginfo": text}, {"exif": exif}, {"icc_profile": profile}],
        "JPEG": [{}, {"progressive": True}, {"exif": exif, "icc_profile": profile}, {"subsampling": 2, "quality": 20}],
        "WEBP": [{}, {"lossless": True}, {"exif": exif}],
        "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "jpeg"}],
        "GIF": [{}, {"save_all": True, "append_images": [modes["P"]]}],
        **{
            name: [{}]
            for name in ("BMP", "PPM", "TGA", "ICO", "JPEG2000", "AVIF", "DDS", "PCX", "SGI", "ICNS", "MPO", "QOI")
        },
    }
    found = []
    for kind, options in more.items():
        for mode in modes.values():
            for option in options:
                file = io.BytesIO()
                try:
                    mode.save(file, kind, **option)
                except (OSError, ValueError, KeyError, SystemError, TypeError, AttributeError):
                    continue  # this format does not hold this mode, or this Pillow was built without it
                found.append((kind.lower(), file.getvalue()))
    return found


def make(folder: Path) -> Case:
    """The case function: a damaged file is read as the judge reads it, from a path and out of memory."""
    files = whole_files()
    policy = SizePolicy(short=32, long=64, min=16, multiple=2)

    def case(rng: random.Random) -> float:
        suffix, content = rng.choice(files)
        if rng.random() < 0.1:
            content = content[: rng.randrange(len(content))] + rng.choice(files)[1]
        path = folder / f"image.{suffix if rng.random() < 0.9 else rng.choice(files)[0]}"
        path.write_bytes(damaged_bytes(content, rng))
        (picture,) = as_images([path])
        assert picture.rgb.dtype == np.uint8 and picture.rgb.shape[2] == 3 and len(picture.key) == 32
        fit(picture, policy)
        if rng.random() < 0.1:
            as_image(path.name if rng.random() < 0.5 else path)
        # A few damaged bytes may say that an image is as large as images may be, which is then work and no hang.
        return max(1.0, picture.height * picture.width / LARGE)

    return case


if __name__ == "__main__":
    sys.exit(command("tests.fuzz.images", make))
