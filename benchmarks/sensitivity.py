"""How a judge follows damage that grows step by step: each distortion, fault and everyday change at 20 levels.

    python -m benchmarks.sensitivity --photographs FOLDER [--images 30] [--output JSON] [--figure PNG]
    python -m benchmarks.sensitivity --output JSON --figure PNG     # only draws what is measured

A ladder is a clean photograph and its copies at 20 levels of one kind of damage (``severity_levels``), all with the
same random numbers. Each image is scored, the probability of the label of the damage is asked, and each copy is
compared with the clean image, all without a reference. Each ladder is stored as soon as it is done; the same command
resumes. Photographs must be pristine and not be among those that the judge was trained on.

A ladder has these figures, each the mean over photographs with a 95 % interval (bootstrap by photograph):

score and severity, probability and severity (SRCC): 1 if the score falls, or the probability of the label rises, with
    each level. 0 where all values are equal.
steps in order: share of the steps from one level to the next at which the score falls. Steps between equal images, of
    damage that comes in whole numbers, do not count.
just noticeable by compare: the level from which on two levels in a row are worse than the clean image in both orders
    (verdict A).
just noticeable by score: likewise, the level from which on the score is below the 95 % interval of the clean image.
label found: likewise, the level from which on the probability of the label is above one half.

Levels are the median over photographs, null where half of the photographs or more never reach them.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from depictqa_core.errors import DepictQAError
from depictqa_core.images.image import RGBImage, as_image
from depictqa_core.judge import Judge, load_judge
from depictqa_core.results import Identification
from depictqa_core.storage.documents import read_json
from depictqa_core.tasks import FAULTS, LABELS
from training import distortions

from . import severity_levels as levels
from .ending import ended
from .everyday import SIDE, Material
from .quality import Results, named
from .shares import mean, share

OUTPUT = Path("runs/sensitivity.json")
CLEAN = "clean photographs"
"""Name of the part with the false alarms."""
CLEAN_IMAGES = 30
"""Least maximum number of photographs for the false alarms, which are cheap."""


@dataclass(frozen=True)
class Ladder:
    """Damage that grows.

    Attributes:
        name: of the distortion, fault or change.
        kind: "distortion", "fault" or "change".
        label: the distortion, fault or "none" that it should be called.
        values: severities, or the parameters of a change, from weak to strong.
        make: (image, value, rng) -> image.
    """

    name: str
    kind: str
    label: str
    values: list[float]
    make: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]

    def images(self, clean: np.ndarray, rng_key: Sequence[int], every: int = 1) -> list[RGBImage]:
        """The clean image and its copies at every N-th level."""
        made = [self.make(clean, value, np.random.default_rng(rng_key)) for value in self.values[every - 1 :: every]]
        return [as_image(image) for image in (clean, *made)]


def ladders() -> dict[str, Ladder]:
    """All ladders by name: 35 distortions, the faults by the names of `FAULTS`, everyday changes."""
    values = levels.severities()[1:]
    found = []
    for name in distortions.NAMES:
        label = distortions.ANSWER[distortions.CATEGORY[name]]
        found.append(Ladder(name, "distortion", label, values, _at(name)))
    for fault, name in levels.FAULT_CURVES.items():
        found.append(Ladder(fault, "fault", fault, values, _at(name)))
    for name in levels.supported_changes():
        change, strengths, label = levels.CHANGES[name]
        found.append(
            Ladder(name, "change", label, strengths, lambda image, value, _, change=change: change(image, value))
        )
    return {ladder.name: ladder for ladder in found}


def _at(name: str) -> Callable[[np.ndarray, float, np.random.Generator], np.ndarray]:
    return lambda image, severity, rng: levels.apply(name, image, severity, rng)


# ---------------------------------------------------------------------- one ladder


def measure(judge: Judge, ladder: Ladder, images: Sequence[np.ndarray], seed: int = 0, every: int = 1) -> dict:
    """Measure one ladder on clean images uint8 [H, W, 3]; ``every`` takes every N-th level. Keys: module docstring."""
    scores, chances, preferred, ends, equal = [], [], [], [], []
    for number, clean in enumerate(images):
        shown = ladder.images(clean, [seed, number], every)
        scored = judge.score(shown)
        scores.append([one.score for one in scored])
        ends.append(scored[0].low)
        chances.append([probability(one, ladder.label) for one in identified(judge, shown, ladder.kind)])
        compared = judge.compare_many([(shown[0], one) for one in shown[1:]])
        preferred.append([one.verdict == "A" for one in compared])
        equal.append([one.key == other.key for one, other in zip(shown, shown[1:])])
    score, chance, better, same = (np.array(rows) for rows in (scores, chances, preferred, equal))
    values = ladder.values[every - 1 :: every]
    below, found = score[:, 1:] < np.array(ends)[:, None], chance[:, 1:] > 0.5
    return {
        "kind": ladder.kind,
        "label": ladder.label,
        "images": len(scores),
        "values": [float(value) for value in values],
        "score": rounded(score, 2),
        "probability": rounded(chance, 4),
        "clean preferred": rounded(better, 3),
        "score and severity (SRCC)": mean([-order(row) for row in score]),
        "probability and severity (SRCC)": mean([order(row) for row in chance]),
        "steps in order": mean([falling(row, skip) for row, skip in zip(score, same)]),
        "points lost": mean(score[:, 0] - score[:, -1], 2),
        "probability at the end": mean(chance[:, -1]),
        "just noticeable by compare": first(better, values),
        "just noticeable by score": first(below, values),
        "label found": first(found, values),
    }


def identified(judge: Judge, images: Sequence[RGBImage], kind: str) -> list[Identification]:
    """The distortions of images, and their faults if the ladder is one of a fault."""
    return judge.identify(list(images), faults=kind == "fault")


def probability(found: Identification, label: str) -> float:
    """Probability of a label, or of a fault; NaN where the judge does not support faults."""
    known = {one.label: one.probability for one in (*found.probabilities, *(found.faults or ()))}
    return known.get(label, float("nan"))


def rounded(rows: np.ndarray, digits: int) -> list[float]:
    """The mean over images at each level."""
    return [round(float(value), digits) for value in rows.mean(0)]


def order(values: np.ndarray) -> float:
    """SRCC of values with their level; 0 where all values are equal or there are none."""
    if np.isnan(values).any() or np.ptp(values) == 0:
        return 0.0
    return float(spearmanr(values, np.arange(len(values))).statistic)


def falling(scores: np.ndarray, equal: np.ndarray) -> float:
    """Share of the steps between different images at which the score falls; 0 if all images are equal."""
    steps = np.diff(scores)[~equal]
    return float(np.mean(steps < 0)) if len(steps) else 0.0


def first(reached: np.ndarray, values: Sequence[float]) -> dict:
    """The median value from which on something holds at two levels in a row (or at the last one), and its share.

    Args:
        reached: bool [N, levels], whether it holds.
        values: of the levels.

    Returns:
        level: the median over images, None where half of the images or more never reach it; "reached": the share of
        images that do, with its interval.
    """
    held = reached & np.concatenate([reached[:, 1:], reached[:, -1:]], 1)
    ever = held.any(1)
    places = np.where(ever, held.argmax(1), len(values))
    middle = int(np.sort(places)[len(places) // 2])  # the upper median: a level, not a value between two
    return {"level": float(values[middle]) if middle < len(values) else None, "reached": share(ever)}


def false_alarms(judge: Judge, images: Sequence[np.ndarray]) -> dict:
    """What is named in clean images: the share of each label and fault, with their mean probabilities."""
    found = judge.identify([as_image(image) for image in images])
    scored = judge.score([as_image(image) for image in images])
    rows: dict = {
        "images": len(images),
        "none": share(one.labels == () for one in found),
        "score": mean([one.score for one in scored], 2),
        "labels": {
            label: {
                "named": share(label in one.labels for one in found),
                "probability": mean([probability(one, label) for one in found]),
            }
            for label in LABELS[:-1]
        },
    }
    if found[0].faults is not None:
        rows["faults"] = {
            fault: {
                "named": share(fault in [known.label for known in one.probable_faults] for one in found),
                "probability": mean([probability(one, fault) for one in found]),
            }
            for fault in FAULTS
        }
    return rows


# ---------------------------------------------------------------------- command


def main(argv: list[str] | None = None) -> int:
    """Measure the ladders that are not measured yet, and draw the figure; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="pristine photographs")
    parser.add_argument("--images", type=int, default=30, help="maximum number of photographs (default: %(default)s)")
    parser.add_argument("--short", type=int, default=SIDE, help="short side in pixels that they are scaled down to")
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="ladders whose names begin with one of these")
    parser.add_argument("--checkpoint", help="checkpoint folder (default: the bundled one)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON file (default: %(default)s)")
    parser.add_argument("--figure", type=Path, help="also draw all ladders of the file on one page (PNG)")
    parser.add_argument("--restart", action="store_true", help="measure again what the file holds")
    arguments = parser.parse_args(argv)

    def work() -> None:
        if arguments.photographs:
            run(arguments)
        elif not arguments.figure:
            parser.error("give --photographs to measure, or --figure to draw what --output holds")
        if arguments.figure:
            from .sensitivity_figure import draw

            arguments.figure.write_bytes(draw(read_json(arguments.output)))
            print(f"written: {arguments.figure}")

    return ended(work)


