"""Detection of references of another scene: shares of images with a warning.

    python -m benchmarks.other_scenes data/mini-pairs [--every 8]

The data root comes from ``python -m training build``. Every distorted image is held against its own reference, which
must not be doubted, and references of different source images against each other, which should be.
"""

import argparse
from itertools import islice
from pathlib import Path

import numpy as np

from depictqa_core.images.references import SAME_SCENE, scene_correlation
from training.dataset.building.scenes import read_scenes
from training.dataset.records.image_paths import read_image

PARTNERS = 13
"""Every reference is compared with this many following ones."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="data root with scenes")
    parser.add_argument("--every", type=int, default=1, help="take every N-th scene")
    arguments = parser.parse_args()
    root, own, references = arguments.root, [], []
    for scene in islice(read_scenes(root), 0, None, arguments.every):
        reference = read_image(root, scene["reference"])
        references.append((scene["source"], reference))
        own += [scene_correlation(reference, read_image(root, v["image"])) for v in scene["variants"]]
    other = [
        scene_correlation(a, b)
        for step in range(1, PARTNERS + 1)
        for (source, a), (partner, b) in zip(references, references[step:])
        if source != partner
    ]
    for name, values in (("own reference", own), ("another scene", other)):
        doubted = np.mean(np.array(values) < SAME_SCENE)
        print(f"{name}: {len(values)} pairs, {doubted:.1%} doubted, lowest {min(values):.2f}")


if __name__ == "__main__":
    main()
