"""Pixelation: down with a box filter, up with nearest neighbour (method.md 5.1)."""

import numpy as np
from PIL import Image

from .base import Distortion


def _pixelate(image: np.ndarray, scale: float) -> np.ndarray:
    height, width, _ = image.shape
    small = Image.fromarray(image).resize((int(width * scale), int(height * scale)), Image.Resampling.BOX)
    return np.array(small.resize((width, height), Image.Resampling.NEAREST))


DISTORTIONS = (Distortion("pixelate", "pixelate", _pixelate, (0.5, 0.4, 0.3, 0.25, 0.2)),)
