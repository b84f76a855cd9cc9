"""The fits of orders and scores: what they state holds for other images than those of the fit."""

import numpy as np
import pytest
from scipy.special import expit

from depictqa_core.calibration import OrderCalibration
from depictqa_core.ranking import bradley_terry as ranking
from depictqa_core.ranking import pair_selection
from training.evaluation.error_models import Ranked, fit_order, fit_score, gaps, rankings


def judged(rng, images=6, error=0.5, noise=0.3, lapses=0.0):
    """A ranking by a judge that errs about images (``error``, in logits, alike in every answer) and about answers."""
    truth = rng.normal(0, 2, images)
    seen = truth + error * rng.logistic(0, 1, images) * 0.7
    wrong = rng.random(images) < lapses
    seen[wrong] = rng.normal(0, 4, wrong.sum())
    pairs = pair_selection.all_pairs(images)
    gap = np.array([seen[i] - seen[j] for i, j in pairs])
    wins = expit(gap + noise * rng.normal(size=len(pairs)))
    return Ranked(images, pairs, wins.tolist(), [(i, j) if truth[i] > truth[j] else (j, i) for i, j in pairs])


def claims(calibration, some):
    """(probability of the order that is thought more probable, whether it is right) of all decided pairs."""
    gap, variance = gaps(some, calibration.weight)
    probability = calibration.probability(gap, variance)
    return np.maximum(probability, 1 - probability), probability > 0.5


@pytest.fixture(scope="module")
def worlds():
    rng = np.random.default_rng(0)
    return [judged(rng, lapses=0.02) for _ in range(100)], [judged(rng, lapses=0.02) for _ in range(300)]


@pytest.mark.slow
def test_the_stated_certainty_of_an_order_holds_for_other_images(worlds):
    fitted, others = worlds
    calibration = fit_order(fitted)
    stated, right = claims(calibration, others)
    for low, high, off in ((0.5, 0.7, 0.08), (0.7, 0.9, 0.06), (0.9, 1.01, 0.03)):
        chosen = (stated >= low) & (stated < high)
        assert chosen.sum() > 100
        assert right[chosen].mean() == pytest.approx(stated[chosen].mean(), abs=off)
    assert stated.max() < 0.9995  # 100 rankings cannot show more


@pytest.mark.slow
def test_self_consistency_is_not_the_certainty_of_the_order(worlds):
    """What the answers' agreement alone says: near 1, and wrong far more often than that."""
    sure, right = [], []
    for ranked in worlds[1][:100]:
        weight = ranking.estimate_weight(ranked.count, ranked.pairs, ranked.wins)
        fit = ranking.bradley_terry(ranked.count, ranked.pairs, ranked.wins, weight)
        assert fit.calibration is None
        for i, j in ranked.decided:
            probability = fit.probability(i, j)
            sure.append(max(probability, 1 - probability))
            right.append(probability > 0.5)
    sure, right = np.array(sure), np.array(right)
    assert right[sure > 0.999].mean() < 0.985


@pytest.mark.slow
def test_few_answers_are_less_certain_than_many(worlds):
    calibration = fit_order(worlds[0])
    ranked = worlds[1][0]
    alone = [Ranked(2, [(0, 1)], [0.9], [(0, 1)])]
    repeated = [Ranked(2, [(0, 1)] * 5, [0.9] * 5, [(0, 1)])]
    assert 0.5 < claims(calibration, alone)[0][0] < claims(calibration, repeated)[0][0]
    assert len(claims(calibration, [ranked])[0]) == len(ranked.decided)


@pytest.mark.slow
def test_a_judge_that_is_always_right_is_believed_as_far_as_its_pairs_show():
    rng = np.random.default_rng(1)
    some = [judged(rng, error=0.0, noise=0.0) for _ in range(40)]
    calibration = fit_order(some)
    stated, _ = claims(calibration, some)
    assert 0.99 < stated.max() < 1 - 0.3 / (40 * 15) and calibration.lapse > 0


@pytest.mark.slow
def test_a_judge_that_knows_nothing_is_certain_of_nothing():
    rng = np.random.default_rng(2)
    some = [judged(rng, error=30.0) for _ in range(40)]
    stated, right = claims(fit_order(some), some)
    assert stated.max() < 0.7 and right.mean() < 0.65


def levels_of(quality, doubt, rng):
    """Level probabilities [5] of a judge that sees the quality (0..100) with an error, and knows how large."""
    seen = np.clip(rng.normal(quality, doubt, 400), 0, 100)
    hats = np.clip(1 - np.abs(seen[:, None] / 25 - np.arange(4, -1, -1)), 0, 1)
    return hats.mean(0)


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(3000):
        quality, doubt = rng.uniform(5, 95), rng.choice([2.0, 8.0, 25.0])
        seen = np.clip(quality + doubt * rng.normal(), 0, 100)
        rows.append((levels_of(seen, doubt, rng), quality))
    levels, truths = (np.array(column) for column in zip(*rows))
    return levels, levels @ np.array([100.0, 75, 50, 25, 0]), truths


@pytest.mark.slow
def test_the_stated_error_of_a_score_holds_for_other_images(scored):
    levels, scores, truths = scored
    calibration = fit_score(levels[:1500], scores[:1500], truths[:1500], "levels")
    confidence, low, high = np.array([calibration.judged(*one) for one in zip(levels[1500:], scores[1500:])]).T
    within = np.abs(truths[1500:] - scores[1500:]) <= 10
    inside = (low <= truths[1500:]) & (truths[1500:] <= high)
    assert inside.mean() == pytest.approx(0.95, abs=0.02)
    assert (low <= scores[1500:]).all() and (scores[1500:] <= high).all() and low.min() >= 0 and high.max() <= 100
    for a, b in ((0, 0.5), (0.5, 0.8), (0.8, 1.01)):
        chosen = (confidence >= a) & (confidence < b)
        assert chosen.sum() > 50 and within[chosen].mean() == pytest.approx(confidence[chosen].mean(), abs=0.12)
    assert within.mean() == pytest.approx(confidence.mean(), abs=0.03)
    kept = np.argsort(-confidence)[:500]
    assert within[kept].mean() > within.mean() + 0.2  # so it is of use to drop answers


@pytest.mark.slow
def test_a_fit_is_the_same_every_time(scored, worlds):
    few = [column[:200] for column in scored]
    assert fit_score(*few, "levels") == fit_score(*few, "levels")
    assert fit_order(worlds[0][:10]) == fit_order(worlds[0][:10])


def test_images_are_ranked_with_those_that_they_are_connected_to():
    pairs = [("a", "b"), ("b", "c"), ("x", "y"), ("y", "z"), ("z", "w"), ("w", "v")]
    assert rankings(pairs, 3) == [["a", "b", "c"], ["x", "y", "z"], ["w", "v"]]
    assert rankings([], 3) == []


@pytest.mark.parametrize("values", [(0, 1, 0), (1, 0, 0), (1, 1, 0.5), (1, 1, -0.1), (float("nan"), 1, 0)])
def test_impossible_calibrations_are_refused(values):
    with pytest.raises(ValueError, match="out of range"):
        OrderCalibration(*values)
