"""Saturation, strengthened and weakened: factors on S of 8-bit HSV and on Cr and Cb of 8-bit YCrCb (method.md 5.1)."""

import cv2
import numpy as np

from .base import Distortion

_VALUES = np.arange(256, dtype=np.float32)


def _hsv(image: np.ndarray, factor: float) -> np.ndarray:
    """S times `factor`, at most 255, truncated."""
    table = np.minimum(_VALUES * np.float32(factor), 255)
    return _through(image, cv2.COLOR_RGB2HSV, (_VALUES, table, _VALUES), cv2.COLOR_HSV2RGB)


def _ycrcb(image: np.ndarray, factor: float) -> np.ndarray:
    """Distance of Cr and Cb from 128 times `factor`, clipped to 0..255, truncated."""
    table = np.clip(128 + np.float32(factor) * (_VALUES - 128), 0, 255)
    return _through(image, cv2.COLOR_RGB2YCrCb, (_VALUES, table, table), cv2.COLOR_YCrCb2RGB)


def _through(image: np.ndarray, there: int, tables: tuple[np.ndarray, ...], back: int) -> np.ndarray:
    """Look every channel up in its table (float [256], truncated) in another 8-bit colour space."""
    table = np.stack(tables, axis=-1)[None].astype(np.uint8)  # [1, 256, 3]
    return cv2.cvtColor(cv2.LUT(cv2.cvtColor(image, there), table), back)


DISTORTIONS = (
    Distortion("saturate_strengthen_HSV", "saturate_strengthen", _hsv, (3, 6, 12, 20, 64)),
    Distortion("saturate_strengthen_YCrCb", "saturate_strengthen", _ycrcb, (2, 3, 5, 8, 16)),
    Distortion("saturate_weaken_HSV", "saturate_weaken", _hsv, (0.7, 0.55, 0.4, 0.2, 0)),
    Distortion("saturate_weaken_YCrCb", "saturate_weaken", _ycrcb, (0.6, 0.4, 0.2, 0.1, 0)),
)
