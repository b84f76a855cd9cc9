"""Looks that an image is meant to have: greyscale, film, fog, night and others. They are clean, not damaged.

A look makes a new pristine image. Tones are changed in float and rounded with dither, so that a look leaves no gaps in
the histogram that a network could take for colour quantization; some that mix the channels are just rounded
(``MIXED``).
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from depictqa_core.images.pixels import LUMA
from training.faults.base import blurred, smooth_noise
from training.random_choice import pick

_LUMA = np.array(LUMA, np.float32)


def apply(name: str, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give an image a look.

    Args:
        name: one of `LOOKS`.
        image: uint8 [H, W, 3], RGB; not written to.
        rng: source of all randomness; the same state gives the same bytes.

    Returns:
        A new uint8 array of the same shape.

    Raises:
        ValueError: unknown look.
    """
    if name not in LOOKS:
        raise ValueError(f"unknown look '{name}': choose one of {', '.join(LOOKS)}")
    x = LOOKS[name](image.astype(np.float32) / 255, rng)
    if name in MIXED and rng.random() < 0.6:
        return np.rint(x * 255).clip(0, 255).astype(np.uint8)
    return dithered(x * 255, rng, grey=name in GREY)


def draw(allowed: Sequence[str], rng: np.random.Generator) -> str:
    """Draw one of some looks; those that people use most come most often (``COMMON``)."""
    shares = np.array([COMMON.get(name, 1.0) for name in allowed])
    return allowed[int(rng.choice(len(allowed), p=shares / shares.sum()))]


def dithered(x: np.ndarray, rng: np.random.Generator, grey: bool = False) -> np.ndarray:
    """Round floats in 0..255, [H, W, 3], to uint8 with triangular noise of one level; ``grey`` keeps R = G = B."""
    shape = (*x.shape[:2], 1 if grey else 3)
    noise = rng.random(shape, np.float32) - rng.random(shape, np.float32)
    return np.clip(np.rint(x + 0.5 * noise), 0, 255).astype(np.uint8)


def _grey(x: np.ndarray, rng) -> np.ndarray:
    """Mix the channels by luma, or as with a colour filter before a black-and-white film: [H, W, 1]."""
    weights = _LUMA if rng.random() < 0.5 else rng.dirichlet((2, 2, 2)).astype(np.float32)
    return (x @ weights)[..., None]


def _curve(y: np.ndarray, contrast: float) -> np.ndarray:
    """A gentle S curve (contrast above 0) or its opposite; 0 and 1 stay."""
    return y + contrast * np.sin(2 * np.pi * y) * -0.08


def _greyscale(x, rng):
    return np.repeat(_curve(_grey(x, rng), rng.uniform(0, 1)), 3, axis=2)


def _sepia(x, rng):
    y = _curve(_grey(x, rng), rng.uniform(-0.5, 0.8))
    tone = np.array([1.0, rng.uniform(0.84, 0.93), rng.uniform(0.62, 0.8)], np.float32)
    return y ** (1 / (0.6 + 0.4 * tone)) * (0.92 + 0.08 * tone)


def _toned(x, rng):
    """A black-and-white image with cold, selenium or cyan shadows."""
    y = _grey(x, rng)
    shadow = np.asarray(pick(([0.06, 0.08, 0.16], [0.10, 0.06, 0.12], [0.02, 0.10, 0.13]), rng), np.float32)
    return y + shadow * (1 - y) * rng.uniform(0.5, 1)


def _film(x, rng):
    """Colour film: lifted blacks, warm or green highlights, cold shadows, a little grain."""
    y = x @ _LUMA
    x = _curve(x, rng.uniform(0, 1))
    warm = np.array([0.03, 0.01, -0.03], np.float32) * rng.uniform(0.3, 1)
    x = x + warm * y[..., None] - warm * (1 - y[..., None])
    x = rng.uniform(0.01, 0.05) + x * rng.uniform(0.92, 0.97)
    return _with_grain(x, rng.uniform(0.004, 0.012), rng)


def _teal_orange(x, rng):
    """The grading of cinema: cyan shadows and orange lights."""
    y = (x @ _LUMA)[..., None]
    by = rng.uniform(0.03, 0.08)
    return _curve(x + by * (y - 0.45) * np.array([1.2, 0.1, -1.2], np.float32), rng.uniform(0.2, 1))


