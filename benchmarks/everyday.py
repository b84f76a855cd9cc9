"""How a judge sees what people make and receive: clean images of all kinds and sizes, damage to a part, faults.

    python -m benchmarks.everyday PICTURES [--drawings FOLDER] [--checkpoint DIR] [--count 40] [--output results.json]

PICTURES is a folder of pristine photographs that the judge did not learn from, the larger the better; ``--drawings``
one of pristine drawings, to which drawings of the held-out kinds of ``training.drawn`` are added. Everything is asked
without a reference. Rows of clean images say how many are called "none", how many get another label with a probability
of 0.9 or more, the median score, and how many scores are below 50. Rows of pairs say how often the clean image is
preferred to its damaged copy, by ``compare`` and by ``score``.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from depictqa_core import tasks
from depictqa_core.judge import Judge, load_judge
from training import distortions, drawn, faults
from training.dataset.building import looks
from training.dataset.building.scenes import find_sources

SIZES = (224, 512, 1024, 2048)
LOCAL = {
    "blur": "blur_gaussian",
    "brightness": "brightness_brighten_shfit_HSV",
    "noise": "noise_gaussian_RGB",
    "JPEG": "compression_jpeg",
}
SEVERITY = 4
"""Of damage to a part, and of drawings."""
FAULT_SEVERITIES = (2, 4)
SPEED = {512: 24, 1024: 10, 4096: 2}
"""Side in pixels -> images that the speed is measured on."""


def saved(image: np.ndarray, kind: str, quality: int) -> np.ndarray:
    """An image as it is after it was saved in a lossy format."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def scaled(image: np.ndarray, short: int) -> np.ndarray:
    """An image with another short side in pixels, by Lanczos."""
    height, width = image.shape[:2]
    factor = short / min(height, width)
    return np.asarray(Image.fromarray(image).resize((round(width * factor), round(height * factor)), Image.LANCZOS))


