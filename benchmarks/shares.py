"""Shares and means with their 95 % intervals, as all tables of the benchmarks have them."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from training.evaluation.metrics import wilson

__all__ = ["RESULTS", "bootstrap", "mean", "share", "wilson"]

RESULTS = Path(__file__).parent / "results" / "quality_mini.json"
"""What was measured of the quality of the bundled model."""


def share(hits: Iterable[float]) -> dict[str, float]:
    """Return share and interval of hits (1) and misses (0), or of partial credits: keys share, low, high."""
    values = np.asarray(list(hits), float)
    found = float(values.mean())
    low, high = wilson(found, len(values))
    return {"share": round(found, 4), "low": round(low, 4), "high": round(high, 4)}


DRAWS = 2000
"""Resamples of a bootstrap."""


def mean(values: ArrayLike, digits: int = 4) -> dict[str, float]:
    """Return the mean of one value per image and its 95 % interval, resampled by image: keys mean, low, high."""
    return bootstrap(np.mean, values, digits=digits)


def bootstrap(
    statistic: Callable[..., float], *columns: ArrayLike, digits: int = 4, paired: bool = True
) -> dict[str, float]:
    """Return a statistic and its 95 % interval by the percentile bootstrap (Efron 1979). The resamples are fixed.

    Of fewer than about ten images the interval is too narrow. ``training.evaluation.bootstrap.intervals`` is not
    used here: it gives no interval then, and cannot resample columns of different lengths.

    Args:
        statistic: of the columns.
        columns: values [N], one per image.
        digits: of the result.
        paired: whether place i of all columns is one image; otherwise each column is resampled on its own, and may
            have another length.

    Returns:
        keys mean (the statistic), low, high. NaN resamples, such as correlations of equal values, are left out.
    """
    rng, arrays = np.random.default_rng(0), [np.asarray(column, float) for column in columns]
    drawn = []
    for _ in range(DRAWS):
        first = rng.integers(0, len(arrays[0]), len(arrays[0]))
        rows = [first if paired else rng.integers(0, len(array), len(array)) for array in arrays]
        drawn.append(statistic(*(array[row] for array, row in zip(arrays, rows))))
    ends = np.nanquantile(drawn, (0.025, 0.975)) if not np.isnan(drawn).all() else (np.nan, np.nan)
    found = float(statistic(*arrays))
    return {key: round(float(v), digits) for key, v in zip(("mean", "low", "high"), (found, *ends))}
