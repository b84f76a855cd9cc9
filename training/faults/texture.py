"""Faults of texture: waxy smoothing, and noise left over in the latent image."""

import cv2
import numpy as np

from training.random_choice import pick

from .base import Fault, Look, blurred, ellipse, luma, smooth_noise

# -- waxy smoothing --------------------------------------------------------------------------------------------------


def _bilateral(image, parameter, rng):
    """A strong bilateral filter: ``parameter`` = (range in levels, passes)."""
    levels, passes = parameter
    for _ in range(passes):
        image = cv2.bilateralFilter(image, 7, levels, 4)
    return image


def _median(image, size, rng):
    """A median filter: texture is gone, contours stay."""
    return cv2.medianBlur(image, size)


def _cored(image, levels, rng):
    """Fine structure below a threshold is removed, as by a soft decoder or a denoiser."""
    x = image.astype(np.float32)
    result = blurred(x, 6)
    for low, high in ((6, 3), (3, 1.5), (1.5, 0)):
        detail = (blurred(x, high) if high else x) - blurred(x, low)
        result += np.sign(detail) * np.maximum(np.abs(detail) - levels, 0)
    return result


def _guided(image, parameter, rng):
    """A guided filter: ``parameter`` = (radius in pixels, range in levels)."""
    radius, levels = parameter
    size = (2 * radius + 1, 2 * radius + 1)
    x = image.astype(np.float32)
    mean = cv2.blur(x, size)
    variance = np.maximum(cv2.blur(x * x, size) - mean * mean, 0)
    slope = variance / (variance + levels**2)
    return cv2.blur(slope, size) * x + cv2.blur(mean - slope * mean, size)


