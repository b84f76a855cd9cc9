"""Row glitches: damaged rows and columns."""

import cv2
import numpy as np

from .base import Fault, sign, smooth_noise


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


def _jitter(image, amount, rng):
    """Every row is moved a little, as on a worn tape."""
    height, width = image.shape[:2]
    by = smooth_noise(height, 2, rng.uniform(1.5, 12), 1, rng)[:, 0, 0] * amount
    columns = (np.arange(width)[None] - np.rint(by).astype(int)[:, None]) % width
    return image[np.arange(height)[:, None], columns]


def _repeated_band(image, share, rng):
    """One band of rows is repeated over the rows below it."""
    height = image.shape[0]
    size = max(2, int(height * rng.uniform(0.01, 0.06)))
    covered = size + max(2, int(height * share))
    start = int(rng.integers(max(1, height - covered)))
    result = image.copy()
    rows = np.arange(start, min(height, start + covered))
    result[rows] = image[start + (rows - start) % size]
    return result


def _dark_bands(image, share, rng):
    """Bands of rows are darker or brighter, hard at their edges, as of a flickering lamp."""
    result = image.astype(np.float32)
    gain = 1 + sign(rng) * rng.uniform(0.25, 0.6)
    for rows in _bands(image.shape[0], share, rng):
        result[rows] *= gain
    return result


_SHARES = (0.03, 0.07, 0.13, 0.22, 0.35)

FAULTS = (
    Fault("rows_interlaced", "row glitches", _interlaced, (1, 2, 4, 7, 12)),
    Fault("rows_torn", "row glitches", _torn, _SHARES),
    Fault("rows_lost", "row glitches", _lost_rows, _SHARES),
    Fault("rows_columns", "row glitches", _columns, _SHARES),
    Fault("rows_jitter", "row glitches", _jitter, (1, 1.6, 2.6, 4.5, 8)),
    Fault("rows_repeated", "row glitches", _repeated_band, _SHARES),
    Fault("rows_dark", "row glitches", _dark_bands, _SHARES),
    Fault("rows_split_channels", "row glitches", _split_channels, _SHARES, held_out=True),
    Fault("rows_garbage", "row glitches", _garbage, _SHARES, held_out=True),
)
