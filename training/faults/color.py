"""Faults of colour: colour casts and colour fringing."""

import math

import cv2
import numpy as np

from training.random_choice import pick

from .base import Fault, blurred, luma, scaled, shifted, sign

# -- color cast ------------------------------------------------------------------------------------------------------


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


def _channel_gamma(image, amount, rng):
    """One channel has another gamma: the cast is in the mid-tones."""
    result = image.astype(np.float32)
    channel = int(rng.integers(3))
    result[..., channel] = 255 * (result[..., channel] / 255) ** float(np.exp(sign(rng) * amount * 1.6))
    return result


def _mixed_channels(image, amount, rng):
    """The channels leak into one another, as under a wrong colour profile."""
    leak = rng.uniform(-1, 1, (3, 3))
    np.fill_diagonal(leak, 0)
    leak *= 0.8 * amount / np.abs(leak).sum(axis=1).max()
    return image.astype(np.float32) @ (np.eye(3) + leak).astype(np.float32).T


def _shadows_only(image, amount, rng):
    """Shadows, or highlights, have a colour."""
    y = luma(image) / 255
    where = (1 - y) ** 1.5 if rng.random() < 0.5 else y**1.5
    color = np.asarray(pick(([1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1], [0.8, 0.8, -1]), rng), np.float32)
    return image + amount * 190 * where * color * sign(rng)


# -- color fringing --------------------------------------------------------------------------------------------------


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


def _chroma_moved(image, pixels, rng):
    """The colour does not cover the lightness, as of an old video."""
    x = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    angle = rng.uniform(0, 2 * math.pi)
    moved = shifted(x, 2 * pixels * math.sin(angle), 2 * pixels * math.cos(angle))
    x[..., 1:] = moved[..., 1:]
    return cv2.cvtColor(x, cv2.COLOR_YCrCb2RGB)


def _soft_channel(image, pixels, rng):
    """Red or blue is out of focus: coloured halos along contours."""
    result = image.copy()
    channel = pick((0, 2), rng)
    result[..., channel] = blurred(image[..., channel], pixels)
    return result


FAULTS = (
    Fault("cast_temperature", "color cast", _temperature, (0.1, 0.16, 0.24, 0.34, 0.48)),
    Fault("cast_tint", "color cast", _tint, (0.1, 0.16, 0.23, 0.32, 0.45)),
    Fault("cast_wash", "color cast", _wash, (0.09, 0.14, 0.21, 0.31, 0.45)),
    Fault("cast_lifted_channel", "color cast", _lifted_channel, (0.1, 0.15, 0.22, 0.32, 0.45)),
    Fault("cast_gamma", "color cast", _channel_gamma, (0.1, 0.16, 0.24, 0.34, 0.48)),
    Fault("cast_mixed_channels", "color cast", _mixed_channels, (0.12, 0.18, 0.27, 0.38, 0.52)),
    Fault("cast_shadows", "color cast", _shadows_only, (0.09, 0.14, 0.21, 0.31, 0.45)),
    Fault("cast_hue_turned", "color cast", _hue_turned, (16, 26, 42, 70, 120), held_out=True),
    Fault("cast_split", "color cast", _split_cast, (0.15, 0.24, 0.36, 0.52, 0.75), held_out=True),
    Fault("fringing_radial", "color fringing", _radial, (0.004, 0.006, 0.009, 0.014, 0.022)),
    Fault("fringing_displaced", "color fringing", _displaced, (1, 1.7, 2.7, 4, 6.5)),
    Fault("fringing_one_channel", "color fringing", _one_channel, (1, 1.7, 2.7, 4, 6.5)),
    Fault("fringing_chroma_moved", "color fringing", _chroma_moved, (1.2, 2, 3.2, 5, 8)),
    Fault("fringing_soft_channel", "color fringing", _soft_channel, (1.2, 1.9, 2.8, 4, 6)),
    Fault("fringing_purple", "color fringing", _purple, (0.3, 0.42, 0.55, 0.7, 0.9), held_out=True),
)
