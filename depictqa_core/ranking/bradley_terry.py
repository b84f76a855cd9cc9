"""From pairwise answers to an order: Bradley-Terry strengths with intervals, and which pairs to ask.

Items are the numbers 0..n-1. An answer to pair (i, j) is the probability in 0..1 that i is better than j. Strengths are
in logits: under the model, i beats j with probability sigmoid(strength[i] - strength[j]).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..calibration import OrderCalibration

# Standard deviation of the Gaussian prior on every strength, in logits: wide enough to pull a strength of 3 by little,
# narrow enough that items which win always, or were never asked, have finite strengths and honest, wide intervals.
PRIOR = 5.0
# Weight that one answer is believed to have before answers can be checked against each other. Two items compared only
# once, with the answer 0.7, 0.9 or 0.99, are then in this order with probability 0.79, 0.95 or 0.98.
PRIOR_WEIGHT = 4.0
ALL_PAIRS, BUDGET, TOP_DECIDED = "all pairs", "budget", "top-k decided"
ALL_PAIRS_UP_TO = 12  # so few items are compared in full, at most 66 pairs
_Z95 = 1.959963984540054

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Strengths:
    """Posterior of the strengths: its maximum, and its curvature there (Laplace approximation).

    Attributes:
        values: float64 ``[n]``, logits, mean 0, larger is better.
        covariance: float64 ``[n, n]`` of the centred values.
        weight: mean number of votes that one answer counted for.
        answers: what was fitted: first and second items, answers, weights (each one per pair), prior precision.
        calibration: how far the strengths can be trusted; None where that was never measured: then ``probability`` is
            the judge's self-consistency.
    """

    values: np.ndarray
    covariance: np.ndarray
    weight: float
    answers: tuple = field(repr=False)
    calibration: OrderCalibration | None = None

    @property
    def deviations(self) -> np.ndarray:
        """Standard deviation of every value, ``[n]``; with a calibration, the error of the judge is part of it."""
        own = 0.0 if self.calibration is None else self.calibration.variance
        return np.sqrt(np.maximum(np.diag(self.covariance), 0) + own)

    @property
    def low(self) -> np.ndarray:
        """Lower ends of the 95 % intervals, ``[n]``."""
        return self.values - _Z95 * self.deviations

    @property
    def high(self) -> np.ndarray:
        """Upper ends of the 95 % intervals, ``[n]``."""
        return self.values + _Z95 * self.deviations

    def probabilities(self) -> np.ndarray:
        """``probability`` of every pair ``[n, n]``; with a calibration only."""
        variances = np.diag(self.covariance)
        spread = variances[:, None] + variances - 2 * self.covariance
        return self.calibration.probability(self.values[:, None] - self.values, spread)

    def probability(self, i: int, j: int) -> float:
        """Probability that i is better than j (not that i wins the next vote).

        With a calibration it is that of the true order. Without one it is the posterior probability that the judge
        would put i above j after very many answers: how consistent it is with itself, whether it is right or not.

        The latter by the signed root of the deviance against the best fit with both equal. The curvature alone would
        call answers near 0 and 1 uncertain, because the likelihood is flat there.
        """
        gap = float(self.values[i] - self.values[j])
        if i == j or gap == 0:
            return 0.5
        if self.calibration is not None:
            return float(self.probabilities()[i, j])
        first, second, wins, weights, precision = self.answers
        first, second = np.where(first == j, i, first), np.where(second == j, i, second)
        precisions = np.full(len(self.values), precision)
        precisions[i] *= 2  # j, now without answers, goes to its prior mean
        direction = self.covariance[i] - self.covariance[j]
        # for a Gaussian posterior this start would be the answer
        start = self.values - direction * (gap / max(direction[i] - direction[j], 1e-12))
        start[j] = 0
        equal = _minimise((first, second, wins, weights, precisions), start, 1e-10)
        full = _loss((*self.answers[:4], np.full(len(self.values), precision)), self.values)
        root = math.sqrt(max(0.0, 2 * (_loss((first, second, wins, weights, precisions), equal) - full)))
        return 0.5 * math.erfc(-math.copysign(root, gap) / math.sqrt(2))


def all_pairs(n: int) -> list[Pair]:
    """All n (n - 1) / 2 pairs (i, j) with i < j, in lexical order."""
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def bradley_terry(
    n: int,
    pairs: Sequence[Pair],
    wins,
    weight=1.0,
    prior: float = PRIOR,
    start: np.ndarray | None = None,
    calibration: OrderCalibration | None = None,
) -> Strengths:
    """Maximum a posteriori Bradley-Terry strengths, by Newton's method with step halving.

    Args:
        n: number of items, 0 or more.
        pairs: asked pairs, in any order and direction; repeats count again. They need not connect all items: items of
            separate groups are then compared by the prior only, and their differences have wide intervals.
        wins: ``wins[k]`` in 0..1 is the probability that ``pairs[k][0]`` is better.
        weight: how many independent votes one answer counts for, a number or one per pair. 1 is right for single votes
            (0 or 1), m for shares of m votes; see ``estimate_weight`` for the soft answers of a model.
        prior: standard deviation in logits of the Gaussian prior (mean 0) on every strength.
        start: values near the answer, such as those of fewer pairs: they save time and change nothing.
        calibration: of the judge that answered, for the Strengths; its weight belongs into ``weight``.

    Returns:
        The strengths, centred, with their covariance from the Hessian; with a calibration, from the mean curvature of
        the likelihood between a tie and the fit, as answers near 0 and 1 lie where the likelihood is flat.

    Raises:
        ValueError: an item out of range or paired with itself, or wins, weights or prior out of range.
    """
    answers = _checked(n, pairs, wins, weight, prior)
    problem = (*answers[:4], np.full(n, answers[4]))
    values = _minimise(problem, np.zeros(n) if start is None else start, 1e-18)
    mean_weight = float(answers[3].mean()) if len(answers[3]) else PRIOR_WEIGHT
    if n == 0:
        return Strengths(values, np.zeros((0, 0)), mean_weight, answers, calibration)
    # The prior's pull sums to 0 at the optimum, so the values are centred already, up to rounding.
    curvature = _curvature if calibration is None else _mean_curvature
    covariance = np.linalg.inv(_hessian(problem, curvature(values[answers[0]] - values[answers[1]])))
    covariance = covariance - covariance.mean(0)
    covariance = covariance - covariance.mean(1, keepdims=True)
    return Strengths(values - values.mean(), (covariance + covariance.T) / 2, mean_weight, answers, calibration)


def estimate_weight(
    n: int, pairs: Sequence[Pair], wins, prior: float = PRIOR, start: np.ndarray | None = None
) -> float:
    """How many votes one soft answer is worth, from how well the answers agree with one common order.

    The inverse of the Pearson dispersion of the answers around the fitted strengths, with one degree of freedom of
    prior belief in ``PRIOR_WEIGHT``. Many coin-like votes give about 1, consistent probabilities far more; a tree of
    pairs, where nothing can contradict, gives about ``PRIOR_WEIGHT``. Always within 0.05..1000. ``start`` as in
    ``bradley_terry``.
    """
    weight = PRIOR_WEIGHT
    if len(pairs) == 0:
        return weight
    values = np.zeros(n) if start is None else start
    first, second, wins, _, precision = _checked(n, pairs, wins, weight, prior)
    freedom = max(len(pairs) - _rank(n, first, second), 0)
    for _ in range(4):  # the prior's pull shrinks as the weight grows; this settles quickly
        values = _minimise((first, second, wins, np.full(len(wins), weight), np.full(n, precision)), values, 1e-18)
        expected = _sigmoid(values[first] - values[second])
        # the floor keeps one flat contradiction of a near-certain answer from deciding alone
        residuals = (wins - expected) ** 2 / np.maximum(expected * (1 - expected), 0.01)
        weight = float(np.clip((freedom + 1) / (residuals.sum() + 1 / PRIOR_WEIGHT), 0.05, 1000.0))
    return weight


def choose_pairs(
    n: int, asked: Sequence[Pair], strengths: Strengths | None, batch: int, top: int | None = None
) -> list[Pair]:
    """The next pairs to ask: those whose order is least certain and whose answer would tell most.

    Greedy: a pair scores (chance that the present order is wrong) * log(1 + information of an answer * variance of the
    difference); the covariance is updated as if it had been answered before the next is taken. So a batch spreads over
    the items like a round of a Swiss tournament, joins separate groups first, and then works on close neighbours. An
    answer only ever lowers the scores of the other pairs, so only the best of before are scored again.

    Args:
        n: number of items.
        asked: pairs that were asked, in either direction; they are never chosen again.
        strengths: present strengths; None before the first answer.
        batch: how many pairs are wanted.
        top: only the best ``top`` items are wanted as a set: pairs of items that surely belong to it or surely do not
            count for little.

    Returns:
        At most ``batch`` distinct pairs (i, j), i < j, most useful first, equals by index; fewer when all are asked.
    """
    strengths = bradley_terry(n, [], []) if strengths is None else strengths
    if len(strengths.values) != n:
        raise ValueError(f"strengths of {len(strengths.values)} items do not fit n = {n}")
    open_pairs = np.triu(np.ones((n, n), bool), 1)
    for i, j in asked:
        open_pairs[min(i, j), max(i, j)] = False
    rows, columns = np.nonzero(open_pairs)  # [P], lexical order, so that argmax takes the first of equals
    gap = np.abs(strengths.values[rows] - strengths.values[columns])
    chance = _sigmoid(gap)
    information = strengths.weight * chance * (1 - chance)
    stake = _stake(strengths, top)
    worth = stake[rows] + stake[columns]
    covariance = strengths.covariance.copy()
    free = np.ones(len(rows), bool)

    def score(of):
        i, j = rows[of], columns[of]
        variance = np.maximum(covariance[i, i] + covariance[j, j] - 2 * covariance[i, j], 1e-12)
        if strengths.calibration is None:
            doubt = _sigmoid(-1.702 * gap[of] / np.sqrt(variance))  # the normal tail to within 0.01
        else:
            doubt = 1 - strengths.calibration.probability(gap[of], variance)
        return np.where(free[of], np.round(worth[of] * doubt * np.log1p(information[of] * variance), 12), -1.0)

    chosen, likely, bound = [], np.zeros(0, np.intp), np.inf  # no pair that is not likely scores above the bound
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
    """How unsure it is whether each item belongs to the best ``top``, 0..1/2 each; all alike without a ``top``."""
    if top is None or top >= len(strengths.values):
        return np.full(len(strengths.values), 0.5)
    ranked = np.sort(strengths.values)[::-1]
    border = (ranked[top - 1] + ranked[top]) / 2
    return _sigmoid(-1.702 * np.abs(strengths.values - border) / np.maximum(strengths.deviations, 1e-6))


def default_budget(n: int) -> int:
    """Pairs that ``rank_pairs`` asks: all up to ``ALL_PAIRS_UP_TO`` items, then 1.25 n log2 n (24 % at n = 64)."""
    full = n * (n - 1) // 2
    return full if n <= ALL_PAIRS_UP_TO else min(full, math.ceil(1.25 * n * math.log2(n)))


def within_budget(n: int, budget: int | None) -> int:
    """Pairs that may be asked: the budget (None means ``default_budget``), but never more than there are."""
    return min(n * (n - 1) // 2, default_budget(n) if budget is None else max(0, budget))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of asking pairs.

    Attributes:
        strengths: fitted to all answers.
        pairs, wins: the asked pairs and their answers, in the order of asking.
        stopped: why no more were asked: ``ALL_PAIRS``, ``BUDGET`` or ``TOP_DECIDED``.
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
    """Ask pairs, batch by batch, until the top is decided or the budget is used, and fit strengths to all answers.

    Args:
        n: number of items.
        ask: takes a list of pairs and returns, for each, the probability in 0..1 that its first item is better.
        budget: most pairs to ask; None means ``default_budget(n)``. Never more than all pairs.
        batch: pairs per call of ``ask``; None means n, or n / 2 with a ``top``, which may be decided any time.
        top: only which items are the best ``top`` is wanted: pairs that can tell are asked, and no more once it is
            decided. None, or n and more, wants the whole order.
        confidence: in 0..1, the probability of the right top (as a set) at which it is decided.
        progress: called as ``progress(done, total)`` in pairs after every batch; what it raises passes through.
        weight: votes per answer as in ``bradley_terry``; None estimates it from the answers (``estimate_weight``).
        prior: as in ``bradley_terry``.
        calibration: of the judge; its weight takes the place of ``weight``, and the top is decided when its calibrated
            probability says so.

    Raises:
        ValueError: ``ask`` returned a wrong number of answers, or one outside 0..1; ``top`` is below 1.
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
            raise ValueError(f"{len(chosen)} pairs were asked, but {len(answers)} answers came back")
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
    """Whether the best ``top`` items are, as a set, the right ones with at least this probability.

    By the union bound: the doubts that an item inside stands above one outside may sum to ``1 - confidence``.
    """
    places = order(strengths)
    inside, outside = np.array(places[:top], np.intp), np.array(places[top:], np.intp)
    if strengths.calibration is not None:
        return _calibrated_doubt(strengths, inside, outside) <= 1 - confidence
    gaps = strengths.values[inside][:, None] - strengths.values[outside]  # [top, n - top]
    variances = np.diag(strengths.covariance)
    spread = variances[inside][:, None] + variances[outside] - 2 * strengths.covariance[np.ix_(inside, outside)]
    rough = _sigmoid(-1.702 * gaps / np.sqrt(np.maximum(spread, 1e-12)))
    allowed = 1 - confidence
    negligible = allowed / max(1, rough.size) / 100
    doubt = float(rough[rough <= negligible].sum())
    for flat in np.argsort(-rough, axis=None):  # the most doubtful first: most tops are undecided
        if doubt > allowed:
            return False
        i, j = np.unravel_index(flat, rough.shape)
        if rough[i, j] <= negligible:
            break
        doubt += 1 - strengths.probability(int(inside[i]), int(outside[j]))
    return doubt <= allowed


