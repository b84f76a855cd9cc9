"""Calibration: the fit finds a temperature that is known, and the judge uses what was stored."""

import json
from dataclasses import replace

import numpy as np
import pytest
from core.judging import give_coverage
from PIL import Image
from scipy.special import log_softmax
from tiny import make_tiny_checkpoint

from depictqa_core import tasks
from depictqa_core.calibration import CALIBRATED, Calibration, with_logits, with_offset
from depictqa_core.errors import TaskError
from depictqa_core.judge import load_judge
from depictqa_core.loading.checkpoint_folder import verify_checkpoint
from depictqa_core.network.config import DepictQAConfig
from training.__main__ import main as command
from training.evaluation.calibration import calibrate_all, fitted, store, table
from training.evaluation.order_calibration import ranked_sets
from training.evaluation.score_calibration import fit_heads, fit_offset
from training.evaluation.sets import read_set
from training.evaluation.temperatures import (
    BOUNDS,
    calibrate,
    fit_prior,
    fit_temperature,
    negative_log_likelihood,
    prior_weights,
    same_labels,
)

ONE = "What is the ONE issue?" + tasks.SHORT_TAIL
TWO = "What are the TWO issues?" + tasks.SHORT_TAIL
RATE = "How would you rate the quality of the image?" + tasks.SHORT_TAIL
WHICH = "Which is better?" + tasks.SHORT_TAIL


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_fit_recovers_the_temperature_that_answers_were_drawn_at(temperature):
    rng = np.random.default_rng(0)
    logits = log_softmax(rng.normal(0, 3, (20_000, 13)), axis=1)
    chances = np.exp(log_softmax(logits / temperature, axis=1))
    truths = (chances.cumsum(1) > rng.random((len(logits), 1))).argmax(1)
    fitted = fit_temperature(logits, truths)
    assert fitted == pytest.approx(temperature, rel=0.04)
    best = negative_log_likelihood(logits, truths, fitted)
    for near in (0.98, 1.02):
        assert negative_log_likelihood(logits, truths, fitted * near) > best


def test_an_answer_that_was_not_on_offer_does_not_count():
    """Rows of 13 and of 133 answers are fitted together."""
    logits = np.log([[0.7, 0.2, 0.1], [0.6, 0.4, 0.0]], where=np.array([[1, 1, 1], [1, 1, 0]], bool), out=None)
    logits[1, 2] = -np.inf
    expected = -(np.log(0.2) + np.log(0.6)) / 2
    assert negative_log_likelihood(logits, np.array([1, 0])) == pytest.approx(expected)


def test_answers_that_are_always_right_stop_at_the_bound():
    assert fit_temperature(np.log([[0.9, 0.1]] * 50), np.zeros(50, int)) == pytest.approx(BOUNDS[0], rel=1e-3)


@pytest.mark.slow
def test_the_prior_of_clean_images_is_recovered_from_records_with_another():
    """Answers that are right at half clean images are recovered where the records have one clean image in ten."""
    rng = np.random.default_rng(1)
    count, none = 40_000, 12
    logits = log_softmax(rng.normal(0, 2, (count, 13)), axis=1)
    truths = (np.exp(logits).cumsum(1) > rng.random((count, 1))).argmax(1)
    clean = truths == none
    share = clean.mean()
    tempered = 1.7 * logits
    tempered[:, none] += 0.8
    temperature, offset, _ = fit_prior(tempered, truths, none, share)  # the prior that the truths were drawn at
    assert (temperature, offset) == (pytest.approx(1.7, rel=0.03), pytest.approx(-0.8 / 1.7, abs=0.05))
    _, wanted, _ = fit_prior(logits, truths, none, 0.5)
    assert wanted == pytest.approx(np.log(0.5 / share) - np.log(0.5 / (1 - share)), abs=0.05)
    assert prior_weights(clean, 0.3)[clean].sum() == pytest.approx(0.3)


