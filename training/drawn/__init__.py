"""Scenes drawn by program: images of kinds that no photograph shows, pristine by construction, in any number and size.

`TRAINING_KINDS` are for training. `VALIDATION_KINDS` are never trained on. A final evaluation draws kinds of its own.
"""

from collections.abc import Callable

import numpy as np

from . import held_out, raster, vector
from . import text_pages as documents

__all__ = ["KINDS", "TRAINING_KINDS", "VALIDATION_KINDS", "draw"]

_TRAINING: dict[str, Callable[..., np.ndarray]] = {
    "flat vector": vector.flat_vector,
    "line art": vector.line_art,
    "cel shading": vector.cel_shading,
    "comic": vector.comic,
    "logo": vector.logo,
    "poster": vector.poster,
    "text page": documents.text_page,
    "chart": documents.chart,
    "interface": documents.interface,
    "diagram": documents.diagram,
    "map": documents.street_map,
    "pixel art": raster.pixel_art,
    "gradient": raster.gradient,
    "painting": raster.painting,
    "pattern": raster.pattern,
}
_VALIDATION: dict[str, Callable[..., np.ndarray]] = {
    "ornament": held_out.ornament,
    "isometric": held_out.isometric,
    "sheet music": held_out.sheet_music,
}
TRAINING_KINDS: tuple[str, ...] = tuple(_TRAINING)
VALIDATION_KINDS: tuple[str, ...] = tuple(_VALIDATION)
KINDS = {**_TRAINING, **_VALIDATION}

MIN_SIDE, MAX_SIDE = 64, 8192


def draw(kind: str, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one scene; the same state of ``rng`` gives the same bytes.

    Args:
        kind: one of `KINDS`.
        height, width: size in pixels, 64 to 8192.
        rng: source of all randomness. Three of four images are antialiased, where the kind leaves the choice.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ValueError: unknown kind, or a size outside the range.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of drawing '{kind}': choose one of {', '.join(KINDS)}")
    if not (MIN_SIDE <= min(height, width) and max(height, width) <= MAX_SIDE):
        raise ValueError(f"a drawing must have sides of {MIN_SIDE} to {MAX_SIDE} px, got {width} x {height}")
    return np.ascontiguousarray(KINDS[kind](height, width, rng, rng.random() < 0.75))
