"""Metrics of the published evaluation (facts 8.1 and 8.2), with its exact parsing."""

import re

BIN_EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


def exact(prediction: str, truth: str) -> float:
    """1 if both texts are equal after stripping, else 0 (single distortion, rating)."""
    return float(prediction.strip() == truth.strip())


def partial(prediction: str, truth: str) -> float:
    """Share of distortions named rightly (two distortions): 1 if the sets agree, else common over larger count.

    Both are cut at the word "and"; the prediction's repeated names count once, the truth's do not (facts 8.2).
    """
    names = sorted(set(_names(prediction)))
    true = sorted(_names(truth))
    if names == true:
        return 1.0
    return len(set(names) & set(true)) / max(len(names), len(true))


def _names(text: str) -> list[str]:
    return [name.strip().lower() for name in re.split(r"and", text)]


def summary(values: list[float], confidences: list[float | None], edges: tuple[float, ...] = BIN_EDGES) -> dict:
    """Mean and count of values, and the same per confidence bin (low, high]; a confidence of 0 is in the first bin."""
    bins = []
    for low, high in zip(edges, edges[1:]):
        inside = [
            value
            for value, confidence in zip(values, confidences)
            if confidence is not None and (low < round(confidence, 6) <= high or (low == 0 == round(confidence, 6)))
        ]
        bins.append({"low": low, "high": high, "count": len(inside), "accuracy": _mean(inside)})
    return {"accuracy": _mean(values), "count": len(values), "bins": bins}


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None
