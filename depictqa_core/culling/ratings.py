"""Star ratings in XMP: in sidecars ``photo.jpg.xmp``, as digiKam and darktable read them, or inside image files."""

import codecs
import os
from collections.abc import Iterable

from ..errors import StorageError
from ..storage.documents import read_text
from .embedded import rating_edits
from .moves import RATE, WRITE, Step
from .xmp import with_rating

STARS = 5


def stars(score: float) -> int:
    """The rating, 0 to 5, of a score, 0 to 100: 20 points for a star, rounded.

    >>> [stars(score) for score in (0, 9.9, 10, 55, 100)]
    [0, 0, 1, 3, 5]
    """
    return min(STARS, int(score / (100 / STARS) + 0.5))


def rating_steps(scores: Iterable[tuple[str, float]], inside: bool = False) -> tuple[list[Step], list[str]]:
    """Plan to write ratings; a sidecar or image file that is there keeps everything but its rating.

    Args:
        scores: (image, score) of each image.
        inside: whether the ratings are written into the image files instead of sidecars.

    Returns:
        the steps, without those whose rating is there already; and lines about images that get none.
    """
    steps, notices = [], []
    for image, score in scores:
        if not os.path.isfile(image):
            notices.append(f"{image}: is not a separate file; no rating is written")
            continue
        try:
            step = (_inside if inside else _sidecar)(os.path.abspath(image), stars(score))
        except StorageError as error:
            notices.append(f"{error}; it stays as it is")
            continue
        if step is not None:
            steps.append(step)
    return steps, notices


def _inside(image: str, rating: int) -> Step | None:
    return Step(RATE, "", image, rating=rating) if rating_edits(image, rating) else None


def _sidecar(image: str, rating: int) -> Step | None:
    target = f"{image}.xmp"
    before = None
    if os.path.lexists(target):
        before = read_text(target, error=StorageError)
        with open(target, "rb") as file:
            if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:  # which is part of what is restored
                before = f"\ufeff{before}"
    after = rated(before, rating, target)
    return None if after == before else Step(WRITE, "", target, before, after)


def rated(sidecar: str | None, rating: int, name: str = "the sidecar") -> str:
    """Put a rating into the text of a sidecar.

    Args:
        sidecar: the text, or None for a new one.
        rating: 0 to 5.
        name: how a message calls it.

    Raises:
        StorageError: the text is no XMP.
    """
    try:
        return with_rating(None if sidecar is None else sidecar.encode(), rating).decode()
    except ValueError as error:
        raise StorageError(f"{name}: is not an XMP sidecar: {error}") from None
