"""Adapters of vision-language models: the judge's prompts, the trainer's loop, folders next to the base."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from tiny_vlms import make_tiny_vlm
from torch.utils.flop_counter import FlopCounterMode
from trees import ROOT
from two_processes import train_on_two

from depictqa_core import tasks
from depictqa_core.backends.vlm import VlmBackend
from depictqa_core.backends.vlm_loading import calibration_file, load_vlm
from depictqa_core.errors import CheckpointError
from depictqa_core.judge import Judge, load_judge
from depictqa_core.network.model import IGNORE
from depictqa_core.runtime.progress import ProgressCounter
from depictqa_core.verbs.inputs import pairs_with_references
from training.__main__ import main
from training.trainer.batches import Batches
from training.trainer.loop import OUTSIDE
from training.trainer.metric_logger import read_log
from training.trainer.recipe import RecipeError, read_recipe
from training.trainer.recipe_parts import Adapter
from training.trainer.run_cost import run_cost
from training.trainer.starts import VlmStart
from training.trainer.train import train
from training.trainer.vlm_cost import vlm_work
from training.trainer.vlm_examples import VlmForm, VlmImages, single_answers
from training.trainer.vlm_network import TunedVlm, lora_settings

SIZES = ((64, 96), (64, 64), (80, 64), (96, 128))


def record(task, question, answer, **images):
    turns = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate((question, answer))]
    empty = {"image_ref": None, "image_A": None, "image_B": None}
    shown = {name: f"{number}.png" for name, number in images.items()}
    return {"id": f"{task} {answer}", "task_type": task, **empty, **shown, "conversations": turns}


def conversation():
    said = ("What is shown?\n<image>", "Noise.", "And how good is it?", "Not bad at all.")
    turns = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]
    return {"id": "talk", "task_type": "description", "image": "3.png", "conversations": turns}


RECORDS = [
    record("quality_single_A_noref", tasks.IDENTIFICATION.ask(tasks.ONE_ISSUE), "Noise", image_A=0),
    record("quality_single_A", tasks.SCORE.ask(), "Good", image_ref=0, image_A=1),
    record("quality_compare", tasks.RATING.ask(), "Image B", image_ref=3, image_A=2, image_B=3),
    record("quality_compare_noref", tasks.RATING.ask(), "Image A", image_A=1, image_B=0),
    record("quality_single_A_noref", tasks.SEVERITY.ask(tasks.severity_question("noise")), "Obvious", image_A=2),
    record("quality_single_A_noref", tasks.ASSESSMENT.ask(), "The image shows noise.", image_A=3),
    conversation(),
]
RECIPE = {"name": "adapter", "parts": {"all.json": 1}, "adapter": {"r": 2, "lora_dropout": 0.1}, "batch": 4}
RECIPE |= {"micro_tokens": 500, "learning_rate": 0.01, "steps": 4, "warm_steps": 1, "log_every": 1, "save_every": 2}
RECIPE |= {"trainable": ["lora", "connector"], "average": "record"}


@pytest.fixture(autouse=True, scope="module")
def no_number_words():
    """SmolVLM's processor asks for the package num2words, for the wording of videos alone."""
    from transformers.models.smolvlm import processing_smolvlm

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processing_smolvlm, "num2words", str)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with images of several sizes, and a model next to it."""
    root, rng = tmp_path_factory.mktemp("tuning"), np.random.default_rng(0)
    (root / "set" / "records").mkdir(parents=True)
    for number, size in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / "set" / f"{number}.png")
    (root / "set" / "records" / "all.json").write_text(json.dumps(RECORDS))
    make_tiny_vlm(root / "base", "qwen2_5_vl")
    return root


def recipe(root, name, **changes):
    content = {**RECIPE, "data": str(root / "set"), "start": str(root / "base"), "output": str(root / name), **changes}
    path = root / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return read_recipe(path)


@pytest.fixture(scope="module")
def tuned(root):
    """An adapter folder of an unbroken run, and the model in memory when it was saved."""
    held = {}
    save = VlmStart.save

    def saved(self, folder, accelerator, model, card):
        held["loaded"] = replace(self.loaded, model=self.model.model.get_base_model().eval())
        save(self, folder, accelerator, model, card)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VlmStart, "save", saved)
        return train(recipe(root, "tuned")), held["loaded"]


@pytest.fixture(scope="module")
def base(root):
    return load_judge(root / "base", "cpu")


def images(root):
    return [str(root / "set" / f"{number}.png") for number in range(len(SIZES))]


def batch_of(form, views, records, rng=None):
    """One batch, and its inputs for the model."""
    examples = [form.example(one, rng or np.random.default_rng(0)) for one in records]
    batch = form.collate(examples, [[views.show(path) for path in example.pictures] for example in examples])
    return batch, {name: value for name, value in batch.items() if name not in OUTSIDE}


def log_likelihoods(network, batch, inputs):
    """Of the answer tokens of every row, as the loss sees them."""
    with torch.no_grad():
        logits = network(**inputs).logits.float()
    labels = batch["labels"][:, -logits.shape[1] :][:, 1:]
    found = logits[:, :-1].log_softmax(-1)
    return [
        [float(row[place, label[place]]) for place in (label != IGNORE).nonzero()[:, 0]]
        for row, label in zip(found, labels)
    ]


def frozen(loaded):
    """The network of a run before its first step."""
    return TunedVlm(loaded, lora_settings(loaded.model, Adapter(r=2), ["lora"])).eval()


# ---------------------------------------------------------------------- prompts and batches


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "options"),
    [
        (("quality_single_A", tasks.SCORE, {"image_ref": 0, "image_A": 1}), [one.capitalize() for one in tasks.LEVELS]),
        (("quality_compare", tasks.RATING, {"image_ref": 3, "image_A": 2, "image_B": 1}), tasks.WINNERS),
    ],
    ids=["score", "rating"],
)
def test_training_sees_the_prompts_and_images_of_the_judge(root, base, asked, options):
    """Answers as likely as the loss says are, among themselves, as probable as the judge says."""
    task_type, task, shown = asked
    loaded = load_vlm(root / "base", "cpu", "float32")
    form = VlmForm(loaded)
    records = [record(task_type, task.ask(), option, **shown) for option in options]
    batch, inputs = batch_of(form, VlmImages(form.prompts, root / "set"), records)
    likely = np.array([sum(one[:-1]) for one in log_likelihoods(frozen(loaded), batch, inputs)])  # without the end
    reference, *judged = [images(root)[number] for number in shown.values()]
    if task.pair:
        sets = pairs_with_references([tuple(judged)], [reference])
        found = base.backend.choose(task, None, sets, ProgressCounter(None, 1)).probabilities[0]
    else:
        found = [one.probability for one in base.score(judged, reference)[0].levels]
    share = np.exp(likely - likely.max())
    np.testing.assert_allclose(share / share.sum(), found, atol=1e-5)


@pytest.mark.slow
def test_questions_are_worded_as_the_judge_words_them(root, base, monkeypatch):
    seen, prompt = [], base.backend.template.prompt

    def watched(*args, **more):
        seen.append(prompt(*args, **more).texts)
        return prompt(*args, **more)

    monkeypatch.setattr(base.backend.template, "prompt", watched)
    base.identify(images(root)[:1], count=1)
    base.describe(images(root)[3:], max_new_tokens=2)
    base.compare(images(root)[1], images(root)[0])
    form = VlmForm(load_vlm(root / "base", "cpu", "float32"))
    turned = set()
    for one in (RECORDS[0], RECORDS[3], RECORDS[5]):
        for seed in range(6):
            example = form.example(one, np.random.default_rng(seed))
            assert example.texts in seen, one["id"]
            turned.add((one["id"], example.texts))
    assert len(turned) == 2 + 1 + 1  # options are listed in the orders that the judge asks in


def test_conversations_give_a_record_for_each_answer(root):
    first, second = single_answers([conversation()])
    form = VlmForm(load_vlm(root / "base", "cpu", "float32"))
    one, two = (form.example(each, np.random.default_rng(0)) for each in (first, second))
    decode = form.template.processor.tokenizer.decode
    assert decode(one.answer[:-1]).strip() == "Noise." and decode(two.answer[:-1]).strip() == "Not bad at all."
    assert "<image>" not in two.texts[-1] and "Noise.<|im_end|>" in two.texts[-1]
    assert two.texts[-1].index("Noise.") < two.texts[-1].index("And how good is it?")
    assert one.answer[-1] == two.answer[-1] == form.end


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3_vl", "smolvlm", "gemma3", "llava_onevision"])
def test_a_batch_equals_its_single_records(root, tmp_path, family):
    """Padding, and tiles of images of other sizes, change nothing; only answers carry loss."""
    loaded = load_vlm(make_tiny_vlm(tmp_path / family, family), "cpu", "float32")
    form, network = VlmForm(loaded), frozen(loaded)
    views = VlmImages(form.prompts, root / "set")
    together = log_likelihoods(network, *batch_of(form, views, RECORDS[:6]))
    for one, likely in zip(RECORDS, together):
        (alone,) = log_likelihoods(network, *batch_of(form, views, [one]))
        np.testing.assert_allclose(likely, alone, atol=2e-4)
        assert len(alone) == form.example(one, np.random.default_rng(0)).answer_tokens
    sizes = [views.tokens(f"{number}.png") for number in range(2)]
    _, inputs = batch_of(form, views, RECORDS[3:4])
    spoken = form.example(RECORDS[3], np.random.default_rng(0)).words
    # The count of a batch's tokens is exact but for the text around an image that a processor merges with the prompt
    assert abs(inputs["input_ids"].shape[1] - (sum(sizes) + spoken)) <= 8


# ---------------------------------------------------------------------- runs


def curve(output):
    rows = read_log(output.with_name(output.name + ".run") / "loss.csv")
    return [{key: row[key] for key in row if key != "records_per_second"} for row in rows]


@pytest.mark.slow
def test_a_saved_adapter_answers_as_the_model_in_memory(root, tuned, base):
    folder, loaded = tuned
    held, found = Judge(VlmBackend(loaded)), load_judge(folder, "cpu")
    levels = [[p.probability for one in judge.score(images(root)) for p in one.levels] for judge in (held, found, base)]
    np.testing.assert_allclose(levels[0], levels[1], atol=1e-5)
    assert np.abs(np.subtract(levels[1], levels[2])).max() > 1e-3
    assert held.compare(*images(root)[:2]).probability_a == pytest.approx(
        found.compare(*images(root)[:2]).probability_a, abs=1e-5
    )
    learned = ["assessment", "identification", "question", "rating", "score", "severity"]
    assert found.info["tasks"] == learned and found.info["base"]["name"] == "base"
    names = load_file(folder / "adapter_model.safetensors").keys()
    assert any("merger" in name for name in names) and not any("embed" in name or "lm_head" in name for name in names)


@pytest.mark.slow
def test_an_interrupted_run_has_the_curve_and_the_weights_of_an_unbroken_one(root, tuned, monkeypatch):
    settings, of = recipe(root, "broken"), Batches.of

    def stop_at_three(self, step, *where):
        if step == 3:
            raise KeyboardInterrupt
        return of(self, step, *where)

    monkeypatch.setattr(Batches, "of", stop_at_three)
    with pytest.raises(KeyboardInterrupt):
        train(settings)
    monkeypatch.setattr(Batches, "of", of)
    broken = train(settings)
    wanted, got = (load_file(folder / "adapter_model.safetensors") for folder in (tuned[0], broken))
    assert wanted.keys() == got.keys()
    for name, tensor in wanted.items():
        assert torch.equal(got[name], tensor), name
    assert curve(broken) == curve(tuned[0]) != []


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_learn_what_one_does(root, sharding):
    plain = {"adapter": {"r": 2, "lora_dropout": 0.0}, "micro_tokens": 1}
    one = train(recipe(root, f"one-{sharding}", **plain))
    recipe(root, f"two-{sharding}", **plain, sharding=sharding)
    train_on_two(root / f"two-{sharding}.yaml")
    wanted, got = (load_file(root / f"{n}-{sharding}" / "adapter_model.safetensors") for n in ("one", "two"))
    assert wanted.keys() == got.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-3, atol=5e-5, msg=name)
    losses = [[float(row["loss"]) for row in curve(root / f"{n}-{sharding}")] for n in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and one.is_dir()


@pytest.mark.slow
def test_a_personal_judge_is_held_to_the_base_and_scores_by_comparisons(root, base):
    wanted = {"changes": {"personal": True}, "rehearsal": {"share": 0.5, "pictures": 2}, "steps": 2}
    calibration_file(root / "base").write_text(json.dumps({"calibration": {"rating_nr": 2.0, "score_nr": 3.0}}))
    try:
        folder = train(recipe(root, "personal", **wanted))
    finally:
        calibration_file(root / "base").unlink()
    judge = load_judge(folder, "cpu")
    assert judge.backend.capabilities.personal and judge.backend.calibration.settings == {"score_nr": 3.0}


def test_the_teacher_is_the_base(root):
    from training.trainer.vlm_network import teacher_of

    loaded = load_vlm(root / "base", "cpu", "float32")
    form, network = VlmForm(loaded), frozen(loaded)
    _, inputs = batch_of(form, VlmImages(form.prompts, root / "set"), RECORDS[:2])
    with torch.no_grad():
        before = network(**inputs).logits
        for parameter in network.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, 0, 0.2)
        after, taught = network(**inputs).logits, teacher_of(network)(**inputs).logits
    assert torch.equal(taught, before) and not torch.allclose(after, before)
    assert torch.equal(network(**inputs).logits, after)
    assert any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.slow
def test_it_is_evaluated_and_calibrated_like_any_judge(root, tuned, tmp_path):
    asked = [
        {**{key: one[key] for key in ("image_ref", "image_A", "image_B")}, "id": number, "task_type": one["task_type"]}
        | {"query": one["conversations"][0]["value"], "answer": one["conversations"][1]["value"]}
        for number, one in enumerate((RECORDS[0], RECORDS[3]) * 50)
    ]
    (tmp_path / "test.json").write_text(json.dumps(asked))
    common = [str(tuned[0]), str(tmp_path / "test.json"), "--root", str(root / "set"), "--device", "cpu"]
    assert main(["calibrate", *common, "--only", "temperatures"]) == 0
    assert not calibration_file(tuned[0]).exists()  # 50 of each are too few
    (tmp_path / "test.json").write_text(json.dumps([{**one, "id": i} for i, one in enumerate(asked * 2)]))
    assert main(["calibrate", *common, "--only", "temperatures", "--base", str(root / "base")]) == 0
    stored = json.loads(calibration_file(tuned[0]).read_text())["calibration"]
    assert {"identification_nr", "rating_nr"} <= stored.keys() and not calibration_file(root / "base").exists()
    assert load_judge(tuned[0], "cpu").backend.calibration.settings == stored
    assert main(["evaluate", *common, "--output", str(tmp_path / "out"), "--no-metrics"]) == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["judge"]["name"] == "adapter"
    calibration_file(tuned[0]).unlink()


# ---------------------------------------------------------------------- plans and recipes


@pytest.mark.slow
def test_the_plan_counts_what_the_adapter_has(root, tuned, capsys):
    found = run_cost(recipe(root, "tuned"))
    tensors = load_file(tuned[0] / "adapter_model.safetensors").values()
    assert found.learned == sum(tensor.numel() for tensor in tensors)
    base = load_vlm(root / "base", "cpu", "float32").model
    copied = sum(tensor.numel() for name, tensor in base.state_dict().items() if "visual.merger" in name)
    assert found.frozen - copied <= sum(p.numel() for p in base.parameters()) <= found.frozen
    assert found.steps == 4 and found.tokens > 3000  # three images of 1.6 megapixels
    assert main(["train", str(root / "tuned.yaml"), "--plan"]) == 0
    assert f"{found.learned:,} learn" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("parts", [["language"], ["language", "vision"]], ids=["language", "both"])
def test_planned_work_is_that_of_a_real_pass(root, tmp_path, parts):
    """Counted by torch while a record of the largest images goes forward and back."""
    folder = shutil.copytree(root / "base", tmp_path / "base")
    (folder / "depictqa_profile.json").write_text('{"max_pixels": 16384}')
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8)).save(tmp_path / "0.png")
    shown = {"image_ref": 0, "image_A": 0, "image_B": 0}
    settings = recipe(
        root, "work", start=str(folder), adapter={"r": 2, "lora_dropout": 0.0, "parts": parts}, trainable=["lora"]
    )
    loaded = load_vlm(folder, "cpu", "float32")
    form = VlmForm(loaded)
    asked = record("quality_compare", tasks.COMPARISON.ask(), "Image A shows noise. " * 8, **shown)
    batch, inputs = batch_of(form, VlmImages(form.prompts, tmp_path), [asked])
    loaded.model.set_attn_implementation("eager")  # fused attention is not counted on a CPU
    network = TunedVlm(loaded, lora_settings(loaded.model, settings.adapter, ["lora"]))
    with FlopCounterMode(display=False) as counter:
        network(**inputs).logits.float().sum().backward()
    planned = vlm_work(settings)
    length = batch["input_ids"].shape[1]
    assert planned.flops == pytest.approx(counter.get_total_flops() * planned.tokens / length, rel=0.2)


BAD = {
    "a checkpoint of ours": ({"start": "bundled"}, CheckpointError, "is not a folder of a vision-language model"),
    "no start": ({"start": None, "network": {}}, RecipeError, "adapter needs start|network"),
    "whole weights": ({"trainable": ["lora", "language"]}, RecipeError, r"trainable is \[lora\] or"),
    "no adapter trained": ({"trainable": ["connector"]}, RecipeError, r"trainable is \[lora\] or"),
    "crop": ({"crop": [0.5, 1.0]}, RecipeError, "crop is for checkpoints of DepictQA"),
    "features": ({"cache_features": True}, RecipeError, "cache_features is for checkpoints of DepictQA"),
    "other changes": ({"changes": {"size": {}}}, RecipeError, "changes: size does not go with adapter"),
    "half": ({"frozen_precision": "bfloat16"}, RecipeError, "needs precision: bf16 or fp16"),
    "rank": ({"adapter": {"r": 0}}, RecipeError, "adapter.r is 0; allowed"),
    "unknown": ({"adapter": {"rank": 4}}, RecipeError, "unknown key adapter.rank"),
    "part": ({"adapter": {"parts": ["head"]}}, RecipeError, "adapter.parts"),
}


@pytest.mark.parametrize("case", BAD)
def test_recipes_that_cannot_be_run(root, case):
    changes, error, words = BAD[case]
    with pytest.raises(error, match=words) as refused:
        train(recipe(root, "bad", **changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["vlm_lora", "vlm_personal"])
def test_the_recipes_of_the_repository_are_sound(name):
    found = read_recipe(ROOT / "training" / "recipes" / f"{name}.yaml")
    assert found.adapter and found.trainable == ["lora"]
