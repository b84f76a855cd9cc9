"""Faults of colour and tone: banding, colour casts, colour fringing, and contrast burned by too high a guidance."""

import math

import cv2
import numpy as np

from training.random_choice import pick

from .base import Fault, Look, blurred, luma, scaled, shifted, sign


def _calm(image: np.ndarray, levels: float) -> np.ndarray:
    """Where an image has no structure beyond a slow gradient: float32 [H, W, 1], 0 (structure) to 1 (calm)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    rough = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((7, 7), np.uint8)).astype(np.float32)
    return blurred(np.clip(1.5 - rough / levels, 0, 1), 2)[..., None]


# -- banding -------------------------------------------------------------------------------------------------------


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


# -- color cast ----------------------------------------------------------------------------------------------------


def _temperature(image, amount, rng):
    """Too warm or too cold."""
    by = sign(rng) * amount
    return image * np.array([1 + by, 1 + by * rng.uniform(-0.1, 0.2), 1 - by], np.float32)


def _tint(image, amount, rng):
    """Towards green or magenta, or towards one other colour."""
    gains = pick(([-1, 1, -1], [1, -1, 1], [1, 1, -1], [-1, 0.6, 0.6]), rng)
    return image * (1 + amount * 0.8 * np.asarray(gains, np.float32))


def _wash(image, amount, rng):
    """A transparent layer of one colour lies over everything."""
    hue = np.array([[[int(rng.integers(180)), 220, 235]]], np.uint8)
    color = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)
    return image * (1 - amount) + color * amount


def _lifted_channel(image, amount, rng):
    """The blacks of one or two channels are lifted."""
    lift = np.zeros(3, np.float32)
    lift[rng.permutation(3)[: int(rng.integers(1, 3))]] = amount
    return image + (255 - image.astype(np.float32)) * lift


def _hue_turned(image, degrees, rng):
    """All hues are turned, as by channels in a wrong order."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + sign(rng) * degrees // 2) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _split_cast(image, amount, rng):
    """Shadows lean to one colour and highlights to the opposite one."""
    y = luma(image) / 255
    lean = np.asarray(pick(([1, 0, -1], [-1, 1, -0.5], [0.5, -1, 1]), rng), np.float32) * sign(rng)
    return image + amount * 160 * (y - 0.5) * lean


# -- color fringing ------------------------------------------------------------------------------------------------


def _radial(image, share, rng):
    """Red and blue have another scale than green: coloured edges that grow towards the corners."""
    by = sign(rng) * share
    return np.stack([scaled(image[..., 0], 1 + by), image[..., 1], scaled(image[..., 2], 1 - by)], axis=-1)


def _displaced(image, pixels, rng):
    """Red and blue are moved against green."""
    angle = rng.uniform(0, 2 * math.pi)
    dy, dx = pixels * math.sin(angle), pixels * math.cos(angle)
    return np.stack([shifted(image[..., 0], dy, dx), image[..., 1], shifted(image[..., 2], -dy, -dx)], axis=-1)


def _one_channel(image, pixels, rng):
    """One channel is moved, as in a bad print."""
    result = image.copy()
    channel, angle = int(rng.integers(3)), rng.uniform(0, 2 * math.pi)
    by = 1.4 * pixels
    result[..., channel] = shifted(image[..., channel], by * math.sin(angle), by * math.cos(angle))
    return result


def _purple(image, amount, rng):
    """Purple or green borders along contours of high contrast."""
    y = luma(image)[..., 0]
    edge = cv2.GaussianBlur(np.abs(y - cv2.GaussianBlur(y, (0, 0), 3)), (0, 0), 1.5)
    weight = np.clip((edge - 10) / 25, 0, 1)[..., None] * amount
    color = np.asarray(pick(([150, 40, 220], [60, 200, 90], [210, 40, 140]), rng), np.float32)
    return image * (1 - weight) + color * weight


# -- burned contrast -----------------------------------------------------------------------------------------------


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


_AMOUNTS = (0.25, 0.4, 0.6, 0.9, 1.4)
_BANDS: Look = {"label": "color quantization"}
_BURNED: Look = {"label": "overly high contrast"}

FAULTS = (
    Fault("banding_steps", "banding", _steps, (6, 9, 13, 19, 28), **_BANDS),
    Fault("banding_stretched", "banding", _stretched, (7, 10, 15, 22, 34), **_BANDS),
    Fault("banding_luma", "banding", _luma_steps, (8, 12, 17, 25, 38), **_BANDS),
    Fault("banding_chroma", "banding", _chroma_steps, (10, 14, 20, 28, 40), held_out=True, **_BANDS),
    Fault("cast_temperature", "color cast", _temperature, (0.1, 0.16, 0.24, 0.34, 0.48)),
    Fault("cast_tint", "color cast", _tint, (0.1, 0.16, 0.23, 0.32, 0.45)),
    Fault("cast_wash", "color cast", _wash, (0.09, 0.14, 0.21, 0.31, 0.45)),
    Fault("cast_lifted_channel", "color cast", _lifted_channel, (0.1, 0.15, 0.22, 0.32, 0.45)),
    Fault("cast_hue_turned", "color cast", _hue_turned, (16, 26, 42, 70, 120), held_out=True),
    Fault("cast_split", "color cast", _split_cast, (0.15, 0.24, 0.36, 0.52, 0.75), held_out=True),
    Fault("fringing_radial", "color fringing", _radial, (0.004, 0.006, 0.009, 0.014, 0.022)),
    Fault("fringing_displaced", "color fringing", _displaced, (1, 1.7, 2.7, 4, 6.5)),
    Fault("fringing_one_channel", "color fringing", _one_channel, (1, 1.7, 2.7, 4, 6.5)),
    Fault("fringing_purple", "color fringing", _purple, (0.3, 0.42, 0.55, 0.7, 0.9), held_out=True),
    Fault("burned_guidance", "burned contrast", _guidance, _AMOUNTS, **_BURNED),
    Fault("burned_clipped", "burned contrast", _clipped, _AMOUNTS, **_BURNED),
    Fault("burned_oil", "burned contrast", _oil, _AMOUNTS, **_BURNED),
    Fault("burned_channels", "burned contrast", _per_channel, _AMOUNTS, held_out=True, **_BURNED),
)
