"""Which pairs to compare, and when enough of them are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..calibration import OrderCalibration
from .bradley_terry import PRIOR, Pair, Strengths, bradley_terry, estimate_weight, sigmoid
from .rank_order import order

ALL_PAIRS, BUDGET, TOP_DECIDED = "all pairs", "budget", "top-k decided"
ALL_PAIRS_UP_TO = 12  # up to this many items all pairs are compared, at most 66


def all_pairs(n: int) -> list[Pair]:
    """Return all n (n - 1) / 2 pairs (i, j) with i < j, in lexical order."""
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def choose_pairs(
    n: int, asked: Sequence[Pair], strengths: Strengths | None, batch: int, top: int | None = None
) -> list[Pair]:
    """Choose the next pairs to compare: those with the least certain order and the most informative answer.

    Greedy: the value of a pair is (probability that the current order is wrong) * log(1 + information of an answer *
    variance of the difference); the covariance is updated as if it had been answered before the next pair is chosen. So
    a batch spreads over the items like a round of a Swiss tournament, connects separate groups first, and then compares
    close items. An answer only lowers the values of the other pairs, so only the best previous ones are computed again.

    Args:
        n: number of items.
        asked: compared pairs, in either direction; they are never chosen again.
        strengths: current strengths; None before the first answer.
        batch: maximum number of pairs.
        top: only the best ``top`` items are needed as a set: pairs of items that certainly belong to it, or certainly
            do not, have a low value.

    Returns:
        At most ``batch`` distinct pairs (i, j), i < j, most informative first, then by index; fewer if all are
        compared.
    """
    strengths = bradley_terry(n, [], []) if strengths is None else strengths
    if len(strengths.values) != n:
        raise ValueError(f"strengths of {len(strengths.values)} items do not fit n = {n}")
    open_pairs = np.triu(np.ones((n, n), bool), 1)
    for i, j in asked:
        open_pairs[min(i, j), max(i, j)] = False
    rows, columns = np.nonzero(open_pairs)  # [P], lexical order, so that argmax takes the first of equals
    gap = np.abs(strengths.values[rows] - strengths.values[columns])
    chance = sigmoid(gap)
    information = strengths.weight * chance * (1 - chance)
    stake = _stake(strengths, top)
    worth = stake[rows] + stake[columns]
    covariance = strengths.covariance.copy()
    free = np.ones(len(rows), bool)

    def score(of: np.ndarray) -> np.ndarray:
        i, j = rows[of], columns[of]
        variance = np.maximum(covariance[i, i] + covariance[j, j] - 2 * covariance[i, j], 1e-12)
        if strengths.calibration is None:
            doubt = sigmoid(-1.702 * gap[of] / np.sqrt(variance))  # approximates the normal tail within 0.01
        else:
            doubt = 1 - strengths.calibration.probability(gap[of], variance)
        return np.where(free[of], np.round(worth[of] * doubt * np.log1p(information[of] * variance), 12), -1.0)

    # the bound limits the value of all pairs that are not likely
    chosen, likely, bound = [], np.zeros(0, np.intp), np.inf
    for _ in range(min(batch, len(rows))):
        scores = score(likely)
        if not len(likely) or scores.max() <= bound:
            scores = score(np.arange(len(rows)))
            falling = np.argsort(-scores, kind="stable")
            likely, beyond = np.sort(falling[: 4 * batch]), falling[4 * batch :]
            bound, scores = scores[beyond[0]] if len(beyond) else -np.inf, scores[likely]
        best = int(likely[np.argmax(scores)])
        free[best] = False
        i, j = int(rows[best]), int(columns[best])
        chosen.append((i, j))
        direction = covariance[i] - covariance[j]
        variance = max(float(direction[i] - direction[j]), 1e-12)
        covariance -= np.outer(direction, direction) * (information[best] / (1 + information[best] * variance))
    return chosen


def _stake(strengths: Strengths, top: int | None) -> np.ndarray:
    """Return the uncertainty whether each item belongs to the best ``top``, 0..1/2; constant without a ``top``."""
    if top is None or top >= len(strengths.values):
        return np.full(len(strengths.values), 0.5)
    ranked = np.sort(strengths.values)[::-1]
    border = (ranked[top - 1] + ranked[top]) / 2
    return sigmoid(-1.702 * np.abs(strengths.values - border) / np.maximum(strengths.deviations, 1e-6))


def default_budget(n: int) -> int:
    """Return the default number of comparisons: all pairs up to ``ALL_PAIRS_UP_TO`` items, then 1.25 n log2 n (24 % at
    n = 64)."""
    full = n * (n - 1) // 2
    return full if n <= ALL_PAIRS_UP_TO else min(full, math.ceil(1.25 * n * math.log2(n)))


def within_budget(n: int, budget: int | None) -> int:
    """Return the maximum number of comparisons: the budget (None: ``default_budget``), at most all pairs."""
    return min(n * (n - 1) // 2, default_budget(n) if budget is None else max(0, budget))


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of ``rank_pairs``.

    Attributes:
        strengths: strengths fitted to all answers.
        pairs, wins: the compared pairs and their answers, in order.
        stopped: why the comparisons ended: ``ALL_PAIRS``, ``BUDGET`` or ``TOP_DECIDED``.
    """

    strengths: Strengths
    pairs: list[Pair]
    wins: list[float]
    stopped: str