def _bleach(x, rng):
    """Bleach bypass: silvery and contrasty."""
    y = (x @ _LUMA)[..., None]
    mixed = x * rng.uniform(0.5, 0.7)
    mixed = mixed + y * (1 - mixed.mean() / max(float(x.mean()), 1e-3))
    return _curve(mixed, rng.uniform(0.5, 1.2))


def _high_key(x, rng):
    """Bright and airy, with a white ground, but with black left in it and the highlights kept."""
    y = x ** rng.uniform(0.55, 0.8)
    return y + rng.uniform(0.02, 0.12) * (1 - y) * y


def _low_key(x, rng):
    """A dark scene lit from one spot."""
    height, width = x.shape[:2]
    cy, cx = rng.uniform(0.3, 0.7, 2)
    rows, columns = np.linspace(0, 1, height, dtype=np.float32)[:, None], np.linspace(0, 1, width, dtype=np.float32)
    light = np.exp(-(((rows - cy) ** 2 + (columns - cx) ** 2) / rng.uniform(0.06, 0.2)))[..., None]
    return x ** rng.uniform(1.2, 1.7) * (rng.uniform(0.1, 0.3) + 0.85 * light)


def _fog(x, rng):
    """Fog that grows with the distance, which is guessed from the height in the image, and drifts in clouds."""
    height, width = x.shape[:2]
    depth = np.linspace(1, 0, height, dtype=np.float32)[:, None] ** rng.uniform(0.6, 1.6)
    drift = smooth_noise(height, width, min(height, width) / 3, 1, rng)[..., 0]
    veil = np.clip(depth * rng.uniform(0.55, 0.95) + 0.12 * drift, 0.05, 0.93)[..., None]
    color = np.array([0.82, 0.84, 0.87], np.float32) * rng.uniform(0.85, 1.1)
    return x * (1 - veil) + color * veil


def _night(x, rng):
    """Moonlight: dark and blue, with lights that shine."""
    y = (x @ _LUMA)[..., None]
    night = np.array([0.62, 0.78, 1.12], np.float32)
    dark = (0.45 * x + 0.55 * y) ** rng.uniform(1.3, 1.9) * rng.uniform(0.35, 0.6) * night
    lights = np.zeros_like(x)
    unit = min(x.shape[:2]) / 100
    for _ in range(int(rng.integers(2, 14))):
        cy, cx = int(rng.integers(x.shape[0])), int(rng.integers(x.shape[1]))
        color = pick(((1.0, 0.85, 0.55), (1.0, 0.7, 0.4), (0.8, 0.9, 1.0)), rng)
        cv2.circle(lights, (cx, cy), max(1, round(unit * rng.uniform(0.4, 1.4))), color, -1, cv2.LINE_AA)
    glow = blurred(lights, max(1.0, 2.5 * unit)) * 2 + blurred(lights, max(1.0, 8 * unit)) * 4
    return 1 - (1 - np.clip(dark, 0, 1)) * (1 - np.clip(lights + glow, 0, 1))


def _golden_hour(x, rng):
    """Low sun: warm light from one side."""
    width = x.shape[1]
    side = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    side = side if rng.random() < 0.5 else 1 - side
    sun = np.array([1.0, 0.75, 0.42], np.float32)
    return 1 - (1 - x * np.array([1.03, 0.97, 0.88], np.float32)) * (1 - side**2 * sun * rng.uniform(0.15, 0.4))


def _shallow_focus(x, rng):
    """A sharp subject before a background out of focus: the blur grows with the distance from the subject."""
    height, width = x.shape[:2]
    cy, cx = rng.uniform(0.35, 0.65) * height, rng.uniform(0.3, 0.7) * width
    ry, rx = rng.uniform(0.2, 0.36) * height, rng.uniform(0.17, 0.32) * width
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot((rows - cy) / ry, (columns - cx) / rx)
    distance += 0.12 * smooth_noise(height, width, min(height, width) / 6, 1, rng)[..., 0]
    far = min(height, width) * rng.uniform(0.012, 0.03)
    near, soft = _disk(x, max(1.0, far / 2.5)), _disk(x, max(1.5, far))
    a = np.clip((distance - 1) / 0.35, 0, 1)[..., None]
    b = np.clip((distance - 1.35) / 0.6, 0, 1)[..., None]
    return x * (1 - a) + (near * (1 - b) + soft * b) * a


