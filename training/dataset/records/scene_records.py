"""Write record files of scenes in the published JSON format, for training or for tests (method.md 6.2, 6.3)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import count, product
from pathlib import Path

import numpy as np

from depictqa_core import tasks
from training.distortions import ANSWER
from training.random_choice import pick

from ..building.scenes import read_scenes
from . import descriptions, labels
from . import question_templates as questions
from .format import FORMS, ListFile, Mix, Part, excluded, pair_record, record_rng, single_record, truth
from .variant_pairs import CrossPairs, Decided, SceneVariant, decided


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
    (pairs: double if either image has two distortions) with ``query`` and ``answer``; brief questions always have the
    short-answer tail, identification says ONE for singles and TWO for doubles.

    Args:
        root: folder with scenes-*.jsonl; image paths in the records stay relative to it.
        out_dir: where the files go, by default ``<root>/records``.
        parts: names from ``PARTS`` and ``FAULT_PARTS`` to write, by default all that the scenes have (``parts_of``).
            Leaving some out does not change the others.

    Returns:
        File name -> number of records.

    Raises:
        ValueError: unknown form or part.
        SceneError: no scenes, or damaged ones.
    """
    mix = mix or Mix()
    chosen = tuple(parts_of(root) if parts is None else parts)
    if form not in FORMS:
        raise ValueError(f"unknown form '{form}': choose one of {', '.join(FORMS)}")
    known = (*PARTS, *FAULT_PARTS)
    if unknown := [name for name in chosen if name not in known]:
        raise ValueError(f"unknown part '{unknown[0]}': choose from {', '.join(known)}")
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
                SceneVariant(scene["scene"], scene["source"], scene["reference"], variant)
                for variant in scene["variants"]
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


def identification(part: Part, shown: list[SceneVariant], rng: np.random.Generator) -> Iterator[tuple[bool, dict]]:
    """(whether it counts as a double, identification record) for every image that the filter leaves."""
    templates = questions.IDENTIFICATION_FR if part.reference else questions.IDENTIFICATION_NR
    for number, picture in _kept(part, shown, rng):
        names = picture.labels
        if names is None:
            continue
        double = len(names) == 2 if names else _is_double(part, picture, rng)
        template = pick(templates, rng)
        counted = part.test or rng.random() < part.mix.number_word
        short = part.test or rng.random() < part.mix.short_tail
        question = template.question(("two" if double else "one") if counted else "open")
        question = tasks.IDENTIFICATION.ask(question) if short else question
        answer = tasks.answer_text(names) if short else template.sentence(names)
        yield double, single_record(part, number, picture, question, answer, truth(picture.variant, double))


def _score(part: Part, shown: list[SceneVariant], rng: np.random.Generator) -> Iterator[tuple[bool, dict]]:
    draws = 1 if part.test else part.mix.score_draws
    for number, picture in enumerate(picture for picture in shown for _ in range(draws)):
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


def _severity(part: Part, shown: list[SceneVariant], rng: np.random.Generator) -> Iterator[tuple[bool, dict]]:
    """A question about each distortion of an image; some of those about the only one do not name it."""
    asked = ((picture, found) for picture in shown for found in picture.variant["distortions"])
    for number, (picture, found) in enumerate(asked):
        label = ANSWER[found["category"]] if picture.double or rng.random() < 0.8 else questions.MAIN_DISTORTION
        question = tasks.SEVERITY.ask(pick(questions.SEVERITY, rng).format(label))
        answer = tasks.GRADES[max(1, round(labels.of_whole(found))) - 1].capitalize()
        double = _is_double(part, picture, rng)
        yield double, single_record(part, number, picture, question, answer, truth(picture.variant, double))


def _assessment(part: Part, shown: list[SceneVariant], rng: np.random.Generator) -> Iterator[tuple[bool, dict]]:
    for number, picture in _kept(part, shown, rng):
        if picture.labels is None:
            continue
        double = _is_double(part, picture, rng)
        answer = descriptions.assessment(picture.variant, rng, part.reference)
        yield (
            double,
            single_record(
                part, number, picture, pick(questions.ASSESSMENT, rng), answer, truth(picture.variant, double)
            ),
        )


def _rating(part: Part, shown: list[SceneVariant], rng: np.random.Generator) -> Iterator[tuple[bool, dict]]:
    return rated(part, decided(shown, part.mix.rating_pairs, rng), rng, count())


def rated(
    part: Part, pairs: Iterable[Decided], rng: np.random.Generator, numbers: Iterator[int]
) -> Iterator[tuple[bool, dict]]:
    """(whether either image has two distortions, rating record) for every pair."""
    for a, b, better in pairs:
        question, answer = rating_turn(part, better, rng)
        yield a.double or b.double, pair_record(part, next(numbers), a, b, question, answer, {"A_better_B": better})


def rating_turn(part: Part, better: bool, rng: np.random.Generator) -> tuple[str, str]:
    """A rating question and its answer; ``better``: Image A is the better one."""
    template = pick(questions.RATING, rng)
    winner = tasks.WINNERS[0 if better else 1]
    short = part.test or rng.random() < part.mix.rating_tail
    question = tasks.RATING.ask(template.question) if short else template.question
    return question, winner if short else template.sentence(winner)


def _comparison(part: Part, shown: list[SceneVariant], rng: np.random.Generator) -> Iterator[tuple[bool, dict]]:
    for number, (a, b, better) in enumerate(decided(shown, part.mix.comparison_pairs, rng)):
        if a.labels is None or b.labels is None or any(excluded(part, picture, rng) for picture in (a, b)):
            continue
        answer = descriptions.comparison(a.variant, b.variant, better, rng, part.reference)
        yield a.double or b.double, pair_record(part, number, a, b, pick(questions.COMPARISON, rng), answer, {})


