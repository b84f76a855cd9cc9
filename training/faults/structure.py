"""Faults of structure: seams between tiles, regular patterns, moiré, and damaged rows."""

import math

import cv2
import numpy as np

from training.random_choice import pick

from .base import Fault, blurred, box, ellipse, grid, shifted, sign, smooth_noise

# -- seams ---------------------------------------------------------------------------------------------------------


def _tiles(height: int, width: int, rng: np.random.Generator) -> list[tuple[slice, slice]]:
    """Cut an image into square tiles of a fifth to a half of the short side, as tiled upscalers do."""
    side = max(16, int(min(height, width) * rng.uniform(0.2, 0.5)))
    rows = range(0, height, side)
    columns = range(0, width, side)
    return [(slice(y, y + side), slice(x, x + side)) for y in rows for x in columns]


def _tile_tones(image, amount, rng):
    """Every tile has a brightness and a colour of its own: levels of ``amount``."""
    result = image.astype(np.float32)
    for rows, columns in _tiles(image.shape[0], image.shape[1], rng):
        result[rows, columns] += sign(rng) * rng.uniform(0.5, 1) * amount + rng.normal(0, amount / 4, 3)
    return result


def _tile_shifts(image, amount, rng):
    """Every tile is moved by up to ``amount`` pixels, so that lines break at the borders."""
    result = image.copy()
    for rows, columns in _tiles(image.shape[0], image.shape[1], rng):
        dy, dx = (sign(rng) * rng.uniform(0.6, 1) * amount for _ in "yx")
        moved = shifted(image, dy, dx)
        result[rows, columns] = moved[rows, columns]
    return result


def _tile_sharpness(image, sigma, rng):
    """Every second tile is blurred."""
    soft = blurred(image, sigma)
    result = image.copy()
    for index, (rows, columns) in enumerate(_tiles(image.shape[0], image.shape[1], rng)):
        if (index + rng.integers(2)) % 2:
            result[rows, columns] = soft[rows, columns]
    return result


def _inpainted(image, amount, rng):
    """A pasted region differs from its surroundings in tone and sharpness, with a hard edge."""
    height, width = image.shape[:2]
    share = rng.uniform(0.06, 0.25)
    mask = np.zeros((height, width), bool)
    if rng.random() < 0.5:
        mask[box(height, width, share, rng)] = True
    else:
        mask = ellipse(height, width, share, rng)
    fill = blurred(image, 0.6 + amount / 14).astype(np.float32)
    fill += sign(rng) * amount + rng.normal(0, amount / 3, 3)
    return np.where(mask[..., None], fill, image)


def _blended_borders(image, width_share, rng):
    """The overlap of neighbouring tiles shows two copies that do not fit, as a soft double band."""
    height, width = image.shape[:2]
    side = max(24, int(min(height, width) * rng.uniform(0.25, 0.5)))
    band = max(2.0, side * width_share)
    y, x = grid(height, width)
    near = [np.exp(-((((v + side / 2) % side) - side / 2) ** 2) / (2 * band**2)) for v in (y, x)]
    weight = np.maximum(near[0], near[1])[..., None] * 0.75
    other = shifted(image, sign(rng) * band / 2, sign(rng) * band / 2).astype(np.float32)
    other = blurred(other, 1.2)
    weight[: int(band), :] = 0
    return image * (1 - weight) + other * weight


def _strips(image, amount, rng):
    """A panorama of strips with unequal exposure."""
    result = image.astype(np.float32)
    across = rng.random() < 0.5
    length = image.shape[1 if across else 0]
    cuts = np.sort(rng.choice(np.arange(1, 10), int(rng.integers(2, 5)), replace=False)) * length // 10
    for index, part in enumerate(np.split(np.arange(length), cuts)):
        gain = 1 + (1 if index % 2 else -1) * amount * rng.uniform(0.6, 1) / 2
        where = (slice(None), part) if across else (part, slice(None))
        result[where] *= gain
    return result


def _wrapped(image, share, rng):
    """The image is wound round by a part of its width, so that its left edge meets its right one."""
    axis = int(rng.integers(2))
    return np.roll(image, int(image.shape[axis] * share * rng.uniform(0.8, 1.2)), axis)


# -- grid pattern --------------------------------------------------------------------------------------------------


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


# -- moire ---------------------------------------------------------------------------------------------------------


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


# -- row glitches --------------------------------------------------------------------------------------------------


def _interlaced(image, amount, rng):
    """Odd rows come from another moment: they are moved sideways."""
    result = image.copy()
    moved = np.roll(image, sign(rng) * max(1, round(amount)), axis=1)
    result[1::2] = moved[1::2]
    return result


