"""Bootstrap intervals: whole groups of answers (such as all images of one reference) are resampled with replacement."""

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

LEVEL = 0.95
RESAMPLES = 1000
FEWEST_GROUPS = 10
"""Minimum number of groups: fewer hardly differ between resamples, and intervals would be far too narrow."""
Statistic = Callable[[np.ndarray, np.ndarray], Mapping[str, float | None]]
"""(indexes of the answers, numbers of the groups that were drawn) -> values by name."""


def group_numbers(labels: Sequence[Hashable]) -> np.ndarray:
    """Number the groups of answers from 0, in the order in which they first occur."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=int)


def intervals(
    statistic: Statistic, groups: np.ndarray, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> dict[str, list[float]]:
    """Compute percentile intervals of the values of a statistic (Efron and Tibshirani 1993, chapter 13).

    Answers of one group depend on one another, so groups are resampled, not answers (cluster bootstrap). Resamples in
    which a value is undefined are left out of its interval; a value that is undefined in more than a tenth of them has
    none.

    Args:
        statistic: computes the values of a resample; see ``Statistic``.
        groups: [N], the number of the group of each answer (``group_numbers``).
        resamples: number of resamples; 0 for no intervals.
        seed: of the draws.
        level: of the intervals, 0..1.

    Returns:
        name -> [low, high]. Empty for fewer than ``FEWEST_GROUPS`` groups.
    """
    count = int(groups.max()) + 1 if len(groups) else 0
    if count < FEWEST_GROUPS or resamples < 1:
        return {}
    order = np.argsort(groups, kind="stable")
    ends = np.cumsum(np.bincount(groups, minlength=count))
    members = np.split(order, ends[:-1])
    single = len(groups) == count
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for _ in range(resamples):
        drawn = rng.integers(count, size=count)
        indexes = order[drawn] if single else np.concatenate([members[group] for group in drawn])
        for name, value in statistic(indexes, drawn).items():
            if value is not None and np.isfinite(value):
                found.setdefault(name, []).append(value)
    tail = (1 - level) / 2
    return {
        name: [float(end) for end in np.quantile(values, [tail, 1 - tail])]
        for name, values in found.items()
        if len(values) >= 0.9 * resamples
    }
