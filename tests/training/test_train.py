"""The trainer: recipes are checked first, runs resume exactly, and what comes out is a checkpoint the judge opens."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from tiny import CNN, make_tiny_checkpoint

from depictqa_core.errors import ImageError
from depictqa_core.judge import load_judge
from depictqa_core.model import IGNORE, IMAGE_TOKEN
from depictqa_core.prompts import answer_ids
from training.loader import FeatureStore, LiveFeatures, collate, make_example, read_records
from training.recipe import RecipeError, read_recipe
from training.train import Sampler, train

LANGUAGE = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
LANGUAGE |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256}


def turns(question, answer):
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data root with eight pictures, four dark and four bright, and three parts of records."""
    root = tmp_path_factory.mktemp("data")
    (root / "records").mkdir()
    rng = np.random.default_rng(0)
    identification, rating = [], []
    for i in range(8):
        base = 40 if i % 2 else 210
        Image.fromarray(rng.integers(base - 30, base + 30, (48, 48 + 8 * (i % 3), 3), dtype=np.uint8)).save(
            root / f"{i}.png"
        )
        label = "Insufficient brightness" if i % 2 else "Overly high brightness"
        category = "darken" if i % 2 else "brighten"
        identification.append(
            {
                "id": f"i{i}",
                "task_type": "quality_single_A",
                "image_ref": "0.png",
                "image_A": f"{i}.png",
                "image_B": None,
            }
            | {"conversations": turns("Which ONE? Answer the question using a single word or phrase.", label)}
            | {"distortion_class": category, "distortion_name": category, "severity": 3}
        )
        rating.append(
            {"id": f"r{i}", "task_type": "quality_compare_noref", "image_ref": None, "image_A": f"{i}.png"}
            | {"image_B": f"{(i + 1) % 8}.png", "conversations": turns("Which is better?", f"Image {'AB'[i % 2]}")}
        )
    for name, part in (("identification_fr", identification), ("rating_nr", rating)):
        (root / "records" / f"{name}.json").write_text(json.dumps(part))
    return root


@pytest.fixture
def recipe_file(data, tmp_path):
    def write(**changes):
        network = {key: list(value) if isinstance(value, tuple) else value for key, value in CNN.items()}
        recipe = {
            "name": "test",
            "output": str(tmp_path / "out"),
            "data": str(data),
            "parts": {"identification_fr.json": 2, "rating_nr.json": 1},
            "network": {**network, "vocabulary": 400, "language": LANGUAGE},
            "trainable": ["connector", "language"],
            "cache_features": True,
            "warmup_epochs": 2,
            "steps": 6,
            "batch": 4,
            "save_every": 2,
            "warm_steps": 2,
            "learning_rate": 0.003,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**recipe, **changes}))
        return path

    return write


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"stepz": 3}, "stepz"),
        ({"steps": 0}, "steps"),
        ({"parts": {}}, "parts"),
        ({"start": "somewhere"}, "start"),
        ({"trainable": ["eyes"]}, "eyes"),
        ({"precision": "fp8"}, "precision"),
    ],
)
def test_an_impossible_recipe_is_refused_by_name(recipe_file, changes, named):
    with pytest.raises(RecipeError, match=named):
        read_recipe(recipe_file(**changes))


def test_an_interrupted_run_ends_in_the_same_weights_as_an_unbroken_one(recipe_file, tmp_path, monkeypatch):
    unbroken = train(read_recipe(recipe_file(output=str(tmp_path / "unbroken"))))
    draw = Sampler.__call__

    def stop_at_five(self, step):
        if step == 5:
            raise KeyboardInterrupt
        return draw(self, step)

    path = recipe_file(output=str(tmp_path / "broken"))
    monkeypatch.setattr(Sampler, "__call__", stop_at_five)
    with pytest.raises(KeyboardInterrupt):
        train(read_recipe(path))
    monkeypatch.setattr(Sampler, "__call__", draw)
    broken = train(read_recipe(path))
    first, second = load_file(unbroken / "model.safetensors"), load_file(broken / "model.safetensors")
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=1e-6, msg=name)


def test_a_stop_between_two_saved_states_loses_neither(recipe_file, tmp_path, monkeypatch):
    path = recipe_file(steps=4)
    train(read_recipe(path))
    run = tmp_path / "out.run"
    (run / "state").rename(run / "state.old")  # as a stop in the middle of saving leaves it
    seen = []
    monkeypatch.setattr(Sampler, "__call__", lambda self, step: seen.append(step))
    train(read_recipe(path))
    assert seen == [] and json.loads((run / "state" / "step.json").read_text()) == {"step": 4}


