"""The heads trained alone: what they learn, what stays, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny import CNN, make_tiny_checkpoint, make_tiny_model

from depictqa_core.tasks import DISTORTIONS, FAULTS
from training.trainer.evidence import Evidence
from training.trainer.finding_warmup import warm_up_findings
from training.trainer.recipe import RecipeError, read_recipe
from training.trainer.start_network import start_network
from training.trainer.train import train

CALIBRATION = {"rating_nr": 2.0, "rating_fr": 1.5, "severity_nr": 1.5, "heads_rating_nr": 0.5}
HEADS = {"network": None, "changes": {"connector": {"findings": True}}, "warmup_epochs": 0, "warm_steps": None}
ALONE = {**HEADS, "trainable": [], "steps": 0}


def evidence(count: int, width: int) -> Evidence:
    """Half of the images are blurred and have the first fault, which their first feature shows."""
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(4))
    bad = torch.arange(count) % 2 == 1
    rows[:, 0] = torch.where(bad, 3.0, -3.0)
    severity, faults = torch.zeros(count, len(DISTORTIONS)), torch.zeros(count, len(FAULTS))
    severity[bad, 0], faults[bad, 0] = 4.0, 1.0
    pairs = torch.stack([torch.arange(0, count, 2), torch.arange(1, count, 2)], 1)
    return Evidence(rows, severity, torch.ones(count), faults, torch.where(bad, 0.2, 1.0), pairs)


def test_heads_learn_what_an_image_shows_and_nothing_else_learns():
    model, _ = make_tiny_model("cnn", connector={**CNN["connector"], "findings": True})
    connector = model.connector
    model.freeze(("connector",))
    assert not any(
        parameter.requires_grad for parameter in connector.heads.parameters()
    )  # only the warm-up trains them
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = evidence(64, connector.pooled_width)
    first = warm_up_findings(connector, seen, 1, seed=3)
    assert warm_up_findings(connector, seen, 40, seed=3, rate=3e-3) < 0.5 * first
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("connector.heads.") for name in changed)
    assert not any(parameter.requires_grad for parameter in connector.heads.parameters())  # as before
    with torch.no_grad():
        found = connector.findings(seen.rows)
    bad = seen.severity[:, 0] > 0
    assert torch.equal(found.labels.argmax(1), torch.where(bad, 0, len(DISTORTIONS)))
    assert torch.equal(found.faults[:, 0] > 0, bad) and torch.equal(found.quality < 3, bad)


def test_heads_need_a_connector_that_has_them():
    model, _ = make_tiny_model("cnn")
    with pytest.raises(ValueError, match="changes: connector: findings: true"):
        warm_up_findings(model.connector, evidence(4, model.connector.pooled_width), 1, seed=0)


@pytest.mark.slow
def test_heads_trained_alone_leave_all_else_as_it_was(recipe_file, damaged_scenes, tmp_path):
    start = make_tiny_checkpoint(tmp_path / "start", calibration=CALIBRATION)
    own = {"finding_epochs": 2, "finding_scenes": str(damaged_scenes), "cache_features": True}
    recipe = read_recipe(recipe_file(start=str(start), **ALONE, **own))
    folder = train(recipe)
    before, trained = load_file(start / "model.safetensors"), load_file(folder / "model.safetensors")
    assert all(torch.equal(trained[name], tensor) for name, tensor in before.items())
    added = {name: tensor for name, tensor in trained.items() if name not in before}
    assert added and all(name.startswith("connector.heads.") for name in added)
    assert json.loads((folder / "config.json").read_text())["calibration"] == {"rating_fr": 1.5}
    assert not (recipe.run / "state").exists()
    again = load_file(train(recipe) / "model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in added.items())
    card = json.loads((folder / "depictqa.json").read_text())
    assert card["trained_on"].endswith(" What an image shows: the data root 'scenes'.")


@pytest.mark.parametrize(
    "more, message",
    [
        ({"steps": 2, "trainable": ["pair"]}, "findings: true needs finding_epochs"),
        ({"finding_epochs": 1, "cache_features": False}, "need cache_features"),
        ({"finding_scenes": "x", "changes": None, "steps": 2, "trainable": ["pair"]}, "needs finding_epochs"),
        (
            {"finding_epochs": 1, "cache_features": True, "frozen_precision": "float16"},
            "finding_epochs needs frozen_precision: float32",
        ),
        ({"changes": None}, "steps: 0 needs a warm-up"),
        ({"finding_epochs": 1, "rehearsal": {"share": 0.5}}, "validate and rehearsal need steps"),
        ({"steps": 1}, "steps: 0 and trainable: \\[\\] go together"),
        ({"trainable": ["connector"]}, "steps: 0 and trainable: \\[\\] go together"),
    ],
)
def test_what_does_not_go_with_heads(recipe_file, tmp_path, more, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(recipe_file(**{"start": str(tmp_path), **ALONE, **more}))


def test_the_inputs_of_heads_do_not_change_without_them(recipe_file, tmp_path):
    start = make_tiny_checkpoint(tmp_path / "start", connector={**CNN["connector"], "findings": True})
    settings = {"network": None, "trainable": ["connector"], "warmup_epochs": 1, "cache_features": True}
    with pytest.raises(RecipeError, match="change the inputs of the heads: give finding_epochs"):
        train(read_recipe(recipe_file(start=str(start), **settings)))


def test_what_is_known_of_images_with_a_reference_stays_where_heads_and_the_pair_are_trained(recipe_file, tmp_path):
    start = make_tiny_checkpoint(tmp_path / "start", calibration=CALIBRATION)
    more = {"trainable": ["pair"], "changes": {"connector": {"findings": True, "pair": True}}}
    settings = {**HEADS, **more, "finding_epochs": 1, "pair_epochs": 1, "cache_features": True}
    recipe = read_recipe(recipe_file(start=str(start), **settings))
    assert start_network(recipe, [])[0].config.calibration == {"rating_fr": 1.5}


def test_a_pair_trained_alone_drops_the_weight_of_heads_in_comparisons(recipe_file, tmp_path):
    start = make_tiny_checkpoint(
        tmp_path / "start", calibration=CALIBRATION, connector={**CNN["connector"], "pair": True}
    )
    settings = {"network": None, "warmup_epochs": 0, "trainable": ["pair"], "pair_epochs": 1, "cache_features": True}
    recipe = read_recipe(recipe_file(start=str(start), **settings))
    assert start_network(recipe, [])[0].config.calibration == {"rating_fr": 1.5, "severity_nr": 1.5}