def _calibrated_doubt(strengths: Strengths, inside: np.ndarray, outside: np.ndarray) -> float:
    """The doubts of ``top_decided`` under a calibration.

    Lapses are those of items, not of pairs: an item inside about which the strengths tell nothing is in doubt once, and
    one outside, which then could stand anywhere, belongs inside as rarely as any item does. So they do not add up
    over all pairs.
    """
    lapse = strengths.calibration.lapse
    pairs = 1 - strengths.probabilities()[np.ix_(inside, outside)] - lapse  # without the lapses
    return float(pairs.sum()) + lapse * min(2 * min(len(inside), len(outside)), pairs.size)


def order(strengths: Strengths, scores: Sequence[float] | None = None) -> list[int]:
    """Items best first; of equal strengths (to 1e-9) the better ``scores`` first, then those of the input."""
    then = np.zeros(len(strengths.values)) if scores is None else np.round(np.asarray(scores, np.float64), 6)
    return np.lexsort((-then, -np.round(strengths.values, 9))).tolist()  # the last key counts first; stable


def tied(strengths: Strengths, i: int, j: int, level: float = 0.95) -> bool:
    """Whether the two cannot be told apart: the interval of their difference at this level (in 0..1) contains 0."""
    return 2 * abs(strengths.probability(i, j) - 0.5) < level


