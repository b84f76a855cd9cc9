"""The average of two checkpoints: every weight lies between theirs, and checkpoints that do not fit are refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import CNN, make_tiny_checkpoint

from depictqa_core.loading.checkpoint import load_checkpoint
from depictqa_core.loading.checkpoint_folder import verify_checkpoint
from depictqa_core.loading.saving import write_card
from training.__main__ import main

TILES = {"channels": 8, "grid": 3, "side": 32}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two checkpoints of one tokenizer, of which the second has other weights and temperatures of its own."""
    root = tmp_path_factory.mktemp("average")
    first, second = (make_tiny_checkpoint(root / name) for name in ("first", "second"))
    weights = load_file(second / "model.safetensors")
    generator = torch.Generator().manual_seed(1)
    weights = {k: v + torch.randn(v.shape, generator=generator) for k, v in weights.items()}
    save_file(weights, second / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((second / "config.json").read_text())
    (second / "config.json").write_text(json.dumps({**config, "calibration": {"rating_nr": 2.0}}))
    write_card(second, {"name": "second", "version": "2", "license": "MIT", "trained_on": "nothing"})
    return first, second


@pytest.mark.slow
def test_every_weight_lies_between_those_of_the_two(pair, tmp_path, capsys):
    first, second = pair
    assert main(["average", str(first), str(second), str(tmp_path / "mixed"), "--share", "0.25"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "mixed")
    card = verify_checkpoint(tmp_path / "mixed")
    assert card["name"] == "second" and [parent["share"] for parent in card["average_of"]] == [0.75, 0.25]
    mixed = load_checkpoint(tmp_path / "mixed").model
    ends = [load_checkpoint(folder).model.state_dict() for folder in pair]
    for name, tensor in mixed.state_dict().items():
        torch.testing.assert_close(tensor, 0.75 * ends[0][name] + 0.25 * ends[1][name])
    assert mixed.config.calibration == {}


def test_weights_that_only_the_second_has_are_kept(pair, tmp_path):
    wider = make_tiny_checkpoint(tmp_path / "wider", connector={**CNN["connector"], "comparison": True})
    assert main(["average", str(pair[0]), str(wider), str(tmp_path / "mixed")]) == 0
    own, kept = (load_file(folder / "model.safetensors") for folder in (wider, tmp_path / "mixed"))
    new = [name for name in own if "compar" in name]
    assert new and all(torch.equal(own[name], kept[name]) for name in new)


def test_what_a_new_tower_adds_counts_its_share(pair, tmp_path):
    """Of the judge with the tower and the one without it, the sum that the language model gets is the average."""
    grown = make_tiny_checkpoint(tmp_path / "grown", vision={**CNN["vision"], "tiles": TILES})
    weights = load_file(grown / "model.safetensors")
    generator = torch.Generator().manual_seed(2)
    last = {n for n in weights if n.startswith(("connector.tiles_mix.7.", "connector.tiles_cells."))}
    weights |= {n: torch.randn(weights[n].shape, generator=generator) for n in last}
    save_file(weights, grown / "model.safetensors", metadata={"format": "pt"})
    write_card(grown, {"name": "grown", "version": "2", "license": "MIT", "trained_on": "nothing"})
    assert main(["average", str(pair[0]), str(grown), str(tmp_path / "mixed"), "--share", "0.25"]) == 0
    mixed = load_file(tmp_path / "mixed" / "model.safetensors")
    new = {n for n in mixed if ".tiles" in n}
    assert len(last) == 4 and len(new) > 4
    for name in new:
        torch.testing.assert_close(mixed[name], weights[name] * (0.25 if name in last else 1))


def test_what_does_not_fit_is_refused_and_nothing_is_written(pair, tmp_path, capsys):
    first, second = pair
    wider = make_tiny_checkpoint(tmp_path / "wider", connector={**CNN["connector"], "comparison": True})
    out = tmp_path / "mixed"
    for arguments, why in (
        ([str(wider), str(first), str(out)], "the other way round"),
        ([str(first), str(second), str(out), "--share", "1.5"], "from 0"),
        ([str(first), str(second), str(second)], "exists already"),
        ([str(first), str(tmp_path / "nowhere"), str(out)], "does not exist"),
    ):
        assert main(["average", *arguments]) == 1
        assert why in capsys.readouterr().err
    assert not out.exists()
