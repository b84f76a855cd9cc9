"""A vision-language model is calibrated and evaluated like a checkpoint of ours, in a file next to its weights."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_vlms import make_tiny_vlm

from depictqa_core import tasks
from depictqa_core.judge import load_judge
from training.__main__ import main as command
from training.evaluation.evaluate import evaluate

ONE = tasks.ONE_ISSUE + tasks.SHORT_TAIL
WHICH = "Which image is better, Image A or Image B?" + tasks.SHORT_TAIL


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(1)
    records = []
    for n in range(4):
        Image.fromarray(rng.integers(0, 255, (56, 56, 3), dtype=np.uint8)).save(tmp_path / f"{n}.png")
        shown = {"image_ref": None, "image_A": f"{n}.png", "image_B": None}
        records.append({"id": f"one {n}", **shown, "query": ONE, "answer": tasks.answer_text((tasks.DISTORTIONS[n],))})
        pair = {**shown, "image_B": "0.png", "query": WHICH, "answer": tasks.WINNERS[n % 2]}
        records += [{"id": f"pair {n}", **pair}] if n else []
    (tmp_path / "records.json").write_text(json.dumps(records))
    make_tiny_vlm(tmp_path / "model", "qwen2_5_vl")
    return tmp_path


@pytest.mark.slow
def test_temperatures_are_stored_next_to_the_weights_and_used(root, capsys):
    before = load_judge(root / "model", "cpu").identify(root / "1.png")[0]
    sets = [str(root / "records.json")] * 30  # as many records as a fit needs
    words = ["calibrate", str(root / "model"), *sets, "--root", str(root), "--only", "temperatures"]
    config = (root / "model" / "config.json").read_bytes()
    assert command(words) == 0
    assert (root / "model" / "config.json").read_bytes() == config
    stored = json.loads((root / "model" / "depictqa_calibration.json").read_text())["calibration"]
    assert stored.keys() == {"identification_nr"}  # pairs are too few
    after = load_judge(root / "model", "cpu").identify(root / "1.png")[0]
    power = 1 / stored["identification_nr"]
    assert after.labels == before.labels and after.confidence != pytest.approx(before.confidence, abs=1e-4)
    assert (before.confidence > after.confidence) == (power < 1)


@pytest.mark.slow
def test_it_is_evaluated_on_records(root):
    judge = load_judge(root / "model", "cpu")
    results = evaluate(judge, root / "records.json", root, None, root / "answers.jsonl")
    assert results["answered"] == 7 and results["failed"] == 0
    first = (root / "answers.jsonl").read_bytes()
    evaluate(judge, root / "records.json", root, None, root / "answers.jsonl")
    assert (root / "answers.jsonl").read_bytes() == first
