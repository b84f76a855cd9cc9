"""Anything image-like becomes a checked 8-bit RGB ``Picture``; sizes, padding and pixel tensors for the network."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..errors import DamagedFile, ImageError, quoted
from .colour_profiles import ADOBE_RGB, ProfileError, profile_of, to_srgb
from .decode import opened
from .pillow import MAX_PIXELS, is_bomb

# Bicubic interpolation of a 0..1 picture overshoots by at most 0.45; a -1..1 or 0..255 picture lies further out.
FLOAT_TOLERANCE = 0.5
_SCRIPT_FORMATS = {"EPS", "WMF", "EMF"}  # decoding these runs a program, or draws; they are no photographs


@dataclass(frozen=True, eq=False)
class Picture:
    """One checked picture.

    Attributes:
        rgb: uint8 ``[H, W, 3]``, read-only, C-contiguous, shared with nobody.
        name: how errors and reports call it.
        notices: what is odd about its file though it can be judged, one line each, without the name.

    Raises:
        ImageError: ``rgb`` is not a uint8 array ``[H, W, 3]`` of at least one pixel.
    """

    rgb: np.ndarray
    name: str
    notices: tuple[str, ...] = ()

    def __post_init__(self):
        rgb = self.rgb
        if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.shape[2:] != (3,) or not rgb.size:
            raise ImageError(f"{self.name}: a Picture holds a uint8 array [H, W, 3]; make one with as_picture().")
        if rgb.flags.writeable or rgb.base is not None or not rgb.flags.c_contiguous:
            rgb = np.array(rgb, order="C", copy=True, subok=False)
            rgb.flags.writeable = False
            object.__setattr__(self, "rgb", rgb)

    @cached_property
    def key(self) -> str:
        """Content hash (32 hex digits) over shape and bytes: equal for equal pixels, whatever the name."""
        digest = hashlib.blake2b(repr(self.rgb.shape).encode(), digest_size=16)
        digest.update(self.rgb)
        return digest.hexdigest()

    @property
    def height(self) -> int:
        return self.rgb.shape[0]

    @property
    def width(self) -> int:
        return self.rgb.shape[1]


def notices_of(pictures: Iterable[Picture | None]) -> list[str]:
    """The notices about the files of pictures, each once and with the name of its picture."""
    lines = (f"{picture.name}: {notice}" for picture in pictures if picture for notice in picture.notices)
    return [*dict.fromkeys(lines)]


def as_picture(source, name: str = "picture") -> Picture:
    """Check one picture and bring it to 8-bit RGB.

    Args:
        source: a path (``str`` or ``PathLike``), a PIL image, a ``Picture`` (returned as it is), or a numpy array or
            torch tensor of shape ``[H, W]``, ``[H, W, C]`` or ``[1, H, W, C]`` with C = 1 (grey), 2 (grey, alpha),
            3 (RGB) or 4 (RGB, alpha) and dtype uint8, uint16 (scaled by 255/65535), bool (black, white) or any float
            in 0..1.
        name: how errors and reports call it; a path that is given no name is called by its file name.

    Floats are rounded to the nearest of 256 levels; values outside 0..1 by up to ``FLOAT_TOLERANCE`` are clipped.
    Alpha is laid over white. The EXIF orientation is applied, and colours are converted from the embedded profile, or
    what the file says instead of one (PNG: cICP, gAMA and cHRM; AVIF: nclx; EXIF: Adobe RGB), to sRGB
    (``colour_profiles``); arrays and tensors are taken as sRGB. Of an animated or many-page file the first frame
    is taken, of an open PIL image the current one. A PIL image of mode ``I`` is read as 16 bit (older Pillow opens
    16-bit grey PNGs so), mode ``F`` as floats in 0..1; 16-bit colour files are cut to their high bytes by Pillow. The
    caller's data is neither kept nor changed, and files are decoded in any thread, whatever the process has set for
    Pillow. Metadata that are damaged do not matter; a profile that is damaged is ignored and named in ``notices``.

    Raises:
        ImageError: missing, unreadable, truncated, damaged, empty, not finite, out of range, more than ``MAX_PIXELS``
            (found before decoding), or of another shape or type.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (list, tuple)):
        raise ImageError(f"{name}: one picture is needed here, not a {type(source).__name__}; give one of them.")
    planes = _split(source, name)
    if len(planes) != 1:
        raise ImageError(f"{name}: one picture is needed here, but this is a batch of {len(planes)}; pick one of them.")
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return _load(path, f"{name} ({path})", path.name if name == "picture" else name)
    return _checked(planes[0], name)


