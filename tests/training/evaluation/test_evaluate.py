"""The evaluator: published metrics with their exact parsing, on a small file in the published format."""

import json
import re
import resource
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny import make_tiny_checkpoint

from depictqa_core import tasks
from depictqa_core.errors import TaskError
from depictqa_core.judge import load_judge
from training.__main__ import main
from training.evaluation.evaluate import answer, evaluate
from training.evaluation.metrics import (
    area_under_risk,
    calibration_error,
    calibration_error_by_chance,
    exact,
    partial,
    reliability,
    risk_coverage,
    summary,
)
from training.evaluation.report import html
from training.evaluation.scoring import CLEAR_RATING, score
from training.evaluation.sets import DOUBLE, TestSet, read_set

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
        ("Band and blur", "Blur and noise", 1 / 3),  # cut at the letters, wherever they stand: b, "", blur
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


def test_bins_take_null_and_zero_confidence():
    assert summary([1.0], [None])["bins"][0]["count"] == 0
    assert summary([], [])["accuracy"] is None


def test_calibration_error_is_that_of_a_bin_by_bin_computation():
    confidences, hits = [0.95, 1.0, 0.91, 0.35, 0.3], [1, 0, 1, 1, 0]
    # bin 0.9-1.0: mean confidence 0.9533, accuracy 2/3; bin 0.3-0.4: 0.325 against 0.5
    expected = 3 / 5 * abs((0.95 + 1.0 + 0.91) / 3 - 2 / 3) + 2 / 5 * abs(0.325 - 0.5)
    assert calibration_error(confidences, hits) == pytest.approx(expected)
    assert [(b["low"], b["count"]) for b in reliability(confidences, hits)] == [(0.3, 2), (0.9, 3)]
    assert calibration_error([], []) is None


def test_answers_drawn_from_their_own_probabilities_are_calibrated():
    rng = np.random.default_rng(3)
    confidences = rng.uniform(0.2, 1, 50_000)
    assert calibration_error(confidences, rng.random(50_000) < confidences) < 0.01
    assert calibration_error(confidences, rng.random(50_000) < confidences**2) > 0.1


@pytest.mark.slow
def test_few_answers_have_a_calibration_error_by_chance():
    rng = np.random.default_rng(4)
    confidences = rng.uniform(0.2, 1, 100)
    expected = [calibration_error(confidences, rng.random(100) < confidences) for _ in range(500)]
    assert calibration_error_by_chance(confidences) == pytest.approx(np.mean(expected), abs=0.005)
    assert calibration_error_by_chance(rng.uniform(0.2, 1, 20_000)) < 0.01
    assert calibration_error_by_chance([1.0, 1.0]) == 0 and calibration_error_by_chance([]) is None


def test_risk_falls_to_the_surest_answers_and_ties_come_in_together():
    points = risk_coverage([0.9, 0.5, 0.9, 0.2], [1.0, 0.0, 0.0, 1.0])
    assert points == [(0.5, 0.5), (0.75, pytest.approx(2 / 3)), (1.0, 0.5)]
    assert area_under_risk(points) == pytest.approx(0.5 * 0.5 + 0.25 * (0.5 + 2 / 3) / 2 + 0.25 * (2 / 3 + 0.5) / 2)
    rng = np.random.default_rng(4)
    hits = rng.random(2000) < 0.7
    telling, blind = (area_under_risk(risk_coverage(c, hits)) for c in (hits + rng.random(2000) * 0.1, [0.5] * 2000))
    assert telling < 0.06 and blind == pytest.approx(1 - hits.mean())


def made_set(rows, task_type="quality_single_A_noref"):
    records = [{"id": str(n), **row} for n, row in enumerate(rows)]
    return TestSet("made", None, records, [task_type] * len(records))


