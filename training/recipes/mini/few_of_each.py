"""Link the images of some folders into one, with few of each package, so that none outnumbers the others:

python training/recipes/mini/few_of_each.py OUT MOST FOLDER [FOLDER ...]

MOST is the maximum number of images of a package.
"""

import os
import random
import sys
from pathlib import Path

SHARES = {"openclipart-png": 2.5, "scorched3d-data": 0.4}
"""Packages that show much more, or much less, than others: their share of the maximum number."""
SEED = 11


def main(out: str, most: str, *folders: str) -> None:
    target = Path(out)
    target.mkdir(parents=True)
    rng = random.Random(SEED)
    for folder in folders:
        groups: dict[str, list[Path]] = {}
        for file in sorted(Path(folder).iterdir()):
            groups.setdefault(file.name.partition("__")[0], []).append(file)
        for name, files in groups.items():
            rng.shuffle(files)
            for file in files[: round(int(most) * SHARES.get(name, 1))]:
                os.link(file, target / file.name)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
