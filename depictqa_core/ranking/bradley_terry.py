"""Bradley-Terry strengths with intervals, fitted to pairwise answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..calibration import OrderCalibration, sigmoid

# Standard deviation of the Gaussian prior on every strength, in logits: wide enough to change a strength of 3 only
# slightly, narrow enough that items that always win, or were never compared, have finite strengths and wide intervals.
PRIOR = 5.0
# Prior weight of one answer, before answers can be checked against each other. Two items compared only once, with the
# answer 0.7, 0.9 or 0.99, are then in this order with probability 0.79, 0.95 or 0.98.
PRIOR_WEIGHT = 4.0
_Z95 = 1.959963984540054

Pair = tuple[int, int]
_Problem = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""First and second items [p], answers [p], weights [p], and the prior precision of every item [n]."""


@dataclass(frozen=True, eq=False)
class Strengths:
    """The posterior of the strengths: its maximum and its curvature there (Laplace approximation).

    Attributes:
        values: float64 ``[n]``, logits, mean 0, larger is better.
        covariance: float64 ``[n, n]`` of the centred values.
        weight: mean number of votes per answer.
        answers: the fitted data: first and second items, answers, weights (each one per pair), prior precision.
        calibration: the calibration of orders; None if it was not measured: then ``probability`` is the judge's
            self-consistency.
    """

    values: np.ndarray
    covariance: np.ndarray
    weight: float
    answers: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float] = field(repr=False)
    calibration: OrderCalibration | None = None

    @property
    def deviations(self) -> np.ndarray:
        """Standard deviation of every value, ``[n]``; with a calibration, including the systematic error of the
        judge."""
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
        """Return ``probability`` of every pair, ``[n, n]``; only with a calibration."""
        if self.calibration is None:
            raise ValueError("these strengths have no calibration")
        variances = np.diag(self.covariance)
        spread = variances[:, None] + variances - 2 * self.covariance
        return self.calibration.probability(self.values[:, None] - self.values, spread)

    def probability(self, i: int, j: int) -> float:
        """Return the probability that i is better than j (not that i wins the next vote).

        With a calibration it is that of the true order. Without one it is the posterior probability that the judge
        would
        rank i above j after very many answers: its self-consistency, whether it is right or not.

        The latter uses the signed root of the deviance against the best fit with both equal. The curvature alone would
        make answers near 0 and 1 uncertain, because the likelihood is flat there.
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
        # for a Gaussian posterior this start would be the solution
        start = self.values - direction * (gap / max(direction[i] - direction[j], 1e-12))
        start[j] = 0
        equal = _minimise((first, second, wins, weights, precisions), start, 1e-10)
        full = _loss((*self.answers[:4], np.full(len(self.values), precision)), self.values)
        root = math.sqrt(max(0.0, 2 * (_loss((first, second, wins, weights, precisions), equal) - full)))
        return 0.5 * math.erfc(-math.copysign(root, gap) / math.sqrt(2))


def bradley_terry(
    n: int,
    pairs: Sequence[Pair] | np.ndarray,
    wins: ArrayLike,
    weight: ArrayLike = 1.0,
    prior: float = PRIOR,
    start: np.ndarray | None = None,
    calibration: OrderCalibration | None = None,
) -> Strengths:
    """Fit maximum a posteriori Bradley-Terry strengths, by Newton's method with step halving.

    Args:
        n: number of items, 0 or more.
        pairs: compared pairs, in any order and direction; repeats count again. They need not connect all items: items
            of separate groups are then compared by the prior only, and their differences have wide intervals.
        wins: ``wins[k]`` in 0..1 is the probability that ``pairs[k][0]`` is better.
        weight: number of independent votes per answer, one number or one per pair. 1 is right for single votes (0 or
            1), m for shares of m votes; see ``estimate_weight`` for the soft answers of a model.
        prior: standard deviation in logits of the Gaussian prior (mean 0) on every strength.
        start: values near the solution, such as those of fewer pairs: they save time and do not change the result.
        calibration: the calibration of the judge, for the Strengths; pass its weight as ``weight``.

    Returns:
        The strengths, centred, with their covariance from the Hessian; with a calibration, from the mean curvature of
        the likelihood between a tie and the fit, as answers near 0 and 1 lie where the likelihood is flat.

    Raises:
        ValueError: an item is out of range or paired with itself, or wins, weights or prior are out of range.
    """
    answers = _checked(n, pairs, wins, weight, prior)
    problem = (*answers[:4], np.full(n, answers[4]))
    values = _minimise(problem, np.zeros(n) if start is None else start, 1e-18)
    mean_weight = float(answers[3].mean()) if len(answers[3]) else PRIOR_WEIGHT
    if n == 0:
        return Strengths(values, np.zeros((0, 0)), mean_weight, answers, calibration)
    # The gradient of the prior sums to 0 at the optimum, so the values are already centered, up to rounding.
    curvature = _curvature if calibration is None else _mean_curvature
    covariance = np.linalg.inv(_hessian(problem, curvature(values[answers[0]] - values[answers[1]])))
    covariance = covariance - covariance.mean(0)
    covariance = covariance - covariance.mean(1, keepdims=True)
    return Strengths(values - values.mean(), (covariance + covariance.T) / 2, mean_weight, answers, calibration)


def pair_probability(answer: float, calibration: OrderCalibration | None) -> float:
    """Probability that the first of two items is truly better, from one answer about them, as ``rank_pairs`` has it.

    Args:
        answer: 0..1, the judge's probability that the first one is better.
        calibration: of the judge; without one the answer is all that is known, and returned.
    """
    if calibration is None:
        return answer
    return bradley_terry(2, [(0, 1)], [answer], calibration.weight, calibration=calibration).probability(0, 1)


def estimate_weight(
    n: int, pairs: Sequence[Pair], wins: ArrayLike, prior: float = PRIOR, start: np.ndarray | None = None
) -> float:
    """Estimate the number of votes that one soft answer is worth, from the agreement of the answers with one order.

    This is the inverse of the Pearson dispersion of the answers around the fitted strengths, with a prior of one degree
    of freedom at ``PRIOR_WEIGHT``. Random votes give about 1, consistent probabilities far more; a tree of pairs, which
    cannot contradict each other, gives about ``PRIOR_WEIGHT``. Always within 0.05..1000. ``start`` as in
    ``bradley_terry``.
    """
    weight = PRIOR_WEIGHT
    if len(pairs) == 0:
        return weight
    values = np.zeros(n) if start is None else start
    first, second, won, _, precision = _checked(n, pairs, wins, weight, prior)
    freedom = max(len(pairs) - _rank(n, first, second), 0)
    for _ in range(4):  # the effect of the prior shrinks as the weight grows; this converges quickly
        values = _minimise((first, second, won, np.full(len(won), weight), np.full(n, precision)), values, 1e-18)
        expected = sigmoid(values[first] - values[second])
        # the lower limit keeps a single contradiction of a near-certain answer from dominating
        residuals = (won - expected) ** 2 / np.maximum(expected * (1 - expected), 0.01)
        weight = float(np.clip((freedom + 1) / (residuals.sum() + 1 / PRIOR_WEIGHT), 0.05, 1000.0))
    return weight


def _checked(
    n: int, pairs: Sequence[Pair] | np.ndarray, wins: ArrayLike, weight: ArrayLike, prior: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    index = np.asarray(pairs, np.intp).reshape(-1, 2)
    answers = np.asarray(wins, np.float64).reshape(-1)
    if len(answers) != len(index):
        raise ValueError(f"{len(index)} pairs, but {len(answers)} answers")
    if len(index) and (index.min() < 0 or index.max() >= n or (index[:, 0] == index[:, 1]).any()):
        raise ValueError(f"every pair needs two different items of 0..{n - 1}")
    if not ((answers >= 0) & (answers <= 1)).all():
        raise ValueError("every answer must be a probability in 0..1")
    weights = np.broadcast_to(np.asarray(weight, np.float64), answers.shape)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("weights must be finite and not negative")
    if not (math.isfinite(prior) and prior > 0):
        raise ValueError("prior must be a finite standard deviation above 0")
    return index[:, 0], index[:, 1], answers, weights, 1 / prior**2


def _loss(problem: _Problem, values: np.ndarray) -> float:
    """Compute the negative log posterior of the strengths, up to a constant."""
    first, second, wins, weights, precisions = problem
    margin = values[first] - values[second]
    return float(weights @ (np.logaddexp(0, margin) - wins * margin) + 0.5 * precisions @ values**2)


def _derivatives(problem: _Problem, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute gradient ``[n]`` and Hessian ``[n, n]`` of the loss."""
    first, second, wins, weights, precisions = problem
    n = len(values)
    margin = values[first] - values[second]
    pull = weights * (sigmoid(margin) - wins)
    gradient = np.bincount(first, pull, n) - np.bincount(second, pull, n) + precisions * values
    return gradient, _hessian(problem, _curvature(margin))


