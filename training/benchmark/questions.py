"""Readers of closed questions and of descriptions: Q-Bench (A1, A2), and JSON lists of questions with options."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from depictqa_core.errors import TaskError
from depictqa_core.storage.documents import describe, parse_json, read_json, read_text
from depictqa_core.verbs.check import check_answers

from ..dataset.readers import ReaderError
from ..dataset.readers.base import Pictures
from .items import Choice, Described

MOST_BYTES = 2**28
FIELDS = {
    "question": ("question", "query"),
    "options": ("options", "candidates", "choices"),
    "answer": ("answer", "correct_ans", "correct_answer", "label"),
    "category": ("category", "type", "question_type", "distortion", "task"),
    "reference": ("reference", "image_ref"),
    "key": ("id", "question_id"),
}
"""Our names of the fields of a question, and theirs, the first that is there."""
IMAGES = (("images",), ("image",), ("img_path",), ("image_path",), ("image_A", "image_B"))
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Read:
    """What was read: items, names of images that are not there, and why other rows were left out."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.missing: list[str] = []
        self.left_out: Counter[str] = Counter()

    @property
    def notes(self) -> list[str]:
        """One line for each reason."""
        return [f"{count} left out: {reason}" for reason, count in self.left_out.items()]


def read_choices(folder: Path, files: Iterable[str], within: Iterable[str]) -> Read:
    """Read closed questions.

    Args:
        folder: of the set.
        files: names of JSON lists or JSON lines of questions; the first that is there is read.
        within: folders in which images are searched, besides the paths as they are written.

    Raises:
        ReaderError: none of the files is there, or it is not a list of questions.
    """
    file = next((folder / name for name in files if (folder / name).is_file()), None)
    if file is None:
        raise ReaderError(f"{folder} has no {' or '.join(files)}")
    found, finder, seen = Read(), _Images(folder, within), Counter[str]()
    for place, row in enumerate(_rows(file)):
        if not isinstance(row, dict):
            raise ReaderError(f"{file}: entry {place} is not an object but {describe(row)}; download the file again")
        try:
            item = _choice(row, place, finder, found.missing)
        except _LeftOut as reason:
            found.left_out[str(reason)] += 1
            continue
        seen[item.key] += 1
        if seen[item.key] > 1:
            raise ReaderError(f"{file}: two questions have the id {item.key}; answers are matched by id")
        found.items.append(item)
    return found


class _LeftOut(Exception):
    """Why a question is left out."""


class _Images:
    """Finds the images of questions: by their path in the set's folder, else by name in the folders for images."""

    def __init__(self, folder: Path, within: Iterable[str]):
        self._folder, self._within = folder, [name for name in within if (folder / name).is_dir()]
        self._by_name: Pictures | None = None

    def find(self, name: Any, missing: list[str]) -> str:
        if not isinstance(name, str) or not name.strip():
            raise _LeftOut("no image")
        path = Path(name)
        if path.is_absolute() or ".." in path.parts:
            raise _LeftOut("an image path that leads out of the folder")
        for base in (self._folder, *(self._folder / one for one in self._within)):
            if (base / path).is_file():
                return (base / path).relative_to(self._folder).as_posix()
        if self._within:
            self._by_name = self._by_name or Pictures(self._folder, [], *self._within)
            if found := self._by_name.get(path.name):
                return found
        missing.append(name)
        raise _LeftOut("an image that is not there")


def _rows(file: Path) -> list:
    if file.suffix == ".jsonl":
        text = read_text(file, limit=MOST_BYTES, remedy="download it again", error=ReaderError)
        lines = enumerate(text.split("\n"), 1)
        return [parse_json(line, f"{file}, line {n}", None, error=ReaderError) for n, line in lines if line.strip()]
    return read_json(file, list, limit=MOST_BYTES, remedy="download it again", error=ReaderError)


def _value(row: dict, name: str) -> Any:
    return next((row[key] for key in FIELDS[name] if row.get(key) not in (None, "")), None)


def _choice(row: dict, place: int, finder: _Images, missing: list[str]) -> Choice:
    fields = next((names for names in IMAGES if row.get(names[0])), None)
    if fields is None:
        raise _LeftOut("no image")
    named = [row[name] for name in fields if row.get(name)]
    if len(named) == 1 and isinstance(named[0], list):
        named = named[0]
    if not 1 <= len(named) <= 2:
        raise _LeftOut("more than two images")
    question, listed = _value(row, "question"), _value(row, "options")
    letters = list(LETTERS[: len(listed)]) if isinstance(listed, list) else []
    if isinstance(listed, dict):
        letters, listed = [str(key) for key in listed], list(listed.values())
    if not isinstance(question, str) or not isinstance(listed, list):
        raise _LeftOut("no question, or no list of options")
    try:
        options = check_answers([_bare(option, letter) for option, letter in zip(listed, letters)])
    except TaskError:
        raise _LeftOut("options that are empty, equal, or fewer than two") from None
    answer, category, reference = (_value(row, name) for name in ("answer", "category", "reference"))
    return Choice(
        tuple(finder.find(name, missing) for name in named),
        finder.find(reference, missing) if reference else None,
        " ".join(question.split()),
        options,
        None if answer is None else _answer(answer, options, letters),
        None if category is None else str(category) if isinstance(category, str) else f"type {category}",
        str(_value(row, "key") if _value(row, "key") is not None else place),
    )


def _bare(option: Any, letter: str) -> Any:
    """An option without the letter in front of it that some files write."""
    return re.sub(rf"^\s*\(?{letter}[.):]\s+", "", option) if isinstance(option, str) else option


def _answer(answer: Any, options: tuple[str, ...], letters: list[str]) -> str:
    """The true option: files name it by its text, its letter, or its number from 0."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return options[answer]
    text = answer.strip() if isinstance(answer, str) else ""
    for option, letter in zip(options, letters):
        if text.lower() == option.lower() or _bare(text, letter).lower() == option.lower():
            return option
    if text.rstrip(".)").lstrip("(") in letters:
        return options[letters.index(text.rstrip(".)").lstrip("("))]
    raise _LeftOut("an answer that is none of the options")


def read_descriptions(folder: Path, within: Iterable[str], files: Iterable[str]) -> Read:
    """Read images to describe, with true descriptions where a file of them is there.

    Args:
        folder: of the set.
        within: folders for images; the first that is there has them.
        files: names of a JSON object (image -> description) or list (objects with img_path and description).

    Raises:
        ReaderError: there is no folder for images, or the file has another form.
    """
    finder, found = Pictures(folder, [], *within), Read()
    truth: dict[str, str] = {}
    file = next((folder / name for name in files if (folder / name).is_file()), None)
    if file is not None:
        try:
            content = read_json(file, None, limit=MOST_BYTES, remedy="download it again", error=ReaderError)
            if isinstance(content, list):
                content = {row["img_path"]: row["description"] for row in content}
            truth = {Path(name).name.lower(): str(text) for name, text in content.items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ReaderError(
                f"{file} is neither an object of images and descriptions nor a list of objects with img_path and"
                " description"
            ) from error
    for path in finder.paths:
        text = truth.get(Path(path).name.lower())
        if truth and text is None:
            found.left_out["no description of the image"] += 1
        else:
            found.items.append(Described(path, text))
    return found