def test_kinds_of_question_are_scored_apart():
    records = [
        {"query": "Which ONE issue is worst?" + TAIL, "answer": "Noise"},
        {"query": "Which TWO issues are worst?" + TAIL, "answer": "Noise and blur"},
        {"query": "Describe it.", "answer": "It is fine."},
        {"query": "How would you rate the quality of the image?" + TAIL, "answer": "Good"},
        {"query": "Yes or no?" + TAIL, "answer": "Yes"},
        {"query": "How severe is the blur?" + TAIL, "answer": "Serious"},
        {"query": "Which ONE issue is worst?" + TAIL},
    ]
    texts = ("Noise", "Blur", "words", "Fair", "Yes", "Serious", "Noise")
    answers = [{"id": str(n), "text": t, "confidence": 0.7} for n, t in enumerate(texts)]
    metrics = score(made_set(records), answers[::-1])["metrics"]
    assert {kind: m["accuracy"] for kind, m in metrics.items()} == {
        "identification": 1.0,
        DOUBLE: 0.5,
        "score": 0.0,
        "other": 1.0,
        "severity": 1.0,
    }


@pytest.mark.parametrize(
    ("query", "truth", "said", "right"),
    [
        ("Is the image blurry?" + TAIL, "No", "No", 1.0),
        ("Is the image blurry?" + TAIL, "No", "Yes", 0.0),
        ("How clear is it? A. Very clear B. Not clear" + TAIL, "B", "Not clear", 1.0),
        ("How clear is it? A. Very clear B. Not clear" + TAIL, "B. Not clear", "Not clear", 1.0),
        ("How clear is it? A. Very clear B. Not clear", "A", "Not clear", 0.0),
        ("Which colour is the car?" + TAIL, "Red", " Red", 1.0),
    ],
)
def test_short_questions_of_other_kinds_are_scored_by_what_is_meant(query, truth, said, right):
    answers = [{"id": "0", "text": said, "confidence": 0.7}]
    metrics = score(made_set([{"query": query, "answer": truth}]), answers)["metrics"]
    assert {kind: found["accuracy"] for kind, found in metrics.items()} == {"other": right}
    assert metrics["other"]["reliability"][0]["accuracy"] == right


def test_short_questions_of_other_kinds_are_not_forced_into_distortions(records, tmp_path):
    """A checkpoint that supports them answers in its own words or over what is listed; another is not asked."""
    judge = load_judge(make_tiny_checkpoint(tmp_path / "free", seed=1, tasks=("identification", "question")))
    plain = {"image_ref": None, "image_A": "a.png", "image_B": None}
    queries = ["Is the image blurry?" + TAIL, "How clear? A. Very B. Not", "Which colour is it?" + TAIL]
    rows = [{"id": str(n), **plain, "query": query, "answer": "No"} for n, query in enumerate(queries)]
    test_set = TestSet("free", records, rows, ["quality_single_A_noref"] * 3)
    assert test_set.tasks == {"question"}
    found = answer(judge, test_set, tmp_path / "answers.jsonl")
    assert found[0]["text"] in ("Yes", "No") and found[1]["text"] in ("Very", "Not")
    assert tasks.parse_labels(found[2]["text"]) is None and not any("error" in row for row in found)
    assert list(score(test_set, found)["metrics"]) == ["other"]


def test_answers_are_joined_by_id_and_those_without_a_partner_are_named():
    rows = [{"query": "Which ONE issue is worst?" + TAIL, "answer": "Noise"}] * 3
    answers = [{"id": "1", "text": "Noise", "confidence": None}, {"id": "x", "text": "Blur", "confidence": 0.1}]
    answers.append({"id": "2", "text": None, "confidence": None, "error": "gone"})
    result = score(made_set(rows), answers)
    assert result["unmatched"] == {
        "records": {"count": 1, "ids": ["0"]},
        "answers": {"count": 1, "ids": ["x"]},
    }
    assert (result["answered"], result["failed"], result["failures"]) == (1, 1, [{"id": "2", "error": "gone"}])
    found = result["metrics"]["identification"]
    assert (found["count"], found["accuracy"]) == (2, 0.5) and "ece" not in found