def run(arguments: argparse.Namespace) -> None:
    """Measure the ladders that are not in the file, and store each."""
    material = Material(arguments.photographs, None, arguments.images, arguments.seed)
    clean = list(material.photographs_of(arguments.short, max(CLEAN_IMAGES, arguments.images)))
    images = clean[: arguments.images]
    if not images:
        raise DepictQAError(
            f"{arguments.photographs}: no image has a short side of {arguments.short} px or more; give another folder, "
            "or a smaller --short"
        )
    judge = load_judge(arguments.checkpoint)
    settings = {
        "model": f"{judge.info.get('name')} {judge.info.get('version')}",
        "weights": judge.info.get("files", {}).get("model.safetensors", {}).get("sha256"),
        "photographs": named(arguments.photographs),
        "images": len(images),
        "short": arguments.short,
        "seed": arguments.seed,
    }
    known = ladders()
    names = [n for n in (CLEAN, *known) if not arguments.only or any(n.startswith(w) for w in arguments.only)]
    results = Results(arguments.output, settings, names if arguments.restart else ())
    for number, name in enumerate(names, 1):
        if name in results.parts:
            continue
        start = time.monotonic()
        measured = false_alarms(judge, clean) if name == CLEAN else measure(judge, known[name], images, arguments.seed)
        results.add(name, measured, command(arguments))
        print(f"[{number}/{len(names)}] {name}: {line(measured)} ({time.monotonic() - start:.0f} s)", flush=True)
    print(f"written: {arguments.output}")


def line(measured: dict) -> str:
    """What the terminal has of one ladder."""
    if "values" not in measured:
        return f"none {measured['none']['share']:.2f}, score {measured['score']['mean']:.1f}"
    return (
        f"score SRCC {measured['score and severity (SRCC)']['mean']:.2f}, probability SRCC "
        f"{measured['probability and severity (SRCC)']['mean']:.2f}, noticeable from "
        f"{measured['just noticeable by compare']['level']}"
    )


def command(arguments: argparse.Namespace) -> str:
    """The command as documents have it."""
    words = ["python", "-m", "benchmarks.sensitivity", "--photographs", named(arguments.photographs)]
    words += ["--only", *arguments.only] if arguments.only else []
    words += ["--images", str(arguments.images), "--short", str(arguments.short), "--seed", str(arguments.seed)]
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
