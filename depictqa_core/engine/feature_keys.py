"""The images of a question by role, and the keys under which their vision features are cached."""

from ..images.image import RGBImage
from ..images.references import ImageSet
from ..prompts import REFERENCE, A, B

Roles = dict[str, RGBImage]
"""The images of a question by role, in the order of the prompt."""
FeatureKey = tuple[str, str | None]
"""Content keys of an image and of the reference that it is compared with (None for an image without one)."""


def by_role(image_set: ImageSet) -> Roles:
    """Return (A, reference) or (A, B, reference) as a dict in the order of the prompt."""
    reference = image_set[-1]
    return ({} if reference is None else {REFERENCE: reference}) | dict(zip((A, B), image_set[:-1]))


def feature_keys(images: Roles) -> dict[str, FeatureKey]:
    """Return the key of each role; the reference itself has none to be compared with."""
    reference = images[REFERENCE].key if REFERENCE in images else None
    return {role: (image.key, None if role == REFERENCE else reference) for role, image in images.items()}


def distinct_feature_keys(shown: list[Roles]) -> list[FeatureKey]:
    """Return the keys of many sets of images, each once."""
    return list(dict.fromkeys(key for images in shown for key in feature_keys(images).values()))