def test_accuracy_by_category_and_severity():
    single = {"query": "Which ONE issue is worst?" + TAIL}
    rows = [
        {**single, "answer": "Noise", "distortion_class": "noise", "severity": 2},
        {**single, "answer": "None", "distortion_class": None, "severity": 0},
    ]
    answers = [{"id": "0", "text": "Noise", "confidence": 0.6}, {"id": "1", "text": "Blur", "confidence": 0.6}]
    found = score(made_set(rows), answers)["metrics"]["identification"]
    assert {k: v["accuracy"] for k, v in found["by_category"].items()} == {"noise": 1.0, "pristine": 0.0}
    assert {k: v["accuracy"] for k, v in found["by_severity"].items()} == {"0": 0.0, "2": 1.0}
    double = {"query": "Which TWO issues are worst?" + TAIL, "answer": "Noise and blur"}
    double |= {"distortion_classes": ["noise", "blur"], "severities": [1, 3]}
    found = score(made_set([double]), [{"id": "0", "text": "Noise", "confidence": 0.6}])["metrics"][DOUBLE]
    assert found["by_category"] == {name: {"accuracy": 0.5, "count": 1} for name in ("blur", "noise")}
    assert found["by_severity"] == {"3": {"accuracy": 0.5, "count": 1}}


def test_order_swap_tells_position_from_quality():
    side = [{"distortion_class": "noise", "severity": s} for s in (1, 4)]
    row = {"query": "Which?" + TAIL, "answer": "Image A", "distortions_A": side[0], "distortions_B": side[1]}

    def answered(n, forward, swapped):
        text = "Image A" if forward >= 0.5 else "Image B"
        chances = {"probabilities": {"Image A": forward}, "swapped": {"Image A": swapped, "Image B": 1 - swapped}}
        return {"id": str(n), "text": text, "confidence": max(forward, 1 - forward), **chances}

    steady, biased = answered(0, 0.9, 0.7), answered(1, 0.8, 0.4)  # the second always prefers what is shown first
    metrics = score(made_set([row, row], "quality_compare_noref"), [steady, biased])["metrics"]
    swap = metrics["rating"]["order_swap"]
    assert swap == metrics[CLEAR_RATING]["order_swap"]
    assert swap["consistent"] == 0.5 and swap["difference"] == pytest.approx(0.3)
    assert swap["first_chosen"] == 0.75 and swap["accuracy_of_both"] == 1.0
    assert list(metrics["rating"]["by_severity"]) == ["3"]


def test_scores_are_correlated_with_opinions():
    row = {"query": "How would you rate the quality of the image?" + TAIL, "answer": "Good"}
    rows = [{**row, "quality": q} for q in (0.1, 0.4, 0.6, 0.8, 0.95)]
    chances = [{"Bad": 1 - q, "Excellent": q} for q in (0.0, 0.3, 0.2, 0.9, 1.0)]
    answers = [{"id": str(n), "text": "Bad", "confidence": 1.0, "probabilities": c} for n, c in enumerate(chances)]
    found = score(made_set(rows), answers)["metrics"]["score"]
    assert found["srcc"] == pytest.approx(0.9) and 0.8 < found["plcc"] <= 1


def test_a_grade_is_off_by_its_mean_distance():
    row = {"query": "How severe is the blur?" + TAIL, "answer": "Serious"}
    chances = [{"Serious": 0.5, "Catastrophic": 0.5}, {"Slight": 1.0}]
    answers = [{"id": str(n), "text": "Serious", "confidence": 0.5, "probabilities": c} for n, c in enumerate(chances)]
    assert score(made_set([row, row]), answers)["metrics"]["severity"]["grade_error"] == (0.5 + 3) / 2


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"id": 1}]'])
def test_a_file_of_another_form_is_named(content, tmp_path):
    (tmp_path / "odd.json").write_text(content)
    with pytest.raises(TaskError, match="odd.json"):
        read_set(tmp_path / "odd.json", tmp_path)