def read(folder: Path, count: int, least: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Up to ``count`` images of a folder with a short side of at least ``least`` px, in random order."""
    files, found = find_sources(folder), []
    for index in rng.permutation(len(files)):
        with Image.open(folder / files[index]) as image:
            if min(image.size) >= least and len(found) < count:
                found.append(np.asarray(image.convert("RGB")))
    return found


class Table:
    """Rows of one judge: asks, prints and keeps."""

    def __init__(self, judge: Judge):
        self.judge, self.rows = judge, {}

    def clean(self, name: str, images: list[np.ndarray]) -> list[float]:
        """One row about clean images; returns their scores."""
        found = self.judge.identify(images)
        scores = [one.score for one in self.judge.score(images)]
        wrong = [one.labels != () and one.probabilities[0].probability >= 0.9 for one in found]
        row = {
            "none": np.mean([one.labels == () for one in found]),
            "wrong at 0.9": np.mean(wrong),
            "median score": np.median(scores),
            "score below 50": np.mean(np.array(scores) < 50),
        }
        if tasks.FAULT.name in self.judge.model.config.tasks:
            row["false fault"] = np.mean([one.faults[0].probability > 0.5 for one in found])
        self._add(name, len(images), row)
        return scores

    def pairs(self, name: str, clean: list[np.ndarray], damaged: list[np.ndarray]) -> None:
        """One row about clean images and their damaged copies."""
        compared = self.judge.compare_many(list(zip(clean, damaged)))
        one, other = ([s.score for s in self.judge.score(images)] for images in (clean, damaged))
        row = {
            "preferred": np.mean([c.probability_a > 0.5 for c in compared]),
            "preferred by score": np.mean([a > b for a, b in zip(one, other)]),
            "points lost": np.mean(np.subtract(one, other)),
        }
        self._add(name, len(clean), row)

    def change(self, name: str, before: list[np.ndarray], after: list[np.ndarray]) -> None:
        """One row about how far scores move where the image stays the same to people."""
        one, other = ([s.score for s in self.judge.score(images)] for images in (before, after))
        gaps = np.subtract(one, other)
        self._add(name, len(before), {"mean change": np.mean(gaps), "mean absolute": np.mean(np.abs(gaps))})

    def labels(self, name: str, images: list[np.ndarray], truths: list[str]) -> None:
        """One row about how often the true label is named."""
        found = self.judge.identify(images, faults=False)
        self._add(name, len(images), {"right": np.mean([one.labels == (t,) for one, t in zip(found, truths)])})

    def _add(self, name: str, count: int, row: dict) -> None:
        self.rows[name] = {"images": count, **{key: round(float(value), 3) for key, value in row.items()}}
        print(f"{name:44s}", "  ".join(f"{key} {value:g}" for key, value in self.rows[name].items()), flush=True)


def in_part(image: np.ndarray, damage: Callable, share: float, rng: np.random.Generator) -> np.ndarray:
    """Damage a square of a share of the area."""
    height, width = image.shape[:2]
    h, w = round(height * share**0.5), round(width * share**0.5)
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    result = image.copy()
    result[top : top + h, left : left + w] = damage(image)[top : top + h, left : left + w]
    return result


def drawings(folder: Path | None, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Drawings of people and of programs, half each where there is a folder."""
    found = (
        [scaled(image, min(768, min(image.shape[:2]))) for image in read(folder, count // 2, 240, rng)]
        if folder
        else []
    )
    kinds = drawn.VALIDATION_KINDS
    return found + [drawn.draw(kinds[i % len(kinds)], 480, 640, rng) for i in range(count - len(found))]


def measure(judge: Judge, pictures: Path, folder: Path | None, count: int, seed: int) -> dict:
    """The whole table of a judge; see the module."""
    rng, table = np.random.default_rng(seed), Table(judge)
    large = read(pictures, count, 700, rng)
    photographs = [scaled(image, 512) for image in large]
    for short in SIZES:
        sized = [scaled(image, short) for image in large if min(image.shape[:2]) >= short]
        if len(sized) >= 5:
            table.clean(f"clean photographs, {short} px", sized)
            names = [distortions.sample_one(rng)[0] for _ in sized]
            for severity in (2, 4):
                damaged = [distortions.apply(name, image, severity, rng) for name, image in zip(names, sized)]
                truths = [distortions.ANSWER[distortions.CATEGORY[name]] for name in names]
                table.labels(f"severity {severity}, {short} px", damaged, truths)
    grey = [np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, 2) for image in photographs]
    table.clean("greyscale photographs", grey)
    table.clean("sepia photographs", [looks.apply("sepia", image, rng) for image in photographs])
    for look in ("shallow focus", "low key", "high key", "fog", "night", "grain", "film"):
        table.clean(look, [looks.apply(look, image, rng) for image in photographs[: count // 2]])
    for name in ("compression_jpeg", "blur_gaussian"):
        damaged = [distortions.apply(name, image, 3, rng) for image in grey]
        table.pairs(f"greyscale against {name}", grey, damaged)
    made = drawings(folder, count, rng)
    table.clean("drawings", made)
    names = [
        "compression_jpeg",
        "blur_gaussian",
        "noise_gaussian_RGB",
        "pixelate",
        "quantization_otsu",
        "brightness_brighten_shfit_HSV",
    ]
    damaged = [distortions.apply(names[i % len(names)], image, 3, rng) for i, image in enumerate(made)]
    table.pairs("drawings against damaged ones", made, damaged)
    for share, words in ((0.25, "a quarter"), (0.1, "a tenth")):
        for kind, name in LOCAL.items():
            damaged = [
                in_part(image, lambda x, n=name: distortions.apply(n, x, SEVERITY, rng), share, rng)
                for image in photographs
            ]
            table.pairs(f"{kind} in {words}", photographs, damaged)
    held_out = [name for name, fault in faults.REGISTRY.items() if fault.held_out]
    for fault in tasks.FAULTS:
        names = [name for name in held_out if faults.REGISTRY[name].fault == fault]
        if names:
            some = photographs[: count // 2]
            damaged = [
                faults.apply(names[i % len(names)], image, FAULT_SEVERITIES[i % 2], rng) for i, image in enumerate(some)
            ]
            table.pairs(f"fault: {fault}", some, damaged)
    for words, change in (
        ("JPEG 95", lambda x: saved(x, "JPEG", 95)),
        ("WebP 90", lambda x: saved(x, "WEBP", 90)),
        ("90 % of the size", lambda x: scaled(x, round(min(x.shape[:2]) * 0.9))),
    ):
        table.change(f"clean, after {words}", photographs, [change(image) for image in photographs])
    both = [image for image in large if min(image.shape[:2]) >= 1440]
    if both:
        table.change("512 px against full size", [scaled(image, 512) for image in both], both)
    return table.rows


def speed(checkpoint: str | None, rng: np.random.Generator) -> dict:
    """Images a second for identify and score together, by side in pixels."""
    judge, found = load_judge(checkpoint), {}
    for side, count in SPEED.items():
        images = [scaled(rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8), side) for _ in range(count + 1)]
        judge.identify(images[:1]), judge.score(images[:1])
        start = time.perf_counter()
        judge.identify(images[1:]), judge.score(images[1:])
        found[str(side)] = round(count / (time.perf_counter() - start), 2)
        print(f"identify and score, {side} x {side} px: {found[str(side)]} images/s", flush=True)
    return found


def main() -> None:
    """Measure one judge and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pictures", type=Path, help="folder of pristine photographs")
    parser.add_argument("--drawings", type=Path, help="folder of pristine drawings")
    parser.add_argument("--checkpoint", help="checkpoint folder; without it the included one")
    parser.add_argument("--count", type=int, default=40, help="images in a row (default: 40)")
    parser.add_argument("--seed", type=int, default=1511)
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--speed", action="store_true", help="measure the speed alone")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    if arguments.speed:
        results = {"speed": speed(arguments.checkpoint, rng)}
    else:
        judge = load_judge(arguments.checkpoint)
        rows = measure(judge, arguments.pictures, arguments.drawings, arguments.count, arguments.seed)
        results = {"checkpoint": judge.info.get("version"), "rows": rows}
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