def _melted(image, parameter, rng):
    """Opening and closing: small things melt into patches."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (parameter, parameter))
    return cv2.morphologyEx(cv2.morphologyEx(image, cv2.MORPH_OPEN, kernel), cv2.MORPH_CLOSE, kernel)


def _small_areas(image, levels, rng):
    """Neighbours of nearly the same tone become one: flat areas with sharp contours."""
    strength = min(0.9, levels / 22)
    smooth = cv2.edgePreservingFilter(image, flags=cv2.RECURS_FILTER, sigma_s=4 + levels, sigma_r=0.08 + levels / 60)
    return image * np.float32(1 - strength) + smooth * np.float32(strength)


def _calmest_corner(image, radius, rng):
    """Every pixel takes the mean of its calmest quarter: brush strokes without texture (Kuwahara's filter)."""
    x = image.astype(np.float32)
    grey = luma(x)[..., 0]
    size = (radius + 1, radius + 1)
    means, spreads = [], []
    for corner in ((0, 0), (0, radius), (radius, 0), (radius, radius)):
        means.append(cv2.blur(x, size, anchor=corner))
        spreads.append(cv2.blur(grey * grey, size, anchor=corner) - cv2.blur(grey, size, anchor=corner) ** 2)
    calmest = np.argmin(np.stack(spreads), axis=0)
    return np.take_along_axis(np.stack(means), calmest[None, ..., None], axis=0)[0]


# -- latent noise ----------------------------------------------------------------------------------------------------


def _blotches(image, amount, rng):
    """Coloured blotches of about 8 pixels, the cells of a latent image."""
    height, width = image.shape[:2]
    return image + amount * smooth_noise(height, width, rng.uniform(6, 12), 3, rng)


def _residual(image, amount, rng):
    """Noise of two scales is left: cells of 8 pixels and grains."""
    height, width = image.shape[:2]
    coarse = smooth_noise(height, width, 8, 3, rng)
    grain = cv2.GaussianBlur(rng.standard_normal(image.shape, np.float32), (0, 0), 0.8) * 2
    return image + amount * (0.7 * coarse + 0.5 * grain)


def _unfinished(image, share, rng):
    """The last steps of sampling are missing: a soft image with a veil of noise."""
    height, width = image.shape[:2]
    soft = blurred(image, 0.6 + 2.5 * share).astype(np.float32)
    veil = 128 + 55 * smooth_noise(height, width, 8, 3, rng) + 20 * smooth_noise(height, width, 2, 3, rng)
    return soft * (1 - share) + veil * share


def _sparkles(image, share, rng):
    """Single cells of 4 to 8 pixels are off, bright and coloured."""
    height, width = image.shape[:2]
    cell = pick((4, 6, 8), rng)
    shape = (-(-height // cell), -(-width // cell))
    hit = (rng.random(shape) < share).astype(np.float32)
    color = rng.uniform(60, 255, (*shape, 3)).astype(np.float32)
    size = (width, height)
    weight = cv2.resize(hit, size, interpolation=cv2.INTER_LINEAR)[..., None] * 0.8
    return image * (1 - weight) + cv2.resize(color, size, interpolation=cv2.INTER_NEAREST) * weight


def _blocks_of_noise(image, amount, rng):
    """Noise in cells of 4 to 16 pixels with hard edges."""
    height, width = image.shape[:2]
    cell = pick((4, 8, 8, 16), rng)
    coarse = rng.normal(0, 1, (-(-height // cell), -(-width // cell), 3)).astype(np.float32)
    return image + 0.8 * amount * np.repeat(np.repeat(coarse, cell, 0), cell, 1)[:height, :width]


def _worms(image, amount, rng):
    """Structure of 3 to 6 pixels where nothing should be, as a sampler invents it in calm areas."""
    height, width = image.shape[:2]
    cell = rng.uniform(2.5, 5)
    band = smooth_noise(height, width, cell, 1, rng) - smooth_noise(height, width, 2.5 * cell, 1, rng)
    color = rng.uniform(0.6, 1.2, 3).astype(np.float32)
    return image + 0.8 * amount * band * color


def _noisy_part(image, amount, rng):
    """Latent noise is left in a part of the image."""
    height, width = image.shape[:2]
    mask = blurred(ellipse(height, width, rng.uniform(0.15, 0.5), rng).astype(np.float32), min(height, width) / 30)
    noise = smooth_noise(height, width, rng.uniform(5, 10), 3, rng) + 0.5 * smooth_noise(height, width, 2, 3, rng)
    return image + 1.3 * amount * noise * mask[..., None]


_LEVELS = (5, 8, 12, 18, 27)
_WAXY: Look = {"label": "blur"}
_NOISE: Look = {"label": "noise"}

FAULTS = (
    Fault("waxy_bilateral", "waxy smoothing", _bilateral, ((22, 1), (32, 2), (45, 2), (60, 3), (80, 4)), **_WAXY),
    Fault("waxy_median", "waxy smoothing", _median, (3, 5, 7, 9, 13), **_WAXY),
    Fault("waxy_cored", "waxy smoothing", _cored, (2.5, 4, 6.5, 10, 17), **_WAXY),
    Fault("waxy_small_areas", "waxy smoothing", _small_areas, (7, 10, 14, 20, 30), **_WAXY),
    Fault("waxy_calmest_corner", "waxy smoothing", _calmest_corner, (1, 2, 3, 5, 8), **_WAXY),
    Fault(
        "waxy_guided", "waxy smoothing", _guided, ((3, 10), (3, 16), (4, 24), (5, 34), (7, 50)), held_out=True, **_WAXY
    ),
    Fault("waxy_melted", "waxy smoothing", _melted, (2, 3, 4, 6, 8), held_out=True, **_WAXY),
    Fault("latent_blotches", "latent noise", _blotches, _LEVELS, **_NOISE),
    Fault("latent_residual", "latent noise", _residual, _LEVELS, **_NOISE),
    Fault("latent_unfinished", "latent noise", _unfinished, (0.12, 0.2, 0.3, 0.43, 0.6), **_NOISE),
    Fault("latent_blocks", "latent noise", _blocks_of_noise, _LEVELS, **_NOISE),
    Fault("latent_worms", "latent noise", _worms, _LEVELS, **_NOISE),
    Fault("latent_part", "latent noise", _noisy_part, _LEVELS, **_NOISE),
    Fault("latent_sparkles", "latent noise", _sparkles, (0.002, 0.005, 0.01, 0.02, 0.04), held_out=True, **_NOISE),
)
