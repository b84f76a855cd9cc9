"""At which size pictures are compared with a reference, which of them equal it, which have another shape (refused), and
which seem to show another scene (doubted)."""

import functools

import numpy as np
from PIL import Image

from ..errors import ImageError
from .image import Picture, notices_of

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


def identical(picture: Picture, reference: Picture | None) -> bool:
    """Whether an image equals its reference pixel by pixel: then it is the best possible, and no network is asked.

    Both are as ``common_size`` gives them.
    """
    return reference is not None and picture.key == reference.key


class ResizedPicture(Picture):
    """A smaller copy of a picture, made again whenever it is needed: a copy of a file does not hold the pixels that
    ``files.FilePicture`` lets go."""

    def __init__(self, source: Picture, height: int, width: int):
        self.__dict__.update(source=source, name=source.name, notices=source.notices, _shape=(height, width))
        self.__dict__["key"] = Picture(self.rgb, self.name).key

    @property
    def rgb(self) -> np.ndarray:
        return _resized(self.source.rgb, self.height, self.width)

    @property
    def height(self) -> int:
        return self._shape[0]

    @property
    def width(self) -> int:
        return self._shape[1]


def common_size(judged: tuple[Picture, ...], reference: Picture) -> tuple[tuple[Picture, ...], Picture]:
    """The size policy: at which size pictures and their reference are compared. Nothing is ever enlarged.

    A picture that is larger than the reference becomes a copy of the reference's size: what enlarging adds is not in
    the reference, and must not count as sharpness. A reference that is larger than all pictures becomes a copy of the
    size of the largest. Pictures of another shape than the reference stay as they are (see ``require_shape``).

    Returns:
        the pictures and the reference, copies only where the sizes differ. Applied again, it changes nothing.
    """
    area = _area(reference)
    fitting = [p for p in judged if _shape_ratio(reference, p) <= 1 + ASPECT_TOLERANCE]
    judged = tuple(
        ResizedPicture(p, reference.height, reference.width) if p in fitting and _area(p) > area else p for p in judged
    )
    largest = max(judged, key=_area)
    if len(fitting) == len(judged) and (largest.height, largest.width) != (reference.height, reference.width):
        reference = _reference_copy(reference, largest.height, largest.width)
    return judged, reference


def fit_reference(reference: Picture, judged: tuple[Picture, ...]) -> tuple[Picture, str | None]:
    """The reference at the size at which it is compared with pictures (``common_size``).

    Args:
        reference: the undistorted original.
        judged: the one picture, or the two of a pair.

    Returns:
        the reference itself or a smaller copy, and one line if it or a picture is judged as a copy.

    Raises:
        ImageError: see ``require_shape``.
    """
    require_shape(reference, judged)
    copies, copy = common_size(judged, reference)
    if copy is not reference:
        largest = max(judged, key=_area)
        return copy, f"{reference.name}: {_size(reference)}, judged as a copy of {_size(copy)} beside {largest.name}"
    smaller = [picture for picture, own in zip(judged, copies) if own is not picture]
    if not smaller:
        return reference, None
    names = " and ".join(f"{picture.name}: {_size(picture)}" for picture in smaller)
    return reference, f"{names}, judged as a copy of {_size(reference)}, the size of {reference.name}"


class Fitted:
    """One reference for many pictures, at the size at which it is compared with each: one notice for every size.

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
        """Lines about the file of the reference, about sizes, and about pictures that seem to show another scene."""
        lines = [*notices_of([self.reference]), *self._resized]
        if not self._strangers:
            return lines
        names = [*self._strangers]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return [
            *lines,
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
        ratio = _shape_ratio(reference, picture)
        if ratio > 1 + ASPECT_TOLERANCE:
            raise ImageError(
                f"{reference.name}: {_size(reference)} {OTHER_SHAPE} {picture.name}, {_size(picture)}: the "
                f"aspect ratios differ by {ratio - 1:.0%}, at most {ASPECT_TOLERANCE:.0%} are allowed; "
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


def _shape_ratio(a: Picture, b: Picture) -> float:
    """The larger aspect ratio of two pictures as a multiple of the smaller, from 1."""
    ratio = a.width * b.height / (a.height * b.width)
    return max(ratio, 1 / ratio)


def _area(picture: Picture) -> int:
    return picture.height * picture.width


@functools.lru_cache(maxsize=2)  # one reference is compared with many pictures of one size
def _reference_copy(reference: Picture, height: int, width: int) -> Picture:
    return Picture(_resized(reference.rgb, height, width), reference.name, reference.notices)


def _resized(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels at another size (Pillow bicubic, antialiased), read-only."""
    resized = np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
    resized.flags.writeable = False
    return resized


def _size(picture: Picture) -> str:
    return f"{picture.width} x {picture.height}"