def _faults(part: Part, shown: list[SceneVariant], rng: np.random.Generator) -> Iterator[tuple[bool, dict]]:
    """Yes-or-no questions about faults: for tests every one, for training those that it has and a few others.

    A question is left out where its answer is not known: a distortion or another fault may look like that fault.
    """
    number = count()
    for picture in shown:
        present = picture.faults
        doubtful = set().union(*(ALIKE.get(name, ()) for name in (*(picture.labels or ()), *present)), ())
        doubtful |= {"seams", "missing region"} if picture.variant.get("region") else set()
        others = [fault for fault in tasks.FAULTS if fault not in present and fault not in doubtful]
        if "failed frame" in present:
            others = []
        if not part.test:
            others = [others[i] for i in rng.permutation(len(others))[:FAULT_NEGATIVES]]
        asked: list[tuple[str | None, bool]]
        asked = [(fault, fault in present) for fault in tasks.FAULTS if fault in present or fault in others]
        if present or not picture.variant["distortions"]:
            asked.append((None, bool(present)))
        for fault, is_there in asked:
            if part.test:
                question = tasks.fault_question(fault)
            else:
                templates = questions.FAULT if fault else questions.ANY_FAULT
                question = pick(templates, rng).format(fault)
            answer = tasks.FAULT_ANSWERS[0 if is_there else 1]
            extra = {**truth(picture.variant, picture.double), "faults": list(present), "fault": fault}
            yield (
                picture.double,
                single_record(part, next(number), picture, tasks.FAULT.ask(question), answer, extra),
            )


FAULT_NEGATIVES = 2
"""For training: how many of the faults that an image does not have are asked for."""

# A label or a fault -> faults of which nobody can say whether an image with it shows them, too.
ALIKE: dict[str, tuple[str, ...]] = {
    "noise": ("latent noise", "grid pattern"),
    "blur": ("waxy smoothing", "ghosting"),
    "compression": ("grid pattern", "banding", "waxy smoothing", "color fringing", "sharpening halos"),
    "oversharpening": ("sharpening halos", "burned contrast"),
    "pixelation": ("grid pattern", "waxy smoothing", "row glitches"),
    "color quantization": ("banding", "color cast", "burned contrast"),
    "overly high saturation": ("burned contrast", "color cast"),
    "overly high contrast": ("burned contrast", "sharpening halos"),
    "overly high brightness": ("burned contrast",),
    "insufficient saturation": (),
    "insufficient contrast": (),
    "insufficient brightness": (),
    "seams": ("missing region", "ghosting", "row glitches"),
    "grid pattern": ("moire", "seams", "latent noise"),
    "moire": ("grid pattern", "color fringing", "row glitches"),
    "banding": ("color cast",),
    "color cast": ("burned contrast",),
    "color fringing": ("ghosting",),
    "ghosting": ("color fringing", "seams"),
    "row glitches": ("missing region", "seams", "color fringing"),
    "missing region": ("overlay", "seams"),
    "overlay": ("missing region",),
    "waxy smoothing": (),
    "sharpening halos": ("ghosting", "burned contrast"),
    "latent noise": ("color cast", "grid pattern"),
    "burned contrast": ("sharpening halos", "color cast", "banding"),
    "failed frame": (),
}

CROSS = "rating_cross_nr"
"""Ratings of different images; there are none with a reference."""

# Part -> how its records are made and the key of its draws: ratings without a reference are those with one
# (method.md 6.3).
MAKERS: dict[
    str, tuple[Callable[[Part, list[SceneVariant], np.random.Generator], Iterator[tuple[bool, dict]]], str]
] = {
    "identification_fr": (identification, "identification_fr"),
    "identification_nr": (identification, "identification_nr"),
    "score_fr": (_score, "score_fr"),
    "score_nr": (_score, "score_nr"),
    "severity_fr": (_severity, "severity_fr"),
    "severity_nr": (_severity, "severity_nr"),
    "rating_fr": (_rating, "rating"),
    "rating_nr": (_rating, "rating"),
    "assessment_fr": (_assessment, "assessment_fr"),
    "assessment_nr": (_assessment, "assessment_nr"),
    "comparison_fr": (_comparison, "comparison_fr"),
    "comparison_nr": (_comparison, "comparison_nr"),
    "faults_fr": (_faults, "faults_fr"),
    "faults_nr": (_faults, "faults_nr"),
}

FAULT_PARTS = ("faults_fr", "faults_nr")
"""Parts of scenes at native resolution, whose variants can have faults."""

PARTS = (*(name for name in MAKERS if name not in FAULT_PARTS), CROSS)
"""The parts of all scenes."""


def parts_of(root: str | Path) -> tuple[str, ...]:
    """The parts that the scenes of a data root have records for."""
    first = next(iter(read_scenes(root)))
    return PARTS + FAULT_PARTS if any("faults" in variant for variant in first["variants"]) else PARTS


def _kept(part: Part, shown: list[SceneVariant], rng: np.random.Generator) -> Iterator[tuple[int, SceneVariant]]:
    return ((number, picture) for number, picture in enumerate(shown) if not excluded(part, picture, rng))


def _is_double(part: Part, picture: SceneVariant, rng: np.random.Generator) -> bool:
    if not picture.variant["distortions"]:
        return rng.random() < part.mix.pristine_as_double
    return picture.double
