"""Brings a reference to the size of the pictures that it is judged beside, or refuses one of another shape."""

import numpy as np
from PIL import Image

from .errors import ImageError
from .images import Picture

ASPECT_TOLERANCE = 0.05
"""How far the aspect ratios of a reference and of a judged picture may lie apart, as a share of the smaller."""
OTHER_SHAPE = "has another shape than"
"""In every message of ``require_shape``, so that a caller with many of them can tell what they have in common."""


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
        notices: a line for every size that it was resized to.
    """

    def __init__(self, reference: Picture | None):
        self.reference, self.notices = reference, []
        self._copies: dict[tuple, Picture] = {}

    def beside(self, *judged: Picture) -> Picture | None:
        """``fit_reference``, with the same errors."""
        if self.reference is None:
            return None
        sizes = tuple((picture.height, picture.width) for picture in judged)
        if sizes not in self._copies:
            self._copies[sizes], notice = fit_reference(self.reference, judged)
            self.notices += [notice] if notice else []
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


def _size(picture: Picture) -> str:
    return f"{picture.width} x {picture.height}"
