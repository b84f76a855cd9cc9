"""The images of a question by role, and the keys under which their vision features are cached."""

from typing import NamedTuple

from ..images.image import RGBImage
from ..images.references import ImageSet
from ..prompts import REFERENCE, A, B

Roles = dict[str, RGBImage]
"""The images of a question by role, in the order of the prompt."""


class FeatureKey(NamedTuple):
    """Content keys of an image, of the reference that it is compared with, and, for Image B without one, of Image A."""

    image: str
    reference: str | None = None
    other: str | None = None


def by_role(image_set: ImageSet) -> Roles:
    """Return (A, reference) or (A, B, reference) as a dict in the order of the prompt."""
    reference = image_set[-1]
    return ({} if reference is None else {REFERENCE: reference}) | dict(zip((A, B), image_set[:-1]))


def feature_keys(images: Roles, pairs: bool) -> dict[str, FeatureKey]:
    """Return the key of each role; the reference itself has none to be compared with.

    Args:
        pairs: whether the network compares Image B with Image A (``Connector.pairs``).
    """
    if REFERENCE in images:
        reference = images[REFERENCE].key
        return {role: FeatureKey(image.key, None if role == REFERENCE else reference) for role, image in images.items()}
    first = images[A].key if pairs else None
    return {role: FeatureKey(image.key, None, first if role == B else None) for role, image in images.items()}


def distinct_feature_keys(shown: list[Roles], pairs: bool) -> list[FeatureKey]:
    """Return the keys of many sets of images, each once."""
    return list(dict.fromkeys(key for images in shown for key in feature_keys(images, pairs).values()))
