"""From answers to values with intervals: agreement with opinions, accuracy of pairs and of closed questions."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from ..evaluation.bootstrap import RESAMPLES, group_numbers, intervals
from ..evaluation.correlation import decided_pairs, fit_quality, logistic_parameters, rank_agreement
from ..evaluation.metrics import calibration_error

SMALLEST_GROUP = 3
"""Minimum number of images of a reference for a correlation within it."""


def measure_scores(
    scores, opinions, references: Sequence[str | None], resamples: int = RESAMPLES, seed: int = 0
) -> dict:
    """Compute how scores agree with opinions.

    Args:
        scores, opinions: [N], both higher for better images.
        references: [N], the reference of each image; None where the set has none.

    Returns:
        ``{"values", "intervals"}``. SRCC and KRCC of the scores as they are; PLCC and RMSE after the four-parameter
        logistic. ``pair_accuracy`` and ``srcc_by_reference`` (a mean) are within the references of a set that has them;
        ``pair_accuracy`` is over all pairs of the others.
    """
    scores, opinions = np.asarray(scores, dtype=float), np.asarray(opinions, dtype=float)
    grouped = any(reference is not None for reference in references)
    labels: list[Hashable] = list(references) if grouped else list(range(len(scores)))
    groups = group_numbers(labels)
    inside = _within(scores, opinions, groups) if grouped else None
    start = logistic_parameters(scores, opinions) if len(scores) > 3 and np.ptp(scores) and np.ptp(opinions) else None

    def values(rows: np.ndarray, drawn: np.ndarray) -> dict[str, float | None]:
        found: dict[str, float | None] = dict(rank_agreement(scores[rows], opinions[rows]))
        if start is not None:
            found.update(fit_quality(scores[rows], opinions[rows], start))
        if inside is not None:
            right, decided, correlation = (column[drawn] for column in inside)
            known = correlation[np.isfinite(correlation)]
            found["pair_accuracy"] = float(right.sum() / decided.sum()) if decided.sum() else None
            found["srcc_by_reference"] = float(known.mean()) if len(known) else None
        return found

    everything = values(np.arange(len(scores)), np.arange(groups.max() + 1 if len(groups) else 0))
    return _result(everything, intervals(values, groups, resamples, seed))


def _within(scores: np.ndarray, opinions: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of each group: rightly ordered pairs (half of one for equal scores), pairs with different opinions, SRCC."""
    rows = []
    for group in range(groups.max() + 1):
        own = groups == group
        found, decided = rank_agreement(scores[own], opinions[own]), decided_pairs(opinions[own])
        accuracy = found.get("pair_accuracy", 0.5)  # equal scores order no pair
        enough = own.sum() >= SMALLEST_GROUP
        rows.append((accuracy * decided, decided, found.get("srcc", np.nan) if enough else np.nan))
    return tuple(np.array(column) for column in zip(*rows))


def measure_pairs(probabilities, shares, groups: Sequence[Hashable], resamples: int = RESAMPLES, seed: int = 0) -> dict:
    """Compute how often comparisons agree with people.

    Args:
        probabilities: [N], 0..1, that A is better; 0.5 decides nothing and is worth one half.
        shares: [N], 0..1, of the people who prefer A.
        groups: [N], by which answers are resampled.

    Returns:
        ``{"values", "intervals"}``: ``accuracy`` is the share of the pairs with a majority on whose side the answer is;
        ``two_afc`` the mean share of people on the side of the answer (the score of BAPPS), ``people`` its maximum.
    """
    chosen, shares = np.sign(np.asarray(probabilities, dtype=float) - 0.5), np.asarray(shares, dtype=float)
    majority = np.sign(shares - 0.5)
    hits = np.where(majority == 0, np.nan, (1 + chosen * majority) / 2)
    agreeing = np.where(chosen == 0, 0.5, np.where(chosen > 0, shares, 1 - shares))
    people = np.maximum(shares, 1 - shares)

    def values(rows: np.ndarray, drawn: np.ndarray) -> dict[str, float | None]:
        decided = hits[rows][np.isfinite(hits[rows])]
        found: dict[str, float | None] = {"accuracy": float(decided.mean()) if len(decided) else None}
        if len(rows) and not np.isin(shares, (0.0, 0.5, 1.0)).all():
            found |= {"two_afc": float(agreeing[rows].mean()), "people": float(people[rows].mean())}
        return found

    numbers = group_numbers(groups)
    return _result(values(np.arange(len(shares)), np.arange(0)), intervals(values, numbers, resamples, seed))


def measure_hits(
    hits, groups: Sequence[Hashable], categories: Sequence[str | None], resamples: int = RESAMPLES, seed: int = 0
) -> dict:
    """Compute the accuracy of answers, overall and by category.

    Args:
        hits: [N], 0..1, what each answer is worth.

    Returns:
        ``{"values": {"accuracy"}, "intervals", "by": {category: {"accuracy", "interval", "count"}}}``.
    """
    worth, numbers = np.asarray(hits, dtype=float), group_numbers(groups)

    def measured(chosen: np.ndarray) -> dict:
        some, own = worth[chosen], group_numbers(numbers[chosen].tolist())

        def values(rows: np.ndarray, drawn: np.ndarray) -> dict[str, float | None]:
            return {"accuracy": float(some[rows].mean()) if len(rows) else None}

        return _result(values(np.arange(len(chosen)), np.arange(0)), intervals(values, own, resamples, seed))

    members = defaultdict(list)
    for index, category in enumerate(categories):
        if category is not None:
            members[category].append(index)
    by = {}
    for category in sorted(members):
        found = measured(np.array(members[category]))
        interval = found["intervals"].get("accuracy")
        by[category] = {**found["values"], "interval": interval, "count": len(members[category])}
    return {**measured(np.arange(len(worth))), "by": by}


def measure_choices(rows: Sequence[dict], resamples: int = RESAMPLES, seed: int = 0) -> dict:
    """Compute the accuracy of answers to closed questions; those without a true answer are left out.

    Args:
        rows: with answer, text, options, group, category and, where known, confidence.

    Returns:
        ``measure_hits`` with ``chance`` (the accuracy of guessing) and ``ece`` among the values.
    """
    known = [row for row in rows if row["answer"] is not None]
    hits = [float(row["text"] == row["answer"]) for row in known]
    found = measure_hits(hits, [row["group"] for row in known], [row["category"] for row in known], resamples, seed)
    if known:
        found["values"]["chance"] = round(float(np.mean([1 / row["options"] for row in known])), 6)
    stated = [(row["confidence"], hit) for row, hit in zip(known, hits) if row.get("confidence") is not None]
    if stated:
        error = calibration_error([confidence for confidence, _ in stated], [hit for _, hit in stated])
        found["values"]["ece"] = None if error is None else round(error, 6)
    return found


def _result(values: dict[str, float | None], found: dict[str, list[float]]) -> dict:
    rounded = {name: None if value is None else round(value, 6) for name, value in values.items()}
    return {"values": rounded, "intervals": {name: [round(end, 6) for end in ends] for name, ends in found.items()}}
