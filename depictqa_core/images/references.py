"""References: common sizes, equal images, rejection of other aspect ratios, and doubts about other scenes."""

import functools

import numpy as np
from PIL import Image

from ..errors import ImageError
from .image import RGBImage, notices_of

ASPECT_TOLERANCE = 0.05
"""Maximum relative difference of the aspect ratios of a reference and a judged image."""
OTHER_SHAPE = "has another aspect ratio than"
"""Part of every message of ``require_shape``, so that a caller can find their common cause."""
SCENE_GRID = 16
SAME_SCENE = 0.5
"""Minimum ``scene_correlation`` of an image and its reference. Of 4050 distorted images of the mini recipe none is
below, of 8665 pairs of different source images 82 % are (``python -m benchmarks.other_scenes ROOT --every 8``)."""
NAMED = 3
"""Maximum number of images named in a notice; the rest is counted."""


SingleSet = tuple[RGBImage, RGBImage | None]
PairSet = tuple[RGBImage, RGBImage, RGBImage | None]
ImageSet = SingleSet | PairSet
"""The images of one question: (A, reference), or (A, B, reference) for a task about pairs; reference can be None."""


def identical(picture: RGBImage, reference: RGBImage | None) -> bool:
    """Return whether an image equals its reference pixel by pixel; then it gets the best result without the network.

    Both must be at their ``common_size``.
    """
    return reference is not None and picture.key == reference.key


class ResizedImage(RGBImage):
    """A smaller copy of an image, computed when it is needed, so that it does not keep pixels that
    ``image_files.FileImage`` has released."""

    source: RGBImage
    _shape: tuple[int, int]

    def __init__(self, source: RGBImage, height: int, width: int):
        self.__dict__.update(source=source, name=source.name, notices=source.notices, _shape=(height, width))
        self.__dict__["key"] = RGBImage(self.rgb, self.name).key

    @property
    def rgb(self) -> np.ndarray:
        return _resized(self.source.rgb, self.height, self.width)

    @property
    def height(self) -> int:
        return self._shape[0]

    @property
    def width(self) -> int:
        return self._shape[1]


def common_size(judged: tuple[RGBImage, ...], reference: RGBImage) -> tuple[tuple[RGBImage, ...], RGBImage]:
    """Resize images and their reference to a common size. Nothing is enlarged.

    An image larger than the reference is resized to the reference's size: what upscaling adds is not in the reference
    and must not count as sharpness. A reference larger than all images is resized to the largest image. Images with
    another aspect ratio than the reference are not changed (see ``require_shape``).

    Returns:
        The images and the reference, resized copies only if the sizes differ. The function is idempotent.
    """
    area = _area(reference)
    fitting = [p for p in judged if shape_ratio(reference, p) <= 1 + ASPECT_TOLERANCE]
    judged = tuple(
        ResizedImage(p, reference.height, reference.width) if p in fitting and _area(p) > area else p for p in judged
    )
    largest = max(judged, key=_area)
    if len(fitting) == len(judged) and (largest.height, largest.width) != (reference.height, reference.width):
        reference = _reference_copy(reference, largest.height, largest.width)
    return judged, reference


def fit_reference(reference: RGBImage, judged: tuple[RGBImage, ...]) -> tuple[RGBImage, str | None]:
    """Resize a reference to the size at which it is compared with images (``common_size``).

    Args:
        reference: the undistorted original.
        judged: the one image, or the two of a pair.

    Returns:
        The reference itself or a smaller copy, and one line if it or an image is resized.

    Raises:
        ImageError: see ``require_shape``.
    """
    require_shape(reference, judged)
    copies, copy = common_size(judged, reference)
    if copy is not reference:
        largest = max(judged, key=_area)
        return copy, f"{reference.name}: {_size(reference)}, resized to {_size(copy)}, the size of {largest.name}"
    smaller = [picture for picture, own in zip(judged, copies) if own is not picture]
    if not smaller:
        return reference, None
    names = " and ".join(f"{picture.name}: {_size(picture)}" for picture in smaller)
    return reference, f"{names}, resized to {_size(reference)}, the size of {reference.name}"


class Fitted:
    """One reference for many images, resized for each; with one notice per size.

    Attributes:
        reference: the undistorted original, or None for no reference.
    """

    def __init__(self, reference: RGBImage | None):
        self.reference = reference
        self._copies: dict[tuple[tuple[int, int], ...], RGBImage] = {}
        self._resized: list[str] = []
        self._strangers: dict[str, None] = {}

    @property
    def notices(self) -> list[str]:
        """Return notices about the file of the reference, about sizes, and about images that seem to show another
        scene."""
        lines = [*notices_of([self.reference]), *self._resized]
        if self.reference is None or not self._strangers:
            return lines
        names = [*self._strangers]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return [
            *lines,
            f"{self.reference.name}: seems to show another scene than {', '.join(names[:NAMED])}{more}; "
            "check that it is their original",
        ]

    def beside(self, *judged: RGBImage) -> RGBImage | None:
        """Return the reference resized for these images, as ``fit_reference`` does."""
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


def require_shape(reference: RGBImage, judged: tuple[RGBImage, ...]) -> None:
    """Check that a reference has the aspect ratio of the images.

    Raises:
        ImageError: an aspect ratio differs by more than ``ASPECT_TOLERANCE``, so it cannot be the same scene.
    """
    for picture in judged:
        ratio = shape_ratio(reference, picture)
        if ratio > 1 + ASPECT_TOLERANCE:
            raise ImageError(
                f"{reference.name}: {_size(reference)} {OTHER_SHAPE} {picture.name}, {_size(picture)}: the "
                f"aspect ratios differ by {ratio - 1:.0%}, at most {ASPECT_TOLERANCE:.0%} are allowed; "
                "crop one of them, or judge without a reference."
            )


def scene_correlation(a: RGBImage, b: RGBImage) -> float:
    """Compute the similarity of two scenes, -1..1: the correlation of coarse grids in the best color channel.

    Distortions of all kinds preserve the coarse distribution of light in at least one channel. It is 1 if an image is
    uniform, because then there is no evidence.
    """
    grids = [np.asarray(Image.fromarray(p.rgb).resize((SCENE_GRID,) * 2, Image.Resampling.BOX), float) for p in (a, b)]
    one, other = (grid.reshape(-1, 3) - grid.mean((0, 1)) for grid in grids)
    power = np.sqrt((one**2).sum(0) * (other**2).sum(0))
    seen = power > 1e-9
    return float(((one * other).sum(0)[seen] / power[seen]).max()) if seen.any() else 1.0


def shape_ratio(a: RGBImage, b: RGBImage) -> float:
    """Return the larger aspect ratio of two images divided by the smaller, at least 1."""
    ratio = a.width * b.height / (a.height * b.width)
    return max(ratio, 1 / ratio)


def _area(picture: RGBImage) -> int:
    return picture.height * picture.width


@functools.lru_cache(maxsize=2)  # one reference is compared with many images of one size
def _reference_copy(reference: RGBImage, height: int, width: int) -> RGBImage:
    return RGBImage(_resized(reference.rgb, height, width), reference.name, reference.notices)


def _resized(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize pixels (Pillow bicubic, antialiased); the result is read-only."""
    resized = np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
    resized.flags.writeable = False
    return resized


def _size(picture: RGBImage) -> str:
    return f"{picture.width} x {picture.height}"
