"""Leaderboards of models (samplers, LoRAs, prompts) from fair pairs of their images.

Independent of networks: images are numbers 0..n-1 with a label each, and answers are Comparisons.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..calibration import SELF_CONSISTENCY, OrderCalibration
from ..checks import check
from ..confidence import least_certainty
from ..errors import NothingToCompare, TaskError
from ..results import TIE, Comparison, Leaderboard, Standing
from . import bradley_terry as ranking
from . import rank_order

RESAMPLES = 1000
FEWEST_GROUPS = 5
"""Minimum number of groups for a bootstrap; with fewer, the intervals are those of the fit."""
VOTE = 1.0
"""Votes per comparison of two images, whatever its confidence: other images of the same two models could have the
opposite result."""
PRIOR = 1.0
"""Standard deviation in logits of the prior on the strength of a label. One of two labels rarely wins more than 19 of
20 pairs; so six pairs that all agree are needed for an order with 95 % certainty, as in a sign test."""


@dataclass(frozen=True)
class FairPair:
    """Two images of different labels from the same prompt and seed: their indexes and group."""

    a: int
    b: int
    group: str


def fair_pairs(labels: Sequence[str], groups: Sequence[str] | None = None) -> list[FairPair]:
    """Return all pairs of images that can be compared fairly: different labels, same group, same position in the group.

    The first image of a label in a group is paired with the first of every other label, the second with the second, and
    so on. Without groups, the i-th image of every label must be from the i-th prompt and seed.

    Args:
        labels: the model (or other label) of each image.
        groups: the group of each image (its prompt, its seed); None, or all equal: pair by position.

    Returns:
        Pairs sorted by the index of their first image, then of their second.

    Raises:
        TaskError: the numbers of groups and labels differ, or there are fewer than two different labels.
        NothingToCompare: there is no pair.

    >>> [(pair.a, pair.b, pair.group) for pair in fair_pairs(["x", "x", "y", "y"])]
    [(0, 2, '#1'), (1, 3, '#2')]
    """
    if groups is not None and len(groups) != len(labels):
        raise TaskError(f"groups: {len(groups)} values for {len(labels)} images; give one for each image")
    if len(set(labels)) < 2:
        known = f"all images are labelled {labels[0]!r}" if labels else "there are no images"
        raise TaskError(f"labels: {known}; at least two different labels are needed to compare them")
    turns: Counter[tuple[str, str]] = Counter()
    members: dict[tuple[str, int], list[int]] = {}
    repeated = set()
    for index, label in enumerate(labels):
        group = "" if groups is None else groups[index]
        turns[label, group] += 1
        turn = turns[label, group]
        members.setdefault((group, turn), []).append(index)
        if turn > 1:
            repeated.add(group)

    def name(group: str, turn: int) -> str:
        return group if group and group not in repeated else f"{group} #{turn}".strip()

    pairs = [
        FairPair(a, b, name(*place))
        for place, indexes in members.items()
        for number, a in enumerate(indexes)
        for b in indexes[number + 1 :]
    ]
    if not pairs:
        raise NothingToCompare(
            "groups: no two images of different labels share a group, so there is nothing to compare"
        )
    return sorted(pairs, key=lambda pair: (pair.a, pair.b))


def unpaired(count: int, pairs: Sequence[FairPair]) -> list[int]:
    """Return which of ``count`` images are in no pair."""
    used = {index for pair in pairs for index in (pair.a, pair.b)}
    return [index for index in range(count) if index not in used]


def leaderboard(
    labels: Sequence[str],
    pairs: Sequence[FairPair],
    answers: Sequence[Comparison],
    resamples: int = RESAMPLES,
    seed: int = 0,
    calibration: OrderCalibration | None = None,
) -> Leaderboard:
    """Rank labels by the comparisons of their images.

    Bradley-Terry strengths of the labels are fitted with one vote per comparison. With a calibration, a comparison
    counts with the probability that its first image is truly better (``pair_probability``), as in ``rank``. The 95 %
    intervals are the wider of two: those of the fit, and, with at least ``FEWEST_GROUPS`` groups, those of a bootstrap
    over groups (another batch of images would have other groups). Two labels tie if either leaves their order open: the
    fit's probability of it is below 97.5 %, or the difference of their strengths is below 0 in at least 2.5 % and above
    0 in at least 2.5 % of the resamples; or if the difference is so small that the judge would call it a tie. Labels
    without any comparison are last, without a rank.

    Args:
        labels: one per image.
        pairs: the compared pairs, by index of the images.
        answers: one per pair.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap; the same input gives the same leaderboard.
        calibration: of the judge that answered (``Backend.calibration``); without one, or if an answer is not
            calibrated, the certainty is self-consistency.
    """
    check(resamples=resamples, seed=seed)
    compared = {labels[index] for pair in pairs for index in (pair.a, pair.b)}
    names = [label for label in dict.fromkeys(labels) if label in compared]
    number = {name: place for place, name in enumerate(names)}
    items = [(number[labels[pair.a]], number[labels[pair.b]]) for pair in pairs]
    wins = np.array([ranking.pair_probability(answer.probability_a, calibration) for answer in answers])
    strengths = ranking.bradley_terry(len(names), items, wins, VOTE, PRIOR)
    groups = list(dict.fromkeys(pair.group for pair in pairs))
    resampled = len(groups) >= FEWEST_GROUPS
    if resampled:
        group_of = np.array([groups.index(pair.group) for pair in pairs])
        draws = _resampled(len(names), items, wins, group_of, len(groups), resamples, seed, strengths.values)
        ends = np.percentile(draws, (2.5, 97.5), axis=0)
        low, high = np.minimum(ends[0], strengths.low), np.maximum(ends[1], strengths.high)
    else:
        low, high = strengths.low, strengths.high

    def tied(i: int, j: int) -> bool:
        if abs(1 / (1 + math.exp(strengths.values[j] - strengths.values[i])) - 0.5) < TIE:
            return True
        if rank_order.tied(strengths, i, j):
            return True
        if not resampled:
            return False
        gaps = np.round(draws[:, i] - draws[:, j], 9)
        return bool(0.025 < np.mean(gaps > 0) + np.mean(gaps == 0) / 2 < 0.975)

    shares, counts = _shares(len(names), items, wins)
    order = rank_order.order(strengths)
    standings = []
    for place, (item, rank) in enumerate(zip(order, rank_order.ranks(order, tied))):
        met = counts[item] > 0
        standings.append(
            Standing(
                rank=rank,
                label=names[item],
                strength=float(strengths.values[item]),
                low=float(min(low[item], strengths.values[item])),
                high=float(max(high[item], strengths.values[item])),
                win_share=float((shares[item, met] * counts[item, met]).sum() / counts[item].sum()),
                **_record(item, items, answers),
                pictures=sum(label == names[item] for label in labels),
                tied_with_next=place + 1 < len(order) and tied(item, order[place + 1]),
            )
        )
    table = [tuple(None if counts[i, j] == 0 else float(shares[i, j]) for j in order) for i in order]
    alone = [label for label in dict.fromkeys(labels) if label not in compared]
    table = [(*row, *[None] * len(alone)) for row in table] + [(None,) * (len(names) + len(alone)) for _ in alone]
    return Leaderboard(
        standings=(*standings, *(_not_compared(label, labels) for label in alone)),
        comparisons=len(pairs),
        groups=len(groups),
        intervals="bootstrap" if resampled else "posterior",
        disagreement=float(np.mean([answer.disagreement for answer in answers])),
        shares=tuple(table),
        certainty=SELF_CONSISTENCY if calibration is None else least_certainty(one.certainty for one in answers),
    )


def _not_compared(label: str, labels: Sequence[str]) -> Standing:
    """Return the standing of a label whose images have no partners: only their number is known."""
    return Standing(
        rank=None,
        label=label,
        strength=math.nan,
        low=math.nan,
        high=math.nan,
        win_share=math.nan,
        wins=0,
        ties=0,
        losses=0,
        pictures=sum(other == label for other in labels),
        tied_with_next=False,
    )


def _resampled(
    count: int,
    items: Sequence[ranking.Pair],
    wins: np.ndarray,
    group_of: np.ndarray,
    groups: int,
    resamples: int,
    seed: int,
    start: np.ndarray,
) -> np.ndarray:
    """Fit strengths ``[resamples, count]`` on groups resampled with replacement.

    Answers to the same two labels are summed first, so that the cost of a fit does not depend on the number of images.
    ``start`` are the strengths of all groups, near which the others are found in fewer steps.
    """
    rows, inverse = np.unique(np.sort(np.array(items), axis=1), axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    won = np.where([i < j for i, j in items], wins, 1 - wins)
    asked, total = np.zeros((2, groups, len(rows)))
    np.add.at(asked, (group_of, inverse), 1.0)
    np.add.at(total, (group_of, inverse), won)
    rng = np.random.default_rng(seed)
    drawn = np.empty((resamples, count))
    for number in range(resamples):
        times = np.bincount(rng.integers(groups, size=groups), minlength=groups)
        answered, points = times @ asked, times @ total
        met = answered > 0
        mean = np.clip(points[met] / answered[met], 0, 1)
        drawn[number] = ranking.bradley_terry(count, rows[met], mean, answered[met] * VOTE, PRIOR, start).values
    return drawn


def _shares(count: int, items: Sequence[ranking.Pair], wins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean probability that the label of a row beats that of a column, and their comparisons: both ``[n,
    n]``."""
    total, met = np.zeros((2, count, count))
    for (i, j), win in zip(items, wins, strict=True):
        total[i, j] += win
        total[j, i] += 1 - win
        met[i, j] += 1
        met[j, i] += 1
    return total / np.maximum(met, 1), met


def _record(item: int, items: Sequence[ranking.Pair], answers: Sequence[Comparison]) -> dict[str, int]:
    """Count how often an item won, tied and lost, by the judge's verdicts."""
    record = {"wins": 0, "ties": 0, "losses": 0}
    for (i, j), answer in zip(items, answers, strict=True):
        if item in (i, j):
            won = answer.verdict == ("A" if item == i else "B")
            record["ties" if answer.verdict == "tie" else "wins" if won else "losses"] += 1
    return record