def told_apart(strengths: Strengths) -> np.ndarray:
    """Bool ``[n, n]``: which two items are not ``tied``.

    Asks for few of the exact probabilities: where the curvature alone is sure of an order they are as well, and of the
    other items above one, those of which it is most nearly sure are looked at until one is tied with it.
    """
    if strengths.calibration is not None:
        return 2 * np.abs(strengths.probabilities() - 0.5) >= 0.95
    variances = np.diag(strengths.covariance)
    spread = np.sqrt(np.maximum(variances[:, None] + variances - 2 * strengths.covariance, 1e-12))
    gaps = (strengths.values[:, None] - strengths.values) / spread  # [n, n], in standard deviations
    apart = np.abs(gaps) >= _Z95
    for item in range(len(gaps)):
        above = np.flatnonzero((gaps[:, item] > 0) & ~apart[:, item])
        for other in above[np.argsort(-gaps[above, item], kind="stable")]:
            if tied(strengths, int(other), item):
                break
            apart[other, item] = apart[item, other] = True
    return apart


def ranks(places: Sequence[int], tied: Callable[[int, int], bool]) -> list[int]:
    """The ranks, from 1, of items that stand in this order: one more than how many items are surely better.

    So items that share a rank cannot be told apart, and small steps do not add up to one long tie. An item that is less
    sure than its neighbours (it was asked about less) never gets a better rank than one above it.

    Args:
        places: items, best first.
        tied: whether two items cannot be told apart.

    >>> ranks([0, 1, 2], lambda i, j: abs(i - j) < 2)
    [1, 1, 2]
    """
    found: list[int] = []
    for place, item in enumerate(places):
        better = [other for other in range(place) if not tied(places[other], item)]
        least = [1 + len(better), *(1 + found[other] for other in better[-1:]), *found[-1:]]
        found.append(max(least))
    return found


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def _checked(n, pairs, wins, weight, prior):
    index = np.asarray(pairs, np.intp).reshape(-1, 2)
    wins = np.asarray(wins, np.float64).reshape(-1)
    if len(wins) != len(index):
        raise ValueError(f"{len(index)} pairs, but {len(wins)} answers")
    if len(index) and (index.min() < 0 or index.max() >= n or (index[:, 0] == index[:, 1]).any()):
        raise ValueError(f"every pair needs two different items of 0..{n - 1}")
    if not ((wins >= 0) & (wins <= 1)).all():
        raise ValueError("every answer must be a probability in 0..1")
    weights = np.broadcast_to(np.asarray(weight, np.float64), wins.shape)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("weights must be finite and not negative")
    if not (math.isfinite(prior) and prior > 0):
        raise ValueError("prior must be a finite standard deviation above 0")
    return index[:, 0], index[:, 1], wins, weights, 1 / prior**2


