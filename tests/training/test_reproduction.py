"""Every measured figure of README and card has its command, and is what was stored."""

import json
import subprocess

import pytest

from benchmarks import reproduction
from benchmarks.reproduction import README, STORED, claims, problems, unclaimed


def test_every_figure_has_its_command_and_is_that_of_its_result():
    """Among them those that are computed again from the weights: their size and calibration."""
    assert problems() == []
    assert sum(claim.cheap for claim in claims()) >= 3


@pytest.mark.parametrize("name", STORED)
def test_the_commits_of_the_tables_hold_their_results(name):
    file = f"benchmarks/results/{name}_mini.json"
    shown = subprocess.run(["git", "show", f"{STORED[name]}:{file}"], cwd=reproduction.ROOT, capture_output=True)
    if shown.returncode:
        pytest.skip("the history is not there")
    assert json.loads(shown.stdout) == json.loads((reproduction.ROOT / file).read_text())


def test_a_figure_without_a_command_is_found():
    text = (reproduction.ROOT / README).read_text(encoding="utf-8")
    mine = [claim.text for claim in claims() if claim.document == README]
    for sentence in ("It is right in 0.97 of the cases.", "It is 12.5 times faster.", "It takes 3.21 s an image."):
        assert unclaimed(f"{text}\n{sentence}\n", mine) == [sentence]
    assert unclaimed("<!-- figures: x -->\n\n0.123\n\n<!-- end of figures -->\n```sh\nrun 0.55\n```\n", []) == []


def test_a_result_that_has_changed_is_found(monkeypatch):
    content = reproduction.read_json(reproduction.SPEED)
    content["ratios"]["mini, rank 64 NR"]["ratio"] = 50.0
    monkeypatch.setattr(reproduction, "read_json", lambda path: content if path == reproduction.SPEED else read(path))
    read = __import__("depictqa_core.storage.documents", fromlist=["read_json"]).read_json
    assert any(" s, 50 times" in problem for problem in problems())