def test_the_task_type_comes_from_the_argument_the_record_or_its_pictures(tmp_path):
    shown = {"image_ref": None, "image_A": "a.png", "image_B": None}
    rows = [
        {"id": 1, "query": "?", **shown},
        {"id": 2, "query": "?", **shown, "image_ref": "r.png", "image_B": "b.png"},
        {"id": 3, "query": "?", **shown, "image_ref": "r.png", "image_B": "b.png", "task_type": "quality_single_B"},
    ]
    path = tmp_path / "mixed.json"
    path.write_text(json.dumps(rows))
    assert read_set(path, tmp_path).task_types == ["quality_single_A_noref", "quality_compare", "quality_single_B"]
    assert set(read_set(path, tmp_path, "quality_compare_noref").task_types) == {"quality_compare_noref"}
    path.write_text(json.dumps([{"id": 1, "query": "?", **shown, "image_A": None}]))
    with pytest.raises(TaskError, match="--task"):
        read_set(path, tmp_path)
    path.write_text(json.dumps([rows[0], rows[0]]))
    with pytest.raises(TaskError, match="id 1"):
        read_set(path, tmp_path)


def test_a_question_about_a_pair_needs_both_pictures(tmp_path):
    shown = {"id": "half", "image_ref": None, "image_A": "a.png", "image_B": None}
    for more in (
        {"query": "Which is better, Image A or Image B?" + TAIL},
        {"query": "Compare Image A with Image B."},
        {"query": "Which is better?" + TAIL, "answer": "Image A"},
    ):
        (tmp_path / "half.json").write_text(json.dumps([{**shown, **more}]))
        with pytest.raises(TaskError, match="record half of .*half.json asks about two images"):
            read_set(tmp_path / "half.json", tmp_path)
    (tmp_path / "half.json").write_text(json.dumps([{**shown, "query": "How good is Image A?", "answer": "Good"}]))
    assert read_set(tmp_path / "half.json", tmp_path).ids == ["half"]


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


def test_ratings_are_asked_in_both_orders(checkpoint, records):
    row = json.loads((records / "records.json").read_text())[0]
    pair = {**row, "query": "Which is better?" + TAIL, "answer": "Image A"}
    turned = {**pair, "id": "turned", "image_A": row["image_B"], "image_B": row["image_A"], "answer": "Image B"}
    (records / "pairs.json").write_text(json.dumps([pair, turned]))
    judge = load_judge(checkpoint, "cpu")
    result = evaluate(judge, records / "pairs.json", records, None, records / "pairs.jsonl")
    one, two = map(json.loads, (records / "pairs.jsonl").read_text().splitlines())
    assert one["swapped"] == pytest.approx(
        dict(zip(tasks.WINNERS, list(two["probabilities"].values())[::-1])), abs=1e-5
    )
    assert result["metrics"]["rating"]["order_swap"]["count"] == 2
    expected = judge.compare(records / "a.png", records / "b.png", question=pair["query"]).probability_a
    assert (one["probabilities"]["Image A"] + one["swapped"]["Image A"]) / 2 == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on_and_another_judge_starts_anew(checkpoint, records, tmp_path_factory):
    rows = json.loads((records / "records.json").read_text())[:2]
    (records / "records.json").write_text(json.dumps(rows))
    arguments = records / "records.json", records, "quality_single_A_noref", records / "answers.jsonl"
    judge = load_judge(checkpoint, "cpu")
    whole, asked = evaluate(judge, *arguments), []
    lines = arguments[-1].read_text()

    def counting(sets, task, question, progress=None, ask=judge.ask):
        asked.extend(sets)
        return ask(sets, task, question)

    judge.ask = counting
    arguments[-1].write_text(lines[: len(lines) - 20])  # stopped in the middle of the last line
    assert evaluate(judge, *arguments) == whole and len(asked) == 1
    assert arguments[-1].read_text() == lines
    assert evaluate(judge, *arguments) == whole and len(asked) == 1
    judge.model.config.calibration = {"identification": 2.0}
    evaluate(judge, *arguments)
    assert len(asked) == 3
    rows[0]["image_A"] = "b.png"
    (records / "records.json").write_text(json.dumps(rows))
    evaluate(judge, *arguments)
    assert len(asked) == 5
    Image.new("RGB", (40, 50)).save(records / "b.png")
    evaluate(judge, *arguments)
    assert len(asked) == 7


