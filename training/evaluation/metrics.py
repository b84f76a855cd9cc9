"""Metrics of the published evaluation (method.md 8.1, 8.2) with its exact parsing, and of calibration."""

import re

import numpy as np

BIN_EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Confidence bins of the published evaluation, each (low, high]."""

Z = 1.959963984540054
"""Of a standard normal distribution, 95 % lies within this many standard deviations."""


def exact(prediction: str, truth: str) -> float:
    """1 if both texts are equal after stripping, else 0 (single distortion, rating)."""
    return float(prediction.strip() == truth.strip())


def partial(prediction: str, truth: str) -> float:
    """Compute the partial credit of two distortions: 1 if the lists agree, else common names over the larger count.

    Both are split at the letters "and", wherever they are; repeated names count once in the prediction, but not in the
    true answer (method.md 8.2).
    """
    names = sorted(set(_names(prediction)))
    true = sorted(_names(truth))
    if names == true:
        return 1.0
    return len(set(names) & set(true)) / max(len(names), len(true))


def _names(text: str) -> list[str]:
    return [name.strip().lower() for name in re.split(r"and", text)]


def summary(values: list[float], confidences: list[float | None], edges: tuple[float, ...] = BIN_EDGES) -> dict:
    """Mean and count of values, and the same per confidence bin (low, high]; a confidence of 0 is in the first bin.

    Values without a confidence count in the mean only.
    """
    bins = []
    for low, high in zip(edges, edges[1:]):
        inside = [
            value
            for value, confidence in zip(values, confidences)
            if confidence is not None and (low < round(confidence, 6) <= high or (low == 0 == round(confidence, 6)))
        ]
        bins.append({"low": low, "high": high, "count": len(inside), "accuracy": mean(inside)})
    return {"accuracy": mean(values), "count": len(values), "bins": bins}


def mean(values) -> float | None:
    """Mean rounded to 6 digits; None of nothing."""
    values = list(values)
    return round(float(sum(values)) / len(values), 6) if values else None


def reliability(confidences, hits, bins: int = 10, weights=None) -> list[dict]:
    """Mean confidence and share of hits in bins of equal width [low, high); 1.0 is in the last. Empty ones left out.

    Args:
        confidences, hits: [N].
        weights: of the answers, [N]; None if all count the same.
    """
    confidences, hits = np.asarray(confidences, dtype=float), np.asarray(hits, dtype=float)
    weights = np.ones(len(hits)) if weights is None else np.asarray(weights, dtype=float)
    place = np.minimum((confidences * bins).astype(int), bins - 1)
    return [
        {
            "low": round(b / bins, 6),
            "high": round((b + 1) / bins, 6),
            "count": int((place == b).sum()),
            "confidence": float(np.average(confidences[place == b], weights=weights[place == b])),
            "accuracy": float(np.average(hits[place == b], weights=weights[place == b])),
        }
        for b in np.unique(place).tolist()
    ]


def calibration_error(confidences, hits, bins: int = 10, weights=None) -> float | None:
    """Expected calibration error (Guo et al. 2017): mean |confidence - accuracy| of the bins, weighted by count."""
    found = reliability(confidences, hits, bins, weights)
    place = np.minimum((np.asarray(confidences, dtype=float) * bins).astype(int), bins - 1)
    counts = np.bincount(place, weights, bins)[np.unique(place)] if len(found) else np.zeros(0)
    gaps = [abs(b["confidence"] - b["accuracy"]) for b in found]
    return float(counts @ gaps / counts.sum()) if counts.sum() else None


def calibration_error_by_chance(confidences, bins: int = 10, draws: int = 200) -> float | None:
    """Compute the mean ``calibration_error`` of the same number of perfectly calibrated answers.

    The fewer answers, the larger it is; an error close to it is no sign of bad calibration. The draws are fixed.
    """
    sure, rng = np.asarray(confidences, dtype=float), np.random.default_rng(0)
    errors = [calibration_error(sure, rng.random(len(sure)) < sure, bins) for _ in range(draws)]
    return float(np.mean([error for error in errors if error is not None])) if len(sure) else None


def risk_coverage(confidences, values) -> list[tuple[float, float]]:
    """Compute the risk (one minus the mean value) of keeping only the most confident answers, as (coverage, risk)
    points.

    One point per distinct confidence, highest first (El-Yaniv and Wiener 2010); equal ones are added together.
    """
    confidences, values = np.asarray(confidences, dtype=float), np.asarray(values, dtype=float)
    order = np.argsort(-confidences, kind="stable")
    sorted_confidences = confidences[order]
    risk = 1 - np.cumsum(values[order]) / np.arange(1, len(order) + 1)
    if not len(order):
        return []
    last = np.append(sorted_confidences[1:] != sorted_confidences[:-1], True)
    return [((i + 1) / len(order), float(risk[i])) for i in np.flatnonzero(last)]


def area_under_risk(points: list[tuple[float, float]]) -> float | None:
    """AURC: the area under ``risk_coverage`` points; the risk before the first point is that of the first."""
    area, before, risk_before = 0.0, 0.0, None
    for coverage, risk in points:
        area += (coverage - before) * (risk if risk_before is None else (risk + risk_before) / 2)
        before, risk_before = coverage, risk
    return area if points else None


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
