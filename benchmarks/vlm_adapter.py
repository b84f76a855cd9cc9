"""Whether tuning a vision-language model works from end to end: records, training, calibration, loading, ranking.

    python -m benchmarks.vlm_adapter [--records 2000] [--steps 600] [--seed 0] [--json FILE] [--keep FOLDER]

The model is a tiny Qwen2.5-VL of random weights. Its adapter has the full rank of every linear layer of the language
model and of the vision tower, and the projector learns whole, so that all but embeddings, norms and the first
convolution is learned. It learns from records about drawn images: noise, blur or none (seven of ten records), and which
of two images is better (three of ten). Then the adapter is calibrated, loaded by ``load_judge``, and asked about unseen
drawings: the share of right names, and of right orders of three copies (none, moderate, strong damage) in rankings.
Minutes on one core. It shows that the machinery learns; it says nothing about a model that people use.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from depictqa_core import tasks
from depictqa_core.judge import load_judge
from depictqa_core.storage.files import write_file
from training.distortions import apply
from training.drawn import TRAINING_KINDS, draw
from training.evaluation.calibration import calibrate_all, fitted, store
from training.evaluation.sets import read_set
from training.trainer.recipe import read_recipe
from training.trainer.train import train

ROOT = Path(__file__).resolve().parents[1]
SIDE, SCENE, PATCH = 56, 448, 4
"""Sides in pixels of an image, of the drawing that it is cut out of, and of a patch of the vision tower."""
DETAIL = 25
"""Least standard deviation of the pixels of an image: a blurred empty page looks like an empty page."""
KINDS = [kind for kind in TRAINING_KINDS if kind not in ("gradient", "painting")]
"""These two are smooth by nature: a blurred one looks like one without damage."""
DAMAGE = {"noise": ("noise_gaussian_RGB", "noise_impulse"), "blur": ("blur_gaussian", "blur_lens")}
SEVERITIES = (3, 4, 5)


def enlarged(make):
    """A configuration of the tests' builder, with wider layers."""

    def configure(ids, size):
        config = make(ids, size)
        text, vision = config.text_config, config.vision_config
        text.hidden_size, text.intermediate_size, text.initializer_range = 64, 128, 0.1
        text.rope_parameters["mrope_section"] = [2, 3, 3]
        vision.hidden_size, vision.intermediate_size, vision.num_heads, vision.out_hidden_size = 64, 128, 4, 64
        vision.initializer_range, vision.patch_size = 0.1, PATCH
        text.tie_word_embeddings = config.tie_word_embeddings = True
        return config

    return configure


def base_model(folder: Path, seed: int) -> Path:
    """Write the random base model."""
    sys.path.insert(0, str(ROOT / "tests"))
    import tiny_vlms

    row = list(tiny_vlms.FAMILIES["qwen2_5_vl"])
    row[0], row[5] = enlarged(row[0]), {"patch_size": PATCH}
    tiny_vlms.FAMILIES["qwen2_5_vl"] = tuple(row)
    return tiny_vlms.make_tiny_vlm(folder, "qwen2_5_vl", seed, scale=0.125)


class Drawings:
    """Drawings with and without damage, written below a data root."""

    def __init__(self, root: Path, seed: int):
        self.root, self.rng, self.count = root, np.random.default_rng(seed), 0
        self.pieces: list[np.ndarray] = []
        (root / "images").mkdir(parents=True, exist_ok=True)

    def clean(self) -> np.ndarray:
        """Cut a piece out of a drawing; every piece comes once."""
        while not self.pieces:
            scene = draw(KINDS[int(self.rng.integers(len(KINDS)))], SCENE, SCENE, self.rng)
            steps = range(0, SCENE, SIDE)
            cut = (np.ascontiguousarray(scene[y : y + SIDE, x : x + SIDE]) for y in steps for x in steps)
            self.pieces = [piece for piece in cut if piece.std((0, 1)).mean() > DETAIL]
        return self.pieces.pop()

    def damaged(self, label: str, image: np.ndarray, severity: int | None = None) -> np.ndarray:
        """Apply noise or blur, or nothing for "none"."""
        if label == tasks.NONE:
            return image
        name = DAMAGE[label][int(self.rng.integers(2))]
        return apply(name, image, severity or int(self.rng.choice(SEVERITIES)), self.rng)

    def save(self, image: np.ndarray) -> str:
        """Write an image and return its path in records."""
        self.count += 1
        name = f"images/{self.count}.png"
        Image.fromarray(image).save(self.root / name)
        return name

    def records(self, count: int, form: str) -> list[dict]:
        """Write ``count`` records of form "train" or "test"."""
        labels = ("noise", "blur", tasks.NONE)
        found = []
        for number in range(count):
            image, label = self.clean(), labels[number % 3]
            if number % 10 < 7:
                paths, task = [self.save(self.damaged(label, image)), None], "quality_single_A_noref"
                question, answer = tasks.IDENTIFICATION.ask(tasks.ONE_ISSUE), label.capitalize()
            else:
                other, first = self.damaged(labels[number % 2], image), int(self.rng.integers(2))
                paths = [self.save(one) for one in ((image, other), (other, image))[first]]
                task, question, answer = "quality_compare_noref", tasks.RATING.ask(), tasks.WINNERS[first]
            said = {"query": question, "answer": answer}
            if form == "train":
                turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
                said = {"conversations": turns}
            images = {"image_ref": None, "image_A": paths[0], "image_B": paths[1]}
            found.append({"id": number, "task_type": task, **images, **said})
        return found


