"""Anything image-like becomes a checked 8-bit RGB ``RGBImage``; sizes, padding and pixel tensors for the network."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from PIL import Image

from ..errors import DamagedFile, ImageError, quoted
from .damage_checks import opened
from .pillow import MAX_PIXELS, is_bomb
from .pixels import check_size, rgb_of_array, rgb_of_pil

if TYPE_CHECKING:
    import torch

ImageLike: TypeAlias = Union[str, bytes, "os.PathLike[str]", Image.Image, np.ndarray, "torch.Tensor", "RGBImage"]
"""What ``as_image`` takes."""
ImagesLike: TypeAlias = ImageLike | Sequence[ImageLike]
"""What ``as_images`` takes: one image or batch, or several."""
_SCRIPT_FORMATS = {"EPS", "WMF", "EMF"}  # decoding these runs a program or draws


@dataclass(frozen=True, eq=False)
class RGBImage:
    """One checked image.

    Attributes:
        rgb: uint8 ``[H, W, 3]``, read-only, C-contiguous, not shared.
        name: the name in errors and reports.
        notices: warnings about its file, one line each, without the name.
        rgba: uint8 ``[H, W, 4]``, colours and alpha before they were blended onto white; None for an image without
            alpha, and unless it was asked for.

    Raises:
        ImageError: ``rgb`` is not a uint8 array ``[H, W, 3]`` of at least one pixel.
    """

    rgb: np.ndarray
    name: str
    notices: tuple[str, ...] = ()
    rgba: np.ndarray | None = None

    def __post_init__(self) -> None:
        rgb = self.rgb
        if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.shape[2:] != (3,) or not rgb.size:
            raise ImageError(f"{self.name}: RGBImage(rgb) takes a uint8 array [H, W, 3]; use as_image().")
        if rgb.flags.writeable or rgb.base is not None or not rgb.flags.c_contiguous:
            rgb = np.array(rgb, order="C", copy=True, subok=False)
            rgb.flags.writeable = False
            object.__setattr__(self, "rgb", rgb)

    @cached_property
    def key(self) -> str:
        """Content hash (32 hex digits) of shape and bytes: equal for equal pixels, independent of the name."""
        digest = hashlib.blake2b(repr(self.rgb.shape).encode(), digest_size=16)
        digest.update(self.rgb.data)
        return digest.hexdigest()

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])


def notices_of(pictures: Iterable[RGBImage | None]) -> list[str]:
    """Return the notices of images, each once and with the name of its image."""
    lines = (f"{picture.name}: {notice}" for picture in pictures if picture for notice in picture.notices)
    return [*dict.fromkeys(lines)]


def as_image(source: ImageLike, name: str = "image", keep_alpha: bool = False) -> RGBImage:
    """Check one image and convert it to 8-bit RGB.

    Args:
        source: a path (``str`` or ``PathLike``), the content of an image file (``bytes``), a PIL image, a ``RGBImage``
            (returned as it is), or a numpy array or torch tensor of shape ``[H, W]``, ``[H, W, C]`` or
            ``[1, H, W, C]`` with C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) and dtype uint8,
            uint16 (scaled by 255/65535), bool (black, white) or any float
            in 0..1.
        name: the name in errors and reports; a path without a name gets its file name.
        keep_alpha: True fills in ``rgba``.

    Floats are rounded to the nearest of 256 levels; values outside 0..1 by up to ``FLOAT_TOLERANCE`` are clipped. Alpha
    is blended onto white. The EXIF orientation is applied, and colours are converted to sRGB (``colour_profiles``) from
    the embedded profile or its substitutes (PNG: cICP, gAMA and cHRM; AVIF: nclx; EXIF: Adobe RGB); arrays and tensors
    are sRGB. The first frame of an animated or multi-page file is used, or the current frame of an open PIL image. A
    PIL image of mode ``I`` is read as 16 bit (older Pillow opens 16-bit grey PNGs in this mode), mode ``F`` as floats
    in 0..1; Pillow reduces 16-bit colour files to their high bytes. The caller's data are neither stored nor changed,
    and decoding does not depend on the thread or on Pillow's process-wide settings. Damaged metadata do not matter; a
    damaged profile is ignored and listed in ``notices``.

    Raises:
        ImageError: the image is missing, unreadable, truncated, damaged, empty, has NaN or Inf, is out of range, has
            more than ``MAX_PIXELS`` (found before decoding), or has an invalid shape or type.
    """
    if isinstance(source, RGBImage):
        return source
    if isinstance(source, (list, tuple)):
        raise ImageError(f"{name}: one image is needed here, not a {type(source).__name__}; give one of them.")
    planes = _split(source, name)
    if len(planes) != 1:
        raise ImageError(f"{name}: one image is needed here, but this is a batch of {len(planes)}; pick one of them.")
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return _load(path, f"{name} ({path})", path.name if name == "image" else name, keep_alpha)
    return _checked(planes[0], name, keep_alpha)


def as_images(source: ImagesLike, name: str = "images") -> list[RGBImage]:
    """Check one or many images.

    Args:
        source: any source of ``as_image``, a batch ``[B, H, W, C]``, or a list or tuple of these, also mixed.
        name: images are named "name 1", "name 2", ... in the order of the input. A ``RGBImage`` keeps its name, and a
            path is named by its file name (by its whole path if files of two folders have the same name).

    Returns:
        The images in the order of the input; an empty list gives an empty list.

    Raises:
        ImageError: as ``as_image``, with the number of the image; or a batch is empty.
    """
    items: Sequence[Any] = source if isinstance(source, (list, tuple)) else [source]
    paths = {str(item) for item in items if isinstance(item, (str, os.PathLike))}
    same_name = Counter(Path(path).name for path in paths)
    pictures: list[RGBImage] = []
    for item in items:
        label = f"{name} {len(pictures) + 1}"
        if isinstance(item, RGBImage):
            pictures.append(item)
        elif isinstance(item, (str, os.PathLike)):
            path = Path(item)
            pictures.append(_load(path, f"{label} ({path})", path.name if same_name[path.name] < 2 else str(path)))
        else:
            for plane in _split(item, label):
                label = f"{name} {len(pictures) + 1}"
                pictures.append(_checked(plane, label))
    return pictures


def _split(source: Any, label: str) -> list[Any]:
    """Split a source into single images without loading them: the planes of a batch, or the source itself."""
    if isinstance(source, (str, bytes, os.PathLike, Image.Image)):
        return [source]
    torch = sys.modules.get("torch")  # a tensor exists only if torch is imported
    if torch is not None and isinstance(source, torch.Tensor):
        try:
            source = source.detach().cpu()
            # numpy has neither bfloat16 nor 8-bit floats
            source = (source.float() if source.is_floating_point() and source.element_size() < 4 else source).numpy()
        except Exception as error:
            raise ImageError(f"{label}: cannot be read ({quoted(error)}); give a dense tensor [H, W, C].") from error
    if not isinstance(source, np.ndarray):
        wanted = "a path, a PIL image, a numpy array or a torch tensor"
        raise ImageError(f"{label}: a {type(source).__name__} is not an image; give {wanted}.")
    shape = source.shape
    text = "[" + ", ".join(map(str, shape)) + "]"
    if source.ndim not in (2, 3, 4):
        raise ImageError(f"{label}: shape {text} is not an image; [H, W], [H, W, C] or [B, H, W, C] is needed.")
    if 0 in shape:
        raise ImageError(f"{label}: has no pixels (shape {text}); give an image of at least 1 x 1.")
    if source.ndim > 2 and shape[-1] > 4:
        advice = "the last axis must be the 1, 2, 3 or 4 channels"
        if shape[-3] <= 4:
            order = "1, 2, 0" if source.ndim == 3 else "0, 2, 3, 1"
            advice += f", here they seem to come first: use .permute({order}) (torch) or .transpose({order}) (numpy)"
        elif source.ndim == 3:
            advice += "; a batch of masks or grey images [B, H, W] needs a channel axis: [B, H, W, 1]"
        raise ImageError(f"{label}: shape {text} is not an image; {advice}.")
    height, width = shape[:2] if source.ndim < 4 else shape[1:3]
    check_size(height, width, label)
    return list(source) if source.ndim == 4 else [source]


def _checked(source: bytes | Image.Image | np.ndarray, label: str, keep_alpha: bool = False) -> RGBImage:
    """Convert the content of a file, a PIL image or a numpy array [H, W] or [H, W, C] to a ``RGBImage``."""
    if isinstance(source, bytes):
        return _load(source, label, label, keep_alpha)
    if isinstance(source, Image.Image):
        rgb, rgba, notices = rgb_of_pil(source, label, keep_alpha)
        return RGBImage(rgb, label, notices, rgba)
    rgb, rgba = rgb_of_array(source, label, keep_alpha=keep_alpha)
    return RGBImage(rgb, label, rgba=rgba)


def _load(source: Path | bytes, label: str, name: str, keep_alpha: bool = False) -> RGBImage:
    """Load the first frame of an image file, given by its path or its content."""
    try:
        if isinstance(source, Path):
            _check_file(source, label)
        with opened(source) as (image, notices):
            if image.format in _SCRIPT_FORMATS:
                raise ImageError(f"{label}: {image.format} drawings are not supported; save it as PNG.")
            rgb, rgba, more = rgb_of_pil(image, label, keep_alpha)
        return RGBImage(rgb, name, (*notices, *more), rgba)
    except DamagedFile as error:
        raise ImageError(f"{label}: {error}; save or download it again.") from error
    except ImageError:
        raise
    except Exception as error:  # Pillow may raise any exception for damaged files
        if is_bomb(error):
            raise ImageError(f"{label}: exceeds the limit of {MAX_PIXELS} pixels; make it smaller first.") from error
        if type(error).__name__ == "UnidentifiedImageError":  # its text has a Python object, not the file
            raise ImageError(f"{label}: is not an image of a supported format; save it as PNG or JPEG.") from error
        raise ImageError(f"{label}: cannot be read as an image ({quoted(error)}); save it as PNG or JPEG.") from error


def _check_file(path: Path, label: str) -> None:
    if path.is_dir():
        raise ImageError(f"{label}: is a folder; give an image file.")
    if not path.exists():
        raise ImageError(f"{label}: no such file; check the path.")
    if not path.is_file():  # a pipe would block forever
        raise ImageError(f"{label}: is not a regular file.")


# the names until 0.5, for scripts
Picture = RGBImage
as_picture = as_image
as_pictures = as_images