def test_training_changes_only_what_the_recipe_trains_and_the_judge_opens_the_result(recipe_file, data):
    recipe = read_recipe(recipe_file(trainable=["connector"], warmup_epochs=0, steps=2, save_every=2))
    judge = load_judge(train(recipe), "cpu")
    second = load_judge(
        train(read_recipe(recipe_file(trainable=["connector"], steps=4, warmup_epochs=0)), resume=False), "cpu"
    )
    language = dict(judge.model.language.named_parameters())
    for name, parameter in second.model.language.named_parameters():
        assert torch.equal(parameter, language[name]), name
    assert not torch.equal(judge.model.connector.cells.weight, second.model.connector.cells.weight)
    assert judge.info["name"] == "test" and judge.identify(data / "0.png")[0].text


def test_it_learns_to_tell_dark_from_bright(recipe_file, data):
    judge = load_judge(train(read_recipe(recipe_file(steps=150, save_every=150, batch=8))), "cpu")
    found = judge.identify([data / f"{i}.png" for i in range(8)], data / "0.png")
    assert [answer.labels for answer in found] == [("overly high brightness",), ("insufficient brightness",)] * 4


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_state(recipe_file, tmp_path, monkeypatch):
    from depictqa_core.model import DepictQAModel

    forward = DepictQAModel.forward
    calls = []

    def poisoned(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == 4:
            out.loss = out.loss * float("nan")
        return out

    monkeypatch.setattr(DepictQAModel, "forward", poisoned)
    with pytest.raises(FloatingPointError, match="step 3"):
        train(read_recipe(recipe_file()))
    assert json.loads((tmp_path / "out.run" / "state" / "step.json").read_text()) == {"step": 2}


def test_a_batch_shows_every_picture_and_takes_loss_on_answers_only(data):
    from tiny import make_tiny_model

    model, tokenizer = make_tiny_model("cnn")
    records = (
        read_records(data / "records" / "identification_fr.json")[:2]
        + read_records(data / "records" / "rating_nr.json")[:1]
    )
    examples = [make_example(record, tokenizer) for record in records]
    batch = collate(examples, LiveFeatures(model, data), model, tokenizer.pad_token_id)
    assert len(batch["pooled"]) == 2 * 2 + 2
    assert batch["references"] == [None, 0, None, 2, None, None]
    per_picture = model.connector.token_count(batch["pooled"][0])
    assert (batch["input_ids"] == IMAGE_TOKEN).sum(1).tolist() == [2 * per_picture] * 3
    for row, record in enumerate(records):
        taught = batch["labels"][row]
        assert taught[taught != IGNORE].tolist() == answer_ids(record["conversations"][1]["value"], tokenizer)
        assert (
            batch["attention_mask"][row].sum()
            == (batch["input_ids"][row] != tokenizer.pad_token_id).sum() + (taught == tokenizer.pad_token_id).sum()
        )


def test_stored_features_equal_live_ones_and_survive_a_cut(data, tmp_path):
    from tiny import make_tiny_model

    model, _ = make_tiny_model("cnn")
    paths = [f"{i}.png" for i in range(4)]
    store = FeatureStore(tmp_path / "features").fill(model, data, paths[:3])
    file = tmp_path / "features" / "features.f32"
    with open(file, "r+b") as cut:
        cut.truncate(file.stat().st_size - 7)
    store = FeatureStore(tmp_path / "features").fill(model, data, paths)
    live = LiveFeatures(model, data)
    for path in paths:
        torch.testing.assert_close(store[path], live[path])


def test_an_unreadable_picture_is_named(data, tmp_path):
    from tiny import make_tiny_model

    model, _ = make_tiny_model("cnn")
    with pytest.raises(ImageError, match="missing.png"):
        FeatureStore(tmp_path).fill(model, data, ["missing.png"])


def test_a_recipe_can_start_from_a_checkpoint(recipe_file, tmp_path):
    start = make_tiny_checkpoint(tmp_path / "start")
    path = recipe_file(start=str(start), network=None, steps=1, save_every=1, warmup_epochs=0, trainable=["connector"])
    trained = load_file(train(read_recipe(path)) / "model.safetensors")
    before = load_file(start / "model.safetensors")
    changed = {name.split(".")[0] for name, tensor in trained.items() if not torch.equal(tensor, before[name])}
    assert changed == {"connector"}
