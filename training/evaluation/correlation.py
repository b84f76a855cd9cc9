"""Correlation of scores with opinions: SRCC and PLCC after the usual four-parameter logistic fit (method.md 8.3)."""

import warnings

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.stats import pearsonr, spearmanr

EVALUATIONS = 10_000


def logistic(scores: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
    """(b1 - b2) / (1 + exp(-(s - b3) / b4)) + b2."""
    with np.errstate(over="ignore"):
        return (b1 - b2) / (1 + np.exp(-(scores - b3) / b4)) + b2


def fit_logistic(scores: np.ndarray, opinions: np.ndarray) -> np.ndarray | None:
    """Map scores to the scale of the opinions; None if no fit is found.

    The search starts from (max opinion, min opinion, mean score, standard deviation of the scores / 4).
    """
    start = [opinions.max(), opinions.min(), scores.mean(), scores.std() / 4]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # on few points the spread of the fit is unknown
            found, _ = curve_fit(logistic, scores, opinions, p0=start, maxfev=EVALUATIONS)
    except (RuntimeError, TypeError):  # no end within the evaluations; fewer points than parameters
        return None
    fitted = logistic(scores, *found)
    return fitted if np.isfinite(fitted).all() else None


def correlations(scores, opinions) -> dict | None:
    """Compute SRCC and PLCC of fitted scores with opinions; ``fitted`` is whether a fit was found.

    Without a fit they are those of the scores as they are. None if one side is constant or has fewer than three values.
    """
    scores, opinions = np.asarray(scores, dtype=float), np.asarray(opinions, dtype=float)
    if len(scores) < 3 or np.ptp(scores) == 0 or np.ptp(opinions) == 0:
        return None
    fitted = fit_logistic(scores, opinions)
    used = scores if fitted is None or np.ptp(fitted) == 0 else fitted
    return {
        "srcc": float(spearmanr(used, opinions).statistic),
        "plcc": float(pearsonr(used, opinions).statistic),
        "fitted": used is fitted,
    }


def mean_correlations(groups: dict[str, tuple[list[float], list[float]]]) -> dict:
    """Compute ``correlations`` of each group (reference -> scores, opinions) and their means over the groups.

    Returns:
        ``{"srcc", "plcc", "references": {name: {...}}, "unfitted": names, "left_out": names}``; means are None when no
        group has a correlation.
    """
    found = {name: correlations(*pair) for name, pair in groups.items()}
    kept = {name: {**value, "images": len(groups[name][0])} for name, value in found.items() if value}
    return {
        **{key: float(np.mean([v[key] for v in kept.values()])) if kept else None for key in ("srcc", "plcc")},
        "references": kept,
        "unfitted": [name for name, value in kept.items() if not value["fitted"]],
        "left_out": [name for name, value in found.items() if not value],
    }
