"""The file of a study: JSON lines of what is compared, of the people, and of their votes in the order of arrival.

The first line describes the study, so that the file can be evaluated by itself. Every further line is written whole and
flushed to the disk before it is acknowledged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import StorageError
from ..storage.appending import append_jsonl
from ..storage.documents import holds_text, named, parse_json, read_text
from ..storage.files import readable_file_errors, write_file
from ..storage.rules import SWITCH, Rule, is_number, list_of, one_of, problem, row_of, string, whole
from .design import DAMAGED, IDENTICAL, PAIR, Pair

FORMAT = 1
MOST_BYTES = 2**29
LEFT, RIGHT, EQUAL = "left", "right", "equal"
CHOICES = (LEFT, RIGHT, EQUAL)


@dataclass(frozen=True)
class StudyImage:
    """An image of a study.

    Attributes:
        name: as reports show it; participants never see it.
        path: of the file, relative to the folder of the study's file where that is possible.
        key: content hash of its pixels.
        group: images of one group are compared with each other.
        label: the folder it comes from, where folders are compared; else "".
        reference: index of its reference, None if it has none.
    """

    name: str
    path: str
    key: str
    group: str = ""
    label: str = ""
    reference: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a study compares and how; the first line of its file.

    Attributes:
        question: what people are asked.
        images, references: their files; references have no reference.
        pairs: (left, right) indexes of images, in the order in which people get them.
        per_person, checks, both_orders, ties, seed: as in ``design.trials_of``.
        version: of DepictQA.
    """

    question: str
    images: tuple[StudyImage, ...]
    references: tuple[StudyImage, ...]
    pairs: tuple[Pair, ...]
    per_person: int
    checks: int
    both_orders: bool
    ties: bool
    seed: int
    version: str = __version__


@dataclass(frozen=True)
class Vote:
    """One answer of a person.

    Attributes:
        person: number of the person.
        trial: number of the trial, of that person.
        revision: 0 for the first answer, 1 if the person went back and answered again, and so on.
        kind: of the trial.
        left, right: indexes of the images.
        damaged: side of the damaged copy, as in ``Trial``.
        choice: one of ``CHOICES``.
        seconds: from the moment at which both images were visible.
        time: when it was stored, ISO 8601 in UTC.
    """

    person: int
    trial: int
    revision: int
    kind: str
    left: int
    right: int
    damaged: str | None
    choice: str
    seconds: float | None
    time: str


@dataclass
class Record:
    """The content of the file of a study.

    Attributes:
        plan: the first line.
        people: names in order; the number of a person is the place here.
        votes: the last answer to each trial, in the order of first answers.
        torn: number of lines that were never finished, because the program was killed; nobody was told that these
            votes are stored.
    """

    plan: Plan
    people: list[str] = field(default_factory=list)
    votes: list[Vote] = field(default_factory=list)
    torn: int = 0


def write_plan(path: Path, plan: Plan) -> None:
    """Begin the file of a study.

    Raises:
        StorageError: it cannot be written, or a name cannot.
    """
    for image in (*plan.images, *plan.references):
        if not holds_text(image.name + image.path):
            raise StorageError(f"{named(image.path)}: the name of the file is not UTF-8; rename it")
    with readable_file_errors(path):  # the whole line or no file
        write_file(path, json.dumps({"depictqa_study": FORMAT, **asdict(plan)}, ensure_ascii=False) + "\n")


def add_person(path: Path, number: int, name: str, time: str) -> None:
    """Store that a person takes part."""
    append_jsonl(path, {"number": number, "name": name, "time": time})


def add_vote(path: Path, vote: Vote) -> None:
    """Store a vote; it is on the disk when this returns."""
    append_jsonl(path, asdict(vote))


WHOLE = whole(0, 10**9)
TEXT = Rule("a text", lambda value: isinstance(value, str))
IMAGE = {
    "name": string(),
    "path": string(),
    "key": string(),
    "group": TEXT,
    "label": TEXT,
    "reference": Rule("a whole number from 0 or null", lambda value: value is None or WHOLE.fits(value)),
}
PLAN = {
    "question": string(),
    "images": Rule("a list of images", lambda value: isinstance(value, list) and len(value) > 1),
    "references": Rule("a list of images", lambda value: isinstance(value, list)),
    "pairs": list_of(row_of(WHOLE, WHOLE), 1, 10**7),
    "per_person": WHOLE,
    "checks": WHOLE,
    "both_orders": SWITCH,
    "ties": SWITCH,
    "seed": WHOLE,
    "version": string(),
}
PERSON = {"number": WHOLE, "name": string(), "time": string()}
VOTE = {
    "person": WHOLE,
    "trial": WHOLE,
    "revision": WHOLE,
    "kind": one_of(PAIR, DAMAGED, IDENTICAL),
    "left": WHOLE,
    "right": WHOLE,
    "damaged": Rule("left, right or null", lambda value: value in (None, LEFT, RIGHT)),
    "choice": one_of(*CHOICES),
    "seconds": Rule("a number of seconds or null", lambda value: value is None or (is_number(value) and value >= 0)),
    "time": string(),
}


