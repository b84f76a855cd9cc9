"""Link the images of some folders into one, with few of each package, so that none outnumbers the others:

python training/recipes/mini/few_of_each.py OUT FOLDER [FOLDER ...]
"""

import os
import random
import sys
from pathlib import Path

LIMITS = {"openclipart-png": 250, "scorched3d-data": 40}
OTHERS = 100
"""Maximum number of images of some packages, and of each other one."""
SEED = 11


def main(out: str, *folders: str) -> None:
    target = Path(out)
    target.mkdir(parents=True)
    rng = random.Random(SEED)
    for folder in folders:
        groups: dict[str, list[Path]] = {}
        for file in sorted(Path(folder).iterdir()):
            groups.setdefault(file.name.partition("__")[0], []).append(file)
        for name, files in groups.items():
            rng.shuffle(files)
            for file in files[: LIMITS.get(name, OTHERS)]:
                os.link(file, target / file.name)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
