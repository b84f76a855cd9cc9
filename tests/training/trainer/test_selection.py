"""Validation during training, moving averages, overrides, and what happens to checkpoints of earlier runs."""

import contextlib
import json
import shutil
import stat
from types import SimpleNamespace

import pytest
import torch
from accelerate.tracking import GeneralTracker
from runs import curve, same_weights
from safetensors.torch import load_file
from torch import nn

from depictqa_core.errors import ImageError
from depictqa_core.judge import load_judge
from depictqa_core.loading.checkpoint import load_checkpoint
from depictqa_core.storage.documents import read_json
from training.__main__ import main
from training.trainer.batches import Batches, Unreadable
from training.trainer.examples import collate, make_example
from training.trainer.image_features import LiveImages
from training.trainer.loop import Loop
from training.trainer.metric_logger import VALIDATION, read_log
from training.trainer.moving_average import MovingAverage
from training.trainer.overrides import with_overrides
from training.trainer.recipe import RecipeError, read_recipe
from training.trainer.recipe_parts import Validation
from training.trainer.record_files import read_records
from training.trainer.selection import Selection
from training.trainer.train import train

QUICK = {"warmup_epochs": 0}
CHECK = {"records": "rating_nr.json", "every": 2}


def measured(output):
    return read_log(output.with_name(output.name + ".run") / "validation.csv", VALIDATION)


@pytest.mark.slow
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_resumed_run_validates_averages_and_selects_as_an_unbroken_one(recipe_file, tmp_path, monkeypatch, ema):
    changes = {**QUICK, "validate": CHECK, "ema": ema, "log_every": 1, "save_every": 3}
    unbroken = train(read_recipe(recipe_file(output=str(tmp_path / "unbroken"), **changes)))
    path = recipe_file(output=str(tmp_path / "broken"), **changes)
    of = Batches.of

    def stop_at_five(self, step, *where):
        if step == 4 and self.recipe.sampling == "shares":
            raise KeyboardInterrupt
        return of(self, step, *where)

    monkeypatch.setattr(Batches, "of", stop_at_five)
    with pytest.raises(KeyboardInterrupt):
        train(read_recipe(path))
    monkeypatch.setattr(Batches, "of", of)
    broken = train(read_recipe(path))
    same_weights(unbroken, broken)
    assert curve(broken) == curve(unbroken) and measured(broken) == measured(unbroken)
    assert [row["step"] for row in measured(broken)] == ["2", "4", "6"]
    train(read_recipe(path))  # nothing is left to do, and the checkpoint is the same
    same_weights(unbroken, broken)


@pytest.mark.slow
def test_the_checkpoint_has_the_weights_with_the_lowest_loss_and_a_run_without_progress_stops(
    recipe_file, tmp_path, monkeypatch, capsys
):
    """The losses are made up; the weights of step 2 are those of a run of two steps."""
    settings = {**CHECK, "every": 1, "patience": 2}
    changes = {**QUICK, "schedule": "warmup_decay", "warm_steps": 6, "steps": 8}
    monkeypatch.setattr("training.trainer.loop.rate", lambda *_: 1.0)  # else it depends on the length of the run
    short = train(read_recipe(recipe_file(output=str(tmp_path / "short"), **{**changes, "steps": 2, "warm_steps": 0})))
    losses = iter([3.0, 1.0, 2.0, 1.0, 0.5])
    measure = Selection.measure

    def made_up(self, loop, step):
        with monkeypatch.context() as patch:
            patch.setattr(Loop, "loss", lambda _, batch: (torch.tensor(losses_now), torch.tensor(1), torch.tensor(2)))
            losses_now = next(losses)
            return measure(self, loop, step)

    monkeypatch.setattr(Selection, "measure", made_up)
    path = recipe_file(validate=settings, **changes)
    best = train(read_recipe(path))
    same_weights(short, best)
    said = capsys.readouterr().out
    assert "stopped early after step 4 of 8" in said and "weights of step 2: validation loss 1.0000" in said
    assert [float(row["loss"]) for row in measured(best)] == [3, 1, 2, 1]
    train(read_recipe(path))
    assert "nothing is left to do" in capsys.readouterr().out


