"""From strengths to an order: ranks, ties, and which items can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .bradley_terry import _Z95, Strengths


def order(strengths: Strengths, scores: Sequence[float] | None = None) -> list[int]:
    """Items best first; of equal strengths (to 1e-9) the better ``scores`` first, then those of the input."""
    then = np.zeros(len(strengths.values)) if scores is None else np.round(np.asarray(scores, np.float64), 6)
    return np.lexsort((-then, -np.round(strengths.values, 9))).tolist()  # the last key counts first; stable


def tied(strengths: Strengths, i: int, j: int, level: float = 0.95) -> bool:
    """Whether the two are tied: the interval of their difference at this level (in 0..1) contains 0."""
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

    So items that share a rank are tied, and small steps do not add up to one long tie. An item that is less
    sure than its neighbours (it was asked about less) never gets a better rank than one above it.

    Args:
        places: items, best first.
        tied: whether two items are tied.

    >>> ranks([0, 1, 2], lambda i, j: abs(i - j) < 2)
    [1, 1, 2]
    """
    found: list[int] = []
    for place, item in enumerate(places):
        better = [other for other in range(place) if not tied(places[other], item)]
        least = [1 + len(better), *(1 + found[other] for other in better[-1:]), *found[-1:]]
        found.append(max(least))
    return found
