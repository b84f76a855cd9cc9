"""At which size the network sees an image, and the pixels that it gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .image import RGBImage

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SizePolicy:
    """The input size of an image (method.md 1.1): downscaled only, with its aspect ratio, then padded with black.

    Attributes:
        short: maximum shorter side in pixels.
        long: maximum longer side in pixels.
        min: minimum padded side in pixels.
        multiple: padded sides are multiples of this (the patch size) in pixels.

    >>> SizePolicy().resized(1080, 1920), SizePolicy().padded(1080, 1920)
    ((224, 398), (224, 406))
    """

    short: int = 224
    long: int = 672
    min: int = 70
    multiple: int = 14

    def __post_init__(self) -> None:
        for field in ("short", "long", "min", "multiple"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"SizePolicy.{field} must be a whole number of pixels from 1, not {value!r}.")

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return the size before padding; at most the input size, at least 1 (extreme aspect ratios would round to
        0)."""
        low, high = min(height, width), max(height, width)
        if low < self.short and high < self.long:
            return height, width
        ratio = min(self.short / low, self.long / high)
        return max(1, round(height * ratio)), max(1, round(width * ratio))

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Return the padded size of an image of this size; the same for an original and for its ``resized`` size."""
        height, width = (max(self.min, side) for side in self.resized(height, width))
        return self.multiple * math.ceil(height / self.multiple), self.multiple * math.ceil(width / self.multiple)

    def cropped(self, height: int, width: int, keep: tuple[float, float]) -> tuple[int, int]:
        """Return the size of a resized image after a crop to these shares of its height and width (method.md 7.3).

        An image with a shorter side of at most ``min`` is not cropped, and no side is cropped below ``min``.
        """
        if min(height, width) <= self.min:
            return height, width
        return max(self.min, round(height * keep[0])), max(self.min, round(width * keep[1]))


WHOLE = (1.0, 1.0)
"""The shares of height and width of no crop."""


def fit(picture: RGBImage, policy: SizePolicy, keep: tuple[float, float] = WHOLE) -> np.ndarray:
    """Resize (Pillow bicubic, antialiased), crop, and center on black padding; an odd pixel is at the bottom or right.

    Args:
        keep: shares of height and width in a centred crop, for training only.

    Returns:
        A new uint8 array ``[H', W', 3]``; uncropped, ``(H', W') == policy.padded(image.height, image.width)``.
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
    """Return the center ``[height, width, 3]`` of an array ``[H, W, 3]`` as a view."""
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    return rgb[top : top + height, left : left + width]


def to_pixels(rgb_uint8: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Convert uint8 ``[H, W, 3]`` to float32 ``[3, H, W]``: (x / 255 - mean) / std in float64, then cast."""
    import torch

    pixels = (rgb_uint8 / 255.0 - np.asarray(mean, np.float64)) / np.asarray(std, np.float64)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32))
