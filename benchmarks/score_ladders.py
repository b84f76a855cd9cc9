"""How well scores follow severity: SRCC of score and severity over ladders of every distortion of the data set.

    python -m benchmarks.score_ladders IMAGES... [--checkpoint DIR] [--reference] [--output results.json]

A ladder is one image at severities 1 to 5 of one distortion; the SRCC with falling quality is 1 when all five scores
fall. Prints the mean over images for each of the 35 distortions and the mean over the distortions.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import spearmanr

from depictqa_core.images.image import as_image
from training.distortions import NAMES, SEVERITIES, apply


def ladder_correlation(scores: list[float]) -> float:
    """SRCC of five scores with falling quality, -1..1; 0 where all scores are equal."""
    if len(set(scores)) == 1:
        return 0.0
    return float(spearmanr(scores, [-severity for severity in SEVERITIES]).statistic)


def pristine(path: Path, short: int) -> np.ndarray:
    """An image scaled down to a short side, uint8 [H, W, 3]."""
    image = Image.open(path).convert("RGB")
    scale = short / min(image.size)
    if scale < 1:
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.LANCZOS)
    return np.asarray(image)


def measure(judge, originals: Sequence[np.ndarray], reference: bool) -> dict[str, list[float]]:
    """Distortion -> SRCC of each image's ladder."""
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    for number, original in enumerate(originals):
        steps = [
            as_image(apply(name, original, severity, np.random.default_rng([number, severity])))
            for name in NAMES
            for severity in SEVERITIES
        ]
        scores = [result.score for result in judge.score(steps, as_image(original) if reference else None)]
        for index, name in enumerate(NAMES):
            place = index * len(SEVERITIES)
            found[name].append(ladder_correlation(scores[place : place + len(SEVERITIES)]))
        print(f"  image {number + 1}: {np.mean([values[-1] for values in found.values()]):.3f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", metavar="IMAGE", type=Path, help="pristine images")
    parser.add_argument("--checkpoint", help="checkpoint folder (default: the bundled one)")
    parser.add_argument("--reference", action="store_true", help="give the pristine image as reference")
    parser.add_argument("--short", type=int, default=320, help="scale images down to this short side first")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    from depictqa_core.judge import load_judge

    originals = [pristine(path, arguments.short) for path in arguments.pictures]
    found = measure(load_judge(arguments.checkpoint), originals, arguments.reference)
    means = {name: round(float(np.mean(values)), 4) for name, values in found.items()}
    for name, mean in means.items():
        print(f"{name:32} {mean:6.3f}")
    total = round(float(np.mean(list(means.values()))), 4)
    print(f"{'mean':32} {total:6.3f}")
    if arguments.output:
        result = {"pictures": len(arguments.pictures), "reference": arguments.reference, "mean": total, "each": means}
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
