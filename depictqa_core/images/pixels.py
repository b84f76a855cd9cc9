"""Arrays and PIL images of any kind become uint8 RGB in sRGB, checked."""

from __future__ import annotations

import contextlib
import math

import numpy as np
from PIL import Image, ImageOps

from ..errors import ImageError, quoted
from .colour_profiles import ADOBE_RGB, ProfileError, profile_of, to_srgb
from .pillow import MAX_PIXELS

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the luma of ITU-R BT.601."""
# Bicubic interpolation of a 0..1 image overshoots by at most 0.45; -1..1 and 0..255 images exceed this.
FLOAT_TOLERANCE = 0.5


def rgb_of_array(
    source: np.ndarray, label: str, profile: bytes | None = None, keep_alpha: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Convert a numpy array [H, W] or [H, W, C] to a new uint8 [H, W, 3], and to [H, W, 4] if that is asked for.

    Returns:
        the image over white; and, with ``keep_alpha`` and for an image with alpha, its colours and alpha, else None.

    Raises:
        ProfileError: the profile cannot be used.
        ImageError: the array cannot be used.
    """
    levels = _to_levels(source, label)
    if levels.ndim == 2:
        levels = levels[:, :, None]
    channels = levels.shape[2]
    colour = levels[:, :, : channels - 1 + channels % 2]  # 1 or 2 -> grey, 3 or 4 -> RGB
    colour = colour if profile is None else to_srgb(colour, profile)
    rgba = None
    if channels % 2 == 0:
        if keep_alpha:
            rgba = np.concatenate([np.broadcast_to(colour, (*colour.shape[:2], 3)), levels[:, :, -1:]], axis=2)
        # in place on one 16-bit copy: 255 * 255 + 127 still fits, and an image may have 10^8 pixels
        alpha = levels[:, :, -1:].astype(np.uint16)
        mixed = colour * alpha
        mixed += 255 * (255 - alpha) + 127
        mixed //= 255
        colour = mixed.astype(np.uint8)
    rgb = np.array(np.broadcast_to(colour, (*levels.shape[:2], 3)), order="C")
    rgb.flags.writeable = False
    return rgb, rgba


def _to_levels(array: np.ndarray, label: str) -> np.ndarray:
    """Convert any allowed dtype to uint8 of the same shape (possibly the caller's array, which is only read)."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if array.dtype == np.uint8:
        return array
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if kind == "u" and size == 2:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 * 257
    if kind != "f":
        wanted = "uint8 (0..255), uint16, bool or floats in 0..1"
        raise ImageError(f"{label}: dtype {array.dtype} is not an image's; give {wanted}.")
    low, high = float(array.min()), float(array.max())  # a NaN anywhere makes both NaN
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError(f"{label}: has NaN or infinite values; check the step that made it (a half-precision VAE?).")
    if low < -FLOAT_TOLERANCE or high > 1 + FLOAT_TOLERANCE:
        advice = "divide by 255 or convert to uint8" if low >= 0 and 1.5 < high <= 255.5 else "scale them to 0..1"
        if -1.1 <= low < 0 and high <= 1.1:
            advice = "it seems to be scaled to -1..1, use (x + 1) / 2"
        raise ImageError(f"{label}: floats must be in 0..1, these range from {low:.4g} to {high:.4g}; {advice}.")
    scaled = np.multiply(array, 255, dtype=np.result_type(array.dtype, np.float32))
    np.rint(scaled, out=scaled)
    np.clip(scaled, 0, 255, out=scaled)
    levels: np.ndarray = scaled.astype(np.uint8)
    return levels


def rgb_of_pil(
    image: Image.Image, label: str, keep_alpha: bool = False
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Convert a PIL image as ``rgb_of_array`` does, and return notices about it."""
    check_size(image.height, image.width, label)
    try:
        image.load()
        check_size(image.height, image.width, label)  # the image in an icon may be larger than the header says
        with contextlib.suppress(Exception):  # an invalid orientation is ignored
            image = ImageOps.exif_transpose(image)
        profile, notices = image.info.get("icc_profile"), []
        if "icc_profile" in image.info and not profile:
            notices = ["its colour profile is damaged; it was ignored"]
        elif not profile and _is_adobe_rgb(image):
            profile = profile_of(*ADOBE_RGB)
        try:
            rgb, rgba = rgb_of_array(*_pil_to_array(image, label, profile), keep_alpha)
        except ProfileError as error:
            notices.append(f"{error}; it was ignored")
            rgb, rgba = rgb_of_array(*_pil_to_array(image, label, None), keep_alpha)
        return rgb, rgba, tuple(notices)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{label}: cannot be decoded ({quoted(error)}); save or download it again.") from error


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Return whether EXIF declares Adobe RGB, as cameras do that embed no profile."""
    with contextlib.suppress(Exception):  # damaged metadata do not matter
        exif = image.getexif()
        space = exif.get_ifd(0x8769).get(0xA001)
        return space == 2 or space == 0xFFFF and str(exif.get_ifd(0xA005).get(1, "")).startswith("R03")
    return False


def _pil_to_array(image: Image.Image, label: str, profile: bytes | None) -> tuple[np.ndarray, str, bytes | None]:
    """The arguments of ``rgb_of_array`` for a PIL image."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.array(image)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(f"{label}: has values {values.min()} to {values.max()}; save it with 8 or 16 bits.")
        array = values.astype(np.uint16)
        if isinstance(transparent, int):
            array[values == transparent] = 65535  # alpha 0 over white
        return array, label, profile
    if image.mode == "F":
        return np.array(image), label, profile
    if image.mode == "CMYK":
        return (np.array(image.convert("RGB")) if profile is None else to_srgb(np.array(image), profile)), label, None
    if image.mode == "LAB":  # its numbers are colours by themselves, whatever profile is stored with them
        return np.array(image.convert("RGB")), label, None
    image = image.convert("LA") if image.mode == "La" else image
    alpha = "A" if transparent is not None or image.mode in ("RGBA", "LA", "PA", "RGBa") else ""
    return np.array(image.convert(("L" if image.mode in ("1", "L", "LA") else "RGB") + alpha)), label, profile


def check_size(height: int, width: int, label: str) -> None:
    if height < 1 or width < 1:
        raise ImageError(f"{label}: has no pixels ({width} x {height}); give an image of at least 1 x 1.")
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"{label}: {width} x {height} exceeds the limit of {MAX_PIXELS} pixels; make it smaller first."
        )