def _hessian(problem: _Problem, curvature: np.ndarray) -> np.ndarray:
    """Compute the Hessian ``[n, n]`` of the loss from the curvature of every answer at weight 1."""
    first, second, _, weights, precisions = problem
    hessian = np.zeros((len(precisions), len(precisions)))
    np.add.at(hessian, (first, second), -weights * curvature)
    hessian += hessian.T
    np.fill_diagonal(hessian, 0)  # an item against itself, from two merged ones, has no information
    np.fill_diagonal(hessian, precisions - hessian.sum(1))
    return hessian


def _curvature(margin: np.ndarray) -> np.ndarray:
    """Compute the second derivative of -log sigmoid at a difference of strengths."""
    expected = sigmoid(margin)
    return expected * (1 - expected)


def _mean_curvature(margin: np.ndarray) -> np.ndarray:
    """Compute the mean curvature between a margin and a tie.

    Its parabola has the same difference as the likelihood: twice the relative entropy of sigmoid(margin) and 1/2, over
    the squared margin; 1/4 at 0.
    """
    size = np.maximum(np.abs(margin), 1e-3)
    return 2 * (size * sigmoid(size) - np.logaddexp(0, size) + math.log(2)) / size**2


def _minimise(problem: _Problem, values: np.ndarray, tolerance: float) -> np.ndarray:
    """Minimize the strictly convex loss by Newton with step halving; ``tolerance`` bounds twice the remaining error."""
    current = _loss(problem, values)
    for _ in range(200 if len(values) else 0):
        gradient, hessian = _derivatives(problem, values)
        step = np.linalg.solve(hessian, gradient)
        decrement = gradient @ step
        size = 1.0
        while size > 1e-6 and _loss(problem, values - size * step) > current - 0.25 * size * decrement:
            size /= 2
        if decrement < tolerance or size <= 1e-6:  # at the minimum, a further decrease is below rounding
            return values - step
        values = values - size * step
        current = _loss(problem, values)
    return values


def _rank(n: int, first: np.ndarray, second: np.ndarray) -> int:
    """Return the number of determined strength differences: items minus connected groups."""
    group = np.arange(n)
    for a, b in zip(first, second, strict=True):
        if group[a] != group[b]:
            group[group == group[b]] = group[a]
    return n - len(np.unique(group))
