"""Shares of images with their 95 % intervals, as all tables of the benchmarks have them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "quality_mini.json"
"""What was measured of the quality of the bundled model."""
Z = 1.959963984540054
"""Of a standard normal distribution, 95 % lies within this many standard deviations."""


def wilson(share: float, count: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share of independent cases (Wilson 1927).

    Args:
        share: 0..1. It may be a mean of partial credits: their variance is smaller than that of hits with the same
            mean, so that the interval is too wide, never too narrow.
        count: number of cases, at least 1.

    Returns:
        low and high end, 0..1.

    Raises:
        ValueError: the share is outside 0..1, or there are no cases.
    """
    if not 0 <= share <= 1 or count < 1:
        raise ValueError(f"a share must be from 0 to 1 and have cases, got {share} of {count}")
    middle = share + Z**2 / (2 * count)
    reach = Z * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return max(0.0, float((middle - reach) / scale)), min(1.0, float((middle + reach) / scale))


def share(hits: Iterable[float]) -> dict[str, float]:
    """Return share and interval of hits (1) and misses (0), or of partial credits: keys share, low, high."""
    values = np.asarray(list(hits), float)
    found = float(values.mean())
    low, high = wilson(found, len(values))
    return {"share": round(found, 4), "low": round(low, 4), "high": round(high, 4)}
