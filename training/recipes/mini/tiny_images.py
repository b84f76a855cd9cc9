"""Draw the images of a tiny run of the chain (``from_scratch.py --tiny``) by program, with their manifest:

python training/recipes/mini/tiny_images.py DATA
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from training.drawn import TRAINING_KINDS, draw

FOLDERS = {"raw/plates": 14, "raw_drawings/drawings": 8, "raw_reserved/reserved": 4}
"""Folder of a package -> number of its images."""
MANIFEST = """\
seed: tiny
validation_share: 0.35
near_duplicate_bits: 0
rules: {min_mean: 0, max_mean: 255, min_std: 0, min_chroma: 0, min_colours: 2, max_flat: 1, min_detail: 0}
sources:
  - {kind: pip, name: plates, version: "1", licence: CC0-1.0}
  - {kind: pip, name: drawings, version: "1", licence: CC0-1.0}
reserved:
  sources:
    - {kind: pip, name: reserved, version: "1", licence: CC0-1.0}
"""


def main(data: str) -> None:
    rng = np.random.default_rng(0)
    for folder, count in FOLDERS.items():
        target = Path(data) / folder
        target.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            kind = TRAINING_KINDS[int(rng.integers(len(TRAINING_KINDS)))]
            height, width = rng.integers(360, 480, 2).tolist()
            Image.fromarray(draw(kind, height, width, rng)).save(target / f"{kind.replace(' ', '_')}_{number:02d}.png")
    (Path(data) / "images.yaml").write_text(MANIFEST, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
