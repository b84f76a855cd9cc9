"""Fit the models in ``depictqa_core.calibration``: the relation of a judge's orders and scores to the true ones."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from depictqa_core.calibration import FEATURES, LEVEL, WITHIN, OrderCalibration, ScoreCalibration, features
from depictqa_core.ranking import bradley_terry as ranking

WEIGHTS = (1.0, 4.0, 16.0, 64.0)
"""Candidate numbers of votes per answer; answers with more votes are practically exact."""
ALONE = 3
"""Approximate number of pairs of a ranking that are also used separately."""


@dataclass(frozen=True)
class Ranked:
    """Items that a judge compared in pairs, and their true order as far as it is known.

    Attributes:
        count: number of items.
        pairs, wins: the compared pairs and the answers, as in ``ranking.bradley_terry``.
        decided: pairs of items of which the first is better in truth.
    """

    count: int
    pairs: list[tuple[int, int]]
    wins: list[float]
    decided: list[tuple[int, int]]


def views(ranked: Ranked) -> list[Ranked]:
    """Return the same items with fewer answers: a few decided pairs only, every second answer, and all answers."""
    answers = {}
    for (i, j), win in zip(ranked.pairs, ranked.wins):
        answers[i, j], answers[j, i] = win, 1 - win
    some = ranked.decided[:: max(1, len(ranked.decided) // ALONE)]
    alone = [Ranked(2, [(0, 1)], [answers[pair]], [(0, 1)]) for pair in some if pair in answers]
    half = Ranked(ranked.count, ranked.pairs[::2], ranked.wins[::2], ranked.decided)
    return [*alone, *([half] if len(ranked.pairs) > 2 else []), ranked]


def gaps(some: Sequence[Ranked], weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the strength differences of all decided pairs, positive if the judge is right, and their variances: both
    [M]."""
    found = []
    measured = OrderCalibration(weight, 1.0, 0.0)  # its slope and lapse play no part in gaps and variances
    for ranked in some:
        fit = ranking.bradley_terry(ranked.count, ranked.pairs, ranked.wins, weight, calibration=measured)
        variances = np.diag(fit.covariance)
        found += [
            (fit.values[i] - fit.values[j], variances[i] + variances[j] - 2 * fit.covariance[i, j])
            for i, j in ranked.decided
        ]
    gap, variance = np.array(found, np.float64).reshape(-1, 2).T
    return gap, variance


def order_likelihood(calibration: OrderCalibration, gap: np.ndarray, variance: np.ndarray) -> float:
    """Compute the mean of -log p(true order)."""
    return float(-np.log(np.maximum(calibration.probability(gap, variance), 1e-300)).mean())


def fit_order(some: Sequence[Ranked]) -> OrderCalibration:
    """Fit the calibration that maximizes the likelihood of the true orders, given the judge's answers.

    It is fitted to rankings from few and from many answers (``views``), because both occur in use. The lapse counts one
    more wrong order at full certainty than there is: no share of right ones is larger than that many pairs can show.
    """
    seen = [view for ranked in some for view in views(ranked)]
    count = sum(len(ranked.decided) for ranked in some)
    best: OrderCalibration | None = None
    least = np.inf
    for weight in WEIGHTS:
        gap, variance = gaps(seen, weight)

        def loss(x, gap=gap, variance=variance, weight=weight):
            found = OrderCalibration(weight, float(np.exp(x[0])), float(0.4 / (1 + np.exp(-x[1]))))
            return order_likelihood(found, gap, variance) - np.log(found.lapse) / count

        bounds = [(-4, 3), (-9, 4)]
        found = minimize(loss, [0.0, -4.0], bounds=bounds, method="L-BFGS-B")
        if found.fun < least - 1e-9:
            slope, lapse = float(np.exp(found.x[0])), float(0.4 / (1 + np.exp(-found.x[1])))
            best, least = OrderCalibration(weight, round(slope, 6), round(lapse, 6)), found.fun
    if best is None:
        raise ValueError("no likelihood of the orders is finite: there are no decided pairs")
    return best


def fit_score(levels: np.ndarray, scores: np.ndarray, truths: np.ndarray, method: str) -> ScoreCalibration:
    """Fit the error model of scores: the probability of a small error, and the interval of 95 % of the errors.

    The first is a logistic regression. For the second, center and scale are the maximum likelihood fit of a logistic
    distribution; the ends are quantiles of the residuals, so the distribution itself does not matter (split conformal
    prediction, without the split: eight numbers are fitted).

    Args:
        levels: level probabilities [N, 5], best level first.
        scores, truths: points 0..100, [N].
        method: as in ``ScoreCalibration``.
    """
    found, errors = features(levels, scores), np.asarray(truths, np.float64) - np.asarray(scores, np.float64)
    close = np.where(np.abs(errors) <= WITHIN, 1.0, -1.0)

    def pull(x):  # weak, to zero: keeps lines finite that few images leave open
        return (x[1:] @ x[1:]) / (2 * len(errors))

    def miss(x):
        return np.logaddexp(0, -close * (found @ x)).mean() + pull(x) / 100

    def loss(x):
        centre, scale = found @ x[:FEATURES], found @ x[FEATURES:]
        z = (errors - centre) / np.exp(scale)
        return float((scale + z + 2 * np.logaddexp(0, -z)).mean()) + (pull(x[:FEATURES]) + pull(x[FEATURES:])) / 100

    within = np.round(minimize(miss, np.zeros(FEATURES), method="BFGS").x, 5)
    start = np.zeros(2 * FEATURES)
    start[FEATURES] = np.log(max(float(np.abs(errors).mean()), 0.1))
    x = minimize(loss, start, method="BFGS").x
    centre, log_scale = np.round(x[:FEATURES], 5), np.round(x[FEATURES:], 5)
    left = (errors - found @ centre) / np.exp(found @ log_scale)
    # the smallest and the largest of N errors leave 1 / (N + 1) beyond them
    ends = np.round(np.quantile(left, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), method="weibull"), 5)
    return ScoreCalibration(method, within.tolist(), centre.tolist(), log_scale.tolist(), ends.tolist())


def rankings(pairs: Sequence[tuple], most: int) -> list[list]:
    """Group pairs of images into sets of at most ``most`` images that are connected by pairs.

    Args:
        pairs: (image, image) in any order.
        most: images per set, 2 or more.

    Returns:
        Sets as lists of images, by their first pair; every image is in one set at most, images of sets that hold a
        single one in none.
    """
    near = defaultdict(list)
    for a, b in pairs:
        near[a].append(b)
        near[b].append(a)
    done, sets = set(), []
    for first in near:
        if first in done:
            continue
        members: list = []
        waiting = [first]
        while waiting and len(members) < most:
            image = waiting.pop(0)
            if image not in done:
                done.add(image)
                members.append(image)
                waiting += [other for other in near[image] if other not in done]
        if len(members) > 1:
            sets.append(members)
    return sets
