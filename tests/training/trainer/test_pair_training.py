"""The comparison of two images trained alone: what changes, what stays, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny import CNN, make_tiny_checkpoint

from depictqa_core.errors import ImageError
from training.trainer.recipe import RecipeError, read_recipe
from training.trainer.start_network import start_network
from training.trainer.train import train

ORDER = {"weight": 4.0, "slope": 1.0, "lapse": 0.0}
ANCHORS = {"method": "anchors", "ends": [0.0, 0.0]} | dict.fromkeys(("within", "centre", "log_scale"), [0.0] * 4)
CALIBRATION = {"rating_nr": 2.0, "rating_fr": 1.5, "order_nr": ORDER, "severity_nr": 1.5}
PAIR = {"network": None, "changes": {"connector": {"pair": True}}, "trainable": ["pair"], "warmup_epochs": 0}


@pytest.fixture
def pair_scenes(damaged_scenes):
    """Scenes of which one image cannot be read."""
    (damaged_scenes / "7.png").write_bytes(b"no image")
    return damaged_scenes


@pytest.mark.slow
def test_the_pair_trained_alone_leaves_all_else_as_it_was(recipe_file, pair_scenes, tmp_path):
    start = make_tiny_checkpoint(tmp_path / "start", calibration=CALIBRATION)
    short = {"steps": 2, "save_every": 1, "warm_steps": 0, "pair_epochs": 2, "pair_scenes": str(pair_scenes)}
    short |= {"unreadable_share": 0.5, "cache_features": True}
    folder = train(read_recipe(recipe_file(start=str(start), **PAIR, **short)))
    before, trained = load_file(start / "model.safetensors"), load_file(folder / "model.safetensors")
    assert all(torch.equal(trained[name], tensor) for name, tensor in before.items())
    added = {name: tensor for name, tensor in trained.items() if name not in before}
    assert added["connector.pair_tokens.weight"].any()  # it was zero
    assert all(name.startswith(("connector.pair_tokens.", "connector.paired.")) for name in added)
    assert json.loads((folder / "config.json").read_text())["calibration"] == {"rating_fr": 1.5, "severity_nr": 1.5}
    card = json.loads((folder / "depictqa.json").read_text())
    assert card["trained_on"].endswith(" Differences of two images: the data root 'scenes'.")
    assert "7.png" in (tmp_path / "out.run" / "unreadable.csv").read_text()
    with pytest.raises(ImageError, match="1 of 8 images cannot be read"):
        train(read_recipe(recipe_file(start=str(start), **PAIR, **{**short, "unreadable_share": 0.01})), resume=False)


def test_more_than_the_pair_keeps_no_calibration(recipe_file, tmp_path):
    start = make_tiny_checkpoint(tmp_path / "start", calibration={**CALIBRATION, "score_error_nr": ANCHORS})
    for more, kept in (
        ({}, {"rating_fr", "severity_nr"}),  # scores by anchors are made of comparisons
        ({"changes": {"connector": {"pair": True}, "personal": True}}, set()),
        ({"warmup_epochs": 1}, set()),
    ):
        recipe = read_recipe(
            recipe_file(start=str(start), **{**PAIR, "pair_epochs": 1, "cache_features": True, **more})
        )
        assert start_network(recipe, [])[0].config.calibration.keys() == kept


def test_what_the_pair_reads_does_not_change_without_it(recipe_file, tmp_path):
    start = make_tiny_checkpoint(tmp_path / "start", connector={**CNN["connector"], "pair": True})
    settings = {"network": None, "trainable": ["connector"], "warmup_epochs": 1, "cache_features": True}
    with pytest.raises(RecipeError, match="change what the comparison of two images sees: give pair_epochs"):
        train(read_recipe(recipe_file(start=str(start), **settings)))
