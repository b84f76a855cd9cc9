"""A judge on a server is evaluated, calibrated and asked as a peer like any other; the bundled one is a peer, too."""

import json

import numpy as np
import pytest
from chat_server import chat_server
from PIL import Image
from vlm_server import vllm

from depictqa_core import tasks
from depictqa_core.judge import load_judge
from training.__main__ import main as command
from training.evaluation.command import _is_judge
from training.evaluation.temperatures import MINIMUM

ONE = tasks.ONE_ISSUE + tasks.SHORT_TAIL


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Small images, enough questions about their distortions for a temperature, and a few for an evaluation."""
    folder, rng = tmp_path_factory.mktemp("served"), np.random.default_rng(3)
    records = []
    for number in range(4):
        Image.fromarray(rng.integers(0, 256, (20, 24 + number, 3), np.uint8)).save(folder / f"{number}.png")
    for number in range(MINIMUM):
        image = {"image_ref": None, "image_A": f"{number % 4}.png", "image_B": None}
        answer = tasks.answer_text((tasks.DISTORTIONS[number % 4],))
        records.append({"id": f"s{number}", **image, "query": ONE, "answer": answer})
    (folder / "many.json").write_text(json.dumps(records))
    (folder / "few.json").write_text(json.dumps(records[:4]))
    return folder


TYPE = ["--task", "quality_single_A_noref", "--device", "cpu"]


@pytest.mark.slow
def test_a_server_is_calibrated_into_its_settings(root, tmp_path, capsys):
    with chat_server(vllm()) as server:
        words = ["calibrate", server.base, str(root / "many.json"), "--root", str(root), *TYPE, "--model", "m"]
        assert command(words) == 1 and "--settings FOLDER" in capsys.readouterr().err
        words += ["--only", "temperatures"]
        assert command([*words, "--settings", str(tmp_path)]) == 0
        stored = json.loads((tmp_path / "depictqa_calibration.json").read_text())["calibration"]
        assert stored.keys() == {"identification_nr"}
        plain, fitted = load_judge(server.base, model="m"), load_judge(server.base, model="m", settings=tmp_path)
        a, b = (judge.identify(root / "0.png", faults=False)[0] for judge in (plain, fitted))
        assert a.confidence != b.confidence and a.coverage == b.coverage
        assert (a.certainty, b.certainty) == ("self-consistency", "calibrated") or b.coverage < 0.9


@pytest.mark.slow
def test_a_server_is_evaluated_with_judges_as_peers(root, tmp_path):
    with chat_server(vllm()) as server:
        words = ["evaluate", server.base, str(root / "few.json"), "--root", str(root), "--output", str(tmp_path), *TYPE]
        words += ["--no-metrics", "--model", "m", "--answer-cache", str(tmp_path / "cache")]
        peers = ["--peer-model", "bundled", "--peer-model", f"other@{server.base}"]
        assert command([*words, *peers]) == 0
        assert {request["model"] for request in server.requests} == {"m", "other"}
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["judge"]["name"] == "m" and results["judge"]["probabilities"].startswith("exact")
    assert set(results["peers"]) == {"bundled", f"other@{server.base}"}
    for found in (results, *results["peers"].values()):
        assert found["sets"]["few"]["answered"] == 4 and found["sets"]["few"]["metrics"]


def test_a_peer_is_a_judge_by_its_name(tmp_path):
    judges = ("bundled", str(tmp_path), "m@http://host/v1", "org/name@https://host/v1")
    assert all(map(_is_judge, judges)) and not any(map(_is_judge, ("gpt", "org/name", "name@1.0")))
