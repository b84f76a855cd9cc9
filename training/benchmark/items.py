"""What benchmarks ask: workloads of scores, pairs, closed questions, descriptions and published records."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..dataset.readers import Preferred, Rated
from ..evaluation.sets import TestSet, seal

SCORES, PAIRS, QUESTIONS, DESCRIPTIONS, RECORDS = "scores", "pairs", "questions", "descriptions", "records"


@dataclass(frozen=True)
class Choice:
    """One closed question.

    Attributes:
        images: one path, or two (Image A and Image B), relative to the set's folder.
        reference: path of a pristine image, or None.
        question: its words.
        options: the answers to choose from.
        answer: the true one, or None where the set keeps it secret.
        category: by which accuracies are reported, such as the kind of distortion; None for none.
        key: the name of the question in its set.
    """

    images: tuple[str, ...]
    reference: str | None
    question: str
    options: tuple[str, ...]
    answer: str | None
    category: str | None
    key: str


@dataclass(frozen=True)
class Described:
    """One image that is described; ``text`` is the true description, or None where the set keeps it secret."""

    image: str
    text: str | None


Item = Rated | Preferred | Choice | Described
Kind = TypeVar("Kind", Rated, Preferred, Choice, Described)


def only(items: Sequence[Item], kind: type[Kind]) -> list[Kind]:
    """Return the items of a type; all items of a workload have one."""
    return [item for item in items if isinstance(item, kind)]


@dataclass(frozen=True)
class Workload:
    """What is asked of every judge about one set.

    Attributes:
        name: of the set, as on the command line.
        title: of the set, for tables.
        kind: one of scores, pairs, questions, descriptions, records.
        root: folder that image paths are relative to.
        part: what it covers and how, such as "test, no reference": a folder and a row of the table for each.
        headline: the value by which the overview compares judges.
        items: for all kinds but records.
        reference: whether the references of rated images and pairs are shown.
        records: the test set, for records.
        missing: names of images that are not there; they are left out.
        notes: what else was left out, and why.
    """

    name: str
    title: str
    kind: str
    root: Path
    part: str
    headline: str
    items: Sequence[Item] = ()
    reference: bool = True
    records: TestSet | None = None
    missing: Sequence[str] = ()
    notes: Sequence[str] = field(default=())

    @property
    def folder(self) -> str:
        """The folder of its results, below the output."""
        return "".join(letter if letter.isalnum() else "_" for letter in f"{self.name} {self.part}")

    @property
    def label(self) -> str:
        """What tables call it."""
        return f"{self.title} ({self.part})"

    def images_of(self, item: Item) -> tuple[str, ...]:
        """All images that a judge is shown for an item, the reference last."""
        if isinstance(item, Rated):
            found: tuple[str | None, ...] = (item.image, item.reference if self.reference else None)
        elif isinstance(item, Preferred):
            found = (item.a, item.b, item.reference if self.reference else None)
        elif isinstance(item, Choice):
            found = (*item.images, item.reference)
        else:
            found = (item.image,)
        return tuple(path for path in found if path)

    def identity(self, item: Item) -> str:
        """The id of an item's answer: it has size and time of the images, so changed ones are asked about again."""
        parts = [f"{path}@{':'.join(map(str, seal(self.root, path)))}" for path in self.images_of(item)]
        return "|".join([item.key, *parts] if isinstance(item, Choice) else parts)


def group_of(item: Item) -> str:
    """What items are resampled by: those of one reference, else of one image, depend on one another."""
    if isinstance(item, Rated | Preferred):
        return item.reference or (item.image if isinstance(item, Rated) else item.a)
    return item.images[0] if isinstance(item, Choice) else item.image