@pytest.mark.slow
def test_the_prior_of_scores_is_recovered_from_records_with_another():
    """The best level is as probable as it is true, at the share of clean images of the records and at another."""
    rng = np.random.default_rng(2)
    levels = np.exp(log_softmax(rng.normal(0, 2, (40_000, 5)), axis=1))
    best = rng.random(len(levels)) < levels[:, 0]
    truths = np.where(best, np.where(rng.random(len(levels)) < 0.8, 100.0, 90.0), 40.0)
    share = (truths == 100).mean()
    assert fit_offset(levels, truths, share) == pytest.approx(0, abs=0.05)
    assert fit_offset(with_offset(levels, 0, 1.5), truths, share) == pytest.approx(-1.5, abs=0.05)
    assert fit_offset(levels, truths, 2 * share) > 0.5
    sure = np.vstack([levels, [[1.0, 0, 0, 0, 0]]])  # one answer that is sure and wrong
    assert fit_offset(sure, np.append(truths, 40.0), share) == pytest.approx(0, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("none, share", [(12, 0.4), (None, 0.5)])
def test_the_weight_of_heads_is_recovered(none, share):
    """Truths are drawn from answers of the language model and of heads together."""
    rng = np.random.default_rng(2)
    logits, heads = (log_softmax(rng.normal(0, 2, (40_000, 13)), axis=1) for _ in range(2))
    joined = log_softmax(logits / 1.7 + 0.6 * heads, axis=1)
    truths = (np.exp(joined).cumsum(1) > rng.random((len(joined), 1))).argmax(1)
    share = share if none is None else (truths == none).mean()  # the prior that the truths were drawn at
    temperature, offset, weight = fit_prior(logits, truths, none, share, heads=heads)
    assert (temperature, weight) == (pytest.approx(1.7, rel=0.04), pytest.approx(0.6, abs=0.03))
    assert offset == pytest.approx(0, abs=0.06) and (none is not None or offset == 0)
    useless = fit_prior(logits, truths, none, share, heads=rng.permutation(heads))
    assert useless[2] == pytest.approx(0, abs=0.02)


def test_heads_that_know_the_quality_better_get_a_weight_in_scores():
    rng = np.random.default_rng(3)
    truths = np.concatenate([np.full(200, 100.0), rng.uniform(0, 90, 400)])

    def levels(spread: float) -> np.ndarray:
        seen = truths + rng.normal(0, spread, len(truths))
        return np.exp(log_softmax(-(((seen[:, None] - tasks.LEVEL_SCORES) / 25) ** 2) / 2, axis=1))

    blurred, exact, wrong = levels(30), np.log(levels(5)), rng.permutation(np.log(levels(5)))
    weight = fit_heads(blurred, exact, truths, 0.5)
    before, after = (
        abs(rows @ np.array(tasks.LEVEL_SCORES) - truths).mean()
        for rows in (blurred, with_logits(blurred, weight * exact))
    )
    assert weight > 0.5 and after < 0.7 * before
    assert fit_heads(levels(5), wrong, truths, 0.5) < 0.05


def test_only_questions_with_a_weight_and_images_without_a_reference_include_the_heads():
    calibration = Calibration({"heads_identification_nr": 0.5})
    rows, logits = np.full((2, 2), 0.5), np.array([[0.0, -2.0], [0.0, -2.0]])
    asked = (tasks.IDENTIFICATION, ONE, (False, True))
    found = calibration.with_heads(*asked, rows, logits)
    assert found[0] == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))]) and found[1] == pytest.approx(rows[1])
    assert calibration.with_heads(tasks.RATING, WHICH, (False, True), rows, logits) is rows


