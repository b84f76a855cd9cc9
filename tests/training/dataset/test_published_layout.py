"""A data set in the published folder layout: read without loss, and trained on straight from its folders."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny import CNN

from training.__main__ import main
from training.dataset.readers.published_records import read_published
from training.trainer import train as trainer
from training.trainer.recipe import read_recipe
from training.trainer.record_files import read_parts

LANGUAGE = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
LANGUAGE |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256}
BRIEF = "What is the ONE most critical issue? Answer the question using a single word or phrase."
LONG = "The image shows a house. It is blurred, which hides its windows and the leaves of the tree beside it. " * 2


def turns(question, answer):
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def single(key, reference, answer, question=BRIEF):
    task = "quality_single_A" if reference else "quality_single_A_noref"
    images = {
        "image_ref": "KADIS700K/ref_imgs/r.png" if reference else None,
        "image_A": f"KADIS700K/dist/{key % 4}.png",
    }
    truth = {"distortion_class": "blur", "distortion_name": "blur_lens", "severity": 3}
    return {
        "id": str(key),
        "task_type": task,
        **images,
        "image_B": None,
        "conversations": turns(question, answer),
        **truth,
    }


def pair(key, reference, answer="Image A"):
    task = "quality_compare" if reference else "quality_compare_noref"
    images = {"image_ref": "KADIS700K/ref_imgs/r.png" if reference else None}
    images |= {"image_A": "KADIS700K/dist/0.png", "image_B": f"KADIS700K/dist/{1 + key % 3}.png"}
    return {
        "id": str(key),
        "task_type": task,
        **images,
        "conversations": turns(f"Which is better? {BRIEF[-55:]}", answer),
    }


def caption(key):
    talk = turns("Describe it.\n<image>", LONG)
    return {"id": str(key), "task_type": "description", "image": "LAMM/images/c.png", "conversations": talk}


def queried(record):
    kept = {name: value for name, value in record.items() if name not in ("conversations", "task_type")}
    question, answer = (turn["value"] for turn in record["conversations"])
    return {**kept, "query": question, "answer": answer}


FILES = {
    "KADIS700K/refA_brief/metas/train_refA_sd_brief.json": ([single(n, True, "Blur") for n in range(30)], 1),
    "KADIS700K/A_brief/metas/train_A_sd_brief.json": ([single(n, False, "Blur") for n in range(30)], 1),
    "KADIS700K/refA_detail/metas/train_refA_sd_detail.json": (
        [single(n, True, LONG, "Assess it.") for n in range(9)],
        5,
    ),
    "KADIS700K/A_detail/metas/train_A_sd_detail.json": ([single(n, False, LONG, "Assess it.") for n in range(9)], 5),
    "KADIS700K/refAB_detail/metas/train_refAB_sd_detail.json": ([pair(n, True, LONG) for n in range(10)], 5),
    "BAPPS/metas/train_refAB.json": ([pair(n, True) for n in range(30)], 1),
    "BAPPS/metas/train_AB.json": ([pair(n, False) for n in range(30)], 1),
    "LAMM/metas/LAMM_detail.json": ([caption(0)], 4),
}
TESTS = {
    "KADIS700K/refA_brief/metas/test_refA_sd_brief.json": [queried(single(n, True, "Blur")) for n in range(4)],
    "KADIS700K/A_brief/metas/test_A_sd_brief.json": [queried(single(n, False, "Blur")) for n in range(4)],
}


@pytest.fixture
def published(tmp_path):
    root = tmp_path / "DataDepictQA"
    rng = np.random.default_rng(0)
    for name in ("KADIS700K/ref_imgs/r.png", *(f"KADIS700K/dist/{n}.png" for n in range(4)), "LAMM/images/c.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (48, 56, 3), dtype=np.uint8)).save(root / name)
    contents = {name: records for name, (records, _) in FILES.items()} | TESTS
    contents["KADIS700K/metas/split.json"] = {"train": ["r"], "test": []}
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(content))
    return root


def test_every_training_record_is_read_under_its_file_and_id(published, tmp_path):
    found = {part.file: part for part in read_published(published)}
    assert {name: (part.records, part.weight) for name, part in found.items() if part.records} == FILES
    assert all(not part.records and sum(part.left_out.values()) == 4 for name, part in found.items() if name in TESTS)
    out = tmp_path / "joined.json"
    assert main(["read", "depictqa", str(published), "--out", str(out)]) == 0
    joined = json.loads(out.read_text())
    assert len(joined) == 149 == len({record["id"] for record in joined})
    assert sum(record.get("image_ref") is not None for record in joined) == 79
    assert main(["read", "depictqa", str(published), "--out", str(out), "--form", "test"]) == 0
    tests = json.loads(out.read_text())
    assert len({record["id"] for record in tests}) == 8 and all("query" in record for record in tests)


def recipe_of(folder, **changes):
    network = {key: list(value) if isinstance(value, tuple) else value for key, value in CNN.items()}
    recipe = {
        "name": "published",
        "output": str(folder / "out"),
        "network": {**network, "vocabulary": 400, "language": LANGUAGE},
        "trainable": ["connector", "language"],
        "sampling": "repeat",
        "batch": 4,
        "steps": 3,
        "warm_steps": 1,
        **changes,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "recipe.yaml"


@pytest.mark.slow
def test_three_steps_straight_from_the_published_folders(published, tmp_path, monkeypatch):
    parts = {name: weight for name, (_, weight) in FILES.items()}
    samplers = []

    class Seen(trainer.WeightedSampler):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            samplers.append(self)

    monkeypatch.setattr(trainer, "WeightedSampler", Seen)
    assert main(["train", str(recipe_of(tmp_path, data=str(published), parts=parts))]) == 0
    assert (tmp_path / "out" / "model.safetensors").is_file() and not (published / "records").exists()
    assert samplers[0].ends[-1] == sum(len(records) * weight for records, weight in FILES.values()) == 264


@pytest.mark.slow
@pytest.mark.parametrize("out", ["records", "train.json", "records/train.json"])
def test_three_steps_on_what_read_has_written(published, tmp_path, out):
    target = published / out
    assert main(["read", "depictqa", str(published), "--out", str(target)]) == 0
    if target.is_dir():
        parts = yaml.safe_load((target / "parts.yaml").read_text())["parts"]
        assert parts == {name: weight for name, (_, weight) in FILES.items()}
    else:
        parts = {target.name: 1}
    recipe = recipe_of(tmp_path, data=str(published), parts=parts)
    assert sum(map(len, read_parts(published, read_recipe(recipe).parts)[0])) == 149
    assert main(["train", str(recipe)]) == 0


def test_patterns_and_what_no_training_file_is(published):
    found, weights = read_parts(published, {"*/metas/train_*.json": 2, "KADIS700K/*/metas/train_*.json": 1})
    assert [len(part) for part in found] == [30, 30, 30, 9, 10, 30, 9] and weights == [2, 2, 1, 1, 1, 1, 1]
    test = next(iter(TESTS))
    with pytest.raises(
        ValueError, match="test_refA_sd_brief.json, record 0 .id 0.: it is in test form.*evaluate reads it"
    ):
        read_parts(published, {test: 1})
    with pytest.raises(ValueError, match="split.json must hold a list"):
        read_parts(published, {"KADIS700K/metas/split.json": 1})
    with pytest.raises(FileNotFoundError, match="no records 'gone.json' in .*it holds BAPPS/metas/train_AB.json"):
        read_parts(published, {"gone.json": 1})
    for name in ("/etc/*.json", ""):
        with pytest.raises(ValueError, match="not a file name or pattern"):
            read_parts(published, {name: 1})
