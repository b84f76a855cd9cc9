"""Preferences as training records: picks of better and worse images, stored in a folder.

The folder is a data root for ``python -m training train``: ``records/preferences.json`` in the published format (facts
3.4) and the images, by content, in ``pictures/``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..checks import check
from ..errors import StorageError, TaskError
from ..images.image import RGBImage
from ..tasks import RATING, WINNERS
from .documents import describe
from .files import readable_file_errors, replacing, rewriting
from .rules import SWITCH, Rule, problem, string

RECORDS = "records/preferences.json"
PAIRS = ("all", "best against the rest", "neighbours")


@dataclass(frozen=True, eq=False)
class Preference:
    """One image is better than another, with or without a reference."""

    better: RGBImage
    worse: RGBImage
    reference: RGBImage | None = None


@dataclass(frozen=True)
class Collected:
    """The result of storing picks: how many are new, already known, or contradict an earlier one, and the total."""

    new: int
    known: int
    changed: int
    total: int


def picked(count: int, text: str) -> list[int]:
    """Return the levels (0 is best) of ``count`` images from picks such as "3" or "3, 1", best first; all others are
    last.

    Raises:
        TaskError: the picks are not whole numbers of images from 1, or have one twice.
    """
    check(picked=text)
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() and len(word) < 10 for word in words):
        raise TaskError(f"picked: {text!r} is not valid; give numbers of images from 1, best first: 3, 1")
    numbers = [int(word) - 1 for word in words]
    for number in numbers:
        if not 0 <= number < count:
            raise TaskError(f"picked: there is no image {number + 1}; {count} arrived, numbered from 1")
    if len(set(numbers)) < len(numbers):
        raise TaskError(f"picked: {text!r} has an image twice")
    return [numbers.index(index) if index in numbers else len(numbers) for index in range(count)]


def levels(ratings: Sequence[float], margin: float = 0.0) -> list[int]:
    """Return levels (0 is best) from ratings, higher is better; ratings within ``margin`` of the best of a level share
    it.

    Raises:
        TaskError: a rating is NaN.
    """
    check(margin=margin)
    if any(rating != rating for rating in ratings):
        raise TaskError("ratings: one of them is not a number (NaN)")
    order = sorted(range(len(ratings)), key=lambda index: -ratings[index])
    found, level, top = [0] * len(ratings), -1, None
    for index in order:
        if top is None or top - ratings[index] > margin:
            level, top = level + 1, ratings[index]
        found[index] = level
    return found


def pairs_of(found: Sequence[int], pairs: str = "all") -> list[tuple[int, int]]:
    """Return the pairs (better, worse) of images with different levels (0 is best).

    Args:
        found: one level per image.
        pairs: "all"; "best against the rest" for pairs with level 0; "neighbours" for adjacent levels.

    Raises:
        TaskError: ``pairs`` is unknown.
    """
    if pairs not in PAIRS:
        raise TaskError(f"pairs: {pairs!r} is not known; choose one of: {', '.join(PAIRS)}")
    wanted = {
        "all": lambda a, b: a < b,
        "best against the rest": lambda a, b: a == 0 < b,
        "neighbours": lambda a, b: b - a == 1,
    }[pairs]
    return [(i, j) for i, a in enumerate(found) for j, b in enumerate(found) if wanted(a, b)]


def collect(root: str | Path, preferences: Sequence[Preference]) -> Collected:
    """Add picks to a folder; safe with parallel runs.

    A pair of images has one record, whatever their order. If a pick contradicts it, the new one becomes the answer and
    the old one is stored under "earlier". Image A is the image with the smaller content hash, so that the better one is
    B as often as A.

    Args:
        root: the data root; created if it does not exist.
        preferences: the picks.

    Raises:
        TaskError: an image is compared with itself.
        StorageError: the folder cannot be written, or its records are damaged (they are not changed).
    """
    root, now = Path(root), time.strftime("%Y-%m-%dT%H:%M:%S")
    for preference in preferences:
        if preference.better.key == preference.worse.key:
            raise TaskError(
                f"{preference.better.name} and {preference.worse.name} are the same image; neither can be better"
            )
    with readable_file_errors(root):
        for folder in ("pictures", "records"):
            (root / folder).mkdir(parents=True, exist_ok=True)
    pictures = [p for pick in preferences for p in (pick.better, pick.worse, pick.reference) if p is not None]
    for picture in {picture.key: picture for picture in pictures}.values():
        _keep(root, picture)
    counts = dict.fromkeys(("new", "known", "changed"), 0)
    fresh: list[dict] = []
    with rewriting(root / RECORDS, fresh) as records:
        _check(records, root / RECORDS)
        by_id = {record["id"]: record for record in records}
        for preference in preferences:
            record = _record(preference, now)
            old = by_id.get(record["id"])
            if old is None:
                counts["new"] += 1
                records.append(record)
                by_id[record["id"]] = record
            elif old["A_better_B"] == record["A_better_B"]:
                counts["known"] += 1
            else:
                counts["changed"] += 1
                earlier = [*old.get("earlier", []), {"A_better_B": old["A_better_B"], "time": old.get("time")}]
                old |= {**record, "earlier": earlier}
        total = len(records)
    return Collected(**counts, total=total)


RECORD = {
    "id": string(),
    "A_better_B": SWITCH,
    "earlier": Rule("a list of earlier answers", lambda v: isinstance(v, list)),
}
"""The checked fields of an existing record; other fields are not changed."""


def _check(records: list, path: Path) -> None:
    """Raise StorageError for the first record that is not one of ``collect``."""
    for number, record in enumerate(records, 1):
        wrong: str | None
        if not isinstance(record, dict):
            wrong = f"is {describe(record)}, not an object"
        elif missing := [name for name in ("id", "A_better_B") if name not in record]:
            wrong = f"has no {missing[0]}"
        else:
            wrong = problem(record, RECORD)
        if wrong:
            raise StorageError(f"{path}: record {number} {wrong}; repair the file or move it")


def _record(preference: Preference, now: str) -> dict:
    a, b = sorted((preference.better, preference.worse), key=lambda picture: picture.key)
    a_better, reference = a is preference.better, preference.reference
    keys = [picture.key for picture in (a, b, reference) if picture is not None]
    return {
        "id": "_".join(["preference", *(key[:16] for key in keys)]),
        "task_type": "quality_compare" if reference else "quality_compare_noref",
        "image_ref": _path(reference) if reference else None,
        "image_A": _path(a),
        "image_B": _path(b),
        "conversations": [
            {"from": "human", "value": RATING.ask()},
            {"from": "gpt", "value": WINNERS[0 if a_better else 1]},
        ],
        "A_better_B": a_better,
        "time": now,
    }


def _path(picture: RGBImage) -> str:
    return f"pictures/{picture.key}.png"


def _keep(root: Path, picture: RGBImage) -> None:
    """Write an image under its content hash, completely or not at all."""
    path = root / _path(picture)
    if not path.exists():
        with readable_file_errors(path), replacing(path) as part:
            Image.fromarray(picture.rgb).save(part, "PNG", compress_level=4)
