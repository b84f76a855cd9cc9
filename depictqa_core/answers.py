"""Turns probabilities into results: Identification, Score, Comparison and Description."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from . import tasks
from .calibration import CALIBRATED, SELF_CONSISTENCY, ScoreCalibration, expected_points, judged_by_itself
from .confidence import certainty_at
from .images.references import identical
from .ranking.anchors import Placement
from .results import TIE, Comparison, Description, Identification, LabelProbability, Score

IDENTICAL = "The image is identical to the reference: it has no distortion, and its quality is the best possible."
"""The description of such an image."""


def decided(task: tasks.Task, options: tuple[str, ...], pictures: tuple) -> list[float] | None:
    """Return the probabilities where no network is needed: an image that equals its reference is the best.

    Args:
        options: the allowed answers.
        pictures: (A, reference) or (A, B, reference); the reference may be None.

    Returns:
        None where the network must answer.
    """
    *judged, reference = pictures
    equal = [identical(picture, reference) for picture in judged]
    if not any(equal):
        return None
    if task is tasks.RATING:
        a, b = equal
        return [0.5 + (a - b) / 2, 0.5 + (b - a) / 2]
    if task is tasks.IDENTIFICATION:
        return [float(not tasks.parse_labels(option)) for option in options]
    if task is tasks.FAULT:
        return [float(option == "No") for option in options]
    return [1.0, 0.0, 0.0, 0.0, 0.0] if task is tasks.SCORE else None


def identical_description(name: str) -> Description:
    """The Description of an image that equals its reference."""
    return Description(name, IDENTICAL, 1.0, "identical to the reference")


def identification(
    name: str,
    options: tuple[str, ...],
    row: np.ndarray,
    coverage: float | None = None,
    certainty: str = SELF_CONSISTENCY,
    typicality: float | None = None,
) -> Identification:
    """An Identification from the probabilities of all allowed answers, their coverage, and the image's typicality.

    A label's probability is that of the answers that name it alone, plus its half of those that name it with another.
    The confidence is the probability of the labels in whatever order.
    """
    best = int(row.argmax())
    mass = dict.fromkeys(tasks.LABELS, 0.0)
    for option, probability in zip(options, row):
        named = tasks.parse_labels(option) or (tasks.NONE,)
        for label in named:
            mass[label] += float(probability) / len(named)
    ordered = sorted(mass.items(), key=lambda item: -item[1])
    labels = tasks.parse_labels(options[best]) or ()
    same = [set(tasks.parse_labels(option) or ()) == set(labels) for option in options]
    confidence = float(row[same].sum())
    probabilities = tuple(LabelProbability(*item) for item in ordered)
    found = Identification(name, labels, options[best], probabilities, confidence, coverage=coverage)
    return replace(found, certainty=certainty_at(coverage, certainty, typicality), typicality=typicality)


def graded(found: Identification, grades: dict[str, tuple[float, float]]) -> Identification:
    """The same Identification with the severity of each of its labels and the coverage of that (label -> both)."""
    chosen = [grades[label] for label in found.labels]
    severities, coverage = (tuple(one[place] for one in chosen) for place in (0, 1))
    return replace(found, severities=severities, severity_coverage=coverage)


def with_faults(found: Identification, probabilities: dict[str, float]) -> Identification:
    """The same Identification with the probability of each fault (fault -> 0..1)."""
    ordered = sorted(probabilities.items(), key=lambda item: -item[1])
    return replace(found, faults=tuple(LabelProbability(*item) for item in ordered))


def level_score(
    name: str,
    row: np.ndarray,
    coverage: float | None = None,
    calibration: ScoreCalibration | None = None,
    typicality: float | None = None,
) -> Score:
    """A Score from the probabilities of the five rating levels, best level first, and their coverage."""
    mean = expected_points(row)
    spread = sum(float(p) * (points - mean) ** 2 for p, points in zip(row, tasks.LEVEL_SCORES)) ** 0.5
    return _score(name, mean, spread, row, "levels", coverage, calibration, typicality)


def anchored_score(
    name: str,
    placement: Placement,
    coverage: float | None = None,
    calibration: ScoreCalibration | None = None,
    typicality: float | None = None,
) -> Score:
    """A Score from the place of an image among anchors, and the coverage of its comparisons."""
    place = placement.mean, placement.deviation, placement.levels
    found = _score(name, *place, "anchors", coverage, calibration, typicality)
    if found.certainty == CALIBRATED:
        return found
    return replace(found, low=placement.low, high=placement.high)


def flawless(found: Score) -> Score:
    """The Score of an image that equals its reference: known, not estimated."""
    return replace(found, confidence=1.0, low=100.0, high=100.0, certainty=CALIBRATED)


def _score(
    name: str,
    mean: float,
    spread: float,
    levels: Sequence[float] | np.ndarray,
    method: str,
    coverage: float | None,
    calibration: ScoreCalibration | None,
    typicality: float | None,
) -> Score:
    model = calibration if calibration is not None and calibration.method == method else None
    certainty = certainty_at(coverage, CALIBRATED if model else SELF_CONSISTENCY, typicality)
    judged = model.judged if model and certainty == CALIBRATED else judged_by_itself
    confidence, low, high = judged(levels, mean)
    named = tuple(LabelProbability(level, float(p)) for level, p in zip(tasks.LEVELS, levels))
    return Score(name, mean, spread, confidence, named, low, high, method, coverage, certainty, typicality)


def comparison(
    name_a: str,
    name_b: str,
    forward: float,
    backward: float,
    text: str | None = None,
    coverage: float | None = None,
    certainty: str = SELF_CONSISTENCY,
    typicality: float | None = None,
) -> Comparison:
    """A Comparison from the probabilities that A is better when it is shown first (forward) and second (backward).

    It is a tie unless both orders name the same winner: a winner that changes with the order is position bias.
    """
    probability = (forward + backward) / 2
    same_winner = (forward - 0.5) * (backward - 0.5) > 0
    verdict = "tie" if abs(probability - 0.5) < TIE or not same_winner else "A" if probability > 0.5 else "B"
    confidence, certainty = max(probability, 1 - probability), certainty_at(coverage, certainty, typicality)
    found = Comparison(name_a, name_b, probability, abs(forward - backward), verdict, confidence, text, coverage)
    return replace(found, certainty=certainty, typicality=typicality)
