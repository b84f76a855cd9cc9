"""What all distortions share: their record, the exact cast from [0, 1] to 8 bits, and look-up tables."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Distortion:
    """One implementation, as the registry knows it.

    Attributes:
        name: spelling of the published data, including the misspelling "shfit".
        category: one of the 12 super-categories, such as "contrast_strengthen".
        function: `(image, parameter) -> image`, or `(image, parameter, rng) -> image` if `random`. Images are uint8
            [H, W, 3] in RGB, C-contiguous, at least 32 px on a side; the input is never written to.
        parameters: the argument `parameter` for severity 1, 2, 3, 4 and 5; fewer where it does not get so severe.
        random: whether the function draws from `rng`.
    """

    name: str
    category: str
    function: Callable[..., np.ndarray]
    parameters: tuple
    random: bool = False


def to_unit(image: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    """uint8 values 0..255 -> floats 0..1 of `dtype`, any shape."""
    return np.true_divide(image, 255, dtype=dtype)


def to_uint8(x: np.ndarray) -> np.ndarray:
    """Floats -> uint8: clip to [0, 1], times 255, **truncate**.

    Truncation (not rounding) is what made the published data; it lowers the mean of an image by about half a level.
    It also makes float32 and float64 differ by a level where the exact result is a whole number; if that matters, the
    function uses the precision that reproduces the check values of method.md 5.4, with a comment.
    """
    x = np.clip(x, 0, 1)
    x *= 255
    return x.astype(np.uint8)


def tabulate(function: Callable[[np.ndarray], np.ndarray], dtype: type = np.float64) -> np.ndarray:
    """The uint8 [256] table of a pointwise function on [0, 1], for `cv2.LUT(image, table)`."""
    return to_uint8(function(to_unit(np.arange(256), dtype)))
