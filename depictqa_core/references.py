"""Brings a reference to the size of the pictures that it is judged beside, refuses one of another shape, and doubts one
that shows another scene."""

import numpy as np
from PIL import Image

from .errors import ImageError
from .images import Picture

ASPECT_TOLERANCE = 0.05
"""How far the aspect ratios of a reference and of a judged picture may lie apart, as a share of the smaller."""
OTHER_SHAPE = "has another shape than"
"""In every message of ``require_shape``, so that a caller with many of them can tell what they have in common."""
SCENE_GRID = 16
SAME_SCENE = 0.5
"""Least ``scene_correlation`` of a picture with its reference. Of 4050 distorted pictures of the mini recipe none lies
below, of 8665 pairs of different source pictures 82 % do (``python -m benchmarks.other_scenes ROOT --every 8``)."""
NAMED = 3
"""So many pictures are named in a notice; the rest is counted."""


def fit_reference(reference: Picture, judged: tuple[Picture, ...]) -> tuple[Picture, str | None]:
    """The reference at the size of the largest of the pictures that are judged beside it.

    Args:
        reference: the undistorted original.
        judged: the one picture, or the two of a pair.

    Returns:
        the reference itself, or a resized copy (Pillow bicubic, antialiased) and one line that says so.

    Raises:
        ImageError: see ``require_shape``.
    """
    require_shape(reference, judged)
    largest = max(judged, key=lambda picture: picture.height * picture.width)
    if (reference.height, reference.width) == (largest.height, largest.width):
        return reference, None
    resized = Image.fromarray(reference.rgb).resize((largest.width, largest.height), Image.Resampling.BICUBIC)
    copy = Picture(np.asarray(resized), reference.name)
    return copy, f"{reference.name}: {_size(reference)}, judged as a copy of {_size(copy)} beside {largest.name}"


class Fitted:
    """One reference for many pictures, at the size of each: one copy, and one notice, for every size.

    Attributes:
        reference: the undistorted original, or None: then there is nothing to fit.
    """

    def __init__(self, reference: Picture | None):
        self.reference = reference
        self._copies: dict[tuple, Picture] = {}
        self._resized: list[str] = []
        self._strangers: dict[str, None] = {}

    @property
    def notices(self) -> list[str]:
        """A line for every size that it was resized to, and one about the pictures that seem to show another scene."""
        if not self._strangers:
            return [*self._resized]
        names = [*self._strangers]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return [
            *self._resized,
            f"{self.reference.name}: seems to show another scene than {', '.join(names[:NAMED])}{more}; "
            "check that it is their original",
        ]

    def beside(self, *judged: Picture) -> Picture | None:
        """``fit_reference``, with the same errors."""
        if self.reference is None:
            return None
        sizes = tuple((picture.height, picture.width) for picture in judged)
        if sizes not in self._copies:
            self._copies[sizes], notice = fit_reference(self.reference, judged)
            self._resized += [notice] if notice else []
        for picture in judged:
            if scene_correlation(self._copies[sizes], picture) < SAME_SCENE:
                self._strangers[picture.name] = None
        return self._copies[sizes]


def require_shape(reference: Picture, judged: tuple[Picture, ...]) -> None:
    """Refuse a reference of another shape than a picture that is judged beside it.

    Raises:
        ImageError: an aspect ratio differs by more than ``ASPECT_TOLERANCE``: it cannot be the same scene.
    """
    for picture in judged:
        ratio = reference.width * picture.height / (reference.height * picture.width)
        if max(ratio, 1 / ratio) > 1 + ASPECT_TOLERANCE:
            raise ImageError(
                f"{reference.name}: {_size(reference)} {OTHER_SHAPE} {picture.name}, {_size(picture)}: the "
                f"aspect ratios differ by {max(ratio, 1 / ratio) - 1:.0%}, at most {ASPECT_TOLERANCE:.0%} are allowed; "
                "crop one of them, or judge without a reference."
            )


def scene_correlation(a: Picture, b: Picture) -> float:
    """How alike two pictures are as scenes, -1..1: the correlation of their coarse grids in the best colour channel.

    Distortions of all kinds leave the rough distribution of light in at least one channel. 1 where nothing can be said
    because a picture is even.
    """
    grids = [np.asarray(Image.fromarray(p.rgb).resize((SCENE_GRID,) * 2, Image.Resampling.BOX), float) for p in (a, b)]
    one, other = (grid.reshape(-1, 3) - grid.mean((0, 1)) for grid in grids)
    power = np.sqrt((one**2).sum(0) * (other**2).sum(0))
    seen = power > 1e-9
    return float(((one * other).sum(0)[seen] / power[seen]).max()) if seen.any() else 1.0


def _size(picture: Picture) -> str:
    return f"{picture.width} x {picture.height}"
