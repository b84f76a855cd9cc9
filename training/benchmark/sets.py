"""The benchmark sets as a table, and what each becomes: workloads that every judge is asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from depictqa_core import tasks

from ..dataset.readers import READERS, Preferred, Rated, RatingData, Reader, ReaderError, read_set
from ..dataset.readers.base import ON_ITS_PAGE
from ..dataset.readers.published_records import LAYOUT, Published, read_published
from ..dataset.records.format import record_rng
from ..dataset.records.ratings import draw_pairs, in_split
from ..evaluation.sets import DETAILED, TestSet, task_type_of
from .items import DESCRIPTIONS, PAIRS, QUESTIONS, RECORDS, SCORES, Item, Workload
from .questions import Read, read_choices, read_descriptions

CC_NC = "CC BY-NC-SA 4.0"
QUESTION_LAYOUT = "questions.json or questions.jsonl (docs/benchmarks.md), images/"
EVERYTHING = "all"


@dataclass(frozen=True)
class Options:
    """What of a set is asked.

    Attributes:
        split: one of its splits, or "all"; None takes "test" where the set has it, else all.
        reference: whether references are shown.
        pairs: how many pairs of rated images are also compared; the same ones for every judge.
        limit: maximum number of items, drawn evenly; None for all.
        seed: of both draws.
    """

    split: str | None = None
    reference: bool = True
    pairs: int = 0
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class BenchmarkSet:
    """One set that is no rating set: see ``readers.Reader`` for the attributes that both have.

    Attributes:
        workloads: (its folder, options) -> what is asked.
    """

    name: str
    title: str
    layout: str
    address: str
    licence: str
    workloads: "Callable[[BenchmarkSet, Path, Options], list[Workload]]"

    @property
    def origin(self) -> str:
        """Layout, download page and terms in one line, for messages."""
        where = f"; download: {self.address} (terms: {self.licence})" if self.address else ""
        return f"{self.title} is read from {self.layout}{where}"


SPLIT_SETS = ("qbench-a1",)
"""Sets besides the rating sets that have splits."""
PAIRS_COUNT = ("sriqa",)
"""Rating sets whose opinions are on a scale of their own for each reference: judges are compared by pairs of images."""


def known() -> dict[str, str]:
    """Every set by name, with its layout, download page and terms."""
    entries: dict[str, Reader | BenchmarkSet] = {**READERS, **SETS}
    return {name: entry.origin for name, entry in entries.items()}


def open_set(name: str, root: str | Path, options: Options) -> list[Workload]:
    """Read a set and make its workloads.

    Raises:
        ReaderError: unknown set, or a folder that is not in its layout; the message has the layout, the page from which
            it is downloaded, and its terms.
    """
    folder = Path(root)
    if name in READERS:
        return _rated(name, read_set(name, folder), folder, options)
    if name not in SETS:
        raise ReaderError(f"unknown set '{name}': choose one of {', '.join(known())}")
    entry = SETS[name]
    if not folder.is_dir():
        raise ReaderError(f"{folder}: no such folder; {entry.origin}")
    try:
        found = entry.workloads(entry, folder, options)
    except ReaderError as error:
        raise ReaderError(f"{error}; {entry.origin}") from error
    if not any(work.items or work.records for work in found):
        raise ReaderError(f"{folder}: nothing of {entry.title} can be asked; {entry.origin}")
    return found


def _rated(name: str, data: RatingData, folder: Path, options: Options) -> list[Workload]:
    """Scores of rated images and, where asked for, pairs of them; or the pairs of a set of preferences."""
    title, split = READERS[name].title, options.split
    if split is None and any(item.split == "test" for item in data.found):
        split = "test"
    chosen = in_split(data.found, None if split == EVERYTHING else split)
    covers = split or EVERYTHING
    preferred = [item for item in chosen if isinstance(item, Preferred)]
    rated = [item for item in chosen if isinstance(item, Rated)]
    notes: list[str] = []
    references = [item.reference for item in preferred] + [item.reference for item in rated]
    if shown := options.reference and any(references):
        others = [item for item in rated if item.image != item.reference]
        if len(others) < len(rated):  # what is its own reference has no difference to measure
            notes.append(f"{len(rated) - len(others)} left out: an original that would be compared with itself")
            rated = others
    how = "with reference" if shown else "no reference"

    def workload(kind: str, part: str, headline: str, items: Sequence[Item], drawn: bool = False) -> Workload:
        some, part = _limited(items, part, options, drawn)
        return Workload(name, title, kind, folder, part, headline, some, shown, None, data.missing, notes)

    if preferred:
        return [workload(PAIRS, f"{covers}, pairs, {how}", "accuracy", preferred)]
    headline = "pair_accuracy" if name in PAIRS_COUNT else "srcc"
    works = [workload(SCORES, f"{covers}, {how}", headline, rated)]
    if options.pairs:
        rng = record_rng(options.seed, f"benchmark {name}", 0)
        drawn = draw_pairs(rated, options.pairs, READERS[name].margin, rng)
        pairs = [Preferred(one.a, one.b, one.reference, float(one.a_better)) for one in drawn]
        works.append(workload(PAIRS, f"{covers}, {len(pairs)} pairs, {how}", "accuracy", pairs, drawn=True))
    return works


def _limited(items: Sequence, part: str, options: Options, drawn: bool = False) -> tuple[list, str]:
    """Draw up to the limit of items evenly; they stay in the order of the set.

    Args:
        part: the name of what is asked.
        drawn: whether the items are already drawn by the seed.

    Returns:
        the items; and the name with the limit and, where the items depend on it, a seed other than 0.
    """
    some = list(items)
    if options.limit is not None and options.limit < len(items):
        rng = record_rng(options.seed, "benchmark limit", len(items))
        some = [items[index] for index in sorted(rng.choice(len(items), options.limit, replace=False).tolist())]
        part, drawn = f"{part}, {options.limit} of {len(items)}", True
    return some, f"{part}, seed {options.seed}" if drawn and options.seed else part


def _asked(entry: BenchmarkSet, folder: Path, options: Options, kind: str, covers: str, headline: str, read: Read):
    items, part = _limited(read.items, covers, options)
    work = Workload(entry.name, entry.title, kind, folder, part, headline, items)
    return [replace(work, missing=read.missing, notes=read.notes)]


def _qbench_a1(entry: BenchmarkSet, folder: Path, options: Options) -> list[Workload]:
    split = options.split or "dev"
    if split not in ("dev", "test"):
        raise ReaderError(f"unknown split '{split}': choose dev or test (its answers are secret)")
    files = (f"llvisionqa_{split}.json", f"llvisionqa_qbench_{split}.json")
    read = read_choices(folder, files, ("images", "images_llvisionqa", "llvisionqa_qbench_dev", "."))
    return _asked(entry, folder, options, QUESTIONS, split, "accuracy", read)


def _qbench_a2(entry: BenchmarkSet, folder: Path, options: Options) -> list[Workload]:
    read = read_descriptions(folder, ("images", "images_lldescribe"), ("descriptions.json",))
    return _asked(entry, folder, options, DESCRIPTIONS, EVERYTHING, "sum", read)


def _questions(entry: BenchmarkSet, folder: Path, options: Options) -> list[Workload]:
    read = read_choices(folder, ("questions.json", "questions.jsonl"), ("images", "."))
    return _asked(entry, folder, options, QUESTIONS, EVERYTHING, "accuracy", read)


def _dq495k(entry: BenchmarkSet, folder: Path, options: Options) -> list[Workload]:
    """One workload for each published test file; the eight tasks are four with a reference and four without."""
    works = []
    for part in read_published(folder, "**/*.json", "test"):
        if not part.records:
            continue
        records, covers = _limited(part.records, "", options)
        test_set = published_set(part, records, folder)
        task = tasks.task_of(records[0]["query"], tasks.setting(test_set.task_types[0]).pair)
        reference = "with reference" if tasks.setting(test_set.task_types[0]).reference else "no reference"
        headline = "judged" if task in DETAILED else "accuracy"
        notes = [f"{count} left out: {why}" for why, count in part.left_out.items()]
        name = f"{TASK_NAMES[task.name]}, {reference}: {part.file.removesuffix('.json')}{covers}"
        work = Workload(entry.name, entry.title, RECORDS, folder, name, headline, records=test_set)
        works.append(replace(work, missing=part.missing, notes=notes))
    return works


TASK_NAMES = {
    **{name: name for name in tasks.TASKS},
    "identification": "distortion identification",
    "assessment": "assessment reasoning",
    "rating": "instant rating",
    "comparison": "comparison reasoning",
}
"""The paper's names of the tasks."""


