"""The pictures that a question shows, by role, and the keys by which what is known of them is kept."""

from ..images.image import Picture
from ..prompts import REFERENCE, A, B

Slot = tuple[str, str | None]
"""Content keys of a picture and of the reference that it is seen beside (None for one that stands alone)."""


def by_role(pictures: tuple[Picture | None, ...]) -> dict[str, Picture]:
    """(A, reference) or (A, B, reference) as a dict in the order of the prompt."""
    *judged, reference = pictures
    return ({} if reference is None else {REFERENCE: reference}) | dict(zip((A, B), judged))


def slots(pictures: dict[str, Picture]) -> dict[str, Slot]:
    """The slot of each role; the reference stands alone."""
    beside = pictures[REFERENCE].key if REFERENCE in pictures else None
    return {role: (picture.key, None if role == REFERENCE else beside) for role, picture in pictures.items()}


def distinct_slots(shown: list[dict[str, Picture]]) -> list[Slot]:
    """The slots of many sets of pictures, each once."""
    return list(dict.fromkeys(slot for pictures in shown for slot in slots(pictures).values()))
