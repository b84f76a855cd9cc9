"""Choose and join the records of data roots before a run of the fifth stage; replaces the record files of ROOT.

    python training/recipes/mini/join_records.py ROOT [--most-with-reference SCENES] [--add OTHER] [--no-for-yes N]

``--most-with-reference`` keeps records with a reference of the first scenes only: comparisons take the most time to
compute. ``--add`` links the images of another data root to ROOT/images_b and adds its records without a reference to
ROOT/records/joined, where all others are copied. ``--no-for-yes`` keeps of the questions about faults that many with
the answer "No" for each "Yes".
"""

import argparse
import json
import os
import random
import re
import shutil
from pathlib import Path

ROLES = ("image_ref", "image_A", "image_B")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--most-with-reference", type=int)
    parser.add_argument("--add", type=Path)
    parser.add_argument("--no-for-yes", type=int)
    options = parser.parse_args()
    records: Path = options.root / "records"
    if options.most_with_reference is not None:
        for path in records.glob("*_fr.json"):
            write(path, [row for row in read(path) if scene_of(row) < options.most_with_reference])
    if options.add:
        shutil.copytree(options.add / "images", options.root / "images_b", copy_function=os.link)
        (records / "joined").mkdir()
        rng = random.Random(3)
        for path in sorted(records.glob("*.json")):
            write(records / "joined" / path.name, _joined(path, options, rng))


def _joined(path: Path, options: argparse.Namespace, rng: random.Random) -> list[dict]:
    rows, other = read(path), options.add / "records" / path.name
    if path.stem.endswith("_nr") and other.exists():
        for row in read(other):
            moved = {role: row[role].replace("images/", "images_b/", 1) for role in ROLES if row.get(role)}
            rows.append({**row, **moved, "id": f"b_{row['id']}"})
    if path.name.startswith("faults") and options.no_for_yes is not None:
        rows = thinned(rows, options.no_for_yes, rng)
    return rows


def thinned(rows: list[dict], no_for_yes: int, rng: random.Random) -> list[dict]:
    """Questions about faults: all with the answer "Yes", and at most ``no_for_yes`` times as many with "No"."""
    yes, no = ([row for row in rows if _says_yes(row) == wanted] for wanted in (True, False))
    rng.shuffle(no)
    return yes + no[: no_for_yes * len(yes)]


def _says_yes(row: dict) -> bool:
    return row["conversations"][-1]["value"].startswith("Yes")


def scene_of(row: dict) -> int:
    """The highest number of a scene in a record; image names begin with it."""
    return max(int(re.findall(r"/(\d+)_", row[role])[0]) for role in ROLES if row.get(role))


def read(path: Path) -> list[dict]:
    found: list[dict] = json.loads(path.read_text())
    return found


def write(path: Path, rows: list[dict]) -> None:
    path.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