def test_a_record_without_its_question_is_refused(checkpoint, records):
    (records / "records.json").write_text(json.dumps([{"id": "x"}]))
    with pytest.raises(TaskError, match="query"):
        evaluate(load_judge(checkpoint, "cpu"), records / "records.json", records, "quality_single_A", records / "o")


# ---------------------------------------------------------------------- the command and its report


@pytest.fixture
def sources(records):
    """Two record files and a voting file over one folder of images."""
    rows = json.loads((records / "records.json").read_text())
    for name in "cd":
        Image.fromarray(np.full((40, 50, 3), ord(name), np.uint8)).save(records / f"{name}.png")
    pair = {**rows[0], "query": "Which is better?" + TAIL, "answer": "Image A", "image_ref": "a.png"}
    pair |= {"distortions_A": {"distortion_class": "noise", "severity": 1}}
    pair |= {"distortions_B": {"distortion_class": "blur", "severity": 2}}
    (records / "singles.json").write_text(json.dumps([{**row, "image_B": None} for row in rows]))
    (records / "pairs.json").write_text(json.dumps([pair, {**pair, "id": "next"}]))
    opinions = {"a.png": {"dist_paths": ["b.png", "c.png", "d.png"], "mos_list": [3, 2, 1]}}
    (records / "truth.json").write_text(json.dumps(opinions))
    return records


@pytest.mark.slow
def test_the_command_evaluates_several_files_and_goes_on(checkpoint, sources, capsys):
    arguments = ["evaluate", str(checkpoint), str(sources / "singles.json"), str(sources / "pairs.json")]
    arguments += ["--root", str(sources), "--output", str(sources / "out"), "--voting", str(sources / "truth.json")]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["singles"]["records"], printed["singles"]["failed"], printed["pairs"]["answered"]) == (3, 1, 2)
    assert "srcc" in printed["truth"]["voting on truth"]  # no record file rates all images: all pairs are asked
    results = json.loads((sources / "out" / "results.json").read_text())
    assert set(results["sets"]) == {"singles", "pairs", "truth"} and results["judge"]["name"] == "tiny-cnn"
    assert results["peers"]["PSNR"]["sets"]["pairs"]["rating"]["count"] == 2
    assert results["peers"]["PSNR"]["voting"]["truth"]["references"]["a.png"]["images"] == 3
    answers = (sources / "out" / "answers" / "truth.jsonl").read_text().splitlines()
    assert len(answers) == 3 and set(json.loads(answers[0])["swapped"]) == set(tasks.WINNERS)
    report = (sources / "out" / "report.html").read_text()
    assert main(arguments) == 0
    assert (sources / "out" / "report.html").read_text() == report


