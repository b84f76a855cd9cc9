"""The judge compares and ranks: symmetry, explanations, fits of all comparisons, ties, reasons."""

import numpy as np
import pytest
from core.judging import alike, pictures

from depictqa_core import tasks
from depictqa_core.backends.base import AnswerProbabilities
from depictqa_core.errors import TaskError
from depictqa_core.ranking import bradley_terry as ranking
from depictqa_core.ranking import pair_selection
from depictqa_core.results import LabelProbability, Score


@pytest.mark.parametrize("reference", [None, 9])
def test_comparison_is_symmetric(judge, reference):
    given = None if reference is None else pictures(1, reference)[0]
    shown = pictures(3)
    for a, b in ((shown[0], shown[1]), (shown[1], shown[2])):
        one, other = judge.compare(a, b, given), judge.compare(b, a, given)
        assert other.probability_a == pytest.approx(1 - one.probability_a, abs=1e-5)
        assert other.disagreement == pytest.approx(one.disagreement, abs=1e-5)
        assert other.confidence == pytest.approx(one.confidence, abs=1e-5)
        assert {one.verdict, other.verdict} in ({"A", "B"}, {"tie"})
    itself = judge.compare(shown[0], shown[0], given)
    assert itself.probability_a == pytest.approx(0.5, abs=1e-5) and itself.verdict == "tie"


def test_explanations(cnn, monkeypatch):
    monkeypatch.setattr("depictqa_core.verbs.base.EXPLANATION_TOKENS", 4)
    monkeypatch.setattr("depictqa_core.judge.EXPLANATION_TOKENS", 4)
    a, b = pictures(2)
    got = cnn.compare(a, b, explain=True)
    ((_, words),) = [(None, d.text) for d in cnn.ask([{"A": a, "B": b}], tasks.COMPARISON, tasks.COMPARISON.question)]
    assert got.text == words
    assert alike({**got.to_dict(), "text": None}, cnn.compare(a, b).to_dict())


def test_another_question_is_asked_as_worded(cnn):
    a, b = pictures(2)
    options, rows = cnn.ask([{"A": a, "B": b}, {"A": b, "B": a}], tasks.RATING, "Which one?")
    assert options == ("Image A", "Image B")
    assert cnn.compare(a, b, question="Which one?").probability_a == pytest.approx(
        (rows[0, 0] + rows[1, 1]) / 2, abs=1e-5
    )
    assert cnn.compare(a, b, question="Which one?").probability_a != pytest.approx(
        cnn.compare(a, b).probability_a, abs=1e-4
    )


@pytest.mark.parametrize("method", ["pairs", "score"])
def test_rank_follows_its_pictures_whatever_their_order(cnn, method):
    shown = pictures(5, 3)
    first = cnn.rank(shown, method=method)
    order = [3, 1, 4, 0, 2]
    second = cnn.rank([shown[i] for i in order], method=method)
    assert [order[i] for i in second.order] == list(first.order)
    assert sorted(first.order) == list(range(5)) and first.method == method
    for a, b in zip(first.pictures, second.pictures):
        assert (a.rank, a.picture, a.labels, a.reason, a.tied_with_next) == (
            b.rank,
            b.picture,
            b.labels,
            b.reason,
            b.tied_with_next,
        )
        assert (a.strength, a.low, a.high) == pytest.approx((b.strength, b.low, b.high), abs=1e-3)
    assert all(a.strength >= b.strength for a, b in zip(first.pictures, first.pictures[1:]))
    assert all(place.low <= place.strength <= place.high for place in first.pictures)
    assert all(place.picture == shown[place.index].name for place in first.pictures)


def test_rank_by_pairs_fits_all_comparisons(cnn):
    shown, original = pictures(4), pictures(1, 9)[0]
    got = cnn.rank(shown, original)
    pairs = pair_selection.all_pairs(4)
    answers = cnn.compare_many([(shown[i], shown[j]) for i, j in pairs], [original] * 6)
    wins = [a.probability_a for a in answers]
    strengths = ranking.bradley_terry(4, pairs, wins, ranking.estimate_weight(4, pairs, wins))
    assert got.comparisons == 6
    assert got.disagreement == pytest.approx(np.mean([a.disagreement for a in answers]), abs=1e-5)
    for place in got.pictures:
        assert place.strength == pytest.approx(strengths.values[place.index], abs=1e-3)
    scores, issues = cnn.score(shown, original), cnn.identify(shown, original, count=1)
    for place in got.pictures:
        assert (place.score, place.spread) == pytest.approx(
            (scores[place.index].score, scores[place.index].spread), abs=1e-3
        )
        assert place.labels == issues[place.index].labels
        assert (place.labels[0] if place.labels else "no distortion") in place.reason


def test_many_pictures_are_ranked_with_fewer_pairs(cnn):
    shown = pictures(14, 1, sizes=[(40, 40)])
    got = cnn.rank(shown)
    assert got.comparisons == pair_selection.default_budget(14) < 14 * 13 / 2
    assert sorted(got.order) == list(range(14))


def test_equal_pictures_tie(cnn, monkeypatch):
    a, b = pictures(2)
    for method in ("pairs", "score"):
        got = cnn.rank([a, a, a], method=method)
        assert [place.rank for place in got.pictures] == [1, 1, 1] and got.order == (0, 1, 2)
        assert [place.tied_with_next for place in got.pictures] == [True, True, False]
    levels = np.array([np.eye(5)[i] for i in (0, 4, 0)])
    monkeypatch.setattr(cnn.backend, "choose", lambda *_: AnswerProbabilities(levels, np.ones(3)))
    got = cnn.rank([a, b, a], method="score", reasons=False)
    assert [place.rank for place in got.pictures] == [1, 1, 3] and got.order == (0, 2, 1)


def test_ties_share_a_rank_and_the_next_one_counts_on(cnn, monkeypatch):
    strengths = iter([90.0, 89.5, 60.0, 59.2, 58.4, 10.0])
    levels = tuple(LabelProbability(level, 0.2) for level in tasks.LEVELS)
    fake = [Score(p.name, next(strengths), 1.0, 0.9, levels, 0.0, 100.0, "levels") for p in pictures(6)]
    monkeypatch.setattr("depictqa_core.verbs.score.Scorer.score", lambda *_: fake)
    got = cnn.rank(pictures(6), method="score", reasons=False)
    # 58.4 is tied with 59.2, but three are surely better
    assert [place.rank for place in got.pictures] == [1, 1, 3, 3, 4, 6]
    assert [place.tied_with_next for place in got.pictures] == [True, False, True, True, False, False]


def test_ranking_one_picture_or_none(cnn):
    for method in ("pairs", "score"):
        (place,) = cnn.rank(pictures(1), method=method).pictures
        assert (place.rank, place.index, place.tied_with_next) == (1, 0, False)
    with pytest.raises(TaskError, match="no images"):
        cnn.rank([])


def test_ranking_without_reasons(cnn):
    got = cnn.rank(pictures(3), reasons=False)
    assert all(place.labels is None and "sure" not in place.reason for place in got.pictures)
