"""Faults of detail: ghosting, waxy smoothing, sharpening halos, and noise left over in the latent image."""

import math

import cv2
import numpy as np

from training.random_choice import pick

from .base import Fault, Look, blurred, scaled, shifted, sign, smooth_noise


def _offset(image: np.ndarray, share: float, rng: np.random.Generator) -> tuple[float, float]:
    angle = rng.uniform(0, 2 * math.pi)
    length = max(2.0, min(image.shape[:2]) * share)
    return length * math.sin(angle), length * math.cos(angle)


# -- ghosting ------------------------------------------------------------------------------------------------------


def _copy(image, weight, rng):
    """A faint copy of the whole image, moved."""
    other = shifted(image, *_offset(image, rng.uniform(0.012, 0.05), rng))
    return image * np.float32(1 - weight) + other * np.float32(weight)


def _double_edges(image, weight, rng):
    """Contours stand twice: only the fine structure is copied, moved."""
    x = image.astype(np.float32)
    fine = x - blurred(x, 3)
    return x + 1.6 * weight * shifted(fine, *_offset(image, rng.uniform(0.01, 0.03), rng))


def _trail(image, weight, rng):
    """Several copies along a line, weaker and weaker."""
    dy, dx = _offset(image, rng.uniform(0.008, 0.02), rng)
    total, weights = image.astype(np.float32), 1.0
    for step in (1, 2, 3):
        part = 1.5 * weight * 0.7 ** (step - 1)
        total = total + part * shifted(image, step * dy, step * dx)
        weights += part
    return total / weights


def _turned_copy(image, weight, rng):
    """A faint copy, turned and scaled, as two frames that were merged badly."""
    other = scaled(image, 1 + sign(rng) * rng.uniform(0.02, 0.05), sign(rng) * rng.uniform(1, 4))
    return image * np.float32(1 - weight) + other * np.float32(weight)


def _mirrored_copy(image, weight, rng):
    """A faint mirror image, as a reflection in glass."""
    other = blurred(image[:, ::-1], 1.5)
    return image * np.float32(1 - weight * 0.8) + other * np.float32(weight * 0.8)


# -- waxy smoothing ------------------------------------------------------------------------------------------------


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


# -- sharpening halos ----------------------------------------------------------------------------------------------


def _wide(image, amount, rng):
    """A wide unsharp mask: bright and dark bands along contours."""
    x = image.astype(np.float32)
    return x + amount * (x - blurred(x, rng.uniform(3, 7)))


def _local_contrast(image, amount, rng):
    """Local contrast over a few hundredths of the side, the glow of tone mapping."""
    x = image.astype(np.float32)
    return x + 1.2 * amount * (x - blurred(x, min(image.shape[:2]) * rng.uniform(0.02, 0.04)))


def _repeated(image, amount, rng):
    """A narrow unsharp mask, applied twice."""
    x = image.astype(np.float32)
    for _ in "12":
        x = np.clip(x + 0.7 * amount * (x - cv2.GaussianBlur(x, (0, 0), rng.uniform(1.2, 2))), 0, 255)
    return x


def _one_sided(image, amount, rng):
    """Only bright, or only dark bands along contours."""
    x = image.astype(np.float32)
    detail = 1.6 * amount * (x - blurred(x, rng.uniform(2.5, 5)))
    return x + (np.maximum(detail, 0) if rng.random() < 0.5 else np.minimum(detail, 0))


# -- latent noise --------------------------------------------------------------------------------------------------


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


_WEIGHTS = (0.1, 0.16, 0.23, 0.32, 0.45)
_LEVELS = (5, 8, 12, 18, 27)
_WAXY: Look = {"label": "blur"}
_HALOS: Look = {"label": "oversharpening"}
_NOISE: Look = {"label": "noise"}

FAULTS = (
    Fault("ghosting_copy", "ghosting", _copy, _WEIGHTS),
    Fault("ghosting_double_edges", "ghosting", _double_edges, (0.25, 0.38, 0.55, 0.75, 1.0)),
    Fault("ghosting_trail", "ghosting", _trail, _WEIGHTS),
    Fault("ghosting_turned_copy", "ghosting", _turned_copy, _WEIGHTS, held_out=True),
    Fault("ghosting_mirrored_copy", "ghosting", _mirrored_copy, _WEIGHTS, held_out=True),
    Fault("waxy_bilateral", "waxy smoothing", _bilateral, ((22, 1), (32, 2), (45, 2), (60, 3), (80, 4)), **_WAXY),
    Fault("waxy_median", "waxy smoothing", _median, (3, 5, 7, 9, 13), **_WAXY),
    Fault("waxy_cored", "waxy smoothing", _cored, (2.5, 4, 6.5, 10, 17), **_WAXY),
    Fault(
        "waxy_guided", "waxy smoothing", _guided, ((3, 10), (3, 16), (4, 24), (5, 34), (7, 50)), held_out=True, **_WAXY
    ),
    Fault("waxy_melted", "waxy smoothing", _melted, (2, 3, 4, 6, 8), held_out=True, **_WAXY),
    Fault("halos_wide", "sharpening halos", _wide, (0.5, 0.8, 1.2, 1.8, 2.8), **_HALOS),
    Fault("halos_local_contrast", "sharpening halos", _local_contrast, (0.4, 0.6, 0.9, 1.3, 2), **_HALOS),
    Fault("halos_repeated", "sharpening halos", _repeated, (0.7, 1.0, 1.4, 2, 3), **_HALOS),
    Fault("halos_one_sided", "sharpening halos", _one_sided, (0.6, 0.9, 1.3, 1.9, 2.9), held_out=True, **_HALOS),
    Fault("latent_blotches", "latent noise", _blotches, _LEVELS, **_NOISE),
    Fault("latent_residual", "latent noise", _residual, _LEVELS, **_NOISE),
    Fault("latent_unfinished", "latent noise", _unfinished, (0.12, 0.2, 0.3, 0.43, 0.6), **_NOISE),
    Fault("latent_sparkles", "latent noise", _sparkles, (0.002, 0.005, 0.01, 0.02, 0.04), held_out=True, **_NOISE),
)