def _loss(problem, values) -> float:
    """Negative log posterior of the strengths, up to a constant."""
    first, second, wins, weights, precisions = problem
    margin = values[first] - values[second]
    return float(weights @ (np.logaddexp(0, margin) - wins * margin) + 0.5 * precisions @ values**2)


def _derivatives(problem, values):
    """Gradient ``[n]`` and Hessian ``[n, n]`` of the loss."""
    first, second, wins, weights, precisions = problem
    n = len(values)
    margin = values[first] - values[second]
    pull = weights * (_sigmoid(margin) - wins)
    gradient = np.bincount(first, pull, n) - np.bincount(second, pull, n) + precisions * values
    return gradient, _hessian(problem, _curvature(margin))


def _hessian(problem, curvature):
    """Hessian ``[n, n]`` of the loss from the curvature of every answer at weight 1."""
    first, second, _, weights, precisions = problem
    hessian = np.zeros((len(precisions), len(precisions)))
    np.add.at(hessian, (first, second), -weights * curvature)
    hessian += hessian.T
    np.fill_diagonal(hessian, 0)  # an item against itself, of two merged ones, tells nothing
    np.fill_diagonal(hessian, precisions - hessian.sum(1))
    return hessian


def _curvature(margin):
    """Second derivative of -log sigmoid at a difference of strengths."""
    expected = _sigmoid(margin)
    return expected * (1 - expected)


