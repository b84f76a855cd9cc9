"""Counts what the records of a data root ask, answer and show."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from depictqa_core import tasks
from depictqa_core.errors import DocumentError
from depictqa_core.storage.documents import parse_json

from ..dataset.records.record_models import DESCRIPTION, record_problem, training_problem
from ..trainer.record_files import picture_paths, read_records

SENTENCE, DETAILED = "(sentence)", "(detailed)"
"""Labels of answers in a sentence, and in several: detailed ones have 24 words and more (method.md 3.3)."""


@dataclass(frozen=True)
class Entry:
    """One question and answer of a record.

    Attributes:
        file: stem of the file that has it.
        record: the record.
        task: name of its task, with " (no reference)" where there is none.
        label: the answer of a brief question, else ``SENTENCE`` or ``DETAILED``.
    """

    file: str
    record: dict
    task: str
    label: str

    @property
    def images(self) -> dict[str, str]:
        """Path of the image in each role of its prompt."""
        return picture_paths(self.record, self.record["task_type"])


@dataclass
class Counts:
    """How often everything occurs; of ``images`` and ``sources`` the names are kept."""

    files: Counter = field(default_factory=Counter)
    tasks: Counter = field(default_factory=Counter)
    labels: dict[str, Counter] = field(default_factory=dict)
    severities: Counter = field(default_factory=Counter)
    distortions: Counter = field(default_factory=Counter)
    images: set[str] = field(default_factory=set)
    sources: Counter = field(default_factory=Counter)


def entries(root: Path, pattern: str = "*.json") -> Iterator[Entry]:
    """The questions of the record files of a data root, in its folder ``records`` or, where that has none, anywhere.

    Raises:
        DocumentError: there are no record files, or a record is none.
    """
    if not root.is_dir():
        raise DocumentError(f"there is no data root {root}; check the path")
    files = sorted((root / "records").glob(pattern)) or sorted(root.glob(f"*/**/metas/{pattern}"))
    if not files:
        raise DocumentError(f"{root} has no record files ({pattern}): build them first, or name others with --records")
    for file in files:
        for index, record in enumerate(read_records(file)):
            test = isinstance(record, dict) and "query" in record
            if problem := record_problem(record, "test") if test else training_problem(record):
                raise DocumentError(f"{file}, record {index}: {problem}")
            yield _entry(file.stem, record, test)


def _entry(file: str, record: dict, test: bool) -> Entry:
    if test:
        question, answer = record["query"], str(record.get("answer", ""))
    else:
        question, answer = (turn["value"] for turn in record["conversations"][:2])
    if record.get("task_type") == DESCRIPTION:
        return Entry(file, record, DESCRIPTION, DETAILED)
    if "task_type" not in record:  # test files of others leave it out: it follows from the images
        present = {name for name in ("image_ref", "image_A", "image_B") if record.get(name)}
        fitting = (name for name, one in tasks.SETTINGS.items() if set(one.fields) == present)
        record = {**record, "task_type": next(fitting, "quality_single_A_noref")}
    known = tasks.setting(record["task_type"])
    task = tasks.task_of(question, known.pair)
    words = len(answer.split())
    label = answer.strip() if task.brief or words <= 2 else SENTENCE if words < 22 else DETAILED
    return Entry(file, record, task.name + ("" if known.reference else " (no reference)"), label)


def count(found: Iterable[Entry], root: Path) -> Counts:
    """Count questions by file, task, label, severity and distortion, and source images of the build."""
    counts = Counts()
    for entry in found:
        counts.files[entry.file] += 1
        counts.tasks[entry.task] += 1
        counts.labels.setdefault(entry.task, Counter())[entry.label] += 1
        counts.images.update(entry.images.values())
        for name, severity in truth(entry.record):
            counts.distortions[name] += 1
            counts.severities[severity] += 1
    counts.sources = Counter(str(line.get("source")) for line in built(root))
    return counts


def truth(record: dict) -> Iterator[tuple[str, int]]:
    """(name of a distortion, severity) of the images of a record; pristine ones are ("none", 0)."""
    for side in (record, record.get("distortions_A"), record.get("distortions_B")):
        if not isinstance(side, dict):
            continue
        if isinstance(side.get("severities"), list):
            yield from zip(side.get("distortion_names") or side.get("distortion_classes") or (), side["severities"])
        elif "severity" in side or "severities" in side:
            name = side.get("distortion_name") or side.get("distortion_class")
            yield str(name or "none"), int(side.get("severity") or 0)


def built(root: Path) -> Iterator[dict]:
    """The scenes or samples that ``python -m training build`` has written into a data root."""
    for file in sorted([*root.glob("scenes-*.jsonl"), *(root / "samples").glob("*.jsonl")]):
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield parse_json(line, f"{file.name}, line {number}", remedy="delete the file and build again")


def lines(counts: Counts, most: int = 12) -> list[str]:
    """The counts as text.

    Args:
        most: maximum number of values of a row.
    """
    out = [f"{sum(counts.files.values()):,} records in {len(counts.files)} files, {len(counts.images):,} images"]
    out.append(_row("files", counts.files, most))
    for task, total in counts.tasks.most_common():
        out.append(_row(f"{task} {total:,}", counts.labels[task], most))
    out.append(_row("distortions", counts.distortions, most))
    out.append(_row("severities", dict(sorted(counts.severities.items())), most))
    if counts.sources:
        out.append(_row(f"source images {len(counts.sources):,}", counts.sources, 5))
    return [line for line in out if line]


def _row(title: str, found: dict, most: int) -> str:
    if not found:
        return ""
    total = sum(found.values())
    ordered = found.items() if not isinstance(found, Counter) else found.most_common()
    parts = [f"{name} {n:,} ({n / total:.0%})" for name, n in list(ordered)[:most]]
    more = f", and {len(found) - most} more" if len(found) > most else ""
    return f"  {title}: {', '.join(parts)}{more}"