def read_record(path: str | Path) -> Record:
    """Read the file of a study.

    Raises:
        StorageError: it is not one, or is damaged in another way than by a killed program.
    """
    name = named(path)
    lines = read_text(path, limit=MOST_BYTES, error=StorageError).split("\n")
    first = _line(lines[0], f"{name}, line 1")
    if first is None or first.get("depictqa_study") != FORMAT:
        raise StorageError(
            f"{name}: is not the file of a study; give the file that depictqa study wrote (--votes-file)"
        )
    record = Record(_plan(first, name))
    latest: dict[tuple[int, int], Vote] = {}
    for number, text in enumerate(lines[1:], 2):
        if not text.strip():
            continue
        where = f"{name}, line {number}"
        row = _line(text, where)
        if row is None:
            record.torn += 1
        elif "trial" in row:
            _require(row, VOTE, where)
            vote = Vote(**{one.name: row[one.name] for one in fields(Vote)})
            if max(vote.left, vote.right) >= len(record.plan.images) or vote.person >= len(record.people):
                raise StorageError(f"{where}: names an image or a person that the study does not have; repair it")
            latest[vote.person, vote.trial] = vote
        else:
            _require(row, PERSON, where)
            if row["number"] != len(record.people):
                raise StorageError(f"{where}: person {row['number']} is not the next one; repair the file")
            record.people.append(row["name"])
    record.votes = list(latest.values())
    return record


def _line(text: str, where: str) -> dict[str, Any] | None:
    """Parse one line; None for one that was not finished."""
    try:
        found: dict[str, Any] = parse_json(text, where, error=StorageError)
    except StorageError:
        return None
    return found


def _require(row: dict[str, Any], rules: dict[str, Rule], where: str) -> None:
    missing = [name for name in rules if name not in row]
    if wrong := f"has no {missing[0]}" if missing else problem({name: row[name] for name in rules}, rules):
        raise StorageError(f"{where}: {wrong}; repair the file")


def _plan(row: dict[str, Any], name: str) -> Plan:
    _require(row, PLAN, name)
    images, references = (_images(row[kind], name) for kind in ("images", "references"))
    pairs = tuple((left, right) for left, right in row["pairs"])
    if any(max(pair) >= len(images) or pair[0] == pair[1] for pair in pairs):
        raise StorageError(f"{name}: a pair names an image that the study does not have; repair the file")
    if any(one.reference is not None and one.reference >= len(references) for one in images):
        raise StorageError(f"{name}: an image names a reference that the study does not have; repair the file")
    rest = {key: row[key] for key in PLAN if key not in ("images", "references", "pairs")}
    return Plan(images=images, references=references, pairs=pairs, **rest)


def _images(rows: Sequence[Any], name: str) -> tuple[StudyImage, ...]:
    for row in rows:
        if not isinstance(row, dict):
            raise StorageError(f"{name}: the list of images has something else in it; repair the file")
        _require(row, IMAGE, name)
    return tuple(StudyImage(**{one.name: row[one.name] for one in fields(StudyImage)}) for row in rows)


def require_same(found: Plan, asked: Plan, path: Path) -> None:
    """Check that a study may be resumed: the same images, pairs and rules as when it began.

    Raises:
        StorageError: they differ; says in what.
    """
    differs = [name for name in _compared() if getattr(found, name) != getattr(asked, name)]
    for kind in ("images", "references"):
        if [(one.key, one.group) for one in getattr(found, kind)] != [(o.key, o.group) for o in getattr(asked, kind)]:
            differs.append(kind)
    if differs:
        raise StorageError(
            f"{path}: holds a study with other {' and '.join(differs)}; give the same images and options to resume it,"
            " or another --votes-file for a new study"
        )


def _compared() -> Iterable[str]:
    return ("question", "pairs", "per_person", "checks", "both_orders", "ties", "seed")


def relative(path: str, folder: Path) -> str:
    """Write a path relative to a folder where that is possible, so that both can be moved together."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:  # another drive of Windows
        return os.path.abspath(path)