def as_pictures(source, name: str = "pictures") -> list[Picture]:
    """Check one or many pictures.

    Args:
        source: anything ``as_picture`` takes, a batch ``[B, H, W, C]``, or a list or tuple of these, kinds mixed.
        name: pictures are called "name 1", "name 2", ... in the order of the input, a ``Picture`` keeps its name, and a
            path is called by its file name (by its whole path where files of two folders have the same name).

    Returns:
        The pictures in the order of the input; an empty list gives an empty list.

    Raises:
        ImageError: as ``as_picture``; the message names the picture by its number. An empty batch is refused.
    """
    items = source if isinstance(source, (list, tuple)) else [source]
    paths = {str(item) for item in items if isinstance(item, (str, os.PathLike))}
    same_name = Counter(Path(path).name for path in paths)
    pictures: list[Picture] = []
    for item in items:
        label = f"{name} {len(pictures) + 1}"
        if isinstance(item, Picture):
            pictures.append(item)
        elif isinstance(item, (str, os.PathLike)):
            path = Path(item)
            pictures.append(_load(path, f"{label} ({path})", path.name if same_name[path.name] < 2 else str(path)))
        else:
            for plane in _split(item, label):
                label = f"{name} {len(pictures) + 1}"
                pictures.append(_checked(plane, label))
    return pictures


@dataclass(frozen=True)
class SizePolicy:
    """How large the network sees a picture (facts section 1.1): only ever smaller, aspect kept, then padded with black.

    Attributes:
        short: bound for the shorter side in pixels.
        long: bound for the longer side in pixels.
        min: smallest padded side in pixels.
        multiple: padded sides are multiples of this (the patch size) in pixels.

    >>> SizePolicy().resized(1080, 1920), SizePolicy().padded(1080, 1920)
    ((224, 398), (224, 406))
    """

    short: int = 224
    long: int = 672
    min: int = 70
    multiple: int = 14

    def __post_init__(self):
        for field in ("short", "long", "min", "multiple"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"SizePolicy.{field} must be a whole number of pixels from 1, not {value!r}.")

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """The size before padding; never larger than the input, never below 1 (extreme aspects would round to 0)."""
        low, high = min(height, width), max(height, width)
        if low < self.short and high < self.long:
            return height, width
        ratio = min(self.short / low, self.long / high)
        return max(1, round(height * ratio)), max(1, round(width * ratio))

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """The final size of a picture of this size; the same for an original and for its ``resized`` size."""
        sides = (max(self.min, side) for side in self.resized(height, width))
        return tuple(self.multiple * math.ceil(side / self.multiple) for side in sides)

    def cropped(self, height: int, width: int, keep: tuple[float, float]) -> tuple[int, int]:
        """The size of a resized picture after a crop to these shares of its height and width (facts 7.3).

        A picture whose shorter side is at most ``min`` is left whole, and no side is cropped below ``min``.
        """
        if min(height, width) <= self.min:
            return height, width
        return tuple(max(self.min, round(side * share)) for side, share in zip((height, width), keep))


WHOLE = (1.0, 1.0)
"""Shares of height and width that are kept when nothing is cropped."""


def fit(picture: Picture, policy: SizePolicy, keep: tuple[float, float] = WHOLE) -> np.ndarray:
    """Resize (Pillow bicubic, antialiased), crop, pad with centred black; an odd pixel goes to the bottom or right.

    Args:
        keep: shares of height and width in a centred crop, for training only.

    Returns:
        A new uint8 array ``[H', W', 3]``; uncropped, ``(H', W') == policy.padded(picture.height, picture.width)``.
    """
    height, width = policy.resized(picture.height, picture.width)
    rgb = picture.rgb
    if (height, width) != rgb.shape[:2]:
        rgb = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
    height, width = policy.cropped(height, width, keep)
    rgb = centre(rgb, height, width)
    full_height, full_width = policy.padded(height, width)
    top, left = (full_height - height) // 2, (full_width - width) // 2
    canvas = np.zeros((full_height, full_width, 3), np.uint8)
    canvas[top : top + height, left : left + width] = rgb
    return canvas


