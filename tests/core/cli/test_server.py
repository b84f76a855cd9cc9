"""Judges on servers on the command line."""

import json

import numpy as np
import pytest
from chat_server import chat_server
from PIL import Image
from vlm_server import silent, vllm

from depictqa_core.cli.commands import main
from depictqa_core.judge import load_judge


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    for number in range(2):
        Image.fromarray(rng.integers(0, 256, (24, 24 + number, 3), np.uint8)).save(tmp_path / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_verbs_take_an_address(folder, capsys):
    with chat_server(vllm()) as server:
        judge = ["--checkpoint", server.base, "--model", "m", "--concurrency", "2", "--answer-cache", "answers"]
        assert main(["score", "0.png", "1.png", *judge, "--json", "a.json", "--quiet"]) == 0
        facts = json.loads((folder / "a.json").read_text())
        wanted = load_judge(server.base, model="m").score([folder / "0.png", folder / "1.png"])
        assert [row["score"] for row in facts["results"]] == pytest.approx([one.score for one in wanted], abs=1e-5)
        assert facts["checkpoint"] == "m" and list((folder / "answers").glob("*.jsonl"))
        assert main(["compare", "0.png", "1.png", *judge]) == 0
        assert main(["check", "0.png", *judge, "--question", "Is it sharp?"]) == 0
        assert main(["rank", "0.png", "1.png", *judge, "--method", "score", "--prompt", "a car"]) == 0
        assert main(["info", server.base, "--model", "m"]) == 0
        shown = capsys.readouterr().out
        assert "exact: log-probabilities" in shown and server.base[:-3] in shown
        assert main(["score", "0.png", "--checkpoint", server.base]) == 1
        assert "give the name of the model" in capsys.readouterr().err


def test_votes_are_a_notice(folder, capsys):
    with chat_server(silent()) as server:
        judge = ["--checkpoint", server.base, "--model", "m"]
        assert main(["score", "0.png", *judge]) == 1
        assert "--votes 5" in capsys.readouterr().err
        assert main(["score", "0.png", *judge, "--votes", "3"]) == 0
        assert "shares of 3 sampled answers" in capsys.readouterr().err
    assert main(["score", "0.png", "--model", "m"]) == 1
    assert "are for judges on a server" in capsys.readouterr().err
