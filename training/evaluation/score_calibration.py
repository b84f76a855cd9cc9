"""The prior of scores, and how far they are from the true quality, fitted on images of known quality."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from tqdm import tqdm

from depictqa_core import tasks
from depictqa_core.calibration import HEADS, NONE, WITHIN, ScoreCalibration, with_logits, with_offset
from depictqa_core.judge import Judge
from depictqa_core.prompts import REFERENCE, A
from depictqa_core.tasks import LEVEL_SCORES, SCORE

from .error_models import fit_score
from .sets import TestSet
from .temperatures import CHUNK, CLEAN_SHARE, LARGEST_HEAD_WEIGHT, MINIMUM, OFFSET, calibrated, prior_weights

CLEAN = 99.95
"""Points above which the true quality is that of a clean image."""
_LEVELS = tasks.answers(SCORE, SCORE.question)


@dataclass(frozen=True)
class ScoreFit:
    """What calibration did for scores in one setting.

    Attributes:
        calibration: the fitted one; None where there were too few records.
        offset: added to the log-probability of the best level; None where it was not fitted.
        heads: weight of the logits of heads; None where it was not fitted.
        count: images that it was fitted on.
        within: share of them whose true quality is within ``calibration.WITHIN`` points of their score.
        confidence: their mean calibrated confidence.
        inside: share whose true quality is in the calibrated interval.
    """

    calibration: ScoreCalibration | None
    offset: float | None
    heads: float | None
    count: int
    within: float
    confidence: float | None
    inside: float | None


def calibrate_scores(
    judge: Judge, sets: Sequence[TestSet], minimum: int = MINIMUM, clean_share: float | None = CLEAN_SHARE
) -> dict[str, ScoreFit]:
    """Fit the weight of heads and the offset of the best level, then ``score_error_fr`` and ``score_error_nr``, on the
    records with ``quality`` (0..1, as ``build`` writes it).

    Args:
        judge, sets, minimum, clean_share: as in ``temperatures.calibrate``.
    """
    own = (NONE + SCORE.name, HEADS + SCORE.name)
    settings = {k: v for k, v in judge.backend.calibration.settings.items() if not k.startswith(own)}
    with calibrated(judge, settings):
        found = _scored(judge, sets)
    return {key: _fit_score(some, minimum, clean_share) for key, some in found.items()}


def fit_offset(levels: np.ndarray, truths: np.ndarray, clean_share: float) -> float:
    """Fit what is added to the log-probability of the best level, so that it is as probable as images are nearest to it
    where a share of them is clean.

    Args:
        levels: probabilities [N, 5], best level first.
        truths: true quality in points [N]; clean images have 100.
        clean_share: above 0 and below 1.

    Returns:
        the most likely offset within ``OFFSET``, to 1e-6.
    """
    weights, best = prior_weights(truths > CLEAN, clean_share), truths > (LEVEL_SCORES[0] + LEVEL_SCORES[1]) / 2

    def loss(offset: float) -> float:
        share = np.clip(with_offset(levels, 0, offset)[:, 0], 1e-6, 1 - 1e-6)  # answers that are sure and wrong
        return -float((weights * np.log(np.where(best, share, 1 - share))).sum())

    found = minimize_scalar(loss, bounds=(-OFFSET, OFFSET), method="bounded", options={"xatol": 1e-7})
    return round(float(found.x), 6)


def fit_heads(levels: np.ndarray, logits: np.ndarray, truths: np.ndarray, clean_share: float) -> float:
    """Fit the weight of heads with which the scores are closest to the true quality, each with its ``fit_offset``.

    Args:
        levels, truths, clean_share: as in ``fit_offset``.
        logits: of heads, [N, 5].

    Returns:
        the weight with the smallest mean error (the smallest squared one would move scores to the mean), 0 to
        ``LARGEST_HEAD_WEIGHT``, to 1e-3.
    """
    weights = prior_weights(truths > CLEAN, clean_share)

    def loss(weight: float) -> float:
        joined = with_logits(levels, weight * logits)
        scores = with_offset(joined, 0, fit_offset(joined, truths, clean_share)) @ np.array(LEVEL_SCORES)
        return float((weights * np.abs(scores - truths)).sum())

    found = minimize_scalar(loss, bounds=(0, LARGEST_HEAD_WEIGHT), method="bounded", options={"xatol": 1e-3})
    return round(float(found.x), 3)


def scored_sets(judge: Judge, sets: Sequence[TestSet]) -> dict[str, list[tuple]]:
    """(Score, true quality in points) of every image of known quality, by ``score_error_fr`` and ``score_error_nr``."""
    return {key: [row[:2] for row in rows] for key, rows in _scored(judge, sets).items()}


def _scored(judge: Judge, sets: Sequence[TestSet]) -> dict[str, list[tuple]]:
    """``scored_sets``, with the logits of heads for the levels behind each."""
    found: dict[str, list[tuple]] = defaultdict(list)
    for test_set in sets:
        chosen = [
            i
            for i, record in enumerate(test_set.records)
            if isinstance(record.get("quality"), (int, float)) and not tasks.setting(test_set.task_types[i]).pair
        ]
        with tqdm(total=len(chosen), desc=f"scores of {test_set.name}", mininterval=5) as bar:
            for start in range(0, len(chosen), CHUNK):
                some = chosen[start : start + CHUNK]
                kept, pictures, _ = test_set.readable(some)
                for seen in (False, True):
                    asked = [(i, roles) for i, roles in zip(kept, pictures) if (REFERENCE in roles) == seen]
                    references = [roles[REFERENCE] for _, roles in asked] if seen else None
                    scores = judge.score([roles[A] for _, roles in asked], references) if asked else []
                    shown = [(roles[A], roles.get(REFERENCE)) for _, roles in asked]
                    heads = judge.backend.head_logits(SCORE, SCORE.question, _LEVELS, shown)
                    found["score_error_fr" if seen else "score_error_nr"] += [
                        (score, 100 * float(test_set.records[i]["quality"]), logits)
                        for (i, _), score, logits in zip(asked, scores, heads)
                    ]
                bar.update(len(some))
    return {key: some for key, some in sorted(found.items()) if some}


def _fit_score(some: list[tuple], minimum: int, clean_share: float | None) -> ScoreFit:
    levels = np.array([[level.probability for level in score.levels] for score, *_ in some])
    scores, truths = np.array([(score.score, truth) for score, truth, _ in some]).T
    logits = np.array([heads for *_, heads in some])
    method, offset, weight = some[0][0].method, None, None
    clean = (truths > CLEAN).sum()
    enough = len(some) >= minimum and clean * 10 >= minimum and clean < len(some)
    if enough and clean_share is not None and method == "levels":
        if logits.any():
            weight = fit_heads(levels, logits, truths, clean_share)
            levels = with_logits(levels, weight * logits)
        offset = fit_offset(levels, truths, clean_share)
        levels = with_offset(levels, 0, offset)
        scores = levels @ np.array(LEVEL_SCORES)
    within = float(np.mean(np.abs(truths - scores) <= WITHIN))
    if len(some) < minimum:
        return ScoreFit(None, None, None, len(some), within, None, None)
    calibration = fit_score(levels, scores, truths, method)
    confidence, low, high = np.array([calibration.judged(*one) for one in zip(levels, scores)]).T
    inside = float(np.mean((low <= truths) & (truths <= high)))
    return ScoreFit(calibration, offset, weight, len(some), within, float(confidence.mean()), inside)
