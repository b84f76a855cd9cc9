"""From strengths to an order: ranks, ties, and which items can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .bradley_terry import _Z95, Strengths


def order(strengths: Strengths, scores: Sequence[float] | None = None) -> list[int]:
    """Sort items, best first; equal strengths (to 1e-9) are sorted by ``scores``, then by index."""
    then = np.zeros(len(strengths.values)) if scores is None else np.round(np.asarray(scores, np.float64), 6)
    return np.lexsort((-then, -np.round(strengths.values, 9))).tolist()  # the last key counts first; stable


def tied(strengths: Strengths, i: int, j: int, level: float = 0.95) -> bool:
    """Return whether two items are tied: the interval of their difference at this level (in 0..1) contains 0."""
    return 2 * abs(strengths.probability(i, j) - 0.5) < level


def told_apart(strengths: Strengths) -> np.ndarray:
    """Return which pairs of items are not ``tied``, bool ``[n, n]``.

    Few exact probabilities are computed: if the curvature alone is certain of an order, they are as well. Of the other
    items above one, the most certain ones are checked until one is tied with it.
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
    """Return the ranks of sorted items: 1 + the number of significantly better items.

    So items that share a rank are tied, and small steps do not add up to one long tie. An item with fewer comparisons
    than its neighbors never gets a better rank than one above it.

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
