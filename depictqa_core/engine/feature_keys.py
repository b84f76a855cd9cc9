"""The images of a question by role, and the keys under which their vision features are cached."""

from ..images.image import Picture
from ..prompts import REFERENCE, A, B

FeatureKey = tuple[str, str | None]
"""Content keys of an image and of the reference that it is compared with (None for an image without one)."""


def by_role(image_set: tuple[Picture | None, ...]) -> dict[str, Picture]:
    """Return (A, reference) or (A, B, reference) as a dict in the order of the prompt."""
    *judged, reference = image_set
    return ({} if reference is None else {REFERENCE: reference}) | dict(zip((A, B), judged))


def feature_keys(images: dict[str, Picture]) -> dict[str, FeatureKey]:
    """Return the key of each role; the reference itself has none to be compared with."""
    reference = images[REFERENCE].key if REFERENCE in images else None
    return {role: (image.key, None if role == REFERENCE else reference) for role, image in images.items()}


def distinct_feature_keys(shown: list[dict[str, Picture]]) -> list[FeatureKey]:
    """Return the keys of many sets of images, each once."""
    return list(dict.fromkeys(key for images in shown for key in feature_keys(images).values()))
