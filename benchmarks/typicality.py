"""Whether typicality tells which answers not to trust: errors of typical and of atypical images.

    python -m benchmarks.typicality DATA_ROOT [--checkpoint DIR] [--output results.json]

DATA_ROOT is one of held-out scenes (``python -m training build IMAGES DATA_ROOT --native --held-out --split validation
--form test --scenes 200``). Scores are compared with the quality of the records. Images that no photograph or drawing
resembles (one colour, static, stripes, an enlargement by 16) are judged as well.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from depictqa_core.confidence import LEAST_TYPICALITY, atypical
from depictqa_core.errors import TaskError
from depictqa_core.images.image import RGBImage, as_image
from depictqa_core.judge import Judge, load_judge
from training.dataset.building.scenes import read_scenes
from training.dataset.records.image_paths import read_image

from .ending import ended
from .shares import mean, share

EDGES = (0.0, LEAST_TYPICALITY, 0.05, 0.2, 0.5, 1.0)
"""Ends of the bins of typicality."""


def errors(judge: Judge, root: Path) -> dict[str, dict]:
    """Bin of typicality -> number and share of images, and the mean error of their scores in points.

    Raises:
        TaskError: the checkpoint knows no typicality.
    """
    variants = [variant for scene in read_scenes(root) for variant in scene["variants"]]
    found = judge.score([read_image(root, variant["image"]) for variant in variants])
    known = [score.typicality for score in found]
    if None in known:
        raise TaskError("the checkpoint has no typicality.safetensors: make it with python -m training typicality")
    values = np.array(known, float)
    off = np.abs([score.score - 100 * variant["quality"] for score, variant in zip(found, variants)])
    result = {}
    for low, high in zip(EDGES, EDGES[1:]):
        inside = (values >= low) & ((values < high) | (high == 1))
        if inside.any():
            result[f"{low:g} to {high:g}"] = {
                "images": int(inside.sum()),
                "share of images": share(inside),
                "error of scores": mean(off[inside], 2),
            }
    return result


def unlike_all(root: Path, count: int = 8) -> dict[str, list[RGBImage]]:
    """Images that resemble no photograph or drawing, by kind; enlargements are of parts of the references."""
    rng = np.random.default_rng(0)
    found: dict[str, list[RGBImage]] = {kind: [] for kind in ("one color", "static", "stripes", "enlarged 16 times")}
    for number, scene in zip(range(count), read_scenes(root)):
        color = rng.integers(0, 256, 3)
        found["one color"].append(_image(np.broadcast_to(color, (320, 400, 3))))
        found["static"].append(_image(rng.integers(0, 256, (320, 400, 3))))
        rows = (np.arange(320) // (number + 1) % 2 * 255)[:, None, None]
        found["stripes"].append(_image(np.broadcast_to(rows, (320, 400, 3))))
        part = Image.fromarray(read_image(root, scene["reference"]).rgb).crop((0, 0, 32, 32))
        found["enlarged 16 times"].append(_image(np.asarray(part.resize((512, 512), Image.Resampling.BICUBIC))))
    return found


def _image(pixels: np.ndarray) -> RGBImage:
    return as_image(np.ascontiguousarray(pixels, np.uint8))


def measure(judge: Judge, root: Path) -> dict:
    """Everything that the command prints."""
    unlike = {
        kind: share([atypical(score.typicality) for score in judge.score(images)])
        for kind, images in unlike_all(root).items()
    }
    return {"least typicality": LEAST_TYPICALITY, "by typicality": errors(judge, root), "called atypical": unlike}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and store the result; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="DATA_ROOT")
    parser.add_argument("--checkpoint", help="checkpoint folder (default: the bundled one)")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)

    def work() -> None:
        text = json.dumps(measure(load_judge(arguments.checkpoint), arguments.root), indent=1)
        print(text)
        if arguments.output:
            arguments.output.write_text(text + "\n")

    return ended(work)


if __name__ == "__main__":
    raise SystemExit(main())
