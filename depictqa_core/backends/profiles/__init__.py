"""Profiles: how the questions of the verbs are worded for a family of vision-language models.

A profile is JSON, so that users can write their own without another package (YAML would need one). It holds only what
differs from ``generic.json``. ``load_judge`` chooses a profile by architecture and folder name, and takes the file
``depictqa_profile.json`` of a model folder before all others.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import CheckpointError
from ...storage.documents import read_json
from ...storage.rules import OBJECT, Rule, list_of, problem, string, whole

FOLDER = Path(__file__).parent
OWN = "depictqa_profile.json"
"""Name of a user's profile inside a model folder."""
_TEXT = string(4000)
_RULES = {
    "name": string(100),
    "source": _TEXT,
    "tested": _TEXT,
    "accuracy": _TEXT,
    "match": {"model_types": list_of(string(100), 0, 100), "names": list_of(string(100), 0, 100)},
    "system": _TEXT,
    "titles": OBJECT,
    "reference_note": _TEXT,
    "images_first": Rule("true or false", lambda value: isinstance(value, bool)),
    "max_pixels": whole(1024, 2**28),
    "rotations": whole(1, 13),
    "levels": list_of(string(40), 5, 5, unique=True),
    "questions": OBJECT,
}
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Profile:
    """How questions are worded, and how images are shown.

    Attributes:
        name, source, tested, accuracy: what it is called, where the wording is from, what was tested here.
        titles: what stands before an image, by its role ("single" without a reference, "evaluated" with one).
        reference_note: what is said of a reference.
        images_first: whether images stand before the question, as most models learn it, or behind it.
        max_pixels: larger images are shrunk to this area before the processor of the model sees them.
        rotations: number of rotations of a list of options, over which probabilities are averaged.
        levels: five rating words, best first.
        questions: by kind of question its ``text``, and the ``stem`` with which the answer begins.
        system: the system text, empty for none.
    """

    name: str
    source: str
    tested: str
    accuracy: str
    titles: Mapping[str, str]
    reference_note: str
    max_pixels: int
    rotations: int
    levels: Sequence[str]
    questions: Mapping[str, Mapping[str, str]]
    system: str = ""
    images_first: bool = True

    def ordered(self, images: list[dict], question: list[dict]) -> list[dict]:
        """Bring the parts of a message into order."""
        return [*images, *question] if self.images_first else [*question, *images]

    def question(self, kind: str, **values: str) -> tuple[str, str]:
        """Word a kind of question: its text and stem, with the placeholders ``{name}`` filled in."""
        wording = self.questions[kind]

        def fill(text: str) -> str:
            return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)  # never twice: values are text

        return fill(wording["text"]), fill(wording.get("stem", ""))


def choose_profile(folder: Path | None, model_type: str | None, name: str | None = None) -> Profile:
    """Choose the profile of a model.

    Args:
        folder: the folder of the model, or of a user's settings for one; None for no folder.
        model_type: its architecture; None where it is not known, then the name decides alone.
        name: of the model; None is that of the folder.

    Raises:
        CheckpointError: the folder's own profile is damaged.
    """
    generic = _read(FOLDER / "generic.json")
    if folder is not None and (folder / OWN).is_file():
        return _merged(generic, _read(folder / OWN, f"model '{folder.name}': {OWN}"))
    name = (name or (folder.name if folder else "")).lower()
    for path in sorted(FOLDER.glob("*.json")):
        special = _read(path)
        match = special.get("match", {})
        fits = model_type is None or model_type in match.get("model_types", ())
        if fits and any(part in name for part in match.get("names", ())):
            return _merged(generic, special)
    return _merged(generic, {})


def _read(path: Path, where: str = "") -> dict:
    where = where or f"profile {path.name}"
    content = read_json(path, where=where, error=CheckpointError)
    wrong = problem(content, _RULES)
    for kind, wording in content.get("questions", {}).items():
        if not isinstance(wording, dict) or not isinstance(wording.get("text"), str):
            wrong = wrong or f"questions.{kind} needs a text"
    if unknown := sorted(content.keys() - _RULES.keys()):
        wrong = wrong or f"unknown entry {unknown[0]!r}; known are {', '.join(_RULES)}"
    if wrong:
        raise CheckpointError(f"{where}: {wrong}; see depictqa_core/backends/profiles/generic.json")
    return content


def _merged(generic: dict, special: dict) -> Profile:
    values = {**generic, **special}
    values["questions"] = {**generic["questions"], **special.get("questions", {})}
    values["titles"] = {**generic["titles"], **special.get("titles", {})}
    values.pop("match", None)
    return Profile(**values)
