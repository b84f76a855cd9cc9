"""A checkpoint stored in another number format: half the bytes, and nothing else changes but for rounding."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_tiny_checkpoint

from depictqa_core.judge import load_judge
from depictqa_core.loading.checkpoint import load_checkpoint
from depictqa_core.loading.checkpoint_folder import verify_checkpoint
from depictqa_core.loading.saving import write_card
from training.__main__ import main


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint with a calibration, and the same stored in float16."""
    root = tmp_path_factory.mktemp("formats")
    first = make_tiny_checkpoint(root / "first")
    config = json.loads((first / "config.json").read_text())
    (first / "config.json").write_text(json.dumps({**config, "calibration": {"rating_nr": 2.0}}))
    assert main(["convert", str(first), str(root / "half")]) == 0
    return first, root / "half"


def test_matrices_are_float16_and_filters_and_vectors_stay(folders):
    whole, half = (load_file(folder / "model.safetensors") for folder in folders)
    assert whole.keys() == half.keys()
    for name, weight in whole.items():
        expected = weight.half() if weight.dim() == 2 else weight
        assert half[name].dtype == expected.dtype and torch.equal(half[name], expected)
    assert {weight.dim() for weight in whole.values()} >= {1, 2, 4}
    sizes = [(folder / "model.safetensors").stat().st_size for folder in folders]
    assert sizes[1] < 0.7 * sizes[0]


def test_all_else_is_the_same(folders):
    cards = [verify_checkpoint(folder) for folder in folders]
    assert {**cards[0], "files": 0} == {**cards[1], "files": 0}
    configs = [json.loads((folder / "config.json").read_text()) for folder in folders]
    assert [config.pop("dtype") for config in configs] == ["float32", "float16"] and configs[0] == configs[1]
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert names[0] == names[1]


@pytest.mark.slow
def test_it_is_computed_with_in_float32_and_answers_the_same(folders):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 90, 3), np.uint8)
    assert all(p.dtype == torch.float32 for p in load_checkpoint(folders[1]).model.parameters())
    first, second = (load_judge(folder, "cpu").identify(image)[0] for folder in folders)
    assert first.labels == second.labels
    for one, other in zip(first.probabilities, second.probabilities, strict=True):
        assert one.label == other.label and abs(one.probability - other.probability) < 1e-3


def test_what_cannot_be_stored_is_refused_and_nothing_is_written(tmp_path, capsys):
    folder = make_tiny_checkpoint(tmp_path / "large")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name, weight in weights.items() if weight.dim() == 2)
    save_file({**weights, name: weights[name] + 1e5}, folder / "model.safetensors", metadata={"format": "pt"})
    write_card(folder, {"name": "large", "version": "1", "license": "MIT", "trained_on": "nothing"})
    out = tmp_path / "out"
    assert main(["convert", str(folder), str(out)]) == 1
    assert f"{name} has values outside the range of float16" in capsys.readouterr().err and not out.exists()
    assert main(["convert", str(folder), str(out), "--dtype", "bfloat16"]) == 0
    assert main(["convert", str(folder), str(out)]) == 1
    assert "exists already" in capsys.readouterr().err
