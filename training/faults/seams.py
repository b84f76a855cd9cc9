"""Seams: tiles, pasted regions, margins and halves that do not fit."""

import numpy as np

from .base import Fault, blurred, box, ellipse, grid, luma, shifted, sign


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


def _tile_contrast(image, amount, rng):
    """Every tile has a contrast and a saturation of its own."""
    result = image.astype(np.float32)
    for rows, columns in _tiles(image.shape[0], image.shape[1], rng):
        tile = result[rows, columns]
        mean = tile.mean(axis=(0, 1))
        grey = luma(tile)
        tile = mean + (tile - mean) * (1 + sign(rng) * amount * rng.uniform(0.6, 1))
        result[rows, columns] = tile + (tile - grey) * amount * rng.uniform(-1, 1)
    return result


def _border_dips(image, amount, rng):
    """Along the borders of tiles the image is darker or brighter, as where weights do not sum to one."""
    height, width = image.shape[:2]
    side = max(24, int(min(height, width) * rng.uniform(0.2, 0.5)))
    band = max(1.5, side * rng.uniform(0.01, 0.05))
    away = [np.abs((v + side / 2) % side - side / 2) for v in grid(height, width)]  # from the nearest border
    dip = np.maximum(*(np.exp(-((pixels / band) ** 2)) for pixels in away))[..., None]
    return image.astype(np.float32) * (1 + sign(rng) * amount * dip)


def _broken(image, share, rng):
    """The two sides of a cut do not fit: one is moved along it, as in a panorama of two frames."""
    view = image if rng.random() < 0.5 else image.transpose(1, 0, 2)
    cut = int(view.shape[1] * rng.uniform(0.25, 0.75))
    by = sign(rng) * max(2.0, share * min(view.shape[:2]))
    result = view.copy()
    result[:, cut:] = shifted(np.ascontiguousarray(view), by, 0)[:, cut:]
    return result if view is image else result.transpose(1, 0, 2)


def _outpainted(image, amount, rng):
    """The margin on one to four sides was added later: softer, and of another tone."""
    height, width = image.shape[:2]
    inside = np.zeros((height, width, 1), np.float32)
    share = [rng.uniform(0.1, 0.3) if rng.random() < 0.6 else 0.0 for _ in "1234"]
    share[int(rng.integers(4))] = rng.uniform(0.12, 0.3)
    top, bottom, left, right = (int(one * side) for one, side in zip(share, (height, height, width, width)))
    inside[top : height - bottom, left : width - right] = 1
    inside = blurred(inside, rng.uniform(0.5, 4)).reshape(height, width, 1)
    margin = blurred(image, 0.5 + amount / 10).astype(np.float32) * (1 + sign(rng) * amount / 130)
    margin += rng.normal(0, amount / 3, 3).astype(np.float32)
    return image * inside + margin * (1 - inside)


FAULTS = (
    Fault("seams_tile_tones", "seams", _tile_tones, (4, 7, 11, 17, 26)),
    Fault("seams_tile_shifts", "seams", _tile_shifts, (1.5, 2.5, 4, 7, 12)),
    Fault("seams_tile_sharpness", "seams", _tile_sharpness, (1, 1.6, 2.4, 3.5, 5)),
    Fault("seams_tile_contrast", "seams", _tile_contrast, (0.12, 0.18, 0.27, 0.4, 0.6)),
    Fault("seams_inpainted", "seams", _inpainted, (6, 10, 15, 22, 32)),
    Fault("seams_blended_borders", "seams", _blended_borders, (0.03, 0.05, 0.07, 0.1, 0.14)),
    Fault("seams_border_dips", "seams", _border_dips, (0.06, 0.1, 0.16, 0.25, 0.4)),
    Fault("seams_broken", "seams", _broken, (0.008, 0.015, 0.028, 0.05, 0.09)),
    Fault("seams_outpainted", "seams", _outpainted, (6, 10, 15, 22, 32)),
    Fault("seams_strips", "seams", _strips, (0.07, 0.11, 0.17, 0.25, 0.4), held_out=True),
    Fault("seams_wrapped", "seams", _wrapped, (0.1, 0.2, 0.3, 0.4, 0.5), held_out=True),
)