@pytest.mark.slow
def test_the_validation_loss_is_the_mean_over_records_whatever_the_batch(recipe_file, data, tmp_path):
    """Compared with the loss of each record alone."""
    found = []
    for batch in (3, 8):
        changes = {"batch": batch, "output": str(tmp_path / f"out{batch}"), "steps": 1, "warm_steps": 0, **QUICK}
        # weights that nothing changes
        changes |= {"learning_rate": 1e-12, "weight_decay": 0.0}
        output = train(read_recipe(recipe_file(validate={**CHECK, "data": str(data)}, **changes)))
        found.append(float(measured(output)[0]["loss"]))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    checkpoint, losses = load_checkpoint(output), []
    model, tokenizer = checkpoint.model.eval(), checkpoint.tokenizer
    live = LiveImages(model.config, data)
    for record in read_records(data / "records" / "rating_nr.json"):
        example = make_example(record, tokenizer)
        batch = collate([example], [[live.show(path) for path in example.pictures]], tokenizer.pad_token_id)
        labels = batch.pop("labels")
        with torch.no_grad():
            logits = model(**batch).logits[:, :-1]
        losses.append(nn.functional.cross_entropy(logits[0], labels[0, 1:], ignore_index=-100).item())
    assert found[0] == pytest.approx(sum(losses) / len(losses), rel=1e-3)


@pytest.mark.parametrize(
    "own, others, stops",
    [((0, 50), (40, 50), True), ((40, 50), (0, 50), True), ((6, 50), (0, 50), False)],
    ids=["the other", "this one", "neither"],
)
def test_processes_stop_together_for_images_that_none_or_one_of_them_cannot_read(tmp_path, own, others, stops):
    """At most a tenth may be unreadable; 6 of 50 are more, 6 of 100 are not."""
    unreadable = Unreadable(tmp_path / "unreadable.csv", 100, 0.1)
    unreadable.failed, unreadable.read = own

    class Epoch:
        epoch_steps = 1

        def __call__(self, number):
            return [0]

    batches = SimpleNamespace(sampler=Epoch(), ahead=lambda *_: [[]], unreadable=unreadable)

    def reduce(sums, reduction):
        assert reduction == "sum"
        return sums + torch.tensor([0.0, 0, 0, *others], dtype=sums.dtype)

    accelerator = SimpleNamespace(device="cpu", process_index=0, num_processes=2, reduce=reduce)
    loop = SimpleNamespace(accelerator=accelerator, model=nn.Linear(1, 1))
    selection = Selection(Validation("a.json", 1), batches, tmp_path, {"step": 1, "loss": -1.0})
    with pytest.raises(ImageError, match="40 of 100 images") if stops else contextlib.nullcontext():
        assert selection.measure(loop, 2)["loss"] == 0


def test_the_best_weights_are_named_by_their_own_step_whatever_the_state_knows(tmp_path):
    """As after a kill between a better measurement and the next state."""
    stored, model = nn.Linear(2, 1), nn.Linear(2, 1)
    accelerator = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None)
    killed = Selection(Validation("a.json", 1), None, tmp_path / "best", {"step": 4, "loss": 0.5})
    killed._store(accelerator, stored)
    resumed = Selection(Validation("a.json", 1), None, tmp_path / "best", {"step": 2, "loss": 0.75, "since": 1})
    resumed.restore(model)
    assert (resumed.best.step, resumed.best.loss) == (4, 0.5) and torch.equal(model.weight, stored.weight)


def test_a_moving_average_is_that_of_its_formula():
    weight = nn.Parameter(torch.tensor([1.0]))
    average, expected = MovingAverage([weight], 0.5), 1.0
    for step, value in enumerate([3.0, -1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0]):
        with torch.no_grad():
            weight.fill_(value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with average.in_place():
        assert weight.item() == pytest.approx(expected)
    assert weight.item() == 5.0
    average.apply()
    assert weight.item() == pytest.approx(expected)


@pytest.mark.slow
def test_the_checkpoint_of_another_run_is_kept_unless_a_restart_replaces_it(recipe_file, data, tmp_path, capsys):
    root = tmp_path / "growing"
    shutil.copytree(data, root)
    path = recipe_file(data=str(root), steps=1, warm_steps=0, **QUICK)
    output = train(read_recipe(path))
    first = load_file(output / "model.safetensors")
    part = root / "records" / "rating_nr.json"
    part.write_text(json.dumps(json.loads(part.read_text())[:3]))
    train(read_recipe(path))
    assert "kept as" in capsys.readouterr().out
    kept = load_file(tmp_path / "out.1" / "model.safetensors")
    assert all(torch.equal(kept[name], tensor) for name, tensor in first.items())
    train(read_recipe(path))  # nothing new: its own checkpoint is written again
    train(read_recipe(recipe_file(data=str(root), steps=2, warm_steps=0, **QUICK)))  # it is continued
    part.write_text(json.dumps(json.loads(part.read_text())[:2]))
    train(read_recipe(path), resume=False)
    assert sorted(file.name for file in tmp_path.glob("out.[0-9]*")) == ["out.1"]
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("out*/**/*") if file.is_file()}
    (probe := tmp_path / "probe").touch()
    assert set(modes.values()) == {stat.S_IMODE(probe.stat().st_mode)}, modes
    card = read_json(output / "depictqa.json")
    assert card["trained_on"].startswith("10 records (8 question, 2 comparison) about 8 images of the data root")


