"""Oversharpening: an exaggerated unsharp mask in 8 bits (method.md 5.1)."""

import cv2
import numpy as np

from .base import Distortion


def _oversharpen(image: np.ndarray, amount: float) -> np.ndarray:
    """(1 + amount) x - amount G(x), G = 5 x 5 Gaussian with OpenCV's automatic sigma (1.1), saturating."""
    return cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (5, 5), 0), -amount, 0)


DISTORTIONS = (Distortion("oversharpen", "oversharpen", _oversharpen, (2, 2.8, 4, 6, 8)),)