def test_the_judge_answers_under_the_prior_that_was_fitted():
    calibration = Calibration({"none_identification_nr": np.log(3.0)})
    options = tasks.answers(tasks.IDENTIFICATION, ONE)
    rows = np.full((2, len(options)), 1 / len(options))
    asked = (tasks.IDENTIFICATION, ONE, options, (False, True))
    found = calibration.with_prior(*asked, rows)
    assert found.sum(1) == pytest.approx(1) and found[1] == pytest.approx(rows[1])
    assert found[0, options.index("None")] == pytest.approx(3 * found[0, 0])
    points = Calibration({"none_score_nr": np.log(2.0)}).with_prior(
        tasks.SCORE, RATE, tasks.answers(tasks.SCORE, RATE), (False, True), np.full((2, 5), 0.2)
    )
    assert points[0] == pytest.approx([2 / 6, *[1 / 6] * 4]) and points[1] == pytest.approx([0.2] * 5)
    assert calibration.with_prior(tasks.RATING, WHICH, ("Image A", "Image B"), (False,), rows[:1, :2]) is not None


def test_a_question_has_its_own_temperature_and_falls_back_to_setting_and_task():
    config = DepictQAConfig(calibration={"rating": 2.0, "rating_fr": 3.0, "identification_two_nr": 1.5})

    def heat(task, question):
        calibration = Calibration(config.calibration)
        return [calibration.temperature(tasks.temperature_names(task, question, seen)) for seen in (True, False)]

    assert heat(tasks.RATING, WHICH) == [3.0, 2.0]
    assert heat(tasks.RATING, "Which of these TWO is better?") == [3.0, 2.0]
    assert heat(tasks.IDENTIFICATION, TWO) == [1.0, 1.5]
    assert heat(tasks.IDENTIFICATION, ONE) == [1.0, 1.0]
    config.calibration = {"identification_nr": 4.0, "identification": 5.0}
    assert heat(tasks.IDENTIFICATION, TWO) == [5.0, 4.0]
    with pytest.raises(ValueError, match="rating_nr"):
        DepictQAConfig(calibration={"rating_nr": 0})


@pytest.fixture
def folder(tmp_path):
    """A data root with a tiny checkpoint beside it, and records of three tasks, with and without a reference."""
    rng = np.random.default_rng(1)
    rows = {"brief": [], "detailed": [], "training": []}
    for n in range(8):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / f"{n}.png")
        shown = {"image_ref": "0.png" if n % 2 else None, "image_A": f"{n}.png", "image_B": None}
        label = tasks.answer_text((tasks.DISTORTIONS[n],))
        rows["brief"] += [
            {"id": f"one {n}", **shown, "query": ONE, "answer": label},
            {"id": f"two {n}", **shown, "query": TWO, "answer": "Noise and blur"},
            {"id": f"rate {n}", **shown, "query": RATE, "answer": "Good"},
        ]
        if n < 6:
            pair = {"id": f"pair {n}", **shown, "image_B": "0.png", "query": WHICH, "answer": tasks.WINNERS[n % 2]}
            rows["brief"].append(pair)
        rows["detailed"].append({"id": f"{n}", **shown, "query": "Describe it.", "answer": "It is fine."})
        rows["training"].append({"id": f"{n}", **shown, "conversations": []})
    rows["brief"].append({"id": "gone", **shown, "image_A": "gone.png", "query": ONE, "answer": "Blur"})
    rows["brief"].append({"id": "foreign", **shown, "query": ONE, "answer": "Vignette"})
    for name, records in rows.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(records))
    make_tiny_checkpoint(tmp_path / "judge")
    return tmp_path


