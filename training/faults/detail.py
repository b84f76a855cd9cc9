"""Faults of detail: ghosting and sharpening halos."""

import math

import cv2
import numpy as np

from training.random_choice import pick

from .base import Fault, Look, blurred, ellipse, scaled, shifted, sign

# -- ghosting --------------------------------------------------------------------------------------------------------


def _offset(image: np.ndarray, share: float, rng: np.random.Generator) -> tuple[float, float]:
    angle = rng.uniform(0, 2 * math.pi)
    length = max(2.0, min(image.shape[:2]) * share)
    return length * math.sin(angle), length * math.cos(angle)


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


def _brighter_copy(image, weight, rng):
    """A moved copy shows where it is brighter, or where it is darker, as of a double exposure."""
    other = shifted(image, *_offset(image, rng.uniform(0.015, 0.07), rng))
    laid = (np.maximum if rng.random() < 0.5 else np.minimum)(image, other)
    weight = min(1.0, 1.8 * weight)
    return image * np.float32(1 - weight) + laid * np.float32(weight)


def _echoes(image, weight, rng):
    """Echoes of contours on both sides, as of a bad cable: one bright, one dark."""
    x = image.astype(np.float32)
    fine = x - blurred(x, 5)
    dy, dx = _offset(image, rng.uniform(0.01, 0.04), rng)
    return x + weight * 1.6 * (shifted(fine, dy, dx) - 0.7 * shifted(fine, -dy, -dx))


def _part_moved(image, weight, rng):
    """A part of the image has a ghost, as something that moved between two exposures."""
    height, width = image.shape[:2]
    mask = ellipse(height, width, rng.uniform(0.15, 0.45), rng).astype(np.float32)
    mask = blurred(mask, max(1.0, min(height, width) / 40))[..., None] * min(0.6, 1.5 * weight)
    other = shifted(image, *_offset(image, rng.uniform(0.03, 0.09), rng))
    return image * (1 - mask) + other * mask


# -- sharpening halos ------------------------------------------------------------------------------------------------


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


def _ringing(image, amount, rng):
    """Contours ring: several bright and dark lines, weaker and weaker, as of a steep filter."""
    x = image.astype(np.float32)
    sigma, result = rng.uniform(1.2, 2.5), x
    for width, weight in ((1.0, 1.0), (2.2, -0.8), (3.6, 0.6)):
        result = result + weight * amount * (blurred(x, sigma * width) - blurred(x, sigma * width * 1.6))
    return result


def _edge_glow(image, amount, rng):
    """Dark contours have a white edge of some pixels, or bright ones a dark edge."""
    size = pick((3, 5), rng)
    kernel = np.ones((size, size), np.uint8)
    x = image.astype(np.float32)
    if rng.random() < 0.5:
        edge = cv2.dilate(image, kernel).astype(np.float32) - x
        return x + 0.35 * amount * np.where(edge > 12, edge, 0)
    edge = x - cv2.erode(image, kernel)
    return x - 0.35 * amount * np.where(edge > 12, edge, 0)


_WEIGHTS = (0.1, 0.16, 0.23, 0.32, 0.45)
_HALOS: Look = {"label": "oversharpening"}

FAULTS = (
    Fault("ghosting_copy", "ghosting", _copy, _WEIGHTS),
    Fault("ghosting_double_edges", "ghosting", _double_edges, (0.25, 0.38, 0.55, 0.75, 1.0)),
    Fault("ghosting_trail", "ghosting", _trail, _WEIGHTS),
    Fault("ghosting_brighter_copy", "ghosting", _brighter_copy, _WEIGHTS),
    Fault("ghosting_echoes", "ghosting", _echoes, _WEIGHTS),
    Fault("ghosting_part_moved", "ghosting", _part_moved, _WEIGHTS),
    Fault("ghosting_turned_copy", "ghosting", _turned_copy, _WEIGHTS, held_out=True),
    Fault("ghosting_mirrored_copy", "ghosting", _mirrored_copy, _WEIGHTS, held_out=True),
    Fault("halos_wide", "sharpening halos", _wide, (0.5, 0.8, 1.2, 1.8, 2.8), **_HALOS),
    Fault("halos_local_contrast", "sharpening halos", _local_contrast, (0.4, 0.6, 0.9, 1.3, 2), **_HALOS),
    Fault("halos_repeated", "sharpening halos", _repeated, (0.7, 1.0, 1.4, 2, 3), **_HALOS),
    Fault("halos_ringing", "sharpening halos", _ringing, (0.5, 0.8, 1.2, 1.8, 2.8), **_HALOS),
    Fault("halos_edge_glow", "sharpening halos", _edge_glow, (0.6, 0.9, 1.3, 1.9, 2.9), **_HALOS),
    Fault("halos_one_sided", "sharpening halos", _one_sided, (0.6, 0.9, 1.3, 1.9, 2.9), held_out=True, **_HALOS),
)
