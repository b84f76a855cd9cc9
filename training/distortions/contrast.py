"""Contrast, strengthened and weakened: Pillow's enhancer and a sigmoid around each channel's mean (method.md 5.1)."""

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from .base import Distortion, tabulate, to_unit


def _scale(image: np.ndarray, factor: float) -> np.ndarray:
    """m + factor * (x - m) in 8 bits, m = rounded mean of the luma."""
    return np.array(ImageEnhance.Contrast(Image.fromarray(image)).enhance(factor))


def _stretch(image: np.ndarray, factor: float) -> np.ndarray:
    """1 / (1 + (m / x) ** factor), m = mean of the channel: what equals the mean becomes mid-grey.

    A channel that is black everywhere has m = 0 and becomes white; that is the published formula, so it is kept.
    """

    def curve(mean: float) -> np.ndarray:
        return tabulate(lambda x: 1 / (1 + (mean / (x + 1e-12)) ** factor))

    tables = [curve(mean) for mean in cv2.mean(to_unit(image))[:3]]
    return cv2.LUT(image, np.stack(tables, axis=-1)[None])


DISTORTIONS = (
    Distortion("contrast_strengthen_scale", "contrast_strengthen", _scale, (1.4, 1.7, 2.1, 2.6, 4.0)),
    Distortion("contrast_strengthen_stretch", "contrast_strengthen", _stretch, (2, 4, 6, 8, 10)),
    Distortion("contrast_weaken_scale", "contrast_weaken", _scale, (0.75, 0.6, 0.45, 0.3, 0.2)),
    Distortion("contrast_weaken_stretch", "contrast_weaken", _stretch, (1.0, 0.9, 0.8, 0.6, 0.4)),
)