@pytest.mark.slow
def test_every_task_and_setting_gets_its_temperature_and_the_judge_uses_it(folder):
    judge = load_judge(folder / "judge", "cpu")
    judge.model.config.calibration = {"identification_nr": 9.0}  # what is stored plays no part in the fit
    fits = calibrate(judge, [read_set(folder / "brief.json", folder)], minimum=1)
    assert {key: fit.count for key, fit in fits.items()} == {
        "identification_fr": 4,
        "identification_nr": 4,
        "identification_two_fr": 4,
        "identification_two_nr": 4,
        "rating_fr": 3,
        "rating_nr": 3,
    }
    assert judge.model.config.calibration == {"identification_nr": 9.0}
    assert all(fit.nll_after <= fit.nll_before + 1e-9 for fit in fits.values())

    pictures = [folder / "1.png", folder / "2.png"]
    plain = {}
    judge.model.config.calibration = {}
    for reference in (None, folder / "0.png"):
        plain[reference] = [answer.probabilities for answer in judge.identify(pictures, reference)]
    judge.model.config.calibration = {"identification_nr": 2.0}
    for reference, power in ((None, 0.5), (folder / "0.png", 1.0)):
        for before, after in zip(plain[reference], judge.identify(pictures, reference)):
            expected = {item.label: item.probability**power for item in before}
            total = sum(expected.values())
            got = {item.label: item.probability for item in after.probabilities}
            assert got == pytest.approx({label: value / total for label, value in expected.items()}, abs=2e-4)


@pytest.mark.slow
def test_the_command_writes_the_checkpoint_and_its_card_stays_valid(folder, capsys):
    fits = calibrate(load_judge(folder / "judge", "cpu"), [read_set(folder / "brief.json", folder)] * 26)
    arguments = ["calibrate", str(folder / "judge"), *[str(folder / "brief.json")] * 26, "--root", str(folder)]
    before = (folder / "judge" / "config.json").read_text()
    assert command([*arguments, "--dry-run"]) == 0
    assert (folder / "judge" / "config.json").read_text() == before
    assert command(arguments) == 0
    printed = capsys.readouterr().out
    stored = load_judge(folder / "judge", "cpu").model.config.calibration
    # 78 answers to pairs in each setting are too few to fit on
    fitted = [f"identification{count}_{setting}" for count in ("", "_two") for setting in ("fr", "nr")]
    assert {key: value for key, value in stored.items() if key in fits} == {
        key: fits[key].temperature for key in fitted
    }
    assert "too few" in printed and f"{stored['identification_fr']:.4f}" in printed
    verify_checkpoint(folder / "judge")
    changed = json.loads((folder / "judge" / "config.json").read_text())
    assert {**changed, "calibration": {}} == json.loads(before)


