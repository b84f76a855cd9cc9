"""The included model's certainty against the truth: its answers about 720 held-out images of 103 sources.

``held_out_answers.json`` holds what ``python -m training calibrate`` saw (training/recipes/mini/README.md): for scores
the level probabilities and the true quality; for rankings the answers to all pairs, and which images are truly better.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from depictqa_core.calibration import ScoreCalibration
from depictqa_core.confidence import reliable
from depictqa_core.loading.checkpoint_folder import BUNDLED
from depictqa_core.ranking import bradley_terry as ranking
from depictqa_core.ranking import pair_selection
from training.evaluation.error_models import Ranked, fit_order, fit_score, gaps

pytestmark = pytest.mark.slow  # the calibration is fitted many times
ANSWERS = json.loads((Path(__file__).parent / "held_out_answers.json").read_text())
STORED = json.loads((BUNDLED / "config.json").read_text())["calibration"]
POINTS = np.array([100.0, 75, 50, 25, 0])
FOLDS = 3


def ranked(rows) -> list[Ranked]:
    sizes = [len(row["sources"]) for row in rows]
    return [
        Ranked(n, pair_selection.all_pairs(n), row["wins"], [tuple(pair) for pair in row["better"]])
        for n, row in zip(sizes, rows)
    ]


def scored(rows):
    levels, truths = (np.array([row[key] for row in rows]) for key in ("levels", "quality"))
    return levels, levels @ POINTS, truths


def others(rows, fold):
    """(rows of sources outside the fold, rows of sources within it); mixed ones are in neither."""
    inside = [{source % FOLDS == fold for source in row.get("sources", [row.get("source")])} for row in rows]
    return [[row for row, kinds in zip(rows, inside) if kinds == {wanted}] for wanted in (False, True)]


@pytest.fixture(scope="module", params=["nr", "fr"])
def orders(request):
    """(stated certainty, whether it is right) of every decided pair, by fits on images of other sources."""
    stated, right = [], []
    rows = ANSWERS[f"order_{request.param}"]
    for fold in range(FOLDS):
        known, new = (ranked(some) for some in others(rows, fold))
        calibration = fit_order(known)
        gap, variance = gaps(new, calibration.weight)
        probability = calibration.probability(gap, variance)
        stated += np.maximum(probability, 1 - probability).tolist()
        right += (probability > 0.5).tolist()
    return np.array(stated), np.array(right)


def holds(stated, right, margin=2.6):
    """Whether as many are right as was stated, to within what chance explains for such a number of them."""
    expected = stated.mean()
    chance = np.sqrt(max(expected * (1 - expected), 0.25 / len(stated)) / len(stated))
    return right.mean() >= expected - margin * chance


def test_the_certainty_of_an_order_holds(orders):
    stated, right = orders
    for low, high in ((0.5, 0.8), (0.8, 0.95), (0.95, 0.99), (0.99, 0.999), (0.999, 1.01)):
        chosen = (stated >= low) & (stated < high)
        assert not chosen.any() or holds(stated[chosen], right[chosen]), (
            low,
            stated[chosen].mean(),
            right[chosen].mean(),
        )
    certain = stated >= 0.975  # what ranks are made of
    assert certain.mean() > 0.1 and holds(stated[certain], right[certain])


def test_self_consistency_would_not_hold():
    """Without a calibration, orders that are stated with 99.9 % and more are wrong more than ten times as often."""
    sure, right = [], []
    for one in ranked(ANSWERS["order_nr"]):
        fit = ranking.bradley_terry(
            one.count, one.pairs, one.wins, ranking.estimate_weight(one.count, one.pairs, one.wins)
        )
        probability = np.array([fit.probability(i, j) for i, j in one.decided])
        sure += np.maximum(probability, 1 - probability).tolist()
        right += (probability > 0.5).tolist()
    sure, right = np.array(sure), np.array(right)
    assert (sure >= 0.999).sum() > 100 and right[sure >= 0.999].mean() < 0.99


@pytest.fixture(scope="module", params=["nr", "fr"])
def errors(request):
    """(confidence, low, high, score, truth) of every image, by fits on images of other sources."""
    rows, found = ANSWERS[f"score_{request.param}"], []
    for fold in range(FOLDS):
        known, new = (scored(some) for some in others(rows, fold))
        calibration = fit_score(*known, "levels")
        found += [(*calibration.judged(levels, score), score, truth) for levels, score, truth in zip(*new)]
    return np.array(found).T


def test_confidence_and_interval_of_a_score_hold(errors):
    confidence, low, high, score, truth = errors
    within = np.abs(score - truth) <= 10
    assert within.mean() == pytest.approx(confidence.mean(), abs=0.03)
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.95, abs=0.02)
    for edges in np.array_split(np.argsort(confidence), 4):  # quarters, from the least to the most confident
        assert within[edges].mean() == pytest.approx(confidence[edges].mean(), abs=0.1)


def test_dropping_scores_of_low_confidence_leaves_better_ones(errors):
    confidence, _, _, score, truth = errors
    kept = np.array([reliable(one, float(np.median(confidence))) for one in confidence])
    off = np.abs(score - truth)
    assert 0.4 < kept.mean() < 0.6 and off[kept].mean() < 0.8 * off[~kept].mean()


@pytest.mark.parametrize("setting", ["nr", "fr"])
def test_the_stored_calibration_is_the_fit_to_these_answers(setting):
    order, stored = fit_order(ranked(ANSWERS[f"order_{setting}"])), STORED[f"order_{setting}"]
    assert [order.weight, order.slope, order.lapse] == pytest.approx(
        [stored[key] for key in ("weight", "slope", "lapse")], rel=0.02
    )
    levels, scores, truths = scored(ANSWERS[f"score_{setting}"])
    score, stored = fit_score(levels, scores, truths, "levels"), ScoreCalibration(**STORED[f"score_error_{setting}"])
    assert score.method == stored.method
    for one in zip(levels, scores):  # what they state is compared, as different lines may state the same
        (confidence, *ends), (stored_confidence, *stored_ends) = score.judged(*one), stored.judged(*one)
        assert confidence == pytest.approx(stored_confidence, abs=0.01) and ends == pytest.approx(stored_ends, abs=3)
