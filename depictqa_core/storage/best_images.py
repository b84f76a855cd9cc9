"""The best images of a long run, in a folder: image files, and a list of them that the next run reads again."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checks import is_number, is_text, is_whole
from ..errors import StorageError
from .documents import read_json
from .files import locked, readable_file_errors, write_file

LIST = "best.json"
SCHEMA = 1
REMEDY = "choose another folder, or move the file"


@dataclass(frozen=True)
class Candidate:
    """An image that may be one of the best.

    Attributes:
        score: higher is better.
        key: equal for equal images; an image that is in the list is not added again.
        facts: JSON values that are listed with it.
        save: writes the image file into a folder and returns its path; called only for one of the best.
    """

    score: float
    key: str
    facts: Mapping[str, Any]
    save: Callable[[Path], Path]


@dataclass(frozen=True)
class Best:
    """One of the best images.

    Attributes:
        path: its file.
        score, key, facts: as in ``Candidate``.
    """

    path: Path
    score: float
    key: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, the file by its name."""
        return {"file": self.path.name, "score": self.score, "key": self.key, "facts": dict(self.facts)}


def keep_best(folder: Path, candidates: Iterable[Candidate], count: int) -> tuple[list[Best], int]:
    """Add images to the best ones in a folder, and remove those that are not among the best any more.

    The file of an image is written before the list, and a file is removed after that: whatever interrupts it, the
    list names files that are there. An image whose file somebody removed leaves the list. A smaller ``count`` than
    before shortens the list, and then no file is removed.

    Args:
        folder: made where there is none. One process at a time changes it.
        candidates: new images; equal scores in the order in which they came.
        count: maximum number of images in the list, from 1.

    Returns:
        the best images, best first, and the number of images that were added since the folder was made.

    Raises:
        StorageError: the folder cannot be read or written, or holds another list; it is as it was.
    """
    path = folder / LIST
    with readable_file_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(path):
            return _kept(path, list(candidates), count)


def best_in(folder: Path) -> tuple[list[Best], int]:
    """Return what ``keep_best`` has returned last for this folder, without files that were removed since.

    Raises:
        StorageError: the list cannot be read.
    """
    path = folder / LIST
    if not path.exists():
        return [], 0
    content = read_json(path, remedy=REMEDY, error=StorageError)
    if content.get("schema") != SCHEMA or not is_whole(content.get("seen"), 0):
        raise StorageError(f"{path}: is not a list of best images of this version; {REMEDY}")
    entries = content.get("images")
    if not isinstance(entries, list):
        raise StorageError(f"{path}: has no images; {REMEDY}")
    return [best for best in (_read(path, entry) for entry in entries) if best.path.is_file()], content["seen"]


def _read(path: Path, entry: Any) -> Best:
    if not isinstance(entry, dict):
        raise StorageError(f"{path}: an entry is not an object; {REMEDY}")
    values: list[Any] = [entry.get(name) for name in ("file", "score", "key", "facts")]
    file, score, key, facts = values
    named = is_text(file) and Path(file).name == file and "\\" not in file
    if not named or not is_number(score) or not is_text(key) or not isinstance(facts, dict):
        raise StorageError(f"{path}: an entry has no file name, score, key or facts; {REMEDY}")
    return Best(path.with_name(file), float(score), key, facts)


def _kept(path: Path, candidates: list[Candidate], count: int) -> tuple[list[Best], int]:
    before, seen = best_in(path.parent)
    known = {best.key for best in before}
    new: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.key not in known:
            new.setdefault(candidate.key, candidate)
    ranked: list[Best | Candidate] = [*before, *new.values()]
    ranked = sorted(ranked, key=lambda one: -one.score)[:count]
    seen += len(new)
    after: list[Best] = []
    written: list[Path] = []
    try:
        for one in ranked:
            if isinstance(one, Candidate):
                written.append(one.save(path.parent))
                one = Best(written[-1], one.score, one.key, one.facts)
            after.append(one)
        content = {"schema": SCHEMA, "seen": seen, "images": [best.to_dict() for best in after]}
        write_file(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    except BaseException:
        _remove(written)
        raise
    if len(before) <= count:
        _remove([best.path for best in before if best not in after])
    return after, seen


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