@pytest.mark.slow
def test_too_few_records_change_nothing_and_are_said_to(folder, capsys):
    before = (folder / "judge" / "config.json").read_text()
    assert command(["calibrate", str(folder / "judge"), str(folder / "brief.json"), "--root", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "nothing was fitted" in printed and "written to" not in printed
    assert (folder / "judge" / "config.json").read_text() == before


def test_training_records_and_detailed_ones_are_refused(folder):
    with pytest.raises(TaskError, match="training records"):
        read_set(folder / "training.json", folder)
    with pytest.raises(TaskError, match="no record has a short answer"):
        calibrate(load_judge(folder / "judge", "cpu"), [read_set(folder / "detailed.json", folder)])


@pytest.fixture
def rated(folder):
    """Record files of pairs of known order and of images of known quality, with and without a reference."""
    rows = {"rating": [], "score": []}
    for n in range(1, 8):
        for reference in (None, "0.png"):
            shown = {"image_ref": reference, "image_A": f"{n}.png", "image_B": None}
            rows["score"].append({"id": f"{n} {reference}", **shown, "query": RATE, "answer": "Good", "quality": n / 7})
            other = {**shown, "image_B": f"{n % 7 + 1}.png", "query": WHICH, "answer": tasks.WINNERS[n % 2]}
            rows["rating"].append({"id": f"{n} {reference}", **other})
    for name, records in rows.items():
        (folder / f"{name}.json").write_text(json.dumps(records))
    return folder


@pytest.mark.slow
def test_orders_and_scores_are_fitted_and_the_judge_states_them(rated, monkeypatch):
    judge = load_judge(rated / "judge", "cpu")
    sets = [read_set(rated / f"{name}.json", rated) for name in ("rating", "score")]
    fits = calibrate_all(judge, sets, minimum=5)
    assert {key: fit.count for key, fit in fits.items()} == {
        **dict.fromkeys(("rating_fr", "rating_nr"), 7),
        **dict.fromkeys(("order_fr", "order_nr", "score_error_fr", "score_error_nr"), 7),
    }
    (ranked,) = ranked_sets(judge, sets)["order_nr"]
    assert (ranked.count, len(ranked.pairs), len(ranked.decided)) == (7, 21, 7)
    assert judge.model.config.calibration == {}
    judge.model.config.calibration = fitted(fits)
    give_coverage(monkeypatch, judge, 1.0)
    pictures = [rated / f"{n}.png" for n in range(1, 4)]
    for reference in (None, rated / "0.png"):
        assert judge.rank(pictures, reference).certainty == judge.score(pictures, reference)[0].certainty == CALIBRATED
    offset = fits["score_error_nr"].offset
    (before,), (after,) = (one.score(pictures[:1]) for one in (load_judge(rated / "judge", "cpu"), judge))
    expected = with_offset(np.array([[level.probability for level in before.levels]]), 0, offset)[0]
    assert [level.probability for level in after.levels] == pytest.approx(expected, abs=1e-5) and offset != 0
    only = calibrate_all(judge, sets, minimum=5, parts=("scores",))
    assert sorted(only) == ["score_error_fr", "score_error_nr"]
    assert calibrate_all(judge, sets, minimum=50)["order_nr"].calibration is None
    with pytest.raises(TaskError, match="usable for scores"):
        calibrate_all(judge, sets[:1], parts=("scores",))
    printed = table(fits)
    assert all(word in printed for word in ("temperature", "lapse", "in interval", *fits))


@pytest.mark.slow
def test_the_command_stores_orders_and_scores_and_drops_what_is_stale(rated):
    judge = load_judge(rated / "judge", "cpu")
    fits = calibrate_all(judge, [read_set(rated / f"{n}.json", rated) for n in ("rating", "score")], minimum=5)
    store(rated / "judge", fits)
    stored = load_judge(rated / "judge", "cpu").model.config
    assert (
        stored.calibration == fitted(fits)
        and Calibration(stored.calibration).order(False) == fits["order_nr"].calibration
    )
    verify_checkpoint(rated / "judge")
    assert stored.calibration["none_score_nr"] == fits["score_error_nr"].offset
    left = store(rated / "judge", {"rating_nr": fits["rating_nr"]})
    again = store(rated / "judge", {"score_error_nr": replace(fits["score_error_nr"], offset=None)})
    assert "none_score_nr" not in again and again["none_score_fr"] == fits["score_error_fr"].offset
    assert "order_nr" not in left and left["order_fr"] == fitted(fits)["order_fr"]  # it was fitted under the old one


def test_the_temperature_of_two_labels_is_fitted_to_the_labels_and_not_to_the_order_of_their_words():
    """Right about the labels, overconfident about their order, which must not make the temperature higher."""
    options = tasks.identification_answers(2)
    same, rng = same_labels(options), np.random.default_rng(5)
    first = rng.integers(1, len(options), 400)
    second = np.array([next(j for j in np.flatnonzero(same[i]) if j != i) for i in first])
    truths = np.where(rng.random(400) < 0.5, first, second)
    wrong = rng.random(400) < 0.1
    logits = np.full((400, len(options)), -8.0)
    logits[np.arange(400), first], logits[np.arange(400), second] = 0.0, -3.0
    truths[wrong] = (truths[wrong] + 7) % len(options)
    by_labels, by_words = fit_temperature(logits, truths, same), fit_temperature(logits, truths)
    chances = np.exp(log_softmax(logits / by_labels, axis=1))
    confidence = (chances * same[first]).sum(1).mean()
    assert confidence == pytest.approx(same[first, truths].mean(), abs=0.01)
    assert by_words > 1.1 * by_labels