def _mean_curvature(margin):
    """The curvature whose parabola costs as much from the margin to a tie as the likelihood of an answer that fits it:
    twice the relative entropy of sigmoid(margin) and 1/2, over the squared margin; 1/4 at 0."""
    size = np.maximum(np.abs(margin), 1e-3)
    return 2 * (size * _sigmoid(size) - np.logaddexp(0, size) + math.log(2)) / size**2


def _minimise(problem, values, tolerance):
    """Newton with step halving; the loss is strictly convex. ``tolerance`` bounds twice its distance to the minimum."""
    current = _loss(problem, values)
    for _ in range(200 if len(values) else 0):
        gradient, hessian = _derivatives(problem, values)
        step = np.linalg.solve(hessian, gradient)
        decrement = gradient @ step
        size = 1.0
        while size > 1e-6 and _loss(problem, values - size * step) > current - 0.25 * size * decrement:
            size /= 2
        if decrement < tolerance or size <= 1e-6:  # at the minimum, rounding hides any further fall
            return values - step
        values = values - size * step
        current = _loss(problem, values)
    return values


def _rank(n, first, second) -> int:
    """Strength differences that the pairs determine: items minus connected groups."""
    group = np.arange(n)
    for a, b in zip(first, second, strict=True):
        if group[a] != group[b]:
            group[group == group[b]] = group[a]
    return n - len(np.unique(group))
