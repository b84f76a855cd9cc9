"""Training in the published layout: from published weights, and on one process, with DDP and with FSDP alike."""

import json
import shutil
import signal
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file
from trees import ROOT
from two_processes import train_on_two

sys.path.insert(0, str(ROOT / "tests" / "parity"))
import tiny_set  # noqa: E402
from tiny import make_tiny_checkpoint  # noqa: E402

from depictqa_core.judge import load_judge  # noqa: E402
from depictqa_core.published import layout  # noqa: E402
from training.trainer.loop import Loop, Stopped
from training.trainer.metric_logger import VALIDATION, read_log  # noqa: E402
from training.trainer.recipe import read_recipe  # noqa: E402
from training.trainer.start_network import fresh_delta  # noqa: E402
from training.trainer.train import train

QUESTION = "Which ONE? Answer the question using a single word or phrase."


def records():
    """One record of every kind that training on the published layout knows, over images of five sizes."""

    def turns(*said):
        return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]

    def record(task, answer, **images):
        images = {key: value and f"images/{value}.png" for key, value in images.items()}
        return {"id": f"{task}{images}", "task_type": task, "conversations": turns(QUESTION, answer), **images}

    talk = turns("What is shown?\n<image>", "A pattern of waves.", "And how good is it?", "Not bad at all.")
    return [
        record("quality_single_A", "Noise", image_ref="ref_sq", image_A="a_sq", image_B=None),
        record("quality_single_A_noref", "None", image_ref=None, image_A="a_strip", image_B=None),
        record("quality_compare", "Image B", image_ref="ref_sq", image_A="a_sq", image_B="b_sq"),
        record("quality_compare_noref", "Image A", image_ref=None, image_A="a_tiny", image_B="a_odd"),
        {"id": "talk", "task_type": "description", "image": "images/a_odd.png", "conversations": talk},
    ]


