"""Join data roots in training form into one, for one run:

    python training/recipes/mini/join_roots.py OUT ROOT:SCENES [ROOT:SCENES ...] [--no-for-yes N] [--equal N]

OUT gets the images (hard links below a folder for each root), the scenes and the records. SCENES is the number of
scenes of a root whose records with a reference are kept: comparisons take the most time to compute. ``--no-for-yes``
keeps of the questions about faults that many with the answer "No" for each "Yes". ``--equal`` adds
rating_equal_nr.json: that many images, each compared with itself and each answer once, so that the order of equal
images decides nothing.
"""

import argparse
import json
import os
import random
import shutil
from pathlib import Path

from join_records import ROLES, read, scene_of, thinned, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("roots", nargs="+", metavar="ROOT:SCENES")
    parser.add_argument("--no-for-yes", type=int)
    parser.add_argument("--equal", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    records: dict[str, list[dict]] = {}
    scenes: list[dict] = []
    for one in options.roots:
        root, _, most = one.rpartition(":")
        name = Path(root).name
        shutil.copytree(Path(root) / "images", options.out / name / "images", copy_function=os.link)
        scenes += _scenes(Path(root), name, first=len(scenes))
        for path in sorted((Path(root) / "records").glob("*.json")):
            rows = [row for row in read(path) if not path.stem.endswith("_fr") or scene_of(row) < int(most)]
            records.setdefault(path.name, []).extend(_moved(row, name) for row in rows)
    rng = random.Random(3)
    (options.out / "records").mkdir()
    for file, rows in records.items():
        if file.startswith("faults") and options.no_for_yes is not None:
            rows = thinned(rows, options.no_for_yes, rng)
        write(options.out / "records" / file, rows)
    write(options.out / "records" / "rating_equal_nr.json", _equal(records["rating_nr.json"], options.equal, rng))
    (options.out / "scenes-00000.jsonl").write_text("".join(json.dumps(scene) + "\n" for scene in scenes))


def _equal(ratings: list[dict], count: int, rng: random.Random) -> list[dict]:
    """Records that compare an image with itself: Image A, then Image B, is the answer to one short question."""
    short = [row for row in ratings if row["conversations"][-1]["value"] in ("Image A", "Image B")]
    found = []
    for row in rng.sample(short, min(count, len(short))):
        for answer in ("Image A", "Image B"):
            turns = [row["conversations"][0], {"from": "gpt", "value": answer}]
            same = {"image_B": row["image_A"], "distortions_B": row["distortions_A"], "A_better_B": answer == "Image A"}
            found.append({**row, **same, "conversations": turns, "id": f"{row['id']}_equal_{answer[-1]}"})
    return found


def _scenes(root: Path, name: str, first: int) -> list[dict]:
    """The scenes of a root, numbered on from ``first``, with the paths of their images in OUT."""
    lines = [line for path in sorted(root.glob("scenes-*.jsonl")) for line in path.read_text().splitlines()]
    found = []
    for number, scene in enumerate(map(json.loads, lines), start=first):
        variants = [{**variant, "image": f"{name}/{variant['image']}"} for variant in scene["variants"]]
        found.append({**scene, "scene": number, "reference": f"{name}/{scene['reference']}", "variants": variants})
    return found


def _moved(row: dict, name: str) -> dict:
    moved = {role: f"{name}/{row[role]}" for role in ROLES if row.get(role)}
    return {**row, **moved, "id": f"{name}_{row['id']}"}


if __name__ == "__main__":
    main()
