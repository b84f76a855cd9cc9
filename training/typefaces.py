"""Typefaces for texts in training images: those that Matplotlib carries, so that every machine draws the same."""

import functools
from pathlib import Path

import matplotlib
import numpy as np
from PIL import ImageFont

_FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
FAMILIES = {
    "sans": ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    "serif": ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    "mono": ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    "times": ("STIXGeneral.ttf", "STIXGeneralBol.ttf"),
    "roman": ("cmr10.ttf", "cmb10.ttf"),
    "grotesque": ("cmss10.ttf", "cmss10.ttf"),
    "typewriter": ("cmtt10.ttf", "cmtt10.ttf"),
    "slanted": ("DejaVuSans-Oblique.ttf", "DejaVuSans-BoldOblique.ttf"),
}
"""Family -> (regular, bold) file."""


@functools.lru_cache(maxsize=256)
def face(size: int, family: str = "sans", bold: bool = False, mono: bool = False) -> ImageFont.FreeTypeFont:
    """Load a face at a size in pixels."""
    file = FAMILIES["mono" if mono else family][bool(bold)]
    return ImageFont.truetype(_FOLDER / file, max(4, int(size)))


def any_family(rng: np.random.Generator) -> str:
    """Draw a family of ``FAMILIES``."""
    return list(FAMILIES)[int(rng.integers(len(FAMILIES)))]
