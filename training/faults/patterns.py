"""Regular patterns: grids and moiré."""

import math

import cv2
import numpy as np

from training.random_choice import pick

from .base import Fault, blurred, grid, luma, sign, smooth_noise

# -- grid pattern ----------------------------------------------------------------------------------------------------


def _lines(image, amount, rng):
    """Thin lines every 8 to 64 pixels, both ways."""
    period = pick((8, 16, 32, 64), rng)
    y, x = grid(*image.shape[:2])
    on = ((y % period) < 1) | ((x % period) < 1)
    return image + (sign(rng) * amount * on)[..., None].astype(np.float32)


def _checkerboard(image, amount, rng):
    """The checkerboard of transposed convolutions: pixels of even and odd sums differ, most along contours."""
    y, x = grid(*image.shape[:2])
    step = pick((1, 2), rng)
    board = 1 - 2 * ((y // step + x // step) % 2)
    gradient = cv2.morphologyEx(blurred(image, 1), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)).mean(axis=2)
    strength = 0.5 + np.minimum(1.0, gradient / 60)
    return image + (amount * board * strength)[..., None].astype(np.float32)


def _patches(image, amount, rng):
    """Blocks of 8, 14, 16 or 32 pixels, the patches of a transformer, have unequal means."""
    size = pick((8, 14, 16, 32), rng)
    height, width = image.shape[:2]
    offset = rng.normal(0, amount, (-(-height // size), -(-width // size), 1)).astype(np.float32)
    offset = np.repeat(np.repeat(offset, size, 0), size, 1)[:height, :width]
    return image + offset


def _waves(image, amount, rng):
    """A regular wave pattern of 4 to 12 pixels, as decoders leave it."""
    y, x = grid(*image.shape[:2])
    period = rng.uniform(4, 12)
    wave = np.sin(2 * math.pi * y / period) * np.sin(2 * math.pi * x / period)
    return image + (amount * wave)[..., None].astype(np.float32)


def _dots(image, amount, rng):
    """A dot in the corner of every cell of 6 to 20 pixels."""
    period = int(rng.integers(6, 21))
    y, x = grid(*image.shape[:2])
    dots = np.exp(-(((y % period) - 2) ** 2 + ((x % period) - 2) ** 2) / 2)
    return image + (sign(rng) * amount * dots)[..., None].astype(np.float32)


def _hatch(image, amount, rng):
    """Slanted thin lines that cross."""
    y, x = grid(*image.shape[:2])
    period = rng.uniform(7, 20)
    near = [np.abs(((x * c + y * s) % period) - period / 2) < 0.7 for c, s in ((0.8, 0.6), (0.8, -0.6))]
    return image + (sign(rng) * amount * (near[0] | near[1]))[..., None].astype(np.float32)


def _stripes(image, amount, rng):
    """Stripes one way, every 3 to 24 pixels: hard lines or a wave."""
    y, x = grid(*image.shape[:2])
    along = y if rng.random() < 0.5 else x
    period = rng.uniform(3, 24)
    wave = np.sin(2 * math.pi * along / period)
    if rng.random() < 0.5:
        wave = np.sign(wave + rng.uniform(-0.7, 0.7)) * 0.7
    return image + (amount * np.broadcast_to(wave, image.shape[:2]))[..., None].astype(np.float32)


def _relief(image, amount, rng):
    """Cells of 6 to 40 pixels with a bright and a dark edge, as tiles in a relief."""
    size = int(rng.integers(6, 41))
    edge = max(1, size // 10)
    y, x = grid(*image.shape[:2])
    bright = ((y % size) < edge) | ((x % size) < edge)
    dark = ((y % size) >= size - edge) | ((x % size) >= size - edge)
    return image + (sign(rng) * amount * (bright * 1.0 - dark))[..., None].astype(np.float32)


def _weave(image, amount, rng):
    """The weave of a canvas: the image is brighter and darker with it."""
    y, x = grid(*image.shape[:2])
    period = rng.uniform(3, 9)
    over = np.sin(2 * math.pi * x / period) * (np.sin(math.pi * y / period) > 0)
    under = np.sin(2 * math.pi * y / period) * (np.sin(math.pi * x / period) > 0)
    return image.astype(np.float32) * (1 + amount / 128 * (over + under))[..., None]


# -- moire -----------------------------------------------------------------------------------------------------------


def _gratings(image, amount, rng):
    """Two fine gratings of nearly equal period interfere: wide, coloured fringes."""
    y, x = grid(*image.shape[:2])
    angle, turn = rng.uniform(0, math.pi), rng.uniform(0.03, 0.12)
    period = rng.uniform(2.3, 4.5)

    def wave(a, p):
        return np.sin(2 * math.pi * (x * math.cos(a) + y * math.sin(a)) / p)

    planes = [wave(angle, period) * wave(angle + turn, period * (1 + 0.02 * c)) for c in range(3)]
    return image + amount * np.stack(planes, axis=-1).astype(np.float32)


def _rings(image, amount, rng):
    """Curved fringes: a zone plate that is sampled too coarsely."""
    height, width = image.shape[:2]
    y, x = grid(height, width)
    cy, cx = height * rng.uniform(-0.3, 1.3), width * rng.uniform(-0.3, 1.3)
    squared = (y - cy) ** 2 + (x - cx) ** 2
    scale = rng.uniform(0.6, 2) / (min(height, width) / 3)
    planes = [np.sin(math.pi * squared * scale * (1 + 0.01 * c) / 2) for c in range(3)]
    fade = 0.4 + 0.6 * np.abs(smooth_noise(height, width, min(height, width) / 2, 1, rng))
    return image + amount * np.stack(planes, axis=-1).astype(np.float32) * np.minimum(fade, 1.2)


def _screen(image, amount, rng):
    """A photograph of a screen: its red, green and blue columns beat against the pixels of the camera."""
    y, x = grid(*image.shape[:2])
    angle, pitch = rng.uniform(-0.12, 0.12), rng.uniform(2.6, 3.6)
    along = x * math.cos(angle) + y * math.sin(angle)
    rows = 0.8 + 0.2 * np.cos(2 * math.pi * (y * math.cos(angle) - x * math.sin(angle)) / pitch)
    gains = [1 + amount * np.cos(2 * math.pi * (along / pitch + c / 3)) * rows for c in range(3)]
    return image * np.stack(gains, axis=-1).astype(np.float32)


def _slow_fringes(image, amount, rng):
    """Wide coloured fringes that bend."""
    height, width = image.shape[:2]
    y, x = grid(height, width)
    bend = smooth_noise(height, width, min(height, width) / 2, 1, rng)[..., 0] * min(height, width) / 14
    period = min(height, width) * rng.uniform(0.02, 0.07)
    angle = rng.uniform(0, math.pi)
    phase = 2 * math.pi * (x * math.cos(angle) + y * math.sin(angle) + bend) / period
    planes = [np.sin(phase + 2 * math.pi * c / 3) for c in range(3)]
    return image + amount * np.stack(planes, axis=-1).astype(np.float32)


def _grey_beats(image, amount, rng):
    """Two gratings beat without colour."""
    y, x = grid(*image.shape[:2])
    angle, period = rng.uniform(0, math.pi), rng.uniform(2.1, 6)
    product = np.ones(image.shape[:2], np.float32)
    for turn, scale in ((0.0, 1.0), (rng.uniform(0.04, 0.3), rng.uniform(0.9, 1.1))):
        along = x * math.cos(angle + turn) + y * math.sin(angle + turn)
        product = product * np.sin(2 * math.pi * along / (period * scale))
    return image + 1.3 * amount * product[..., None]


def _fans(image, amount, rng):
    """Lines that meet in one point, sampled too coarsely."""
    height, width = image.shape[:2]
    y, x = grid(height, width)
    angle = np.arctan2(y - height * rng.uniform(-0.2, 1.2), x - width * rng.uniform(-0.2, 1.2))
    lines = int(rng.integers(200, 700))
    planes = [np.sin(lines * (1 + 0.02 * c) * angle) for c in range(3)]
    return image + amount * np.stack(planes, axis=-1).astype(np.float32)


def _on_texture(image, amount, rng):
    """Fringes where the image has fine structure, in green and magenta, as of a camera without a filter."""
    height, width = image.shape[:2]
    y, x = grid(height, width)
    grey = luma(image)[..., 0]
    fine = np.minimum(1.5, blurred(np.abs(grey - blurred(grey, 1.5)), 4) / 6) + 0.15
    angle = rng.uniform(0, math.pi)
    wave = np.sin(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / rng.uniform(4, 14))
    return image + 1.5 * amount * (fine * wave)[..., None] * np.array([1, -0.8, 1], np.float32)


FAULTS = (
    Fault("grid_lines", "grid pattern", _lines, (8, 13, 20, 30, 45)),
    Fault("grid_checkerboard", "grid pattern", _checkerboard, (3, 5, 8, 12, 20)),
    Fault("grid_patches", "grid pattern", _patches, (2.5, 4, 6, 9, 14)),
    Fault("grid_waves", "grid pattern", _waves, (5, 8, 12, 18, 28)),
    Fault("grid_stripes", "grid pattern", _stripes, (4, 7, 11, 17, 26)),
    Fault("grid_relief", "grid pattern", _relief, (8, 13, 20, 30, 45)),
    Fault("grid_weave", "grid pattern", _weave, (6, 10, 15, 23, 35)),
    Fault("grid_dots", "grid pattern", _dots, (14, 22, 32, 46, 70), held_out=True),
    Fault("grid_hatch", "grid pattern", _hatch, (8, 13, 20, 30, 45), held_out=True),
    Fault("moire_gratings", "moire", _gratings, (6, 10, 15, 22, 32)),
    Fault("moire_rings", "moire", _rings, (6, 10, 15, 22, 32)),
    Fault("moire_screen", "moire", _screen, (0.08, 0.13, 0.2, 0.3, 0.45)),
    Fault("moire_grey_beats", "moire", _grey_beats, (6, 10, 15, 22, 32)),
    Fault("moire_fans", "moire", _fans, (6, 10, 15, 22, 32)),
    Fault("moire_on_texture", "moire", _on_texture, (10, 16, 24, 35, 50)),
    Fault("moire_slow_fringes", "moire", _slow_fringes, (5, 8, 12, 18, 27), held_out=True),
)
