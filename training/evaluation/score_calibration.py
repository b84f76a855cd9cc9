"""How far scores are from the true quality, fitted on images of known quality."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from depictqa_core import tasks
from depictqa_core.calibration import WITHIN, ScoreCalibration
from depictqa_core.judge import Judge
from depictqa_core.prompts import REFERENCE, A

from .error_models import fit_score
from .sets import TestSet
from .temperatures import CHUNK, MINIMUM


@dataclass(frozen=True)
class ScoreFit:
    """What calibration did for scores in one setting.

    Attributes:
        calibration: the fitted one; None where there were too few records.
        count: images that it was fitted on.
        within: share of them whose true quality is within ``calibration.WITHIN`` points of their score.
        confidence: their mean calibrated confidence.
        inside: share whose true quality is in the calibrated interval.
    """

    calibration: ScoreCalibration | None
    count: int
    within: float
    confidence: float | None
    inside: float | None


def calibrate_scores(judge: Judge, sets: Sequence[TestSet], minimum: int = MINIMUM) -> dict[str, ScoreFit]:
    """Fit ``score_error_fr`` and ``score_error_nr`` on the records with ``quality`` (0..1, as ``build`` writes it)."""
    return {key: _fit_score(some, minimum) for key, some in scored_sets(judge, sets).items()}


def scored_sets(judge: Judge, sets: Sequence[TestSet]) -> dict[str, list[tuple]]:
    """(Score, true quality in points) of every image of known quality, by ``score_error_fr`` and ``score_error_nr``."""
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
                    found["score_error_fr" if seen else "score_error_nr"] += [
                        (score, 100 * float(test_set.records[i]["quality"])) for (i, _), score in zip(asked, scores)
                    ]
                bar.update(len(some))
    return {key: some for key, some in sorted(found.items()) if some}


def _fit_score(some: list[tuple], minimum: int) -> ScoreFit:
    levels = np.array([[level.probability for level in score.levels] for score, _ in some])
    scores, truths = np.array([(score.score, truth) for score, truth in some]).T
    within = float(np.mean(np.abs(truths - scores) <= WITHIN))
    if len(some) < minimum:
        return ScoreFit(None, len(some), within, None, None)
    calibration = fit_score(levels, scores, truths, some[0][0].method)
    confidence, low, high = np.array([calibration.judged(*one) for one in zip(levels, scores)]).T
    inside = float(np.mean((low <= truths) & (truths <= high)))
    return ScoreFit(calibration, len(some), within, float(confidence.mean()), inside)