@pytest.mark.slow
def test_files_about_what_the_checkpoint_was_never_taught_are_left_out(checkpoint, sources, capsys):
    rows = json.loads((sources / "pairs.json").read_text())
    grades = [{**row, "image_B": None, "query": tasks.SEVERITY.ask(), "answer": "Slight"} for row in rows]
    (sources / "grades.json").write_text(json.dumps(grades))
    common = ["--root", str(sources), "--output", str(sources / "out"), "--no-metrics"]
    judge = shutil.copytree(checkpoint, sources / "judge")
    config = json.loads((judge / "config.json").read_text())
    config["tasks"].remove(tasks.SEVERITY.name)
    (judge / "config.json").write_text(json.dumps(config))
    files = [str(sources / "grades.json"), str(sources / "pairs.json")]
    assert main(["evaluate", str(judge), *files, *common]) == 0
    printed = capsys.readouterr()
    assert set(json.loads(printed.out)) == {"pairs"}
    assert "left out grades: not supported by the checkpoint: severity" in printed.err
    assert main(["evaluate", str(judge), files[0], *common]) == 1
    assert "none of these tasks is supported" in capsys.readouterr().err


@pytest.mark.slow
def test_the_report_stands_alone_and_shows_every_set(checkpoint, sources):
    arguments = ["evaluate", str(checkpoint), str(sources / "singles.json"), str(sources / "pairs.json")]
    assert main([*arguments, "--root", str(sources), "--output", str(sources / "out")]) == 0
    report = (sources / "out" / "report.html").read_text()
    assert (
        not re.search(r"""(src|href)=["'](?!#|data:image/jpeg;base64,)""", report)
        and "<script" not in report
        and "@import" not in report
    )
    assert report.count("<svg") == 3  # singles: one and two distortions; pairs: rating
    for text in ("gone.png", "Comparison with peers", "HaarPSI", "Reliability (ECE", "Order of the two images"):
        assert text in report
    results = json.loads((sources / "out" / "results.json").read_text())
    results["sets"]["<b>singles</b>"] = results["sets"].pop("singles")
    assert "<b>singles" not in html(results)


def test_mistakes_on_the_command_line_are_named(checkpoint, sources, capsys, monkeypatch):
    monkeypatch.delenv("DEPICTQA_API_BASE", raising=False)
    common = ["--root", str(sources), "--output", str(sources / "out")]
    pairs = str(sources / "pairs.json")
    for more, said in (
        ([pairs, "--task", "quality_triple"], "quality_triple"),
        ([], "give record files"),
        ([pairs, pairs], "two record files are named pairs"),
        ([pairs, "--judge-model", "m"], "DEPICTQA_API_BASE"),
        ([pairs, "--voting", pairs], "no voting file"),
        (["nofile.json"], "the record file nofile.json cannot be read (No such file"),
        ([pairs, "--voting", "nofile.json"], "the file of --voting, nofile.json, cannot be read"),
    ):
        assert main(["evaluate", str(checkpoint), *more, *common]) == 1
        assert said in capsys.readouterr().err
    assert not (sources / "out" / "results.json").exists()


def test_a_wrong_root_is_an_error_and_no_accuracy(checkpoint, sources, tmp_path_factory, capsys):
    root = tmp_path_factory.mktemp("elsewhere")
    common = ["--root", str(root), "--output", str(sources / "out"), "--no-metrics"]
    assert main(["evaluate", str(checkpoint), str(sources / "pairs.json"), *common]) == 1
    said = capsys.readouterr().err
    assert (
        "none of the 2 records of pairs can be shown" in said and "a.png" in said and f"--root, which is {root}" in said
    )
    assert not (sources / "out" / "results.json").exists()


@pytest.mark.slow
def test_a_full_disk_is_said_to_be_so_and_nothing_is_lost(checkpoint, sources, capsys):
    """Files over a limit cannot be written, as on a full disk."""
    arguments = ["evaluate", str(checkpoint), str(sources / "pairs.json"), "--root", str(sources), "--no-metrics"]
    arguments += ["--output", str(sources / "out")]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit, where in ((150, "pairs.jsonl"), (4000, "report.html")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            assert main(arguments) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        said = capsys.readouterr().err
        assert "cannot write to" in said and where in said and "free some space" in said
    assert main(arguments) == 0
