"""Brightness, up (`brighten`) and down (`darken`): shifts and gammas on V of HSV and on RGB (method.md 5.1)."""

import cv2
import numpy as np

from .base import Distortion, tabulate, to_uint8, to_unit


def _shift_hsv(image: np.ndarray, shift: float) -> np.ndarray:
    """V + shift in float HSV; V may leave [0, 1], only the RGB result is clipped."""
    hsv = cv2.cvtColor(to_unit(image, np.float32), cv2.COLOR_RGB2HSV)
    hsv[..., 2] = hsv[..., 2] + np.float32(shift)
    return to_uint8(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def _shift_rgb(image: np.ndarray, shift: float) -> np.ndarray:
    return cv2.LUT(image, tabulate(lambda x: x + np.float32(shift), np.float32))


def _gamma_hsv(image: np.ndarray, gamma: float) -> np.ndarray:
    """V ** gamma in 8-bit HSV (H 0..179). H and S go to [0, 1] and back too, and can lose 1 to the truncation."""
    unchanged = tabulate(lambda x: x)
    tables = np.stack([unchanged, unchanged, tabulate(lambda x: x**gamma)], axis=-1)[None]  # [1, 256, 3]
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    return cv2.cvtColor(cv2.LUT(hsv, tables), cv2.COLOR_HSV2RGB)


def _gamma_rgb(image: np.ndarray, gamma: float) -> np.ndarray:
    return cv2.LUT(image, tabulate(lambda x: x**gamma))


DISTORTIONS = (
    Distortion("brightness_brighten_shfit_HSV", "brighten", _shift_hsv, (0.1, 0.2, 0.3, 0.4, 0.5)),
    Distortion("brightness_brighten_shfit_RGB", "brighten", _shift_rgb, (0.1, 0.15, 0.2, 0.27, 0.35)),
    Distortion("brightness_brighten_gamma_HSV", "brighten", _gamma_hsv, (0.7, 0.58, 0.47, 0.36, 0.25)),
    Distortion("brightness_brighten_gamma_RGB", "brighten", _gamma_rgb, (0.8, 0.7, 0.6, 0.45, 0.3)),
    Distortion("brightness_darken_shfit_HSV", "darken", _shift_hsv, (-0.1, -0.2, -0.3, -0.4, -0.5)),
    Distortion("brightness_darken_shfit_RGB", "darken", _shift_rgb, (-0.1, -0.15, -0.2, -0.27, -0.35)),
    Distortion("brightness_darken_gamma_HSV", "darken", _gamma_hsv, (1.5, 1.8, 2.2, 2.7, 3.5)),
    Distortion("brightness_darken_gamma_RGB", "darken", _gamma_rgb, (1.4, 1.7, 2.1, 2.6, 3.2)),
)