def recipe_of(folder: Path, steps: int, seed: int) -> dict:
    """The recipe of the run."""
    return {
        "name": "tiny-adapter",
        "trained_on": "drawings",
        "output": str(folder / "adapter"),
        "data": str(folder / "train"),
        "parts": {"all.json": 1},
        "start": str(folder / "base"),
        "adapter": {"r": 64, "lora_alpha": 64, "lora_dropout": 0.0, "parts": ["language", "vision"]},
        "trainable": ["lora", "connector"],
        "steps": steps,
        "batch": 16,
        "learning_rate": 0.002,
        "weight_decay": 0.01,
        "warm_steps": 30,
        "log_every": 25,
        "seed": seed,
    }


def right_orders(judge, drawings: Drawings, count: int) -> float:
    """Share of right pairs in rankings of three copies: none, moderate and strong damage."""
    right = 0
    for number in range(count):
        image, label = drawings.clean(), ("noise", "blur")[number % 2]
        copies = [image, drawings.damaged(label, image, 3), drawings.damaged(label, image, 5)]
        order = judge.rank(copies, reasons=False).order
        right += sum(order.index(a) < order.index(b) for a, b in ((0, 1), (0, 2), (1, 2)))
    return right / (3 * count)


def measure(folder: Path, records: int, steps: int, seed: int) -> dict:
    """Train, calibrate and ask; returns the results."""
    torch.set_num_threads(1)
    base = folder / "base"
    if not base.exists():
        base_model(base, seed)
    sets = {"train": (records, "train"), "calibration": (350, "test"), "unseen": (430, "test")}
    for place, (name, (count, form)) in enumerate(sets.items()):
        file = folder / name / "records" / "all.json"
        if not file.exists():  # a repeated command with --keep resumes
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, json.dumps(Drawings(folder / name, 1000 * seed + place).records(count, form)))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe_of(folder, steps, seed)))
    started = time.process_time()
    adapter = train(read_recipe(folder / "recipe.yaml"))
    seconds = time.process_time() - started
    known = read_set(folder / "calibration" / "records" / "all.json", folder / "calibration", None)
    fits = calibrate_all(load_judge(adapter, "cpu"), [known])
    store(adapter, fits)
    judge = load_judge(adapter, "cpu")
    asked = [
        one for one in json.loads((folder / "unseen" / "records" / "all.json").read_text()) if one["image_B"] is None
    ]
    paths = [folder / "unseen" / one["image_A"] for one in asked]
    wanted = [tasks.parse_labels(one["answer"]) for one in asked]
    found = judge.identify(paths)
    right = np.array([one.labels == label for one, label in zip(found, wanted)])
    before = [one.labels == label for one, label in zip(load_judge(base, "cpu").identify(paths[:60]), wanted)]
    names = np.array([(label or (tasks.NONE,))[0] for label in wanted])
    return {
        "records": records,
        "steps": steps,
        "training_cpu_seconds": round(seconds),
        "unseen_images": len(asked),
        "right_names": float(right.mean()),
        "right_names_by_label": {str(name): float(right[names == name].mean()) for name in np.unique(names)},
        "right_names_of_the_base": float(np.mean(before)),
        "right_orders": right_orders(judge, Drawings(folder / "ranked", 1000 * seed + 9), 30),
        "calibrated": sorted(fitted(fits)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument(
        "--keep",
        metavar="FOLDER",
        help="write everything to this folder and leave it there; a repeated command resumes",
    )
    arguments = parser.parse_args()
    if arguments.keep:
        found = measure(Path(arguments.keep), arguments.records, arguments.steps, arguments.seed)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder), arguments.records, arguments.steps, arguments.seed)
    print(json.dumps(found, indent=1))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
