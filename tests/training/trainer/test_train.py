"""The trainer: recipes are checked first, runs resume exactly, and what comes out is a checkpoint the judge opens."""

import json
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from runs import curve, same_weights, turns
from safetensors.torch import load_file
from tiny import CNN, make_tiny_checkpoint, make_tiny_model

from depictqa_core.errors import ImageError
from depictqa_core.judge import load_judge
from depictqa_core.network.model import IGNORE, IMAGE_TOKEN, DepictQAModel
from depictqa_core.prompts import answer_ids, text_ids
from training.trainer.batches import Batches, Unreadable
from training.trainer.examples import NativeForm, collate, make_example
from training.trainer.feature_store import FeatureStore
from training.trainer.image_features import ImageFeatures, LiveImages
from training.trainer.loop import Loop, Stopped
from training.trainer.metric_logger import read_log
from training.trainer.recipe import read_recipe
from training.trainer.record_files import read_records
from training.trainer.start_network import start_network
from training.trainer.train import train
from training.trainer.weighted_sampler import WeightedSampler

LIVE = {"cache_features": False, "warmup_epochs": 0, "crop": [0.7, 1.0], "micro_tokens": 150, "steps": None}
LIVE |= {"sampling": "repeat", "epochs": 2, "log_every": 2, "save_every": 4}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"log_every": 1}, LIVE], ids=["stored", "live"])
def test_an_interrupted_run_has_the_curve_and_the_weights_of_an_unbroken_one(
    recipe_file, tmp_path, monkeypatch, changes
):
    unbroken = train(read_recipe(recipe_file(output=str(tmp_path / "unbroken"), **changes)))
    path = recipe_file(output=str(tmp_path / "broken"), **changes)
    of = Batches.of

    def stop_at_five(self, step, *where):
        if step == 5:
            raise KeyboardInterrupt
        return of(self, step, *where)

    monkeypatch.setattr(Batches, "of", stop_at_five)
    with pytest.raises(KeyboardInterrupt):
        train(read_recipe(path))
    monkeypatch.setattr(Batches, "of", of)
    broken = train(read_recipe(path))
    same_weights(unbroken, broken)
    assert curve(broken) == curve(unbroken) != []


