"""Noise: Gaussian in RGB and in YCrCb, speckle, spatially correlated, Poisson and impulse (method.md 5.1)."""

import cv2
import numpy as np

from .base import Distortion, to_uint8, to_unit


def _gaussian_rgb(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    return to_uint8(to_unit(image) + rng.normal(0, sigma, image.shape))


def _gaussian_ycrcb(image: np.ndarray, parameter: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """`parameter` = (standard deviation on Y, its multiple on Cr and Cb)."""
    luma, multiple = parameter
    x = cv2.cvtColor(to_unit(image, np.float32), cv2.COLOR_RGB2YCrCb)
    x += rng.normal(0, (luma, luma * multiple, luma * multiple), image.shape).astype(np.float32)
    return to_uint8(cv2.cvtColor(x, cv2.COLOR_YCrCb2RGB))


def _speckle(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    return to_uint8(to_unit(image) * (1 + rng.normal(0, sigma, image.shape)))


def _spatially_correlated(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """The 3 x 3 mean is over the noisy image, so the image gets a little blurred too."""
    return to_uint8(cv2.blur(to_unit(image) + rng.normal(0, sigma, image.shape), (3, 3)))


def _poisson(image: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """`photons` is the mean count at white."""
    return to_uint8(rng.poisson(to_unit(image) * photons) / photons)


def _impulse(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Salt and pepper in equal parts, each of the three values of a pixel independently."""
    draw = rng.random(image.shape, dtype=np.float32)
    return np.where(draw < amount / 2, np.uint8(0), np.where(draw < amount, np.uint8(255), image))


DISTORTIONS = (
    Distortion("noise_gaussian_RGB", "noise", _gaussian_rgb, (0.05, 0.10, 0.15, 0.20, 0.25), random=True),
    Distortion(
        "noise_gaussian_YCrCb",
        "noise",
        _gaussian_ycrcb,
        ((0.05, 1), (0.06, 1.45), (0.07, 1.9), (0.08, 2.35), (0.09, 2.8)),
        random=True,
    ),
    Distortion("noise_speckle", "noise", _speckle, (0.14, 0.21, 0.28, 0.35, 0.42), random=True),
    Distortion(
        "noise_spatially_correlated", "noise", _spatially_correlated, (0.08, 0.11, 0.14, 0.18, 0.22), random=True
    ),
    Distortion("noise_poisson", "noise", _poisson, (80, 60, 40, 25, 15), random=True),
    Distortion("noise_impulse", "noise", _impulse, (0.01, 0.03, 0.05, 0.07, 0.10), random=True),
)
