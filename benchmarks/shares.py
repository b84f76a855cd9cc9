"""Shares of images with their 95 % intervals, as all tables of the benchmarks have them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from training.evaluation.metrics import wilson

__all__ = ["RESULTS", "share", "wilson"]

RESULTS = Path(__file__).parent / "results" / "quality_mini.json"
"""What was measured of the quality of the bundled model."""


def share(hits: Iterable[float]) -> dict[str, float]:
    """Return share and interval of hits (1) and misses (0), or of partial credits: keys share, low, high."""
    values = np.asarray(list(hits), float)
    found = float(values.mean())
    low, high = wilson(found, len(values))
    return {"share": round(found, 4), "low": round(low, 4), "high": round(high, 4)}
