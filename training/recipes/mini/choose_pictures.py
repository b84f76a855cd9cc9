"""Link the images that scenes at native resolution are made of into one folder:

    python training/recipes/mini/choose_pictures.py PHOTOGRAPHS DRAWINGS OUT train|validation [once]

Training images are all photographs, each under two names (with "once" under one), and drawings; of packages that would
outnumber the rest (clip art, textures, portraits, levels, emoji) only some. So two thirds of the scenes that are not
drawn by program show a photograph (with "once" a half).
"""

import os
import random
import sys
from pathlib import Path

MOST = {
    "train": {
        "openclipart-png": 160,
        "megaglest-data": 60,
        "wesnoth-1.16-data": 130,
        "neverball-data": 60,
        "lobehub-fluent-emoji-3d": 70,
        "freeorion-data": 80,
        "zaz-data": 15,
        "boswars-data": 25,
        "foobillardplus-data": 40,
        "planetblupi-common": 20,
    },
    "validation": {"openclipart-png": 25, "megaglest-data": 12, "wesnoth-1.16-data": 20},
}
SEEDS = {"train": 5, "validation": 7}


def main(photographs: str, drawings: str, out: str, split: str, names: str = "twice") -> None:
    target = Path(out) / split
    target.mkdir(parents=True)
    for file in sorted((Path(photographs) / split).iterdir()):
        os.link(file, target / file.name)
        if split == "train" and names != "once":
            os.link(file, target / file.name.replace("__", "-b__", 1))
    groups: dict[str, list[Path]] = {}
    for file in sorted((Path(drawings) / split).iterdir()):
        groups.setdefault(file.name.partition("__")[0], []).append(file)
    random.seed(SEEDS[split])
    for name, files in groups.items():
        random.shuffle(files)
        for file in files[: MOST[split].get(name)]:
            os.link(file, target / file.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
