"""Calibrated certainties in results and tables, and what stands there without a calibration."""

import json
from dataclasses import replace

import numpy as np
import pytest
from core.judging import give_coverage, pictures
from tiny import make_tiny_checkpoint

from depictqa_core import answers
from depictqa_core.backends.base import AnswerProbabilities
from depictqa_core.calibration import (
    CALIBRATED,
    SELF_CONSISTENCY,
    Calibration,
    OrderCalibration,
    ScoreCalibration,
    features,
    judged_by_itself,
)
from depictqa_core.confidence import CALIBRATED_COVERAGE
from depictqa_core.judge import load_judge
from depictqa_core.network.config import DepictQAConfig
from depictqa_core.ranking import bradley_terry as ranking
from depictqa_core.ranking import pair_selection, rank_order
from depictqa_core.reports import text as reports

ORDER = {"weight": 20.0, "slope": 0.7, "lapse": 0.01}
# scores are 5 points too low on average, and 95 % of the errors are within 20 points of that
SCORE = {"method": "levels", "within": [0, 0, 1, 0], "centre": [5, 0, 0, 0], "log_scale": [0] * 4, "ends": [-20, 20]}
CALIBRATION = {"identification_nr": 1.2, "rating": 1.1, "order_nr": ORDER, "score_error_nr": SCORE}


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = make_tiny_checkpoint(tmp_path_factory.mktemp("judge") / "c", calibration=CALIBRATION)
    return load_judge(folder, "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("coverage", [1.0, CALIBRATED_COVERAGE, 0.89, 0.05])
def test_results_say_whether_they_are_calibrated(judge, monkeypatch, coverage):
    """They are where the checkpoint is calibrated for the question, and coverage is high."""
    give_coverage(monkeypatch, judge, coverage)
    known = CALIBRATED if coverage >= CALIBRATED_COVERAGE else SELF_CONSISTENCY
    shown, original = pictures(3), pictures(1, 9)[0]
    expected = {None: known, original: SELF_CONSISTENCY}
    for reference, certainty in expected.items():
        (score, *_), ranked = judge.score(shown, reference), judge.rank(shown, reference)
        assert score.certainty == certainty
        by_itself = judged_by_itself([level.probability for level in score.levels], score.score)
        assert ((score.confidence, score.low, score.high) == by_itself) == (certainty == SELF_CONSISTENCY)
        assert judge.identify(shown, reference)[0].certainty == certainty
        assert ranked.certainty == certainty and ranked.to_dict()["certainty"] == certainty
        assert judge.rank(shown, reference, method="score").certainty == certainty
        assert ("not calibrated" in reports.ranking_table(ranked)) == (certainty == SELF_CONSISTENCY)
        heading = reports.score_table(judge.score(shown, reference)).splitlines()[0]
        assert ("consistency" in heading) == (certainty == SELF_CONSISTENCY)
        assert judge.compare(*shown[:2], reference).certainty == known  # "rating" is for both settings
    assert judge.identify(shown, count=2)[0].certainty == known  # by the temperature of the task


def test_a_ranking_is_as_certain_as_its_least_certain_answer(judge, monkeypatch):
    shown = pictures(3)
    give_coverage(monkeypatch, judge, 1.0)
    scores = judge.score(shown)
    weak = [scores[0], scores[1], replace(scores[2], certainty=SELF_CONSISTENCY)]
    monkeypatch.setattr(judge._scorer, "score", lambda *asked: weak)
    assert judge.rank(shown, method="score").certainty == SELF_CONSISTENCY


def test_a_place_of_a_ranking_has_the_lowest_coverage_of_its_answers(judge, monkeypatch):
    """What has too little is marked in the table, as in all others."""
    shown, choose = pictures(3), judge.backend.choose

    def choose_badly_about_the_first(task, question, asked, *more, **options):
        rows = choose(task, question, asked, *more, **options).probabilities
        return AnswerProbabilities(
            rows, np.array([0.05 if any(one is shown[0] for one in images[:2]) else 1.0 for images in asked])
        )

    monkeypatch.setattr(judge.backend, "choose", choose_badly_about_the_first)
    for method, low in (("score", {0}), ("pairs", {0, 1, 2})):  # every image is compared with the first one
        ranking = judge.rank(shown, method=method)
        assert {place.index for place in ranking.pictures if place.coverage == 0.05} == low
        marked = [line for line in reports.ranking_table(ranking).splitlines() if "unreliable: " in line]
        assert len(marked) == len(low) and ranking.coverage == 0.05


def test_the_confidence_of_a_score_is_the_probability_of_a_small_error():
    calibration = ScoreCalibration(**SCORE)
    middle = answers.level_score("a", np.eye(5)[2], None, calibration)
    assert (middle.score, middle.confidence) == pytest.approx((50, 1 / (1 + np.exp(-0.5))))
    assert (middle.low, middle.high) == pytest.approx((35, 75)) and middle.certainty == CALIBRATED
    best = answers.level_score("a", np.eye(5)[0], None, calibration)
    assert (best.low, best.high) == pytest.approx((85, 100))
    other = answers.level_score("a", np.eye(5)[2], None, ScoreCalibration(**{**SCORE, "method": "anchors"}))
    assert other.certainty == SELF_CONSISTENCY  # scores of another method have other errors


def test_a_score_is_always_in_its_interval():
    shifted = ScoreCalibration(**{**SCORE, "centre": [40, 0, 0, 0]})
    one = answers.level_score("a", np.eye(5)[3], None, shifted)
    assert one.low == one.score == 25 and one.high > 75


@pytest.mark.filterwarnings("error")
def test_an_interval_is_finite_whatever_the_calibration_says():
    for coefficient in (9e5, -9e5):
        odd = ScoreCalibration("levels", (0.0,) * 4, (0.0,) * 4, (coefficient, 0.0, 0.0, 0.0), (0.0, 0.0))
        assert np.isfinite(odd.judged([1.0, 0.0, 0.0, 0.0, 0.0], 100.0)).all()


def test_without_a_calibration_levels_stand_for_the_points_nearest_to_them():
    assert judged_by_itself([0, 0, 1, 0, 0], 50) == pytest.approx((0.8, 50 - 11.875, 50 + 11.875))
    confidence, low, high = judged_by_itself([0.5, 0, 0, 0, 0.5], 50)
    assert confidence == 0 and low < 2 and high > 98
    assert judged_by_itself([1, 0, 0, 0, 0], 100)[0] == pytest.approx(0.8)


def test_errors_depend_on_spread_and_place():
    levels = [[1, 0, 0, 0, 0], [0.5, 0, 0.5, 0, 0]]
    assert features(levels, [100, 75]) == pytest.approx(np.array([[1, 0, 1, 1], [1, 1, 0.75, 0.5625]]))


def test_more_answers_do_not_make_an_order_more_certain_than_the_judge_is_right():
    calibration = OrderCalibration(**ORDER)
    many = ranking.bradley_terry(2, [(0, 1)] * 500, [0.9] * 500, 20.0, calibration=calibration)
    alone = ranking.bradley_terry(2, [(0, 1)], [0.9], 20.0, calibration=calibration)
    plain = ranking.bradley_terry(2, [(0, 1)] * 500, [0.9] * 500, 20.0)
    exact = 0.01 + 0.98 / (1 + np.exp(-0.7 * np.log(9)))
    assert 0.6 < alone.probability(0, 1) < many.probability(0, 1) == pytest.approx(exact, abs=1e-3)
    assert plain.probability(0, 1) > 0.999999
    assert (many.high - many.low)[0] > 2 * 1.96 * np.pi / np.sqrt(6) / 0.7 > (plain.high - plain.low)[0]


def test_everything_about_a_ranking_follows_the_calibrated_probability():
    rng = np.random.default_rng(0)
    truth, pairs = rng.normal(0, 3, 8), pair_selection.all_pairs(8)
    wins = [1 / (1 + np.exp(truth[j] - truth[i])) for i, j in pairs]
    calibration = OrderCalibration(**ORDER)
    fit = pair_selection.rank_pairs(
        8, lambda chosen: [wins[pairs.index(p)] for p in chosen], calibration=calibration
    ).strengths
    assert fit.weight == 20.0 and fit.calibration is calibration
    probabilities = fit.probabilities()
    assert probabilities + probabilities.T == pytest.approx(np.ones((8, 8)))
    apart = rank_order.told_apart(fit)
    for i, j in pairs:
        assert fit.probability(i, j) == pytest.approx(probabilities[i, j])
        assert apart[i, j] == (not rank_order.tied(fit, i, j)) == (abs(probabilities[i, j] - 0.5) >= 0.475)
    first = rank_order.order(fit)[0]
    others = [other for other in range(8) if other != first]
    doubt = sum(1 - probabilities[first, other] - 0.01 for other in others) + 2 * 0.01
    assert pair_selection.top_decided(fit, 1, 1 - doubt - 1e-6) and not pair_selection.top_decided(
        fit, 1, 1 - doubt / 2
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"order_nr": {**ORDER, "weight": 0}},
        {"order_nr": {**ORDER, "slope": float("inf")}},
        {"order_fr": {"weight": 1.0}},
        {"score_error_nr": {**SCORE, "ends": [1, 0]}},
        {"score_error_nr": {**SCORE, "within": [1]}},
        {"score_error_nr": {**SCORE, "centre": ["x", 0, 0, 0]}},
        {"score_error_nr": {**SCORE, "log_scale": [float("nan"), 0, 0, 0]}},
        {"score_error_fr": {**SCORE, "unknown": 1}},
    ],
)
def test_a_damaged_calibration_is_refused(changed):
    with pytest.raises(ValueError):
        DepictQAConfig(calibration={**CALIBRATION, **changed})


def test_a_calibration_survives_the_configuration_file():
    config = DepictQAConfig(calibration=json.loads(json.dumps(CALIBRATION)))
    found = Calibration(config.calibration)
    assert found.order(False) == OrderCalibration(**ORDER) and found.order(True) is None
    assert found.score(False) == ScoreCalibration(**SCORE) and found.score(True) is None
