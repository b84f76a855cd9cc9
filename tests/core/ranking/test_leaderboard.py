"""Fair pairs and leaderboards: who meets whom, what is known of the truth, ties that are said, intervals that cover."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depictqa_core.answers import comparison
from depictqa_core.calibration import CALIBRATED, SELF_CONSISTENCY, OrderCalibration
from depictqa_core.errors import TaskError
from depictqa_core.ranking import bradley_terry as ranking
from depictqa_core.ranking.leaderboard import PRIOR, VOTE, fair_pairs, leaderboard, unpaired
from depictqa_core.ranking.pair_selection import rank_pairs
from depictqa_core.reports import text as reports
from depictqa_core.reports.charts import leaderboard_chart


def answers_of(pairs, labels, strength, rng, noise=1.0):
    """Answers of a judge that sees each pair with a noise of its own."""
    given = []
    for pair in pairs:
        gap = strength[labels[pair.a]] - strength[labels[pair.b]] + noise * rng.normal()
        chance = 1 / (1 + np.exp(-gap))
        given.append(comparison("a", "b", chance, chance))
    return given


def board_of(strength, groups, noise=1.0, seed=0, **options):
    labels = [label for label in strength for _ in range(groups)]
    pairs = fair_pairs(labels)
    given = answers_of(pairs, labels, strength, np.random.default_rng(seed), noise)
    return leaderboard(labels, pairs, given, **options)


def test_position_pairs_by_default():
    pairs = fair_pairs(["x", "y", "x", "y", "z"])
    assert [(pair.a, pair.b, pair.group) for pair in pairs] == [(0, 1, "#1"), (0, 4, "#1"), (1, 4, "#1"), (2, 3, "#2")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("pq")), min_size=2, max_size=12))
def test_only_equal_groups_and_turns_of_different_labels_meet(made):
    labels, groups = [label for label, _ in made], [group for _, group in made]
    turn = [sum(made[j] == made[i] for j in range(i)) for i in range(len(made))]
    expected = {
        (i, j)
        for i in range(len(made))
        for j in range(i + 1, len(made))
        if labels[i] != labels[j] and groups[i] == groups[j] and turn[i] == turn[j]
    }
    if not expected:
        with pytest.raises(TaskError):
            fair_pairs(labels, groups)
        return
    pairs = fair_pairs(labels, groups)
    assert {(pair.a, pair.b) for pair in pairs} == expected and len(pairs) == len(expected)
    met = {index for pair in expected for index in pair}
    assert unpaired(len(made), pairs) == [index for index in range(len(made)) if index not in met]


@pytest.mark.parametrize(
    ("labels", "groups", "words"),
    [
        (["a", "a"], None, "two different"),
        ([], None, "no images"),
        (["a", "b"], ["p"], "1 values for 2"),
        (["a", "b"], ["p", "q"], "nothing to compare"),
    ],
)
def test_what_cannot_be_compared_is_said(labels, groups, words):
    with pytest.raises(TaskError, match=words):
        fair_pairs(labels, groups)


def test_the_true_order_comes_out_with_its_gaps():
    strength = {"weak": -1.0, "middle": 0.0, "strong": 1.0}
    board = board_of(strength, 200, noise=0.0)
    assert [standing.label for standing in board.standings] == ["strong", "middle", "weak"]
    assert [standing.rank for standing in board.standings] == [1, 2, 3]
    for standing in board.standings:
        assert standing.strength == pytest.approx(strength[standing.label], abs=0.05)
    assert board.shares[0][2] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-9)
    assert board.shares[2][0] == pytest.approx(1 - board.shares[0][2]) and board.shares[1][1] is None


@pytest.mark.slow
def test_strengths_are_those_of_the_fit_to_single_answers():
    labels = [label for label in "abc" for _ in range(7)]
    pairs = fair_pairs(labels)
    given = answers_of(pairs, labels, {"a": 0, "b": 0.5, "c": 1}, np.random.default_rng(3))
    board = leaderboard(labels, pairs, given)
    items = [("abc".index(labels[p.a]), "abc".index(labels[p.b])) for p in pairs]
    wins = [answer.probability_a for answer in given]
    fit = ranking.bradley_terry(3, items, wins, VOTE, PRIOR)
    for standing in board.standings:
        assert standing.strength == pytest.approx(fit.values["abc".index(standing.label)], abs=1e-9)


def test_equal_pictures_tie_and_say_so():
    board = board_of({"a": 0.0, "b": 0.0}, 8, noise=0.0)
    assert [standing.rank for standing in board.standings] == [1, 1] and board.standings[0].tied_with_next
    assert board.standings[0].ties == 8 and board.standings[0].wins == board.standings[0].losses == 0
    assert "are tied" in reports.leaderboard_table(board)


def test_a_steady_but_tiny_lead_is_a_tie():
    """Every single answer is one that the judge itself calls a tie: repeating it does not make it a win."""
    board = board_of({"a": 0.1, "b": 0.0}, 50, noise=0.0)
    assert [standing.rank for standing in board.standings] == [1, 1]


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say():
    """Models that are equally good: their strengths lie in the 95 % interval in most of many leaderboards."""
    covered, tied = [], []
    for seed in range(40):
        board = board_of({"a": 0.0, "b": 0.0, "c": 0.0}, 15, noise=1.5, seed=seed, resamples=200)
        covered += [standing.low <= 0 <= standing.high for standing in board.standings]
        tied.append(board.standings[0].rank == board.standings[-1].rank)
    assert np.mean(covered) > 0.85  # a bootstrap of 15 groups is a little too narrow
    assert np.mean(tied) > 0.8


@pytest.mark.slow
def test_more_groups_narrow_the_intervals():
    few, many = (board_of({"a": 0.0, "b": 1.0}, groups).standings[0] for groups in (6, 150))
    assert many.high - many.low < 0.5 * (few.high - few.low)


@pytest.mark.parametrize(("groups", "intervals"), [(1, "posterior"), (4, "posterior"), (5, "bootstrap")])
def test_few_groups_are_not_drawn_anew(groups, intervals):
    board = board_of({"a": 0.0, "b": 3.0}, groups, noise=0.0)
    assert board.intervals == intervals
    assert board.standings[0].high - board.standings[0].low > 0.5  # the same answer five times is still five votes
    assert ("too few groups" in reports.leaderboard_table(board)) == (intervals == "posterior")


def test_a_few_groups_that_agree_are_not_certain():
    """Three near-certain answers about three pairs of images are three votes, not hundreds."""
    few, many = (board_of({"a": 0.0, "b": 4.0}, groups, noise=0.0).standings for groups in (2, 12))
    assert [standing.rank for standing in few] == [1, 1] and [standing.rank for standing in many] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 2, 3, 5, 8])
def test_the_certainty_of_an_order_of_labels_holds(groups):
    """Two labels whose images win by chance: where one is ranked above the other, it is so in 19 of 20 cases."""
    labels = ["a"] * groups + ["b"] * groups
    pairs = fair_pairs(labels)
    best = {}  # by the number of wins of a, which is all that a leaderboard of such groups depends on
    for wins in range(groups + 1):
        sure = [0.97] * wins + [0.03] * (groups - wins)  # a judge that sees which image is better, and says so
        board = leaderboard(labels, pairs, [comparison("x", "y", p, p) for p in sure], resamples=400)
        best[wins] = board.standings[0].label if board.standings[1].rank == 2 else None
    rng, right = np.random.default_rng(groups), []
    for truth in rng.normal(0, 1, 1000):
        if label := best[rng.binomial(groups, 1 / (1 + np.exp(-truth)))]:
            right.append((label == "a") == (truth > 0))
    assert not right or np.mean(right) > 0.9


ORDER = OrderCalibration(weight=64.0, slope=0.6, lapse=0.02)


@pytest.mark.parametrize(
    ("known", "calibration", "expected"),
    [
        ((CALIBRATED,) * 2, ORDER, CALIBRATED),
        ((CALIBRATED, SELF_CONSISTENCY), ORDER, SELF_CONSISTENCY),
        ((CALIBRATED,) * 2, None, SELF_CONSISTENCY),
    ],
)
def test_a_leaderboard_is_as_certain_as_its_least_certain_answers(known, calibration, expected):
    labels = ["a", "a", "b", "b"]
    given = [comparison("x", "y", 0.9, 0.9, certainty=certainty) for certainty in known]
    assert leaderboard(labels, fair_pairs(labels), given, calibration=calibration).certainty == expected


@pytest.mark.slow
def test_a_comparison_counts_with_the_probability_that_rank_gives_the_order():
    labels = ["a"] * 6 + ["b"] * 6
    given = [comparison("x", "y", p, p) for p in (0.999, 0.9, 0.7, 0.4, 0.5, 1.0)]
    board = leaderboard(labels, fair_pairs(labels), given, calibration=ORDER)
    ranked = [
        rank_pairs(2, lambda _, p=p: [p], calibration=ORDER).strengths.probability(0, 1)
        for p in (answer.probability_a for answer in given)
    ]
    assert board.shares[0][1] == pytest.approx(np.mean(ranked)) and max(ranked) < 1 - ORDER.lapse
    assert board.standings[0].win_share < np.mean([answer.probability_a for answer in given])


def test_a_judge_that_errs_gives_calibrated_shares():
    """Where its probabilities are too sure, the calibrated share is that of the images that are really better."""
    rng, groups = np.random.default_rng(5), 400
    labels = ["a"] * groups + ["b"] * groups
    gaps = rng.normal(1.5, 2, groups)  # what the judge sees, in logits
    better = rng.random(groups) < ORDER.probability(gaps, 0)
    given = [comparison("x", "y", p, p) for p in 1 / (1 + np.exp(-gaps))]
    boards = [leaderboard(labels, fair_pairs(labels), given, 10, calibration=known) for known in (ORDER, None)]
    errors = [abs(board.shares[0][1] - better.mean()) for board in boards]
    assert errors[0] < 0.03 < errors[1]


@pytest.mark.slow
def test_the_same_answers_give_the_same_leaderboard():
    assert board_of({"a": 0.0, "b": 0.4, "c": 1.0}, 12) == board_of({"a": 0.0, "b": 0.4, "c": 1.0}, 12)


def test_wins_and_shares_do_not_depend_on_who_stands_first():
    labels = ["a", "b", "b", "a"]
    pairs = fair_pairs(labels, ["p", "p", "q", "q"])
    board = leaderboard(labels, pairs, [comparison("x", "y", 0.9, 0.9), comparison("x", "y", 0.1, 0.1)])
    best = board.standings[0]
    assert (best.label, best.wins, best.losses, best.pictures) == ("a", 2, 0, 2)
    assert best.win_share == pytest.approx(0.9)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 12, 13, 40])
def test_charts_of_any_number_of_labels(count):
    board = board_of({f"a rather long name of model number {i}": i / 4 for i in range(count)}, 1)
    chart = leaderboard_chart(board)
    assert chart.mode == "RGB" and chart.width < 1400
    assert (chart.height > 44 * count + 34 * count) == (count <= 12)  # with who beats whom below, where it fits


@pytest.mark.slow
@pytest.mark.parametrize("groups", [2, 8])
def test_a_label_that_met_nobody_stands_last_without_a_rank(groups):
    labels = ["alone", *["a"] * groups, *["b"] * groups]
    made = ["z", *map(str, range(groups)), *map(str, range(groups))]
    pairs = fair_pairs(labels, made)
    given = answers_of(pairs, labels, {"a": 2.0, "b": 0.0}, np.random.default_rng(0), noise=0.3)
    board = leaderboard(labels, pairs, given)
    without = leaderboard(labels[1:], fair_pairs(labels[1:], made[1:]), given)
    assert board.standings[:2] == without.standings  # it changes nothing for the others
    last = board.to_dict()["standings"][-1]
    assert (last["label"], last["rank"], last["pictures"], last["wins"]) == ("alone", None, 1, 0)
    assert [last[key] for key in ("strength", "low", "high", "win_share")] == [None] * 4
    assert board.uncompared == ("alone",) and board.to_dict()["shares"][-1] == [None] * 3
    assert reports.rank_marks(board.standings)[-1] == "-" and "Not compared" in reports.leaderboard_table(board)
    assert min(leaderboard_chart(board).size) > 200


@pytest.mark.slow
@pytest.mark.parametrize("groups", [2, 8])
def test_a_leaderboard_can_be_written_as_json(groups):
    text = json.dumps(board_of({"a": 0.0, "b": 0.1, "c": 2.0}, groups).to_dict(), allow_nan=False)
    assert json.loads(text)["groups"] == groups
