"""SRCC of scores by comparison with anchors, on images that get worse step by step.

    python -m benchmarks.anchors IMAGES... [--checkpoint DIR] [--reference] [--kinds 6]

Every image is scaled to 224 pixels and shown clean and in five severities of several distortions of the training
data. Prints the mean SRCC of score and severity over these ladders, and the SRCC of score and quality label over all
images.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import spearmanr

from depictqa_core.images.image import RGBImage
from depictqa_core.judge import load_judge
from training.dataset.building.measures import metrics
from training.dataset.records.labels import quality
from training.distortions import apply

KINDS = (
    "blur_lens",
    "compression_jpeg",
    "noise_gaussian_RGB",
    "brightness_darken_gamma_RGB",
    "quantization_otsu",
    "pixelate",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="+", metavar="IMAGE", type=Path)
    parser.add_argument("--checkpoint")
    parser.add_argument("--reference", action="store_true", help="show the clean image as reference")
    parser.add_argument("--kinds", type=int, default=len(KINDS))
    options = parser.parse_args()
    judge = load_judge(options.checkpoint)
    judge.model.config.tasks = [task for task in judge.model.config.tasks if task != "score"]
    ladders, scores, qualities = [], [], []
    for path in options.pictures:
        clean = Image.open(path).convert("RGB")
        ratio = 224 / min(clean.size)
        clean = clean.resize((round(clean.width * ratio), round(clean.height * ratio)), Image.Resampling.LANCZOS)
        clean = np.asarray(clean)
        for kind in KINDS[: options.kinds]:
            shown = [clean, *(apply(kind, clean, severity, np.random.default_rng(1)) for severity in range(1, 6))]
            reference = clean if options.reference else None
            found = [
                s.score for s in judge.score([RGBImage(rgb, f"{kind} {i}") for i, rgb in enumerate(shown)], reference)
            ]
            ladders.append(spearmanr(found, [-i for i in range(6)]).statistic)
            scores += found
            qualities += [
                quality([{"name": kind, "severity": i}] if i else [], metrics(rgb, clean))
                for i, rgb in enumerate(shown)
            ]
        print(f"{path.name}: {np.mean(ladders[-options.kinds :]):.3f}", flush=True)
    print(f"{len(ladders)} ladders: SRCC {np.mean(ladders):.3f} (mean), {np.min(ladders):.3f} (lowest)")
    print(f"{len(scores)} images: SRCC {spearmanr(scores, qualities).statistic:.3f}")


if __name__ == "__main__":
    main()
