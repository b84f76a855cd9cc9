"""Compression: one JPEG or JPEG 2000 round trip through Pillow (method.md 5.1), and one of today's web formats."""

import io

import numpy as np
from PIL import Image

from .base import Distortion


def _round_trip(image: np.ndarray, **options) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **options)
    buffer.seek(0)
    with Image.open(buffer) as decoded:
        return np.array(decoded.convert("RGB"))


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    return _round_trip(image, format="JPEG", quality=quality)  # chroma 4:2:0 is the default


def _jpeg_2000(image: np.ndarray, psnr: float) -> np.ndarray:
    """`psnr` is the target of the single quality layer in dB; the wavelet is the reversible one, Pillow's default."""
    return _round_trip(image, format="JPEG2000", quality_mode="dB", quality_layers=[psnr])


DISTORTIONS = (
    Distortion("compression_jpeg", "compression", _jpeg, (25, 18, 12, 8, 5)),
    Distortion("compression_jpeg_2000", "compression", _jpeg_2000, (29, 27.5, 26, 24.5, 23)),
)


def _webp(image: np.ndarray, quality: int) -> np.ndarray:
    return _round_trip(image, format="WEBP", quality=quality, method=2)


def _avif(image: np.ndarray, quality: int) -> np.ndarray:
    return _round_trip(image, format="AVIF", quality=quality, speed=9, max_threads=1)


# The six metrics see in them what they see in JPEG of the same severity. Even the worst quality is not severe (4).
WEB_FORMATS = (
    Distortion("compression_webp", "compression", _webp, (20, 5, 0)),
    Distortion("compression_avif", "compression", _avif, (30, 14, 1)),
)
