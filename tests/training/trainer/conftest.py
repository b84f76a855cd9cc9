"""A small data root and a recipe for it."""

import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from runs import LANGUAGE, turns
from tiny import CNN

from training.dataset.records import labels


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data root with eight images, four dark and four bright, and three parts of records."""
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
def damaged_scenes(data, tmp_path):
    """A copy of the data root with two scenes of four images, each blurred more than the one before."""
    root = tmp_path / "scenes"
    shutil.copytree(data, root)
    lines = []
    for scene in range(2):
        variants = []
        for place in range(4):
            damage = {"name": "blur_gaussian", "category": "blur", "severity": 1 + place}
            metrics = {name: steps[1 + place] for name, steps in labels.ANCHORS.items()}
            variants.append({"image": f"{4 * scene + place}.png", "distortions": [damage], "metrics": metrics})
            variants[-1]["quality"] = labels.quality([damage], metrics)
        lines.append(json.dumps({"scene": scene, "source": "x", "reference": "0.png", "variants": variants}))
    (root / "scenes-00000.jsonl").write_text("\n".join(lines) + "\n")
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
            "warm_steps": 1,
            "learning_rate": 0.003,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**recipe, **changes}))
        return path

    return write
