"""Faults of tone: banding, and contrast burned by too high a guidance."""

import cv2
import numpy as np

from .base import Fault, Look, blurred, luma

# -- banding ---------------------------------------------------------------------------------------------------------


def _calm(image: np.ndarray, levels: float) -> np.ndarray:
    """Where an image has no structure beyond a slow gradient: float32 [H, W, 1], 0 (structure) to 1 (calm)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    rough = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((7, 7), np.uint8)).astype(np.float32)
    return blurred(np.clip(1.5 - rough / levels, 0, 1), 2)[..., None]


def _steps(image, step, rng):
    """Slow gradients become steps of ``step`` levels, as in a video or a low bit depth without dither."""
    soft = blurred(image.astype(np.float32), 2.5)
    stepped = np.floor(soft / step + rng.random()) * step + step / 2
    calm = _calm(image, 40)
    return image * (1 - calm) + stepped * calm


def _stretched(image, step, rng):
    """Tones were changed in too few bits: all levels are steps of ``step``."""
    table = np.arange(256, dtype=np.float32)
    gamma = float(np.exp(rng.uniform(-0.35, 0.35)))
    coarse = np.rint(255 * (table / 255) ** gamma / step) * step
    return (255 * (np.clip(coarse, 0, 255) / 255) ** (1 / gamma))[image]


def _luma_steps(image, step, rng):
    """Lightness alone is cut into steps; the colours stay."""
    y = luma(image)
    return image + (np.floor(y / step) + 0.5) * step - y


def _chroma_steps(image, step, rng):
    """Colour differences are cut into steps; the lightness stays."""
    x = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    soft = blurred(x[..., 1:], 1.5)
    x[..., 1:] = np.rint((soft - 128) / step) * step + 128
    return cv2.cvtColor(np.clip(x, 0, 255).astype(np.uint8), cv2.COLOR_YCrCb2RGB)


def _few_bits(image, step, rng):
    """Every channel has a few levels only, with steps of its own."""
    steps = step * rng.uniform(0.7, 1.3, 3).astype(np.float32)
    return np.clip(np.floor(image / steps) * steps + steps / 2, 0, 255)


def _contours(image, step, rng):
    """Steps in slow gradients whose edges are soft, as after scaling up an image that had them."""
    soft = blurred(image.astype(np.float32), rng.uniform(2, 4))
    stepped = blurred(np.rint(soft / step) * step, rng.uniform(0.6, 1.5))
    calm = _calm(image, 30)
    return image * (1 - calm) + stepped * calm


# -- burned contrast -------------------------------------------------------------------------------------------------


def _saturated(x: np.ndarray, factor: float) -> np.ndarray:
    grey = luma(x)
    return grey + (x - grey) * factor


def _guidance(image, amount, rng):
    """Guidance too high: steep tones, glowing colours, hard local contrast."""
    x = image.astype(np.float32)
    x = x + amount * 0.5 * (x - blurred(x, max(2.0, min(image.shape[:2]) / 60)))
    x = _saturated((x - 127.5) * (1 + amount * 0.7) + 127.5, 1 + amount)
    return np.clip(x, 0, 255)


def _clipped(image, amount, rng):
    """Highlights and shadows are clipped and the colours glow."""
    x = (image.astype(np.float32) - 110) * (1 + amount * 1.3) + 110 + 20 * amount
    return np.clip(_saturated(x, 1 + amount * 0.6), 0, 255)


def _oil(image, amount, rng):
    """The greasy look of overcooked samples: smooth colour, dark contours, steep tones."""
    soft = cv2.bilateralFilter(image, 7, 30 + 60 * amount, 5).astype(np.float32)
    x = soft + (1 + amount * 1.5) * (soft - blurred(soft, 2))
    return np.clip(_saturated((x - 120) * (1 + 0.5 * amount) + 120, 1 + 0.9 * amount), 0, 255)


def _per_channel(image, amount, rng):
    """Every channel is stretched until a large part of it is clipped."""
    x = image.astype(np.float32)
    low, high = np.percentile(x[::4, ::4], (amount * 14, 100 - amount * 14), axis=(0, 1)).astype(np.float32)
    return np.clip((x - low) / np.maximum(high - low, 20) * 255, 0, 255)


def _steep_curve(image, amount, rng):
    """A steep S-curve in every channel."""
    slope = 4 + 8 * amount
    x = 1 / (1 + np.exp(-slope * (image.astype(np.float32) / 255 - rng.uniform(0.4, 0.6))))
    weight = min(1.0, 0.35 + 0.5 * amount)
    return image * (1 - weight) + np.clip(_saturated(255 * x, 1 + 0.4 * amount), 0, 255) * weight


def _doubled(image, amount, rng):
    """The image is laid over itself in hard light."""
    x = image.astype(np.float32) / 255
    y = luma(image) / 255
    hard = np.where(y < 0.5, 2 * x * y, 1 - 2 * (1 - x) * (1 - y))
    for _ in range(1 if amount < 0.7 else 2):
        x = x + (hard - x) * min(1.0, amount * 1.4)
        hard = np.where(x < 0.5, 2 * x * x, 1 - 2 * (1 - x) ** 2)
    return np.clip(_saturated(255 * x, 1 + 0.8 * amount), 0, 255)


_AMOUNTS = (0.25, 0.4, 0.6, 0.9, 1.4)
_BANDS: Look = {"label": "color quantization"}
_BURNED: Look = {"label": "overly high contrast"}

FAULTS = (
    Fault("banding_steps", "banding", _steps, (6, 9, 13, 19, 28), **_BANDS),
    Fault("banding_stretched", "banding", _stretched, (7, 10, 15, 22, 34), **_BANDS),
    Fault("banding_luma", "banding", _luma_steps, (8, 12, 17, 25, 38), **_BANDS),
    Fault("banding_few_bits", "banding", _few_bits, (9, 14, 21, 32, 48), **_BANDS),
    Fault("banding_contours", "banding", _contours, (7, 10, 14, 20, 30), **_BANDS),
    Fault("banding_chroma", "banding", _chroma_steps, (10, 14, 20, 28, 40), held_out=True, **_BANDS),
    Fault("burned_guidance", "burned contrast", _guidance, _AMOUNTS, **_BURNED),
    Fault("burned_clipped", "burned contrast", _clipped, _AMOUNTS, **_BURNED),
    Fault("burned_oil", "burned contrast", _oil, _AMOUNTS, **_BURNED),
    Fault("burned_steep", "burned contrast", _steep_curve, _AMOUNTS, **_BURNED),
    Fault("burned_doubled", "burned contrast", _doubled, _AMOUNTS, **_BURNED),
    Fault("burned_channels", "burned contrast", _per_channel, _AMOUNTS, held_out=True, **_BURNED),
)
