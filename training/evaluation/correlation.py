"""Agreement of scores with opinions: SRCC, KRCC, pair accuracy; PLCC and RMSE after the usual four-parameter logistic.

The logistic and its start are those of the published evaluation (method.md 8.3) and of VQEG's reports.
"""

import warnings

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.stats import kendalltau, pearsonr, spearmanr

EVALUATIONS = 10_000


def logistic(scores: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
    """(b1 - b2) / (1 + exp(-(s - b3) / b4)) + b2."""
    with np.errstate(over="ignore"):
        return (b1 - b2) / (1 + np.exp(-(scores - b3) / b4)) + b2


def logistic_parameters(scores: np.ndarray, opinions: np.ndarray, start=None) -> np.ndarray | None:
    """Fit the logistic that maps scores to the scale of the opinions by least squares; None if no fit is found.

    Args:
        start: where the search starts; None is (max opinion, min opinion, mean score, standard deviation of the
            scores / 4).
    """
    if start is None:
        start = [opinions.max(), opinions.min(), scores.mean(), scores.std() / 4]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # on few points the spread of the fit is unknown
            warnings.simplefilter("ignore", RuntimeWarning)  # of steps far away from the fit
            found, _ = curve_fit(logistic, scores, opinions, p0=start, maxfev=EVALUATIONS)
    except (RuntimeError, TypeError):  # no end within the evaluations; fewer points than parameters
        return None
    return found if np.isfinite(logistic(scores, *found)).all() else None


def fit_logistic(scores: np.ndarray, opinions: np.ndarray) -> np.ndarray | None:
    """Map scores to the scale of the opinions by ``logistic_parameters``; None if no fit is found."""
    found = logistic_parameters(scores, opinions)
    return None if found is None else logistic(scores, *found)


def fit_quality(scores: np.ndarray, opinions: np.ndarray, start=None) -> dict[str, float]:
    """Compute ``plcc`` and ``rmse`` (on the scale of the opinions) of fitted scores; empty if there is no fit."""
    found = logistic_parameters(scores, opinions, start)
    fitted = None if found is None else logistic(scores, *found)
    if fitted is None or np.ptp(fitted) == 0:
        return {}
    error = float(np.sqrt(np.mean((fitted - opinions) ** 2)))
    return {"plcc": float(pearsonr(fitted, opinions).statistic), "rmse": error}


def rank_agreement(scores: np.ndarray, opinions: np.ndarray) -> dict[str, float]:
    """Compute ``srcc``, ``krcc`` (tau-b) and ``pair_accuracy`` of scores; empty if one side is constant.

    Pair accuracy is the share of the pairs with different opinions that the scores order alike; equal scores are worth
    one half. It is (1 + Somers' D of the scores, given the opinions) / 2, computed in O(n log n) from tau-b.
    """
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(opinions) == 0:
        return {}
    quick = "auto" if len(scores) < 3 else "asymptotic"  # the p-value is not needed
    tau = float(kendalltau(scores, opinions, method=quick).statistic)
    total = len(scores) * (len(scores) - 1) / 2
    decided, told = total - _ties(opinions), total - _ties(scores)
    lead = tau * np.sqrt(decided * told) / decided
    return {"srcc": float(spearmanr(scores, opinions).statistic), "krcc": tau, "pair_accuracy": float((1 + lead) / 2)}


def _ties(values: np.ndarray) -> float:
    """Number of pairs of equal values."""
    _, counts = np.unique(values, return_counts=True)
    return float((counts * (counts - 1) / 2).sum())


def decided_pairs(opinions: np.ndarray) -> float:
    """Number of pairs with different opinions."""
    return len(opinions) * (len(opinions) - 1) / 2 - _ties(opinions)


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
