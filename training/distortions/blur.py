"""Blur: Gaussian, motion, glass, lens, zoom and jitter (method.md 5.1 and 5.2)."""

import math

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from .base import Distortion, to_uint8, to_unit
from .shuffle import local_shuffle


def _gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    return to_uint8(_smooth(to_unit(image), sigma))


def _smooth(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian per channel, cut at 4 sigma, edges repeated."""
    return gaussian_filter(x, (sigma, sigma, 0), mode="nearest", truncate=4.0)


def _motion(image: np.ndarray, parameter: tuple[int, float], rng: np.random.Generator) -> np.ndarray:
    """One-sided directional blur at an angle drawn uniformly from -90..90 degrees; `parameter` = (radius, sigma)."""
    return motion(image, *parameter, rng.uniform(-90, 90))


def motion(image: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """Weighted sum of 2 radius + 1 copies, each moved a pixel further along `angle` (degrees), edges repeated."""
    height, width, _ = image.shape
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2.0 * sigma**2))
    weights = (weights / weights.sum()).astype(np.float32)
    reach = 2 * radius
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge").astype(np.float32)
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    total, moved = np.zeros(image.shape, np.float32), np.empty(image.shape, np.float32)
    for tap, weight in enumerate(weights):
        dy, dx = -math.ceil(tap * sine - 0.5), -math.ceil(tap * cosine - 0.5)
        if abs(dy) >= height or abs(dx) >= width:
            break  # the published algorithm drops the remaining taps and does not renormalise
        window = padded[reach - dy : reach - dy + height, reach - dx : reach - dx + width]
        total += np.multiply(window, weight, out=moved)
    return np.clip(total, 0, 255).astype(np.uint8)


def _glass(image: np.ndarray, parameter: tuple[float, int, int], rng: np.random.Generator) -> np.ndarray:
    """Gaussian, local shuffle, Gaussian, all in floats; `parameter` = (sigma, shift, passes)."""
    sigma, shift, passes = parameter
    return to_uint8(_smooth(local_shuffle(_smooth(to_unit(image), sigma), shift, passes, rng), sigma))


def _lens(image: np.ndarray, radius: int) -> np.ndarray:
    """Mean over a binary disk, edges mirrored without the edge pixel (OpenCV's default border)."""
    y, x = np.mgrid[-8:9, -8:9]
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)  # a float64 kernel loses 0.18 dB at radius 2 (see `to_uint8`)
    return to_uint8(cv2.filter2D(to_unit(image), -1, disk / disk.sum()))


def _zoom(image: np.ndarray, copies: int) -> np.ndarray:
    """Mean of the image and `copies` zoomed copies of factors 1.00, 1.02, 1.04 ..."""
    x = to_unit(image, np.float32)
    total = x.copy()
    for copy in range(copies):
        total += zoomed(x, 1 + 0.02 * copy)
    total /= copies + 1
    return to_uint8(total)


def zoomed(x: np.ndarray, factor: float) -> np.ndarray:
    """The central 1/factor of `x` [H, W, C], enlarged linearly, its top left [H, W].

    Same grid as `scipy.ndimage.zoom(order=1)`, which puts the corner pixels' centres onto each other, but ten times
    faster, because the two axes are done one after the other on whole rows.
    """
    height, width, channels = x.shape
    rows = _lerp_rows(x.reshape(height, -1), factor)  # [H, W * C]
    columns = rows.reshape(height, width, channels).transpose(1, 0, 2).reshape(width, -1)
    return _lerp_rows(columns, factor).reshape(width, height, channels).transpose(1, 0, 2)


def _lerp_rows(x: np.ndarray, factor: float) -> np.ndarray:
    """The first H of the central H / factor rows of `x` [H, N] after linear enlargement by `factor`."""
    height = len(x)
    window = math.ceil(height / factor)
    enlarged = round(window * factor)
    position = np.arange(height) * ((window - 1) / (enlarged - 1))
    low = np.minimum(position.astype(np.intp), window - 2)
    weight = (position - low).astype(x.dtype)[:, None]
    low += (height - window) // 2
    start = x[low]
    step = x[low + 1]
    step -= start
    step *= weight
    step += start
    return step


def _jitter(image: np.ndarray, shift: int, rng: np.random.Generator) -> np.ndarray:
    return local_shuffle(image, shift, 1, rng)


DISTORTIONS = (
    Distortion("blur_gaussian", "blur", _gaussian, (1, 2, 3, 4, 5)),
    Distortion("blur_motion", "blur", _motion, ((5, 3), (10, 5), (15, 7), (15, 9), (20, 12)), random=True),
    Distortion(
        "blur_glass",
        "blur",
        _glass,
        ((0.7, 1, 1), (0.9, 2, 1), (1.2, 2, 2), (1.4, 3, 2), (1.6, 4, 2)),
        random=True,
    ),
    Distortion("blur_lens", "blur", _lens, (2, 3, 4, 6, 8)),
    Distortion("blur_zoom", "blur", _zoom, (2, 4, 6, 8, 11)),
    Distortion("blur_jitter", "blur", _jitter, (1, 2, 3, 4, 5), random=True),
)
