"""Which images of a large run to reject, and why: low scores, blank and cut frames, duplicates, odd sizes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..images.fingerprint import HashIndex

Row = dict[str, Any]
COLUMNS = ("image", "error", "width", "height", "content", "hash", "blank", "cut", "score")
"""What this reads of the table of a run; ``score`` may be missing."""
ODD_SHARE = 0.01
"""A size is odd where a smaller share of the images has it."""
NEAR_BITS = 7
"""Of 128: resized, compressed and slightly graded copies differ in at most this many bits, other scenes in far more."""


@dataclass(frozen=True)
class Rules:
    """What to reject.

    Attributes:
        below: scores below this, in points; None for none.
        unreadable: images that could not be judged.
        blank: blank and cut frames.
        duplicates: all but the best of images with equal pixels.
        near: all but the best of images whose hashes differ in at most this number of bits, 0..128; None for none.
        odd_sizes: images of a size that less than ``ODD_SHARE`` have.
    """

    below: float | None = None
    unreadable: bool = False
    blank: bool = False
    duplicates: bool = False
    near: int | None = None
    odd_sizes: bool = False


@dataclass(frozen=True)
class Rejected:
    """An image to reject.

    Attributes:
        image: its name in the table.
        kind: "unreadable", "blank", "cut", "odd size", "low score", "duplicate" or "near duplicate".
        reason: the same with its facts, as one line.
    """

    image: str
    kind: str
    reason: str


def select(rows: Iterable[Row], rules: Rules) -> tuple[list[Row], list[Rejected]]:
    """Split the images of a run.

    Args:
        rows: with ``COLUMNS``, in any order.
        rules: what to reject.

    Returns:
        the rows to keep, best score first (equal ones as given); and the rejected images in the order of the rows. An
        image has one reason, the first that holds: unreadable, blank, cut, odd size, low score, duplicate, near
        duplicate. Of duplicates the best one is kept.
    """
    rows = list(rows)
    place = {id(row): index for index, row in enumerate(rows)}
    sizes = Counter((row["width"], row["height"]) for row in rows if row["error"] is None)
    kept, rejected = [], []
    seen: dict[str, str] = {}
    index = HashIndex(rules.near or 0)
    for row in sorted(rows, key=_rank):
        found = _alone(row, rules, sizes) or _copies(row, rules, seen, index)
        if found is None:
            kept.append(row)
        else:
            rejected.append((place[id(row)], Rejected(row["image"], *found)))
    return kept, [one for _, one in sorted(rejected, key=lambda pair: pair[0])]


def _rank(row: Row) -> float:
    score = row.get("score")
    return float("inf") if score is None else -score


def _alone(row: Row, rules: Rules, sizes: Counter) -> tuple[str, str] | None:
    """Why a row is rejected whatever the others are."""
    if row["error"] is not None:
        return ("unreadable", row["error"]) if rules.unreadable else None
    if rules.blank and row["blank"]:
        return "blank", "nearly all of it has one colour"
    if rules.blank and row["cut"]:
        return "cut", "its lower end has one colour"
    size = row["width"], row["height"]
    if rules.odd_sizes and sizes[size] < ODD_SHARE * sizes.total():
        return "odd size", f"{size[0]} x {size[1]}, as {sizes[size]} of {sizes.total()} images"
    score = row.get("score")
    if rules.below is not None and score is not None and score < rules.below:
        return "low score", f"score {score:.1f} is below {rules.below:g}"
    return None


def _copies(row: Row, rules: Rules, seen: dict[str, str], index: HashIndex) -> tuple[str, str] | None:
    """Why a row is rejected next to those before it, which are better; else it is remembered for those behind it."""
    if row["error"] is not None:
        return None
    if rules.duplicates:
        first = seen.setdefault(row["content"], row["image"])
        if first != row["image"]:
            return "duplicate", f"has the pixels of {first}"
    if rules.near is not None and not row["blank"]:
        alike = index.first(row["hash"])
        if alike is not None:
            return "near duplicate", f"looks like {alike}: at most {rules.near} of 128 bits differ"
        index.add(row["hash"], row["image"])
    return None


def best(kept: Sequence[Row], count: int) -> list[str]:
    """The names of the ``count`` best images that were kept and have a score."""
    return [row["image"] for row in kept if row.get("score") is not None][:count]