def published_set(part: Published, records: list[dict], folder: Path) -> TestSet:
    """A published test file as a test set; records without a task type have that of their images."""
    types = [record.get("task_type") or task_type_of(record, part.file) for record in records]
    return TestSet(part.file.removesuffix(".json").replace("/", "_"), folder, records, types)


SETS = {
    entry.name: entry
    for entry in (
        BenchmarkSet(
            "dq495k",
            "DQ-495K",
            LAYOUT.replace("*.json", "test*.json"),
            "https://huggingface.co/datasets/zhiyuanyou/DataDepictQA",
            "Apache-2.0 for the records; images have the terms of their sets",
            _dq495k,
        ),
        BenchmarkSet(
            "qbench-a1",
            "Q-Bench A1 (perception)",
            "llvisionqa_dev.json or llvisionqa_test.json, images/",
            "https://huggingface.co/datasets/teowu/LLVisionQA-QBench",
            CC_NC,
            _qbench_a1,
        ),
        BenchmarkSet(
            "qbench-a2",
            "Q-Bench A2 (description)",
            "images/ or images_lldescribe/; to score, also descriptions.json",
            "https://huggingface.co/datasets/teowu/LLDescribe-QBench",
            CC_NC,
            _qbench_a2,
        ),
        BenchmarkSet(
            "distortbench",
            "DistortBench",
            QUESTION_LAYOUT,
            "https://arxiv.org/abs/2604.19966",
            ON_ITS_PAGE,
            _questions,
        ),
        BenchmarkSet(
            "pandabench",
            "PandaBench",
            QUESTION_LAYOUT,
            "https://aismartperception.github.io/distortion-graph",
            ON_ITS_PAGE,
            _questions,
        ),
        BenchmarkSet("questions", "A set of closed questions", QUESTION_LAYOUT, "", "your own", _questions),
    )
}
"""All sets but the rating sets, which are ``readers.READERS``."""