def test_a_folder_that_is_no_checkpoint_is_never_replaced(recipe_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="out exists and is not a checkpoint folder: name a new folder"):
        train(read_recipe(recipe_file()))


def test_settings_of_the_command_line_replace_those_of_the_file(recipe_file):
    known = {"parts": 0, "adapter": 0, "learning_rate": 0, "changes": 0, "validate": 0, "name": 0}
    start = {"parts": {"a.json": 1}, "adapter": None, "name": "n", "changes": {"connector": {"hidden": 8}}}
    settings = ["parts.b.json=2", "adapter.r=8", "learning_rate=2e-4", "changes.connector.comparison=true", "name="]
    found = with_overrides(start, settings, known, RecipeError)
    assert found["parts"] == {"a.json": 1, "b.json": 2} and found["adapter"] == {"r": 8} and found["name"] is None
    assert found["learning_rate"] == 2e-4 and found["changes"] == {"connector": {"hidden": 8, "comparison": True}}
    assert start["parts"] == {"a.json": 1}
    recipe = read_recipe(recipe_file(), ["batch=7", "validate={records: rating_nr.json, every: 2}"], name="mine")
    assert (recipe.batch, recipe.validate.every, recipe.name) == (7, 2, "mine")


@pytest.mark.parametrize(
    "setting, message",
    [
        ("batch", "--set batch: write KEY=VALUE"),
        ("bach=3", "unknown key bach.*batch"),
        ("batch.size=3", "batch holds 4, which has no keys"),
        ("name={a", "is not a value"),
        ("batch=many", "batch is 'many'"),
        ("validate.records=x.json", "validate.every is missing"),
        ("validate={records: ../x.json, every: 1}", "validate.records is"),
        ("trackers=[printer]", "trackers is"),
        ("ema=1", "ema is 1; allowed: a number above 0, below 1"),
    ],
)
def test_wrong_settings_are_refused(recipe_file, setting, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(recipe_file(), [setting])


@pytest.mark.parametrize("steps", [20, 300, 400])
def test_a_short_trial_has_a_warm_up_that_fits(recipe_file, steps):
    """It keeps its share of the run; a run that is long enough keeps its steps."""
    recipe = read_recipe(recipe_file(steps=4200, warm_steps=300), steps=steps)
    assert recipe.warm_steps == (300 if steps > 300 else steps * 300 // 4200)


class Notes(GeneralTracker):
    """A tracker of accelerate that remembers."""

    name, requires_logging_directory = "notes", False
    logged: list = []

    def __init__(self, run_name, **kwargs):
        super().__init__()

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.logged.append(values)

    def log(self, values, step, **kwargs):
        self.logged.append((step, values))


@pytest.mark.slow
def test_trackers_get_what_the_log_gets(recipe_file, monkeypatch):
    with pytest.raises(RecipeError, match="wandb, which is not installed: pip install wandb"):
        train(read_recipe(recipe_file(), ["trackers=[wandb]"]))
    monkeypatch.setattr("training.trainer.train._trackers", lambda recipe: {"log_with": Notes("test")})
    output = train(read_recipe(recipe_file(validate=CHECK, log_every=3, **QUICK)))
    config, *points = Notes.logged
    assert config["batch"] == "4"
    for row in curve(output):
        (values,) = [values for step, values in points if step == int(row["step"]) and "gradient_norm" in values]
        assert values["loss"] == pytest.approx(float(row["loss"]), rel=1e-5)
    assert [step for step, values in points if "validation_loss" in values] == [2, 4, 6]


@pytest.mark.slow
def test_the_command_names_the_checkpoint_and_its_first_line_says_what_runs(recipe_file, tmp_path, capsys):
    path = recipe_file(**QUICK)
    assert main(["train", str(path), "--steps", "1", "--name", "mine", "--set", "seed=5"]) == 0
    said = capsys.readouterr()
    assert "mine: device cpu (" in said.out and "16 records in 2 files; 1 steps of 4 records; precision no" in said.out
    assert "loss=" in said.err and said.out.splitlines()[-1] == str(tmp_path / "out")
    assert load_judge(tmp_path / "out", "cpu").info["name"] == "mine"
    assert [row["step"] for row in curve(tmp_path / "out")] == ["1"]
