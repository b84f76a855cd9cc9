"""Scores by voting: the published rule on numbers worked out by hand, and the logistic fit behind SRCC and PLCC."""

import numpy as np
import pytest

from depictqa_core import tasks
from depictqa_core.errors import TaskError
from training.evaluation.correlation import correlations, fit_logistic, logistic, mean_correlations
from training.evaluation.voting import all_pairs, covers, pairs_in, read_truth, vote

TRUTH = {"r1": {"a": 4.0, "b": 3.0, "c": 1.0}, "r2": {"x": 2.0, "y": 5.0}}


def test_the_fit_finds_a_known_curve():
    scores = np.linspace(0, 1, 40)
    opinions = logistic(scores, 9.0, 2.0, 0.4, 0.08)
    assert fit_logistic(scores, opinions) == pytest.approx(opinions, abs=1e-4)
    found = correlations(scores, opinions)
    assert found["srcc"] == pytest.approx(1) and found["plcc"] == pytest.approx(1, abs=1e-6) and found["fitted"]
    assert np.corrcoef(scores, opinions)[0, 1] < 0.98  # so the fit has done something


def test_correlation_needs_points_that_differ():
    assert correlations([1, 2], [1, 2]) is None
    assert correlations([1, 1, 1, 1], [1, 2, 3, 4]) is None
    three = correlations([0.1, 0.5, 0.4], [1.0, 2.0, 3.0])  # fewer points than parameters: as they are
    assert not three["fitted"] and three["srcc"] == pytest.approx(0.5)
    means = mean_correlations({"good": ([0.1, 0.5, 0.4], [1, 2, 3]), "flat": ([1, 1, 1], [1, 2, 3])})
    assert means["srcc"] == pytest.approx(0.5) and means["left_out"] == ["flat"] and means["unfitted"] == ["good"]


def test_every_unordered_pair_is_asked_once():
    pairs = all_pairs("made", TRUTH, "root")
    shown = [(r["image_ref"], r["image_A"], r["image_B"]) for r in pairs.records]
    assert shown == [("r1", "a", "b"), ("r1", "a", "c"), ("r1", "b", "c"), ("r2", "x", "y")]
    assert set(pairs.task_types) == {"quality_compare"} and len(set(pairs.ids)) == 4
    assert all(tasks.is_short(record["query"]) for record in pairs.records)
    blind = all_pairs("made", TRUTH, "root", reference=False)
    assert set(blind.task_types) == {"quality_compare_noref"} and blind.records[0]["image_ref"] is None
    assert pairs_in(pairs, TRUTH) == [0, 1, 2, 3] and pairs_in(pairs, {"r1": TRUTH["r1"]}) == [0, 1, 2]
    assert pairs_in(pairs, {"other": {"a": 1.0}, "r1": {"b": 1.0}}) == []
    assert covers(pairs, TRUTH) and not covers(pairs, {**TRUTH, "r3": {"z": 1.0}}) and not covers(pairs, {})


def test_votes_give_the_winner_its_confidence_and_the_loser_the_rest():
    pairs = all_pairs("made", TRUTH, "root")
    texts = [("Image A", 0.9), ("Image A", 0.8), ("Image B", None), ("I cannot tell", 0.9)]
    answers = [{"id": i, "text": t, "confidence": c} for i, (t, c) in zip(pairs.ids, texts)]
    result = vote(pairs, answers[::-1], TRUTH)
    # a: (0.9 + 0.8) / 2, b: (0.1 + 0) / 2, c: (0.2 + 1) / 2
    expected = correlations([0.85, 0.05, 0.6], [4.0, 3.0, 1.0])
    assert result["srcc"] == pytest.approx(expected["srcc"]) and result["plcc"] == pytest.approx(expected["plcc"])
    assert (result["votes"], result["without_vote"], result["unrated"]) == (3, 1, 2)
    assert list(result["references"]) == ["r1"]


def test_a_judge_that_knows_the_opinions_ranks_all_pictures():
    rng = np.random.default_rng(5)
    truth = {f"r{k}": {f"{k}-{n}": float(v) for n, v in enumerate(rng.uniform(1, 5, 12))} for k in range(3)}
    pairs = all_pairs("made", truth, "root")
    answers = []
    for record in pairs.records:
        a, b = (truth[record["image_ref"]][record[f"image_{side}"]] for side in "AB")
        answers.append({"id": record["id"], "text": tasks.WINNERS[0 if a > b else 1], "confidence": None})
    result = vote(pairs, answers, truth)
    assert result["srcc"] == pytest.approx(1) and 0.9 < result["plcc"] < 1 and len(result["references"]) == 3


@pytest.mark.parametrize("content", ["", "[]", '{"r": {}}', '{"r": {"dist_paths": ["a"], "mos_list": []}}', '{"r": 3}'])
def test_a_file_of_another_form_is_named(content, tmp_path):
    (tmp_path / "truth.json").write_text(content)
    with pytest.raises(TaskError, match="truth.json"):
        read_truth(tmp_path / "truth.json")