RECIPE = {
    "name": "tiny",
    "parts": {"*.json": 2},
    "sampling": "repeat",
    "epochs": 1,
    "batch": 4,
    "micro_tokens": 1,
    "average": "record",
    "learning_rate": 0.01,
    "schedule": "warmup_decay",
    "warm_steps": 1,
    "crop": [0.7, 1.0],
    "hide_separators": True,
    "gradient_checkpointing": True,
    "log_every": 1,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The published set, with records about its images."""
    root = tiny_set.write(tmp_path_factory.mktemp("parallel") / "set")
    (root / "records").mkdir()
    (root / "records" / "all.json").write_text(json.dumps(records()))
    return root


def write(files, name, **changes):
    path = files.parent / f"{name}.yaml"
    content = {**RECIPE, "data": str(files), "output": str(files.parent / name), **changes}
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.slow
def test_training_starts_from_published_weights(files):
    start = {"clip": str(files / "clip/ViT-tiny-14.pt"), "llm": str(files / "llm")}
    output = train(
        read_recipe(write(files, "published", start=start, steps=2, epochs=None, batch=1, frozen_precision="bfloat16"))
    )
    before = load_file(files.parent / "published.run" / "start" / "model.safetensors")
    after = load_file(output / "model.safetensors")
    assert before.keys() == after.keys()
    learned = {name for name in before if name.startswith("connector.") or ".lora_" in name}
    for name, tensor in before.items():
        if name in learned:
            assert after[name].dtype == torch.float32
            assert not torch.equal(after[name], tensor.float()), name
        else:  # kept as it is trained with
            assert torch.equal(after[name], tensor.bfloat16()), name
    judge = load_judge(output, "cpu")
    assert judge.info["started_from"]["version"] == "imported"
    assert judge.identify(files / "images" / "a_sq.png")[0].text


def test_fresh_parts_have_the_published_names_and_add_nothing_at_first():
    clip, llm = layout.Clip(width=64, layers=1), layout.Language(width=32, layers=2, heads=2, key_heads=2)
    made = fresh_delta(clip, llm, True, seed=3)
    again = fresh_delta(clip, llm, True, seed=3)
    layout.refuse_misfits("delta", made.shapes, layout.delta(layout.delta_sizes(made.shapes), clip, llm), "")
    for name in made.shapes:
        value = made.read(name)
        assert torch.equal(value, again.read(name))
        assert bool(value.any()) == (".lora_B." not in name and not name.endswith(("in_proj_bias", "out_proj.bias"))
                                     and not (".norm" in name and name.endswith("bias"))), name  # fmt: skip
    first, second = (made.read(f"abstractor.abstractor.layers.{i}.linear1.weight") for i in (0, 1))
    assert not torch.equal(first, second)  # layers that begin alike would have to be told apart first


@pytest.fixture(scope="module")
def made(files):
    """A recipe's start, an unbroken run, and one that was stopped after its first step."""
    start = make_tiny_checkpoint(files.parent / "start", "abstractor", lora={"r": 2})
    train(read_recipe(write(files, "unbroken", start=str(start))))
    taken = Loop.step

    def stopped(self, step, *rest):
        if step == 0:
            signal.raise_signal(signal.SIGTERM)
        return taken(self, step, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "step", stopped)
        with pytest.raises(Stopped):
            train(read_recipe(write(files, "stopped", start=str(start))))
    return files.parent, start


def curve(output):
    rows = read_log(output.with_name(output.name + ".run") / "loss.csv")
    return [[float(row[key]) for key in ("step", "loss", "token_accuracy", "learning_rate")] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_go_on_from_one_to_the_same_end(files, made, sharding):
    root, start = made
    output = root / f"two-{sharding}"
    shutil.copytree(root / "stopped.run", f"{output}.run")
    train_on_two(write(files, output.name, start=str(start), sharding=sharding))
    assert_same_end(root / "unbroken", output)


@pytest.mark.slow
def test_sharded_weights_may_have_two_number_formats(files, made):
    """Frozen ones in half precision, as a large model is trained, beside learning ones in full precision."""
    root, start = made
    halves = {"start": str(start), "frozen_precision": "bfloat16"}
    train(read_recipe(write(files, "halves-one", **halves)))
    train_on_two(write(files, "halves-two", **halves, sharding="full"))
    assert_same_end(root / "halves-one", root / "halves-two")
    kept = {tensor.dtype for tensor in load_file(root / "halves-two" / "model.safetensors").values()}
    assert kept == {torch.float32, torch.bfloat16}


@pytest.mark.slow
def test_averaged_weights_and_the_selection_of_sharded_training_are_those_of_one_process(files, made):
    """The validation loss is of all processes and of averaged weights; each process keeps its part of the best ones."""
    root, start = made
    (files / "held").mkdir()
    (files / "held" / "held.json").write_text(json.dumps(records()[:3]))
    kept = {"start": str(start), "ema": 0.5, "validate": {"records": "held/held.json", "every": 1}, "save_every": 1}
    one, two = root / "kept-one", root / "kept-two"
    train(read_recipe(write(files, one.name, **kept)))
    train_on_two(write(files, two.name, **kept, sharding="full"))
    assert_same_end(one, two)
    logs = [read_log(root / f"{output.name}.run" / "validation.csv", VALIDATION) for output in (one, two)]
    losses = [[float(row["loss"]) for row in log] for log in logs]
    assert len(losses[1]) == 3 and losses[1] == pytest.approx(losses[0], rel=1e-4)
    averaged, last = (load_file(folder / "model.safetensors") for folder in (one, root / "unbroken"))
    assert any(not torch.equal(averaged[name], tensor) for name, tensor in last.items())


def assert_same_end(one, two):
    wanted, got = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert wanted.keys() == got.keys()
    for name, tensor in wanted.items():
        found = got[name]
        if name.endswith("in_proj_bias"):
            # Attention does not depend on the bias of its keys: its gradient is rounding, which Adam makes steps of.
            queries, _, values = (torch.arange(len(tensor)).chunk(3)[part] for part in range(3))
            tensor, found = (bias[torch.cat([queries, values])] for bias in (tensor, found))
        torch.testing.assert_close(found, tensor, rtol=1e-3, atol=2e-5, msg=name)
    assert len(curve(two)) == 3
    assert sum(curve(two), []) == pytest.approx(sum(curve(one), []), rel=1e-4)