@pytest.mark.slow
def test_ctrl_c_saves_the_state_of_the_step_it_came_in(recipe_file, tmp_path, monkeypatch):
    unbroken = train(read_recipe(recipe_file(output=str(tmp_path / "unbroken"), log_every=1)))
    path = recipe_file(log_every=1)
    taken = Loop.step

    def interrupted(self, step, *rest):
        if step == 2:
            signal.raise_signal(signal.SIGINT)
        return taken(self, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", interrupted)
        with pytest.raises(Stopped, match="after step 4 of 6"):
            train(read_recipe(path))
    assert progress(tmp_path / "out") == 4
    done = train(read_recipe(path))
    same_weights(unbroken, done)
    assert curve(done) == curve(unbroken)


def progress(output):
    return json.loads((output.with_name(output.name + ".run") / "state" / "step.json").read_text())["step"]


@pytest.mark.slow
def test_a_stop_between_two_saved_states_loses_neither(recipe_file, tmp_path, monkeypatch):
    path = recipe_file(steps=4)
    train(read_recipe(path))
    run = tmp_path / "out.run"
    (run / "state").rename(run / "state.old")  # as a stop in the middle of saving leaves it
    seen = []
    monkeypatch.setattr(Batches, "of", lambda self, step, *where: seen.append(step))
    train(read_recipe(path))
    assert seen == [] and progress(tmp_path / "out") == 4


@pytest.mark.slow
def test_a_run_that_ended_begins_anew_with_other_records_and_one_that_was_stopped_does_not(
    recipe_file, data, tmp_path, capsys
):
    root = tmp_path / "growing"
    shutil.copytree(data, root)
    path = recipe_file(data=str(root), steps=2, log_every=1)
    first = train(read_recipe(path))
    before = curve(first)
    part = root / "records" / "rating_nr.json"
    part.write_text(json.dumps(json.loads(part.read_text())[:3]))
    train(read_recipe(path))
    assert "starts again" in capsys.readouterr().out and curve(first) != before and len(curve(first)) == 2
    step = tmp_path / "out.run" / "state" / "step.json"
    step.write_text(json.dumps({**json.loads(step.read_text()), "step": 1}))  # as if it had been stopped
    part.write_text(json.dumps(json.loads(part.read_text())[:2]))
    with pytest.raises(ValueError, match="records have changed.*step 1 of 2.*--restart .this replaces the finished"):
        train(read_recipe(path))


@pytest.mark.slow
def test_a_recipe_that_was_edited_is_not_gone_on_with(recipe_file, data, tmp_path):
    train(read_recipe(recipe_file(steps=2)))
    train(read_recipe(recipe_file(steps=3, save_every=1, log_every=1, workers=1, trained_on="more", batch=4)))
    assert progress(tmp_path / "out") == 3  # longer, that is all
    changed = {"learning_rate": 0.001, "parts": {"identification_fr.json": 2}}
    said = "the recipe has changed since .*state was saved at step {}: parts, learning_rate; .*--restart"
    with pytest.raises(ValueError, match=said.format("3 of 3")):
        train(read_recipe(recipe_file(steps=3, **changed)))
    step = tmp_path / "out.run" / "state" / "step.json"
    stopped = {**json.loads(step.read_text()), "steps": 6}
    step.write_text(json.dumps(stopped))
    with pytest.raises(ValueError, match=said.format("3 of 6")):
        train(read_recipe(recipe_file(steps=6, **changed)))
    train(read_recipe(recipe_file(steps=6, **changed)), resume=False)
    old = {key: value for key, value in json.loads(step.read_text()).items() if key != "recipe"}
    step.write_text(json.dumps(old))  # of before recipes were kept with the state
    train(read_recipe(recipe_file(steps=7, **changed)))
    assert progress(tmp_path / "out") == 7


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_state_as_it_was(recipe_file, tmp_path):
    """Files over a limit cannot be written, as on a full disk."""
    import resource

    path = recipe_file(steps=4)
    train(read_recipe(path))
    run = tmp_path / "out.run"
    before = {file.name: file.read_bytes() for file in (run / "state").iterdir()}
    size = len(before["trained.safetensors"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="state.*untouched"):
            train(read_recipe(recipe_file(steps=6)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {file.name: file.read_bytes() for file in (run / "state").iterdir()} == before
    assert not (run / "state.new").exists()
    train(read_recipe(recipe_file(steps=6)))
    assert progress(tmp_path / "out") == 6


@pytest.mark.slow
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


@pytest.mark.slow
def test_it_learns_to_tell_dark_from_bright(recipe_file, data):
    judge = load_judge(train(read_recipe(recipe_file(steps=150, save_every=150, batch=8))), "cpu")
    reference = np.asarray(Image.open(data / "0.png")) // 2 * 2  # not one of the images: an equal one has no distortion
    found = judge.identify([data / f"{i}.png" for i in range(8)], reference)
    assert [answer.labels for answer in found] == [("overly high brightness",), ("insufficient brightness",)] * 4


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_and_saves_the_state_of_before(recipe_file, tmp_path, monkeypatch):
    unbroken = train(read_recipe(recipe_file(output=str(tmp_path / "unbroken"), log_every=1)))
    forward = DepictQAModel.forward
    calls = []

    def poisoned(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == 4:
            out.logits = out.logits * float("nan")
        return out

    path = recipe_file(log_every=1, save_every=100)
    with monkeypatch.context() as patch:
        patch.setattr(DepictQAModel, "forward", poisoned)
        with pytest.raises(FloatingPointError, match="the loss is nan at step 3; the state before .*same command"):
            train(read_recipe(path))
    assert progress(tmp_path / "out") == 3
    done = train(read_recipe(path))
    same_weights(unbroken, done)
    assert curve(done) == curve(unbroken)


def test_weights_that_are_not_finite_are_not_saved(recipe_file, tmp_path, monkeypatch):
    taken = Loop.step

    def ruined(self, step, *rest):
        if step == 3:
            with torch.no_grad():
                self.learned[0].fill_(float("inf"))
        return taken(self, step, *rest)

    monkeypatch.setattr(Loop, "step", ruined)
    with pytest.raises(FloatingPointError, match="the weights are damaged.*learning_rate"):
        train(read_recipe(recipe_file()))
    assert progress(tmp_path / "out") == 2


class Scaling(Accelerator):
    """fp16 with a loss scale, as on a GPU, on a CPU: accelerate itself leaves both out there."""

    scale = 2.0**24

    def __init__(self, **options):
        super().__init__(**options)
        self.native_amp, self.scaler = True, torch.amp.GradScaler("cpu", init_scale=self.scale)


@pytest.fixture
def precisions():
    """accelerate keeps the number format for the whole process: each call forgets it, and so does the end."""
    yield AcceleratorState._reset_state
    AcceleratorState._reset_state()


@pytest.mark.slow
@pytest.mark.parametrize("precision, scaling", [("bf16", False), ("fp16", False), ("fp16", True)])
def test_half_precision_learns_as_full_precision_does(
    recipe_file, tmp_path, monkeypatch, precisions, precision, scaling
):
    changes = {"warmup_epochs": 0, "steps": 24, "log_every": 24, "save_every": 100}
    *_, full = curve(train(read_recipe(recipe_file(output=str(tmp_path / "full"), **changes))))
    precisions()
    if scaling:
        monkeypatch.setattr("training.trainer.train.Accelerator", Scaling)
    half = train(read_recipe(recipe_file(precision=precision, **changes)))
    *_, line = curve(half)
    # overflows skip the first steps until the scale fits
    assert float(line["loss"]) == pytest.approx(float(full["loss"]), rel=0.25 if scaling else 0.02)
    assert {tensor.dtype for tensor in load_file(half / "model.safetensors").values()} == {torch.float32}
    if scaling:
        state = torch.load(tmp_path / "out.run" / "state" / "optimiser.pt", weights_only=True)
        assert 0 < state["scaler"]["scale"] < Scaling.scale


@pytest.mark.slow
def test_gradients_that_always_overflow_stop_the_run(recipe_file, tmp_path, monkeypatch, precisions):
    precisions()
    monkeypatch.setattr(Scaling, "scale", 2.0**126)
    monkeypatch.setattr("training.trainer.train.Accelerator", Scaling)
    with pytest.raises(FloatingPointError, match="overflowed in 50 steps in a row, up to step 49.*bf16"):
        train(read_recipe(recipe_file(precision="fp16", warmup_epochs=0, steps=100, save_every=100)))
    assert progress(tmp_path / "out") == 49


@pytest.mark.slow
def test_a_run_leaves_a_curve_as_table_tensorboard_and_picture(recipe_file, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(read_recipe(recipe_file(log_every=2)))
    run = tmp_path / "out.run"
    rows = read_log(run / "loss.csv")
    board = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [row["step"] for row in rows] == ["1", "2", "4", "6"]  # and a wrong start is seen at once
    for name in ("loss", "token_accuracy", "learning_rate", "gradient_norm"):
        assert [point.value for point in board.Scalars(name)] == pytest.approx([float(row[name]) for row in rows], 1e-4)
    assert min(Image.open(run / "loss.png").size) > 300


@pytest.mark.slow
def test_reference_and_both_pictures_of_a_record_share_their_crop(recipe_file, data, tmp_path):
    """Three copies of one image stay copies; another record, or another step, is cropped in another way."""
    for name in ("ref", "a", "b"):
        shutil.copy(data / "2.png", tmp_path / f"{name}.png")
    record = {"task_type": "quality_compare", "image_ref": "ref.png", "image_A": "a.png", "image_B": "b.png"}
    record["conversations"] = turns("Which is better?", "Image A")
    recipe = read_recipe(recipe_file(**{**LIVE, "crop": [0.4, 0.9], "batch": 3, "micro_tokens": None}))
    model, tokenizer = make_tiny_model("cnn")
    sampler = WeightedSampler([1], [3], "repeat", 3, 0)
    unreadable, form = Unreadable(tmp_path / "unreadable.csv", 3, 0), NativeForm(recipe, tokenizer)
    batches = Batches(recipe, [[record]], sampler, LiveImages(model.config, tmp_path), form, unreadable)
    seen = [one.pixels for step in (0, 1) for one in batches.of(step)[0]["pictures"]]
    triples = [seen[start : start + 3] for start in range(0, 18, 3)]
    for reference, a, b in triples:
        assert torch.equal(reference, a) and torch.equal(reference, b)
    assert len({(tuple(reference.shape), float(reference.sum())) for reference, _, _ in triples}) == 6


def test_a_batch_shows_every_picture_and_takes_loss_on_answers_only(data):
    model, tokenizer = make_tiny_model("cnn", connector={**CNN["connector"], "comparison": True})
    records = (
        read_records(data / "records" / "identification_fr.json")[:2]
        + read_records(data / "records" / "rating_nr.json")[:1]
    )
    examples = [make_example(record, tokenizer) for record in records]
    live = LiveImages(model.config, data)
    shown = [
        [live.show(path, reference=beside) for path, beside in zip(example.pictures, example.references)]
        for example in examples
    ]
    batch = collate(examples, shown, tokenizer.pad_token_id)
    assert len(batch["pictures"]) == 2 * 2 + 2
    assert batch["references"] == [None, 0, None, 2, None, None]
    beside = [live.compare(record["image_A"], record["image_ref"]) for record in records[:2]]
    for given, true in zip(batch["comparisons"], [None, beside[0], None, beside[1], None, None], strict=True):
        assert torch.equal(given, true) if true is not None else given is None
    model(**{key: batch[key] for key in ("input_ids", "attention_mask", "pictures", "references", "comparisons")})
    per_picture = model.connector.token_count(None)
    assert (batch["input_ids"] == IMAGE_TOKEN).sum(1).tolist() == [2 * per_picture] * 3
    for row, record in enumerate(records):
        taught = batch["labels"][row]
        assert taught[taught != IGNORE].tolist() == answer_ids(record["conversations"][1]["value"], tokenizer)
        assert (
            batch["attention_mask"][row].sum()
            == (batch["input_ids"][row] != tokenizer.pad_token_id).sum() + (taught == tokenizer.pad_token_id).sum()
        )


def test_a_conversation_teaches_every_answer_and_hides_every_separator_of_its_turns():
    model, tokenizer = make_tiny_model("cnn")
    said = ["What is it?\n<image>", "A wave.", "How good is it?", "Good."]
    talk = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]
    record = {"task_type": "description", "image": "a.png", "conversations": talk}
    example = make_example(record, tokenizer)
    shown = [[ImageFeatures(torch.zeros(model.connector.mean.numel()), 3)]]
    batch = collate([example], shown, tokenizer.pad_token_id, hide_separators=True)
    ids, labels, mask = (batch[key][0] for key in ("input_ids", "labels", "attention_mask"))
    answers = [answer_ids(said[1], tokenizer), answer_ids(said[3], tokenizer)]
    assert labels[labels != IGNORE].tolist() == answers[0] + answers[1]
    question = text_ids("USER: How good is it?\n   ASSISTANT: ", tokenizer)
    assert ids[-len(answers[1]) - len(question) :].tolist() == question + answers[1]
    first = text_ids("</Img> What is it?   ASSISTANT: ", tokenizer)
    tail = len(first) + len(answers[0]) + len(question) + len(answers[1])
    assert ids[-tail:][: len(first)].tolist() == first
    ends = ids == tokenizer.eos_token_id
    assert mask.tolist() == [int(i < len(ids) - tail or not end) for i, end in enumerate(ends.tolist())]
    short = make_example(record, tokenizer, max_tokens=len(first) + len(answers[0]) + 2)
    assert [list(turn) for turn in short.turns] == [answers[0], question[:2]]


def test_stored_features_equal_live_ones_and_survive_a_cut(data, tmp_path):
    model, _ = make_tiny_model("cnn", connector={**CNN["connector"], "comparison": True})
    paths = [f"{i}.png" for i in range(4)]
    pairs = [("1.png", "0.png"), ("2.png", "0.png")]
    FeatureStore(tmp_path / "features", model, data).fill(paths[:3], pairs)
    (file,) = (tmp_path / "features").glob("features-*.f32")
    with open(file, "r+b") as cut:
        cut.truncate(file.stat().st_size - 7)
    store = FeatureStore(tmp_path / "features", model, data).fill(paths, pairs)
    live = LiveImages(model.config, data)
    for path in paths:
        torch.testing.assert_close(store[path], model.encode([live.show(path).content])[0])
    for path, reference in pairs:
        assert torch.equal(store.show(path, reference=reference).comparison, live.compare(path, reference))


@pytest.mark.slow
def test_stored_features_depend_on_all_that_they_are_made_from(data, tmp_path, monkeypatch):
    root, features = tmp_path / "root", tmp_path / "features"
    shutil.copytree(data, root)
    model, _ = make_tiny_model("cnn")
    paths = ["0.png", "1.png"]

    def computed(model, folder=root):
        """How many images the tower sees for the features of ``paths``."""
        seen, encode = [], model.encode
        with monkeypatch.context() as patch:
            patch.setattr(model, "encode", lambda pictures: seen.append(1) or encode(pictures))
            store = FeatureStore(features, model, folder).fill(paths)
        live = LiveImages(model.config, folder)
        for path in paths:
            torch.testing.assert_close(store[path], model.encode([live.show(path).content])[0])
        return len(seen)

    assert (computed(model), computed(model)) == (2, 0)
    before = (root / "1.png").stat()
    (root / "1.png").write_bytes((root / "3.png").read_bytes())  # the same path, another image, the same time
    os.utime(root / "1.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (computed(model), computed(model)) == (1, 0)
    assert computed(model, data) == 0  # another root: one image is known from the first time, one from the second
    shutil.copytree(data, tmp_path / "other")
    Image.new("RGB", (50, 60), "red").save(tmp_path / "other" / "0.png")
    assert computed(model, tmp_path / "other") == 1
    other, _ = make_tiny_model("cnn", seed=1)
    assert (computed(other), computed(other), computed(model)) == (2, 0, 0)
    smaller, _ = make_tiny_model("cnn", size={"short": 32, "long": 64, "min": 32, "multiple": 1})
    assert computed(smaller) == 2
    monkeypatch.setattr("training.trainer.feature_store.PREPROCESSING", 10**6)
    assert computed(model) == 2


@pytest.mark.slow
def test_restart_computes_everything_again(recipe_file, tmp_path, monkeypatch):
    path = recipe_file()
    train(read_recipe(path))
    (file,) = (tmp_path / "out.run" / "features").glob("features-*.f32")
    before = file.read_bytes()
    file.write_bytes(bytes(len(before)))  # what was computed before is wrong in a way that nobody notices
    train(read_recipe(path), resume=False)
    assert file.read_bytes() == before


@pytest.fixture
def damaged(data, tmp_path):
    """The data root with one of its eight images cut short."""
    root = tmp_path / "damaged"
    shutil.copytree(data, root)
    (root / "5.png").write_bytes((root / "5.png").read_bytes()[:200])
    return root


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, LIVE], ids=["stored", "live"])
def test_an_unreadable_picture_is_skipped_counted_and_named(recipe_file, damaged, tmp_path, changes):
    changes = {**changes, "data": str(damaged)}
    train(read_recipe(recipe_file(unreadable_share=0.5, **changes)))
    named = (tmp_path / "out.run" / "unreadable.csv").read_text().splitlines()
    assert len(named) == 1 and named[0].startswith("5.png,")
    with pytest.raises(ImageError, match="unreadable_share.*5.png"):
        train(read_recipe(recipe_file(unreadable_share=0.05, output=str(tmp_path / "second"), **changes)))


@pytest.mark.slow
def test_a_recipe_can_start_from_a_checkpoint(recipe_file, tmp_path):
    start = make_tiny_checkpoint(tmp_path / "start")
    short = {"steps": 1, "save_every": 1, "warm_steps": 0, "warmup_epochs": 0}
    path = recipe_file(start=str(start), network=None, trainable=["connector"], **short)
    trained = load_file(train(read_recipe(path)) / "model.safetensors")
    before = load_file(start / "model.safetensors")
    changed = {name.split(".")[0] for name, tensor in trained.items() if not torch.equal(tensor, before[name])}
    assert changed == {"connector"}


@pytest.mark.parametrize("rehearsal", [None, {"share": 0.5, "pictures": 2}])
def test_temperatures_of_the_start_are_kept_only_where_its_answers_are(recipe_file, tmp_path, rehearsal):
    start = make_tiny_checkpoint(tmp_path / "start", calibration={"rating_nr": 2.0})
    changes = {"network": None, "warmup_epochs": 0, "trainable": ["connector"], "rehearsal": rehearsal}
    recipe = read_recipe(recipe_file(start=str(start), **changes))
    model, _, _ = start_network(recipe, [])
    assert model.config.calibration == ({"rating_nr": 2.0} if rehearsal else {})


def test_a_personal_judge_keeps_no_calibration_of_comparisons(recipe_file, tmp_path):
    order = {"weight": 4.0, "slope": 1.0, "lapse": 0.0}
    known = {"rating_nr": 2.0, "order_nr": order, "severity_nr": 1.5}
    start = make_tiny_checkpoint(tmp_path / "start", calibration=known)
    changes = {"network": None, "warmup_epochs": 0, "trainable": ["connector"], "changes": {"personal": True}}
    recipe = read_recipe(recipe_file(start=str(start), rehearsal={"share": 0.5, "pictures": 2}, **changes))
    model, _, _ = start_network(recipe, [])
    assert model.config.personal and model.config.calibration == {"severity_nr": 1.5}


def test_the_loss_divides_logits_by_the_temperature():
    AcceleratorState._reset_state(reset_partial_state=True)
    loop, generator = object.__new__(Loop), torch.Generator().manual_seed(3)
    logits = torch.randn(2, 5, 7, generator=generator)
    labels = torch.tensor([[IGNORE, IGNORE, 3, 4, IGNORE], [IGNORE, 6, 2, 1, 0]])
    scales = torch.tensor([0.5, 0.25])
    loop.accelerator, loop.teacher = Accelerator(cpu=True), None
    loop.model = lambda **inputs: SimpleNamespace(logits=logits)
    batch = {"labels": labels, "scales": scales, "rehearsal": torch.tensor([False, False])}
    for temperature in (1.0, 1.6):
        loop.recipe = SimpleNamespace(temperature=temperature)
        expected = 0.0
        for row in range(2):
            for place in range(4):
                if labels[row, place + 1] != IGNORE:
                    weights = np.exp(logits[row, place].double().numpy() / temperature)
                    expected -= scales[row].item() * np.log(weights[labels[row, place + 1]] / weights.sum())
        assert loop.loss(batch)[0].item() == pytest.approx(expected, rel=1e-5)
