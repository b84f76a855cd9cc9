"""What all faults share: their record, and helpers for masks, smooth noise and geometry."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import cv2
import numpy as np

from depictqa_core.images.pixels import LUMA
from depictqa_core.tasks import NONE


class Look(TypedDict, total=False):
    """Facts that the implementations of a fault share, see ``Fault``."""

    label: str | None
    cost: float


@dataclass(frozen=True)
class Fault:
    """One implementation of a fault.

    Attributes:
        name: name of the implementation, unique.
        fault: the fault that it shows, one of ``tasks.FAULTS``.
        function: ``(image, parameter, rng) -> image``. The input is uint8 [H, W, 3] in RGB and is never written to;
            the result is uint8, or float in 0..255, of the same shape.
        parameters: the argument ``parameter`` for severity 1, 2, 3, 4 and 5.
        label: what the 13 labels say of it: a distortion that it looks like, ``NONE`` where none of them is present, or
            None where no label is true (then nobody asks).
        cost: severity steps of quality that one step of severity costs (``labels.STEP``).
        held_out: whether it is kept for tests and never drawn for training.
    """

    name: str
    fault: str
    function: Callable[..., np.ndarray]
    parameters: tuple
    label: str | None = NONE
    cost: float = 1.0
    held_out: bool = False


def finished(x: np.ndarray) -> np.ndarray:
    """Round floats in 0..255 to uint8; uint8 stays as it is."""
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def smooth_noise(height: int, width: int, cell: float, channels: int, rng: np.random.Generator) -> np.ndarray:
    """Draw noise of standard deviation about 1 that varies over ``cell`` pixels: float32 [H, W, channels]."""
    rows, columns = max(2, round(height / cell) + 1), max(2, round(width / cell) + 1)
    coarse = rng.normal(0, 1, (rows, columns, channels)).astype(np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return fine.reshape(height, width, channels)


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and column of every pixel as float32 [H, 1] and [1, W]."""
    return np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]


def shifted(image: np.ndarray, dy: float, dx: float) -> np.ndarray:
    """Move an image by a fraction of pixels; the edges are repeated."""
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def scaled(image: np.ndarray, factor: float, angle: float = 0.0) -> np.ndarray:
    """Scale an image about its centre by a factor and turn it by an angle in degrees; the edges are repeated."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, factor)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an image with a Gaussian; wide ones are computed at a smaller size, which looks the same."""
    height, width = image.shape[:2]
    factor = max(1, int(sigma // 4))
    if factor == 1 or min(height, width) < 8 * factor:
        return cv2.GaussianBlur(image, (0, 0), sigma)
    small = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / factor), (width, height), interpolation=cv2.INTER_LINEAR)


def luma(image: np.ndarray) -> np.ndarray:
    """Return the luma of an RGB image as float32 [H, W, 1], in the values of the image."""
    return (image.astype(np.float32) @ np.array(LUMA, np.float32))[..., None]


def sign(rng: np.random.Generator) -> int:
    """Draw -1 or 1."""
    return 1 if rng.random() < 0.5 else -1


def box(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """Draw a rectangle that covers about ``share`` of an image, with a ratio of the sides from 1/2 to 2."""
    ratio = float(np.exp(rng.uniform(-0.7, 0.7)))
    h = int(np.clip(height * np.sqrt(share / ratio), 8, height))
    w = int(np.clip(width * np.sqrt(share * ratio), 8, width))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return slice(top, top + h), slice(left, left + w)


def ellipse(height: int, width: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a filled ellipse that covers about ``share`` of an image: bool [H, W]."""
    rows, columns = box(height, width, min(1.0, share * 1.27), rng)
    y, x = grid(height, width)
    cy, cx = (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2
    ry, rx = (rows.stop - rows.start) / 2, (columns.stop - columns.start) / 2
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
