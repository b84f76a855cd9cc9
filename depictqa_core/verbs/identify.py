"""Identify: the names of the distortions of each image, and how severe each is."""

from collections.abc import Sequence

from .. import answers, tasks
from ..backends.base import SingleSet
from ..errors import TaskError
from ..results import Identification
from ..runtime.progress import ProgressCounter
from ..tasks import FAULT, IDENTIFICATION, SEVERITY
from .asking import Asker

QUESTIONS = {1: tasks.ONE_ISSUE, 2: tasks.TWO_ISSUES}
"""How to ask for this number of distortions."""
IMAGES_AT_ONCE = 64
"""Images that are asked about every fault before the next ones, so that what the questions share fits into memory."""


def check_count(count: int | None) -> None:
    """Raise TaskError for a number of distortions that no question asks for."""
    if count is not None and count not in QUESTIONS:
        raise TaskError(f"the judge cannot name {count} distortions: choose a count of 1, 2 or None")


def identify(
    asker: Asker, count: int | None, image_sets: Sequence[SingleSet], counter: ProgressCounter
) -> list[Identification]:
    """Ask for ``count`` distortions of each image; without a count, for the more probable number of them."""
    counts = [count] * len(image_sets) if count else _probable_counts(asker, image_sets, counter.silent())
    found: dict[int, Identification] = {}
    for number, question in QUESTIONS.items():
        members = [index for index, wanted in enumerate(counts) if wanted == number]
        options = tasks.answers(IDENTIFICATION, question)
        some = [image_sets[index] for index in members]
        chosen, typical = asker.choose(IDENTIFICATION, question, some, counter), asker.typical(some, counter)
        for index, row, coverage, typicality in zip(members, *chosen, typical):
            image, reference = image_sets[index]
            certainty = asker.certainty(IDENTIFICATION, question, reference)
            found[index] = answers.identification(image.name, options, row, float(coverage), certainty, typicality)
    return [found[index] for index in range(len(image_sets))]


def _probable_counts(asker: Asker, image_sets: Sequence[SingleSet], counter: ProgressCounter) -> list[int]:
    """1 or 2 for each image: 2 where the open question finds two distortions more probable than one or none."""
    options = tasks.answers(IDENTIFICATION, IDENTIFICATION.question)
    pairs = [len(tasks.parse_labels(option) or ()) == 2 for option in options]
    rows = asker.choose(IDENTIFICATION, IDENTIFICATION.question, image_sets, counter).probabilities
    return [2 if row[pairs].sum() > 0.5 else 1 for row in rows]


def grade(
    asker: Asker, found: list[Identification], image_sets: Sequence[SingleSet], counter: ProgressCounter
) -> list[Identification]:
    """Add the severity of every distortion that is named, where the backend supports that."""
    if not asker.supports(SEVERITY):
        return found
    grades: list[dict[str, tuple[float, float]]] = [{} for _ in found]
    for label in dict.fromkeys(label for answer in found for label in answer.labels):
        members = [index for index, answer in enumerate(found) if label in answer.labels]
        some = [image_sets[index] for index in members]
        chosen = asker.backend.choose(SEVERITY, tasks.severity_question(label), some, counter.silent())
        for index, row, coverage in zip(members, *chosen):
            mean = float(sum(p * severity for severity, p in enumerate(row, start=1)))
            grades[index][label] = mean, float(coverage)
    return [answers.graded(answer, grade) for answer, grade in zip(found, grades)]


def find_faults(
    asker: Asker, found: list[Identification], image_sets: Sequence[SingleSet], counter: ProgressCounter
) -> list[Identification]:
    """Add the probability of every fault, where the backend supports that."""
    if not asker.supports(FAULT):
        return found
    rows: list[dict[str, float]] = []
    for start in range(0, len(image_sets), IMAGES_AT_ONCE):
        rows += _fault_probabilities(asker, image_sets[start : start + IMAGES_AT_ONCE], counter)
    return [answers.with_faults(answer, row) for answer, row in zip(found, rows)]


def _fault_probabilities(
    asker: Asker, image_sets: Sequence[SingleSet], counter: ProgressCounter
) -> list[dict[str, float]]:
    yes = tasks.FAULT_ANSWERS.index("Yes")
    questions = [tasks.fault_question(fault) for fault in tasks.FAULTS]
    prefixes = asker.backend.prefix_cache(questions)
    columns = [
        asker.choose(FAULT, question, image_sets, counter.silent(), prefixes).probabilities[:, yes]
        for question in questions
    ]
    return [dict(zip(tasks.FAULTS, map(float, row))) for row in zip(*columns)]