def _bands(height: int, share: float, rng: np.random.Generator) -> list[slice]:
    """Draw bands of rows that cover about ``share`` of the height."""
    bands, left = [], share * height
    while left > 0:
        size = max(1, int(min(height * rng.uniform(0.004, 0.05), left + 1)))
        start = int(rng.integers(height - size + 1))
        bands.append(slice(start, start + size))
        left -= size
    return bands


def _torn(image, share, rng):
    """Bands of rows are moved sideways."""
    result = image.copy()
    for rows in _bands(image.shape[0], share, rng):
        result[rows] = np.roll(image[rows], sign(rng) * int(image.shape[1] * rng.uniform(0.02, 0.15)), axis=1)
    return result


def _lost_rows(image, share, rng):
    """Bands of rows are black, or repeat the row above them."""
    result = image.copy()
    black = rng.random() < 0.4
    for rows in _bands(image.shape[0], share, rng):
        result[rows] = 0 if black else result[rows.start]
    return result


def _columns(image, share, rng):
    """Bands of columns are moved or smeared."""
    return _torn(image.transpose(1, 0, 2), share, rng).transpose(1, 0, 2)


def _split_channels(image, share, rng):
    """Bands of rows whose red and blue are moved apart."""
    result = image.copy()
    for rows in _bands(image.shape[0], share * 1.5, rng):
        by = max(2, int(image.shape[1] * rng.uniform(0.01, 0.05)))
        result[rows, :, 0] = np.roll(image[rows, :, 0], by, axis=1)
        result[rows, :, 2] = np.roll(image[rows, :, 2], -by, axis=1)
    return result


def _garbage(image, share, rng):
    """Bands of rows hold random colours, as damaged data decode."""
    result = image.copy()
    for rows in _bands(image.shape[0], share * 0.8, rng):
        cells = rng.integers(0, 256, (1, max(2, image.shape[1] // 8), 3), dtype=np.uint8)
        height = rows.stop - rows.start
        result[rows] = cv2.resize(cells, (image.shape[1], height), interpolation=cv2.INTER_NEAREST)
    return result


_SHARES = (0.03, 0.07, 0.13, 0.22, 0.35)

FAULTS = (
    Fault("seams_tile_tones", "seams", _tile_tones, (4, 7, 11, 17, 26)),
    Fault("seams_tile_shifts", "seams", _tile_shifts, (1.5, 2.5, 4, 7, 12)),
    Fault("seams_tile_sharpness", "seams", _tile_sharpness, (1, 1.6, 2.4, 3.5, 5)),
    Fault("seams_inpainted", "seams", _inpainted, (6, 10, 15, 22, 32)),
    Fault("seams_blended_borders", "seams", _blended_borders, (0.03, 0.05, 0.07, 0.1, 0.14)),
    Fault("seams_strips", "seams", _strips, (0.07, 0.11, 0.17, 0.25, 0.4), held_out=True),
    Fault("seams_wrapped", "seams", _wrapped, (0.1, 0.2, 0.3, 0.4, 0.5), held_out=True),
    Fault("grid_lines", "grid pattern", _lines, (8, 13, 20, 30, 45)),
    Fault("grid_checkerboard", "grid pattern", _checkerboard, (3, 5, 8, 12, 20)),
    Fault("grid_patches", "grid pattern", _patches, (2.5, 4, 6, 9, 14)),
    Fault("grid_waves", "grid pattern", _waves, (5, 8, 12, 18, 28)),
    Fault("grid_dots", "grid pattern", _dots, (14, 22, 32, 46, 70), held_out=True),
    Fault("grid_hatch", "grid pattern", _hatch, (8, 13, 20, 30, 45), held_out=True),
    Fault("moire_gratings", "moire", _gratings, (6, 10, 15, 22, 32)),
    Fault("moire_rings", "moire", _rings, (6, 10, 15, 22, 32)),
    Fault("moire_screen", "moire", _screen, (0.08, 0.13, 0.2, 0.3, 0.45)),
    Fault("moire_slow_fringes", "moire", _slow_fringes, (5, 8, 12, 18, 27), held_out=True),
    Fault("rows_interlaced", "row glitches", _interlaced, (1, 2, 4, 7, 12)),
    Fault("rows_torn", "row glitches", _torn, _SHARES),
    Fault("rows_lost", "row glitches", _lost_rows, _SHARES),
    Fault("rows_columns", "row glitches", _columns, _SHARES),
    Fault("rows_split_channels", "row glitches", _split_channels, _SHARES, held_out=True),
    Fault("rows_garbage", "row glitches", _garbage, _SHARES, held_out=True),
)
