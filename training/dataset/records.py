"""Turns scenes into record files in the published JSON format, for training or for tests (facts 3.4, 6.2, 6.3)."""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path

import numpy as np

from depictqa_core import tasks
from training.distortions import ANSWER

from . import descriptions, questions
from .pairs import CrossPairs, Decided, Shown, decided
from .scenes import read_scenes

FORMS = ("train", "test")

SUBTLE = ("brighten", "darken", "contrast_strengthen", "contrast_weaken", "saturate_strengthen", "saturate_weaken")
"""Categories whose severity 1 can hardly be told from another picture's natural look when there is no reference."""

PUBLISHED_EXCLUDE = (*SUBTLE, "quantization", "oversharpen")
"""What the published filter drops, always (``exclude_probability=1``)."""


@dataclass(frozen=True)
class Mix:
    """How records are drawn from scenes.

    Attributes:
        number_word: share of identification questions for training that say ONE or TWO.
        short_tail, rating_tail: share of identification and rating questions for training that have the short tail.
        exclude: categories whose severity 1 is dropped without a reference, except from ratings and scores ...
        exclude_probability: ... this often.
        pristine_as_double: share of pristine pictures that count as doubles (the question may then say TWO).
        rating_pairs, comparison_pairs: most pairs of one scene in each part.
        pool: variants kept in memory as partners for pairs of different pictures.
    """

    number_word: float = 0.5
    short_tail: float = 0.75
    rating_tail: float = 0.8
    exclude: tuple[str, ...] = SUBTLE
    exclude_probability: float = 0.5
    pristine_as_double: float = 0.25
    rating_pairs: int = 8
    comparison_pairs: int = 3
    pool: int = 20_000

    def __post_init__(self):
        for name in ("number_word", "short_tail", "rating_tail", "exclude_probability", "pristine_as_double"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1, got {getattr(self, name)}")
        if unknown := set(self.exclude) - set(ANSWER):
            raise ValueError(f"unknown category '{min(unknown)}' in exclude: choose from {', '.join(ANSWER)}")
        if min(self.rating_pairs, self.comparison_pairs, self.pool) < 1:
            raise ValueError("rating_pairs, comparison_pairs and pool must be at least 1")


@dataclass(frozen=True)
class Part:
    """What the records of one part have in common: name (which begins their ids), setting, form and mix."""

    name: str
    reference: bool
    form: str
    mix: Mix

    @property
    def test(self) -> bool:
        return self.form == "test"


def write_records(
    root: str | Path,
    out_dir: str | Path | None = None,
    seed: int = 0,
    mix: Mix | None = None,
    form: str = "train",
    parts: Iterable[str] | None = None,
) -> dict[str, int]:
    """Write the record files of a data root; the same scenes and arguments give the same bytes.

    Training form: ``<part>.json`` with ``conversations``. Test form: ``<part>_single.json`` and ``<part>_double.json``
    (pairs: double if either picture has two distortions) with ``query`` and ``answer``; brief questions always have the
    short-answer tail, identification says ONE for singles and TWO for doubles.

    Args:
        root: folder with scenes-*.jsonl; picture paths in the records stay relative to it.
        out_dir: where the files go, by default ``<root>/records``.
        parts: names from ``PARTS`` to write, by default all. Leaving some out does not change the others.

    Returns:
        File name -> number of records.

    Raises:
        ValueError: unknown form or part.
        SceneError: no scenes, or damaged ones.
    """
    mix = mix or Mix()
    chosen = tuple(PARTS if parts is None else parts)
    if form not in FORMS:
        raise ValueError(f"unknown form '{form}': choose one of {', '.join(FORMS)}")
    if unknown := [name for name in chosen if name not in PARTS]:
        raise ValueError(f"unknown part '{unknown[0]}': choose from {', '.join(PARTS)}")
    out = Path(out_dir) if out_dir else Path(root) / "records"
    suffixes = {False: "_single", True: "_double"} if form == "test" else {None: ""}
    made = {name: Part(name, name.endswith("_fr"), form, mix) for name in chosen}
    cross, numbers = CrossPairs(mix.pool), count()
    with ExitStack() as stack:
        files = {
            (name, double): stack.enter_context(ListFile(out / f"{name}{suffix}.json"))
            for name, (double, suffix) in product(chosen, suffixes.items())
        }

        def write(name: str, found: Iterable[tuple[bool, dict]]) -> None:
            for double, record in found:
                files[name, double if form == "test" else None].append(record)

        for scene in read_scenes(root):
            shown = [
                Shown(scene["scene"], scene["source"], scene["reference"], variant) for variant in scene["variants"]
            ]
            for name, part in made.items():
                if name == CROSS:
                    wanted = len(decided(shown, mix.rating_pairs, record_rng(seed, "rating", scene["scene"])))
                    rng = record_rng(seed, CROSS, scene["scene"])
                    write(name, rated(part, cross.of(shown, wanted, rng), rng, numbers))
                else:
                    maker, key = MAKERS[name]
                    write(name, maker(part, shown, record_rng(seed, key, scene["scene"])))
        if CROSS in made:
            rng = record_rng(seed, f"{CROSS} rest", 0)
            write(CROSS, rated(made[CROSS], cross.rest(rng), rng, numbers))
    return {file.path.name: file.count for file in files.values()}


def level_for(quality: float, rng: np.random.Generator) -> str:
    """A rating level drawn so that its expected points (``tasks.LEVEL_SCORES``) are 100 times ``quality`` (0..1).

    Only the two neighbouring levels can come: quality 0.9 gives "excellent" in 60 % and "good" in 40 % of draws.
    """
    if not 0 <= quality <= 1:
        raise ValueError(f"quality must be from 0 to 1, got {quality}")
    position = (1 - quality) * (len(tasks.LEVELS) - 1)
    low = min(int(position), len(tasks.LEVELS) - 2)
    return tasks.LEVELS[low + int(rng.random() < position - low)]


def identification(part: Part, shown: list[Shown], rng: np.random.Generator) -> Iterator[tuple[bool, dict]]:
    """(whether it counts as a double, identification record) for every picture that the filter leaves."""
    templates = questions.IDENTIFICATION_FR if part.reference else questions.IDENTIFICATION_NR
    for number, picture in _kept(part, shown, rng):
        names = tuple(ANSWER[d["category"]] for d in picture.variant["distortions"])
        double = _is_double(part, picture, rng)
        template = pick(templates, rng)
        counted = part.test or rng.random() < part.mix.number_word
        short = part.test or rng.random() < part.mix.short_tail
        question = template.question(("two" if double else "one") if counted else "open")
        question = tasks.IDENTIFICATION.ask(question) if short else question
        answer = tasks.answer_text(names) if short else template.sentence(names)
        yield double, single_record(part, number, picture, question, answer, truth(picture.variant, double))


def _score(part: Part, shown: list[Shown], rng: np.random.Generator) -> Iterator[tuple[bool, dict]]:
    for number, picture in enumerate(shown):
        quality = picture.variant["quality"]
        level = descriptions.level_of(quality) if part.test else level_for(quality, rng)
        double = _is_double(part, picture, rng)
        extra = {**truth(picture.variant, double), "quality": quality}
        yield (
            double,
            single_record(
                part, number, picture, tasks.SCORE.ask(pick(questions.SCORE, rng)), level.capitalize(), extra
            ),
        )


def _assessment(part: Part, shown: list[Shown], rng: np.random.Generator) -> Iterator[tuple[bool, dict]]:
    for number, picture in _kept(part, shown, rng):
        double = _is_double(part, picture, rng)
        answer = descriptions.assessment(picture.variant, rng, part.reference)
        yield (
            double,
            single_record(
                part, number, picture, pick(questions.ASSESSMENT, rng), answer, truth(picture.variant, double)
            ),
        )


def _rating(part: Part, shown: list[Shown], rng: np.random.Generator) -> Iterator[tuple[bool, dict]]:
    return rated(part, decided(shown, part.mix.rating_pairs, rng), rng, count())


def rated(
    part: Part, pairs: Iterable[Decided], rng: np.random.Generator, numbers: Iterator[int]
) -> Iterator[tuple[bool, dict]]:
    """(whether either picture has two distortions, rating record) for every pair."""
    for a, b, better in pairs:
        template = pick(questions.RATING, rng)
        winner = tasks.WINNERS[0 if better else 1]
        short = part.test or rng.random() < part.mix.rating_tail
        question = tasks.RATING.ask(template.question) if short else template.question
        answer = winner if short else template.sentence(winner)
        yield a.double or b.double, pair_record(part, next(numbers), a, b, question, answer, {"A_better_B": better})


def _comparison(part: Part, shown: list[Shown], rng: np.random.Generator) -> Iterator[tuple[bool, dict]]:
    for number, (a, b, better) in enumerate(decided(shown, part.mix.comparison_pairs, rng)):
        if any(excluded(part, picture, rng) for picture in (a, b)):
            continue
        answer = descriptions.comparison(a.variant, b.variant, better, rng, part.reference)
        yield a.double or b.double, pair_record(part, number, a, b, pick(questions.COMPARISON, rng), answer, {})


CROSS = "rating_cross_nr"
"""Ratings of different pictures; there are none with a reference."""

# Part -> how its records are made and the key of its draws: ratings without a reference are those with one (facts 6.3).
MAKERS: dict[str, tuple[Callable[[Part, list[Shown], np.random.Generator], Iterator[tuple[bool, dict]]], str]] = {
    "identification_fr": (identification, "identification_fr"),
    "identification_nr": (identification, "identification_nr"),
    "score_fr": (_score, "score_fr"),
    "score_nr": (_score, "score_nr"),
    "rating_fr": (_rating, "rating"),
    "rating_nr": (_rating, "rating"),
    "assessment_fr": (_assessment, "assessment_fr"),
    "assessment_nr": (_assessment, "assessment_nr"),
    "comparison_fr": (_comparison, "comparison_fr"),
    "comparison_nr": (_comparison, "comparison_nr"),
}

PARTS = (*MAKERS, CROSS)
"""Every part that can be written."""


def _kept(part: Part, shown: list[Shown], rng: np.random.Generator) -> Iterator[tuple[int, Shown]]:
    return ((number, picture) for number, picture in enumerate(shown) if not excluded(part, picture, rng))


def excluded(part: Part, picture: Shown, rng: np.random.Generator) -> bool:
    """Whether a picture is dropped because its distortion cannot be seen without a reference."""
    subtle = any(d["category"] in part.mix.exclude and d["severity"] < 2 for d in picture.variant["distortions"])
    return subtle and not part.reference and rng.random() < part.mix.exclude_probability


def _is_double(part: Part, picture: Shown, rng: np.random.Generator) -> bool:
    if not picture.variant["distortions"]:
        return rng.random() < part.mix.pristine_as_double
    return picture.double


def single_record(part: Part, number: int, picture: Shown, question: str, answer: str, extra: dict) -> dict:
    """A record about one picture in the published format."""
    images = {
        "image_ref": picture.reference if part.reference else None,
        "image_A": picture.variant["image"],
        "image_B": None,
    }
    return _record(
        part, "quality_single_A", f"{part.name}_{picture.scene:06d}_{number}", images, question, answer, extra
    )


def pair_record(part: Part, number: int, a: Shown, b: Shown, question: str, answer: str, extra: dict) -> dict:
    """A record about two pictures in the published format, with the truth of both."""
    images = {
        "image_ref": a.reference if part.reference else None,
        "image_A": a.variant["image"],
        "image_B": b.variant["image"],
    }
    sides = {f"distortions_{name}": truth(picture.variant, picture.double) for name, picture in (("A", a), ("B", b))}
    return _record(
        part, "quality_compare", f"{part.name}_{a.scene:06d}_{number}", images, question, answer, {**sides, **extra}
    )


def _record(part: Part, task_type: str, key: str, images: dict, question: str, answer: str, extra: dict) -> dict:
    if part.test:
        return {"id": key, **images, "query": question, "answer": answer, **extra}
    talk = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {
        "id": key,
        "task_type": task_type + ("" if part.reference else "_noref"),
        **images,
        "conversations": talk,
        **extra,
    }


def truth(variant: dict, double: bool) -> dict:
    """The distortion fields of a record: lists for doubles; null and severity 0 for a pristine picture."""
    found = variant["distortions"]
    keys = (
        ("distortion_classes", "distortion_names", "severities")
        if double
        else ("distortion_class", "distortion_name", "severity")
    )
    if not found:
        return dict(zip(keys, (None, None, 0), strict=True))
    columns = ([d[key] for d in found] for key in ("category", "name", "severity"))
    return dict(zip(keys, columns if double else (column[0] for column in columns), strict=True))


class ListFile:
    """A JSON list written record by record under another name and renamed at the end: never seen half written."""

    def __init__(self, path: Path):
        self.path, self.count = path, 0
        self.part = path.with_name(path.name + ".part")

    def __enter__(self) -> "ListFile":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.part.open("w", encoding="utf-8", newline="\n")
        return self

    def append(self, record: dict) -> None:
        self.file.write(("[\n" if not self.count else ",\n") + json.dumps(record, ensure_ascii=False))
        self.count += 1

    def __exit__(self, failed, *_) -> None:
        try:
            with self.file:
                if not failed:
                    self.file.write("\n]\n" if self.count else "[]\n")
            if not failed:
                self.part.replace(self.path)
        finally:
            self.part.unlink(missing_ok=True)


def record_rng(seed: int, key: str, scene: int) -> np.random.Generator:
    """The generator of one record: it depends on nothing that was drawn before."""
    return np.random.default_rng([seed, zlib.crc32(key.encode()), scene])


def pick(options, rng: np.random.Generator):
    """One of the options, each as likely as the others."""
    return options[int(rng.integers(len(options)))]