def centre(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle ``[height, width, 3]`` of an array ``[H, W, 3]``, as a view."""
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    return rgb[top : top + height, left : left + width]


def to_pixels(rgb_uint8: np.ndarray, mean, std):
    """uint8 ``[H, W, 3]`` to a torch.float32 tensor ``[3, H, W]``: (x / 255 - mean) / std in float64, then cast."""
    import torch

    pixels = (rgb_uint8 / 255.0 - np.asarray(mean, np.float64)) / np.asarray(std, np.float64)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32))


def _split(source, label: str) -> list:
    """The pictures in one source, unread: the planes of a batch, or the source itself."""
    if isinstance(source, (str, os.PathLike, Image.Image)):
        return [source]
    torch = sys.modules.get("torch")  # whoever holds a tensor has imported torch
    if torch is not None and isinstance(source, torch.Tensor):
        try:
            source = source.detach().cpu()
            # numpy has neither bfloat16 nor the 8-bit floats
            source = (source.float() if source.is_floating_point() and source.element_size() < 4 else source).numpy()
        except Exception as error:
            raise ImageError(f"{label}: cannot be read ({quoted(error)}); give a dense tensor [H, W, C].") from error
    if not isinstance(source, np.ndarray):
        wanted = "a path, a PIL image, a numpy array or a torch tensor"
        raise ImageError(f"{label}: a {type(source).__name__} is not a picture; give {wanted}.")
    shape = source.shape
    text = "[" + ", ".join(map(str, shape)) + "]"
    if source.ndim not in (2, 3, 4):
        raise ImageError(f"{label}: shape {text} is not a picture; [H, W], [H, W, C] or [B, H, W, C] is needed.")
    if 0 in shape:
        raise ImageError(f"{label}: has no pixels (shape {text}); give a picture of at least 1 x 1.")
    if source.ndim > 2 and shape[-1] > 4:
        advice = "the last axis must be the 1, 2, 3 or 4 channels"
        if shape[-3] <= 4:
            order = "1, 2, 0" if source.ndim == 3 else "0, 2, 3, 1"
            advice += f", here they seem to come first: use .permute({order}) (torch) or .transpose({order}) (numpy)"
        elif source.ndim == 3:
            advice += "; a batch of masks or grey pictures [B, H, W] needs a channel axis: [B, H, W, 1]"
        raise ImageError(f"{label}: shape {text} is not a picture; {advice}.")
    _check_size(*(shape[:2] if source.ndim < 4 else shape[1:3]), label)
    return list(source) if source.ndim == 4 else [source]


def _checked(source, label: str) -> Picture:
    """A Picture of a PIL image or of a numpy array [H, W] or [H, W, C]."""
    if isinstance(source, Image.Image):
        rgb, notices = _pil_to_rgb(source, label)
        return Picture(rgb, label, notices)
    return Picture(_to_rgb(source, label), label)


def _to_rgb(source: np.ndarray, label: str, profile: bytes | None = None) -> np.ndarray:
    """A new uint8 [H, W, 3] of a numpy array [H, W] or [H, W, C].

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
    if channels % 2 == 0:
        # in place on one 16-bit copy: 255 * 255 + 127 still fits, and a picture may have 10^8 pixels
        alpha = levels[:, :, -1:].astype(np.uint16)
        mixed = colour * alpha
        mixed += 255 * (255 - alpha) + 127
        mixed //= 255
        colour = mixed.astype(np.uint8)
    rgb = np.array(np.broadcast_to(colour, (*levels.shape[:2], 3)), order="C")
    rgb.flags.writeable = False
    return rgb


def _to_levels(array: np.ndarray, label: str) -> np.ndarray:
    """Any allowed dtype to uint8 of the same shape (maybe the caller's own array, which is only read)."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if array.dtype == np.uint8:
        return array
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if kind == "u" and size == 2:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 * 257
    if kind != "f":
        wanted = "uint8 (0..255), uint16, bool or floats in 0..1"
        raise ImageError(f"{label}: dtype {array.dtype} is not a picture's; give {wanted}.")
    low, high = float(array.min()), float(array.max())  # a NaN anywhere makes both NaN
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError(f"{label}: has NaN or infinite values; look at the step that made it (a half-precision VAE?).")
    if low < -FLOAT_TOLERANCE or high > 1 + FLOAT_TOLERANCE:
        advice = "divide by 255 or convert to uint8" if low >= 0 and 1.5 < high <= 255.5 else "bring them to 0..1"
        if -1.1 <= low < 0 and high <= 1.1:
            advice = "it seems to be scaled to -1..1, use (x + 1) / 2"
        raise ImageError(f"{label}: floats must lie in 0..1, these reach from {low:.4g} to {high:.4g}; {advice}.")
    scaled = np.multiply(array, 255, dtype=np.result_type(array.dtype, np.float32))
    np.rint(scaled, out=scaled)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def _load(path: Path, label: str, name: str) -> Picture:
    """The first frame of a picture file."""
    try:
        if path.is_dir():
            raise ImageError(f"{label}: is a folder; give the picture files in it.")
        if not path.exists():
            raise ImageError(f"{label}: no such file; check the path.")
        if not path.is_file():  # a pipe would block for ever
            raise ImageError(f"{label}: is not a regular file.")
        with opened(path) as (image, notices):
            if image.format in _SCRIPT_FORMATS:
                raise ImageError(f"{label}: {image.format} drawings are not read; save it as PNG.")
            rgb, more = _pil_to_rgb(image, label)
        return Picture(rgb, name, (*notices, *more))
    except DamagedFile as error:
        raise ImageError(f"{label}: {error}; save or download it again.") from error
    except ImageError:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        if is_bomb(error):
            raise ImageError(f"{label}: is over the {MAX_PIXELS} pixels allowed; make it smaller first.") from error
        if type(error).__name__ == "UnidentifiedImageError":  # its text names an object of Python, not the file
            raise ImageError(
                f"{label}: cannot be read, as it is no image of a known format; save it as PNG or JPEG."
            ) from error
        raise ImageError(f"{label}: cannot be read as a picture ({quoted(error)}); save it as PNG or JPEG.") from error


def _pil_to_rgb(image, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The pixels of a PIL image as uint8 [H, W, 3], and what is odd about it."""
    _check_size(image.height, image.width, label)
    try:
        image.load()
        _check_size(image.height, image.width, label)  # what is in an icon may be larger than the icon says
        with contextlib.suppress(Exception):  # an orientation that nobody can read turns nothing
            image = ImageOps.exif_transpose(image)
        profile, notices = image.info.get("icc_profile"), []
        if "icc_profile" in image.info and not profile:
            notices = ["its colour profile is damaged; it was ignored"]
        elif not profile and _is_adobe_rgb(image):
            profile = profile_of(*ADOBE_RGB)
        try:
            rgb = _to_rgb(*_pil_to_array(image, label, profile))
        except ProfileError as error:
            notices.append(f"{error}; it was ignored")
            rgb = _to_rgb(*_pil_to_array(image, label, None))
        return rgb, tuple(notices)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{label}: cannot be decoded ({quoted(error)}); save or download it again.") from error


def _is_adobe_rgb(image) -> bool:
    """Whether EXIF says that the colours are Adobe RGB, as cameras do that embed no profile."""
    with contextlib.suppress(Exception):  # damaged metadata do not matter
        exif = image.getexif()
        space = exif.get_ifd(0x8769).get(0xA001)
        return space == 2 or space == 0xFFFF and str(exif.get_ifd(0xA005).get(1, "")).startswith("R03")
    return False


def _pil_to_array(image, label: str, profile: bytes | None) -> tuple[np.ndarray, str, bytes | None]:
    """The arguments of ``_to_rgb`` for a PIL image."""
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
    image = image.convert("LA") if image.mode == "La" else image
    alpha = "A" if transparent is not None or image.mode in ("RGBA", "LA", "PA", "RGBa") else ""
    return np.array(image.convert(("L" if image.mode in ("1", "L", "LA") else "RGB") + alpha)), label, profile


def _check_size(height: int, width: int, label: str) -> None:
    if height < 1 or width < 1:
        raise ImageError(f"{label}: has no pixels ({width} x {height}); give a picture of at least 1 x 1.")
    if height * width > MAX_PIXELS:
        raise ImageError(f"{label}: {width} x {height} is over the {MAX_PIXELS} pixels allowed; make it smaller first.")
