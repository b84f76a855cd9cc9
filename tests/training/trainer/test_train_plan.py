"""The plan of a training run: counts from the configuration alone, against the published numbers and by hand."""

from dataclasses import replace

import pytest
from trees import ROOT

from training.__main__ import main
from training.trainer import run_cost as run_cost_module
from training.trainer.recipe import read_recipe
from training.trainer.run_cost import run_cost

pytestmark = pytest.mark.slow  # one pass of the published network without values takes seconds
WILD = ROOT / "training" / "recipes" / "depictqa_wild_7b.yaml"


@pytest.fixture(scope="module")
def recipe():
    return read_recipe(WILD)


@pytest.fixture(scope="module")
def eight(recipe):
    return run_cost(recipe, processes=8, records=1_405_000)


@pytest.fixture
def few_layers(monkeypatch):
    """The same network with a quarter of its layers: what does not depend on their number is found much faster."""
    full = run_cost_module.full_size_config

    def shallow(abstractor):
        config = full(abstractor)
        config.language["num_hidden_layers"], config.vision["num_hidden_layers"] = 8, 6
        return config

    monkeypatch.setattr(run_cost_module, "full_size_config", shallow)


def test_the_7b_run_learns_what_the_published_delta_holds(eight, recipe):
    assert eight.learned == 20_975_616
    assert eight.frozen == pytest.approx(6.74e9 + 0.303e9, rel=0.01)
    assert eight.tokens == pytest.approx(920, rel=0.06)  # of two images beside a reference, with an answer
    assert eight.steps == -(-1_405_000 // 128)


def test_work_is_that_of_passing_every_token_through_every_weight_three_times(eight):
    """Forward, again for the backward pass, and backward to the inputs alone: LoRA's own work is small."""
    language, vision = 6.6e9, 0.303e9
    by_hand = 3 * 2 * language * eight.tokens + 3 * 2 * vision * 257
    assert eight.flops == pytest.approx(by_hand, rel=0.1)


def test_sharding_spreads_weights_and_optimiser_and_checkpointing_saves_most_of_the_activations(recipe, few_layers):
    plain = run_cost(recipe, processes=8, records=1000)
    spread = run_cost(replace(recipe, sharding="full"), processes=8, records=1000)
    assert spread.weights == plain.weights // 8 and spread.learning == plain.learning // 8
    assert spread.activations == plain.activations
    assert plain.weights == 2 * plain.frozen
    whole = run_cost(replace(recipe, gradient_checkpointing=False), records=1000)
    assert plain.activations < whole.activations / 4 and whole.flops == pytest.approx(plain.flops / 1.5, rel=0.02)


def test_the_command_prints_it_without_data_or_weights(recipe, eight, monkeypatch, capsys):
    def counted(*given):  # as the tests above have it: counting again takes long
        assert given == (recipe, 8, 1_405_000)
        return eight

    monkeypatch.setattr(run_cost_module, "run_cost", counted)
    assert main(["train", str(WILD), "--plan", "--records", "1405000", "--devices", "8"]) == 0
    shown = capsys.readouterr().out
    assert "20,975,616 learn" in shown and "steps             10,977" in shown and "GiB" in shown


def test_the_plan_has_what_a_recipe_adds_to_its_start():
    """Only the tokens learn by which the language model reads which of two images is better: 8 of width 192."""
    recipe = replace(read_recipe(ROOT / "training" / "recipes" / "mini" / "differences.yaml"), start="bundled")
    assert run_cost(recipe, processes=1, records=1000).learned == 8 * 192