def _disk(x: np.ndarray, radius: float) -> np.ndarray:
    """A lens blur, in linear light so that lights become disks."""
    factor = max(1, int(radius // 6))
    height, width = x.shape[:2]
    linear = cv2.resize(x, (max(8, width // factor), max(8, height // factor)), interpolation=cv2.INTER_AREA) ** 2.2
    r = max(1, round(radius / factor))
    rows, columns = np.mgrid[-r : r + 1, -r : r + 1]
    kernel = (rows**2 + columns**2 <= r * r + 0.5).astype(np.float32)
    soft = cv2.filter2D(linear, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
    return cv2.resize(np.maximum(soft, 0) ** (1 / 2.2), (width, height), interpolation=cv2.INTER_LINEAR)


def _with_grain(x, sigma, rng):
    """Film grain: soft-edged, the same in all channels, strongest in the midtones."""
    y = np.clip(x @ _LUMA, 0, 1)
    grain = cv2.GaussianBlur(rng.standard_normal(y.shape, np.float32), (0, 0), rng.uniform(0.5, 0.9))
    grain /= max(float(grain.std()), 1e-6)
    return x + (grain * sigma * (0.3 + 2.8 * y * (1 - y)))[..., None]


def _grain(x, rng):
    return _with_grain(x, rng.uniform(0.012, 0.03), rng)


def _grainy_grey(x, rng):
    return _with_grain(_greyscale(x, rng), rng.uniform(0.015, 0.035), rng)


def _pastel(x, rng):
    """Soft pastel colours with a cream ground."""
    y = (x @ _LUMA)[..., None]
    x = y + (x - y) * rng.uniform(0.5, 0.75)
    return 0.14 + 0.84 * x ** rng.uniform(0.75, 0.95)


def _vivid(x, rng):
    """The colours of a slide film or of a postcard, short of clipping."""
    y = (x @ _LUMA)[..., None]
    chroma = x - y
    return _curve(y + chroma * (1 + rng.uniform(0.2, 0.45) * (1 - np.abs(chroma).max(axis=2, keepdims=True))), 0.5)


LOOKS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "greyscale": _greyscale,
    "sepia": _sepia,
    "toned": _toned,
    "film": _film,
    "teal and orange": _teal_orange,
    "bleach bypass": _bleach,
    "high key": _high_key,
    "low key": _low_key,
    "fog": _fog,
    "night": _night,
    "golden hour": _golden_hour,
    "shallow focus": _shallow_focus,
    "grain": _grain,
    "grainy greyscale": _grainy_grey,
    "pastel": _pastel,
    "vivid": _vivid,
}
"""Name -> function of an image in 0..1, float32 [H, W, 3]."""

COMMON = {"greyscale": 4.0, "sepia": 2.0}
MIXED = ("greyscale", "sepia")
"""Looks that mix the channels and so leave no gaps in the histogram: most programs just round them."""
GREY = ("greyscale", "grainy greyscale")
FOR_DRAWINGS = ("greyscale", "sepia", "toned", "film", "grain", "pastel")
"""Looks that suit drawings, too."""
EXCLUDED = {
    "high key": ("brighten", "contrast_weaken"),
    "low key": ("darken", "contrast_strengthen"),
    "night": ("darken", "brighten", "saturate_weaken"),
    "fog": ("contrast_weaken", "brighten", "saturate_weaken"),
    "pastel": ("saturate_weaken", "contrast_weaken", "brighten"),
    "bleach bypass": ("saturate_weaken", "contrast_strengthen"),
    "vivid": ("saturate_strengthen",),
    "greyscale": ("saturate_weaken", "saturate_strengthen"),
    "grainy greyscale": ("saturate_weaken", "saturate_strengthen"),
    "sepia": ("saturate_weaken", "saturate_strengthen"),
    "toned": ("saturate_weaken", "saturate_strengthen"),
    "shallow focus": ("blur",),
}
"""Look -> categories whose severities 1 and 2 nobody could tell from the look without the reference."""
EXCLUDED_FAULTS = {
    "color cast": ("sepia", "toned", "film", "teal and orange", "night", "golden hour", "pastel"),
    "burned contrast": ("vivid", "bleach bypass", "low key"),
    "latent noise": ("grain", "grainy greyscale"),
    "waxy smoothing": ("shallow focus",),
}
"""Fault -> looks with which nobody could tell its severities 1 and 2 without the reference."""
