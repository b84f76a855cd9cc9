"""How much two images differ at each place."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from .image import RGBImage
from .pixel_statistics import CPU
from .references import ASPECT_TOLERANCE, common_size, shape_ratio

WINDOW = 7
"""Side in pixels of the window over which differences are averaged: noise is an area, not dots."""


def comparable(image: RGBImage, other: RGBImage) -> bool:
    """Return whether the aspect ratios of two images are similar enough to compare their pixels."""
    return shape_ratio(image, other) <= 1 + ASPECT_TOLERANCE


def difference(image: RGBImage, other: RGBImage, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Measure how much two images differ at each place.

    Both are resized to the smaller of their sizes, and to at most ``longest`` pixels on the longer side. The difference
    of a pixel is the root mean square over red, green and blue, and over a window of 7 x 7 pixels.

    Args:
        image, other: two images that are ``comparable``.
        longest: maximum side of the result in pixels.

    Returns:
        the image at that size, uint8 ``[h, w, 3]``; and the differences in 8-bit levels, 0 to 255, float32 ``[h, w]``.
    """
    (fitted,), fitted_other = common_size((image,), other)
    share = min(1.0, longest / max(fitted.height, fitted.width))
    size = max(1, round(fitted.width * share)), max(1, round(fitted.height * share))
    a, b = (np.asarray(Image.fromarray(one.rgb).resize(size, Image.Resampling.BOX)) for one in (fitted, fitted_other))
    squares = torch.tensor(((a.astype(np.float32) - b) ** 2).mean(-1), **CPU)
    means = F.avg_pool2d(squares[None], WINDOW, 1, WINDOW // 2, count_include_pad=False)[0]
    return a, means.clamp(min=0).sqrt().numpy()
