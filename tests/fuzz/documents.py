"""Damaged settings and records: ``python -m tests.fuzz.documents --cases 2000``."""

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from depictqa_core import tasks
from depictqa_core.errors import DepictQAError
from depictqa_core.images.image import as_image
from depictqa_core.ranking.anchors import load_anchors
from depictqa_core.storage.documents import read_json
from depictqa_core.storage.preferences import Preference, collect
from training.dataset.building.factory import find_split
from training.dataset.building.ledger import Ledger
from training.dataset.building.plan import read_plan
from training.dataset.building.shard import Store
from training.dataset.readers.published_records import read_published
from training.evaluation.answer_files import AnswerFile
from training.evaluation.sets import kind_of, read_set
from training.evaluation.voting import read_truth
from training.sources.manifest import load_manifest
from training.trainer.recipe import read_recipe
from training.trainer.record_files import picture_paths, read_parts

from .harness import Case, command, damaged_bytes, damaged_value

RECIPES = Path(__file__).resolve().parents[2] / "training" / "recipes"
TURNS = [{"from": "human", "value": tasks.RATING.ask()}, {"from": "gpt", "value": "Image A"}]


def _records(form: str) -> list[dict]:
    """Records of all six task types in one form."""
    found = []
    for number, (name, setting) in enumerate(tasks.SETTINGS.items()):
        images = {field: f"{field}.png" for field in setting.fields}
        record = {"id": f"r{number}", "task_type": name, "image_ref": None, "image_A": None, "image_B": None, **images}
        said = {"conversations": TURNS} if form == "train" else {"query": TURNS[0]["value"], "answer": "Image A"}
        found.append({**record, **said, "distortion_class": "blur", "severity": 3})
    return found


def make(folder: Path) -> Case:
    """The case function: a file of a random kind is damaged and read by what reads it."""
    for name in ("image_ref", "image_A", "image_B", "good", "bad"):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    kinds = [*_yaml_kinds(), *_json_kinds(folder)]

    def case(rng: random.Random) -> None:
        suffix, whole, read = rng.choice(kinds)
        value = damaged_value(whole, rng) if rng.random() < 0.8 else whole
        if suffix == "yaml":
            content = yaml.safe_dump(value, allow_unicode=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        else:
            content = json.dumps(value, ensure_ascii=True).encode()
        if value is whole or rng.random() < 0.15:
            content = damaged_bytes(content, rng)
        if rng.random() < 0.05:
            content = b"\xef\xbb\xbf" + content
        path = folder / f"file.{suffix}"
        path.write_bytes(content)
        read(path)

    return case


def _yaml_kinds() -> list[tuple[str, object, Callable]]:
    def load(name: str):
        return yaml.safe_load((RECIPES / name).read_text(encoding="utf-8"))

    readers = {
        read_recipe: ("mini/recipe.yaml", "mini/refine.yaml", "depictqa_wild_7b.yaml", "personal.yaml"),
        read_plan: ("dq495k/plan.yaml", "dq495k/test.yaml"),
    }
    found = [("yaml", load(name), read) for read, names in readers.items() for name in names]
    manifest = load("mini/pictures.yaml")
    manifest["reserved"].pop("hashes", None)
    return [*found, ("yaml", manifest, load_manifest)]


def _json_kinds(folder: Path) -> list[tuple[str, object, Callable]]:
    def training(path: Path) -> None:
        for records in read_parts(path.parent, {path.name: 1})[0]:
            for record in records:
                picture_paths(record, record["task_type"])

    def testing(path: Path) -> None:
        found = read_set(path, folder)
        assert found.tasks <= set(tasks.TASKS)
        found.stamp()
        for record, task_type in zip(found.records, found.task_types):
            kind_of(record, task_type)
        found.readable(range(len(found.records)))

    def anchors(path: Path) -> None:
        shutil.copy(path, folder / "anchors.json")
        load_anchors(folder)

    def preferences(path: Path) -> None:
        root = folder / "preferences"
        (root / "records").mkdir(parents=True, exist_ok=True)
        before = path.read_bytes()
        (root / "records" / "preferences.json").write_bytes(before)
        good, bad = (as_image(folder / f"{name}.png") for name in ("good", "bad"))
        try:
            collect(root, [Preference(good, bad)])
        except DepictQAError:
            assert (root / "records" / "preferences.json").read_bytes() == before
            raise

    def answers(path: Path) -> None:
        AnswerFile(path.rename(path.with_name("answers.jsonl")), {})

    def samples(path: Path) -> None:
        path.rename(path.with_name("lines-00000.jsonl"))
        list(Store(str(folder), "lines", 100).read())

    picked = folder / "picked"
    collect(picked, [Preference(as_image(folder / "good.png"), as_image(folder / "bad.png"))])
    records = read_json(picked / "records" / "preferences.json", list)
    positions = [{"file": "good.png", "position": 90}, {"file": "bad.png", "position": 10}]
    truth = {"image_ref.png": {"dist_paths": ["image_A.png", "image_B.png"], "mos_list": [1.5, 3]}}
    ledger = {"seed": 1, "pictures": "x", "skipped": {"a.png": "small"}}
    return [
        ("json", _records("train"), training),
        ("json", _records("test"), testing),
        ("json", _records("train"), lambda path: list(read_published(path.parent, path.name))),
        ("json", {"anchors": positions}, anchors),
        ("json", records, preferences),
        ("json", truth, read_truth),
        ("json", {"train": ["good.png"], "test": ["bad.png"]}, lambda path: find_split(folder, "train", path)),
        ("json", ledger, lambda path: Ledger(path).open({"seed": 1})),
        ("json", {"id": "x", "text": "Image A", "confidence": 0.5}, answers),
        ("json", {"scene": 0, "source": "a.png", "variants": []}, samples),
    ]


if __name__ == "__main__":
    sys.exit(command("tests.fuzz.documents", make))
