"""The evaluator: published metrics with their exact parsing, on a small file in the published format."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny import make_tiny_checkpoint

from depictqa_core import tasks
from depictqa_core.errors import TaskError
from depictqa_core.judge import load_judge
from training.__main__ import main
from training.evaluate import evaluate, score_answers
from training.evaluation.metrics import exact, partial, summary

TAIL = tasks.SHORT_TAIL


@pytest.mark.parametrize(
    ("prediction", "truth", "credit"),
    [
        ("Noise and blur", "Blur and noise", 1.0),
        ("Noise", "Noise and blur", 0.5),
        ("Noise and blur and compression", "Noise and blur", 2 / 3),
        ("Noise and noise", "Noise and blur", 0.5),
        ("Noise and blur", "None", 0.0),
        (" none\n ", "None", 1.0),
    ],
)
def test_partial_credit_for_two_distortions(prediction, truth, credit):
    assert partial(prediction, truth) == pytest.approx(credit)


def test_exact_match_is_case_sensitive_and_strips():
    assert exact(" Image A\n ", "Image A") == 1 and exact("image a", "Image A") == 0


def test_confidence_bins_are_open_below_and_closed_above():
    result = summary([1.0, 0.0, 1.0, 1.0], [0.5, 0.500001, 0.0, None])
    bins = {(b["low"], b["high"]): (b["count"], b["accuracy"]) for b in result["bins"]}
    assert bins[0.0, 0.5] == (2, 1.0) and bins[0.5, 0.6] == (1, 0.0)
    assert result["count"] == 4 and result["accuracy"] == 0.75


def test_kinds_of_question_are_scored_apart():
    records = [
        {"query": "ONE?" + TAIL, "answer": "Noise"},
        {"query": "TWO?" + TAIL, "answer": "Noise and blur"},
        {"query": "Which?" + TAIL, "answer": "Image B"},
        {"query": "Describe it.", "answer": "It is fine."},
    ]
    answers = [{"text": t, "confidence": 0.7} for t in ("Noise", "Blur", "Image A", "words")]
    metrics = score_answers(records, answers)["metrics"]
    assert {kind: m["accuracy"] for kind, m in metrics.items()} == {
        "identification": 1.0,
        "two distortions": 0.5,
        "rating": 0.0,
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_tiny_checkpoint(tmp_path_factory.mktemp("judge"))


@pytest.fixture
def records(tmp_path):
    rng = np.random.default_rng(1)
    for name in "ab":
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    shown = {"image_ref": None, "image_A": "a.png", "image_B": "b.png"}
    rows = [
        {"id": "one", **shown, "query": "What is the ONE issue?" + TAIL, "answer": "Noise"},
        {"id": "two", **shown, "query": "What are the TWO issues?" + TAIL, "answer": "Noise and blur"},
        {"id": "gone", **shown, "image_A": "gone.png", "query": "What is the ONE issue?" + TAIL, "answer": "Blur"},
    ]
    (tmp_path / "records.json").write_text(json.dumps(rows))
    return tmp_path


def test_answers_carry_probabilities_and_a_missing_picture_is_reported(checkpoint, records):
    out = records / "answers.jsonl"
    result = evaluate(load_judge(checkpoint, "cpu"), records / "records.json", records, "quality_single_A_noref", out)
    one, two, gone = map(json.loads, out.read_text().splitlines())
    assert [one["id"], two["id"], gone["id"]] == ["one", "two", "gone"]
    assert one["text"] in one["probabilities"] and one["confidence"] == one["probabilities"][one["text"]]
    assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-4) and len(one["probabilities"]) <= 13
    assert tasks.parse_labels(two["text"]) is not None and len(tasks.parse_labels(two["text"])) in (0, 2)
    assert gone["text"] is None and "gone.png" in gone["error"]
    assert result["failed"] == 1 and result["metrics"]["identification"]["count"] == 2


def test_the_command_prints_json_and_names_an_unknown_task(checkpoint, records, capsys):
    arguments = ["evaluate", str(checkpoint), str(records / "records.json"), "--root", str(records)]
    arguments += ["--answers", str(records / "answers.jsonl"), "--task"]
    assert main([*arguments, "quality_compare_noref"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 3
    assert main([*arguments, "quality_triple"]) == 1
    assert "quality_triple" in capsys.readouterr().err


def test_a_record_without_its_question_is_refused(checkpoint, records):
    (records / "records.json").write_text(json.dumps([{"id": "x"}]))
    with pytest.raises(TaskError, match="query"):
        evaluate(load_judge(checkpoint, "cpu"), records / "records.json", records, "quality_single_A", records / "o")
