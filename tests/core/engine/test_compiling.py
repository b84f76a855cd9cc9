"""A compiled language model answers alike; where nothing can be compiled, loading says so."""

import shutil

import numpy as np
import pytest
import torch
from tiny import make_tiny_checkpoint

from depictqa_core.cli import commands as cli
from depictqa_core.errors import CheckpointError
from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_checkpoint(tmp_path_factory.mktemp("compiled"), "cnn", seed=2)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_language_model_answers_alike_for_any_number_of_pictures(folder):
    rng = np.random.default_rng(0)
    pictures = [as_image(rng.integers(0, 256, (40, 60, 3), np.uint8)) for _ in range(3)]
    plain, compiled = load_judge(folder, "cpu"), load_judge(folder, "cpu", compiled=True)
    assert compiled.model.language._compiled_call_impl is not None
    for some in (pictures[:2], pictures):
        compiled.backend.forget_answers()
        for a, b in zip(plain.score(some), compiled.score(some), strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-3)


@pytest.mark.slow
def test_where_nothing_can_be_compiled_loading_says_so(folder, monkeypatch, capsys):
    def broken(function):
        raise RuntimeError("no compiler\nlong story")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(CheckpointError, match=r"does not work here \(no compiler long story\); install"):
        load_judge(folder, "cpu", compiled=True)
    load_judge(folder, "cpu")
    assert cli.main(["score", "x.png", "--checkpoint", str(folder), "--compile", "--quiet"]) == 1
    assert "torch.compile does not work here" in capsys.readouterr().err