def rank_pairs(
    n: int,
    ask: Callable[[list[Pair]], Sequence[float]],
    *,
    budget: int | None = None,
    batch: int | None = None,
    top: int | None = None,
    confidence: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
    weight: float | None = None,
    prior: float = PRIOR,
    calibration: OrderCalibration | None = None,
) -> Outcome:
    """Compare pairs in batches until the top is decided or the budget is used, and fit strengths to all answers.

    Args:
        n: number of items.
        ask: takes a list of pairs and returns, for each, the probability in 0..1 that its first item is better.
        budget: maximum number of comparisons; None: ``default_budget(n)``. At most all pairs.
        batch: pairs per call of ``ask``; None: n, or n / 2 with a ``top``, which may be decided at any time.
        top: only the best ``top`` items are needed: informative pairs are compared until it is decided. None, or n and
            more: the whole order.
        confidence: in 0..1, the probability of the right top (as a set) at which it is decided.
        progress: called as ``progress(done, total)`` in pairs after every batch; its exceptions are passed on.
        weight: votes per answer as in ``bradley_terry``; None estimates it from the answers (``estimate_weight``).
        prior: as in ``bradley_terry``.
        calibration: the calibration of the judge; its weight replaces ``weight``, and its probabilities decide the top.

    Raises:
        ValueError: ``ask`` returned a wrong number of answers, or one outside 0..1; or ``top`` is below 1.
    """
    full = n * (n - 1) // 2
    total = within_budget(n, budget)
    if top is not None and top < 1:
        raise ValueError("top must be at least 1")
    top = None if top is None or top >= n else top
    pairs: list[Pair] = []
    wins: list[float] = []
    weight = weight if calibration is None else calibration.weight
    strengths = bradley_terry(n, [], [], prior=prior, calibration=calibration)
    todo = all_pairs(n) if total == full and top is None else []
    stopped = ALL_PAIRS if total == full else BUDGET
    batch = batch or (n if top is None else max(1, n // 2))
    while len(pairs) < total:
        if todo:
            chosen = todo[len(pairs) : len(pairs) + min(batch, total - len(pairs))]
        else:
            chosen = choose_pairs(n, pairs, strengths, min(batch, total - len(pairs)), top)
        answers = [float(answer) for answer in ask(list(chosen))]
        if len(answers) != len(chosen):
            raise ValueError(f"{len(chosen)} pairs were compared, but {len(answers)} answers were returned")
        pairs += chosen
        wins += answers
        if not todo or len(pairs) == total:
            votes = estimate_weight(n, pairs, wins, prior, strengths.values) if weight is None else weight
            strengths = bradley_terry(n, pairs, wins, votes, prior, strengths.values, calibration)
        if progress is not None:
            progress(len(pairs), total)
        if top is not None and len(pairs) < total and top_decided(strengths, top, confidence):
            stopped = TOP_DECIDED
            break
    return Outcome(strengths, pairs, wins, stopped)


def top_decided(strengths: Strengths, top: int, confidence: float) -> bool:
    """Return whether the best ``top`` items are, as a set, the right ones with at least this probability.

    By the union bound: the probabilities that an item inside is worse than one outside may sum to ``1 - confidence``.
    """
    places = order(strengths)
    inside, outside = np.array(places[:top], np.intp), np.array(places[top:], np.intp)
    if strengths.calibration is not None:
        return _calibrated_doubt(strengths, strengths.calibration.lapse, inside, outside) <= 1 - confidence
    gaps = strengths.values[inside][:, None] - strengths.values[outside]  # [top, n - top]
    variances = np.diag(strengths.covariance)
    spread = variances[inside][:, None] + variances[outside] - 2 * strengths.covariance[np.ix_(inside, outside)]
    rough = sigmoid(-1.702 * gaps / np.sqrt(np.maximum(spread, 1e-12)))
    allowed = 1 - confidence
    negligible = allowed / max(1, rough.size) / 100
    doubt = float(rough[rough <= negligible].sum())
    for flat in np.argsort(-rough, axis=None):  # the least certain first: most tops are undecided
        if doubt > allowed:
            return False
        i, j = np.unravel_index(flat, rough.shape)
        if rough[i, j] <= negligible:
            break
        doubt += 1 - strengths.probability(int(inside[i]), int(outside[j]))
    return doubt <= allowed


def _calibrated_doubt(strengths: Strengths, lapse: float, inside: np.ndarray, outside: np.ndarray) -> float:
    """Return the error probability of ``top_decided`` with a calibration of this ``lapse``.

    Lapses belong to items, not to pairs: an item inside for which the strengths have no information counts once, and
    one outside, which then could have any rank, belongs inside as rarely as any item. So they do not add up over all
    pairs.
    """
    pairs = 1 - strengths.probabilities()[np.ix_(inside, outside)] - lapse  # without the lapses
    return float(pairs.sum()) + lapse * min(2 * min(len(inside), len(outside)), pairs.size)
