"""Join validation records of the published task, of native resolution and of drawings of packages that no stage learns
from, for the calibration of depictqa-mini:

    python training/recipes/mini/calibration_records.py PUBLISHED NATIVE UNSEEN OUT

The first three are data roots in test form. OUT gets their images (hard links below pub/, wide/ and unseen/), a choice
of records for the temperatures (OUT/temperatures), all records of the first scenes for orders and scores (OUT/orders,
none of UNSEEN), and sources.json, the pristine image of every image.
"""

import json
import os
import random
import re
import shutil
import sys
from pathlib import Path

SCENES = 160
"""The first of each root, of which records are chosen for the temperatures."""
CHOSEN = {
    "identification_nr_single_pub": 500,
    "identification_nr_double_pub": 200,
    "identification_nr_single_wide": 450,
    "identification_nr_double_wide": 150,
    "identification_fr_single_pub": 220,
    "identification_fr_double_pub": 140,
    "identification_fr_single_wide": 120,
    "rating_nr_single_pub": 250,
    "rating_nr_double_pub": 80,
    "rating_nr_single_wide": 250,
    "rating_cross_nr_single_pub": 150,
    "rating_cross_nr_single_wide": 150,
    "rating_fr_single_pub": 160,
    "rating_fr_double_pub": 60,
    "severity_nr_single_pub": 220,
    "severity_fr_single_pub": 140,
    "severity_nr_single_wide": 100,
    "faults_nr_single_wide": 450,
    "identification_nr_single_unseen": 250,
    "identification_nr_double_unseen": 80,
    "rating_nr_single_unseen": 120,
    "rating_cross_nr_single_unseen": 60,
    "severity_nr_single_unseen": 60,
    "faults_nr_single_unseen": 250,
}
FAULT_RECORDS = 1200
"""Records about faults from which those of ``CHOSEN`` are drawn."""
ORDER_SCENES = {"fr": 50, "nr": 60}
ROLES = ("image_ref", "image_A", "image_B")


def main(published: str, native: str, unseen: str, out: str) -> None:
    target, sources = Path(out), {}
    for name, root in (("pub", Path(published)), ("wide", Path(native)), ("unseen", Path(unseen))):
        shutil.copytree(root / "images", target / name / "images", copy_function=os.link)
        for path in sorted(root.glob("scenes-*.jsonl")):
            for scene in map(json.loads, path.read_text().splitlines()):
                for image in (scene["reference"], *(variant["image"] for variant in scene["variants"])):
                    sources[f"{name}/{image}"] = f"{name}:{scene['source']}"
        for path in sorted((root / "records").glob("*.json")):
            _choose(name, path, target)
    (target / "sources.json").write_text(json.dumps(sources))


def _choose(name: str, path: Path, target: Path) -> None:
    rows, stem = json.loads(path.read_text()), f"{path.stem}_{name}"
    if stem in CHOSEN:
        some = [row for row in rows if _scene(row) < SCENES]
        if path.stem.startswith("faults"):
            random.seed(1)
            random.shuffle(some)
            some = some[:FAULT_RECORDS]
        random.seed(stem)
        random.shuffle(some)
        _write(target / "temperatures" / f"{stem}.json", some[: CHOSEN[stem]], name)
    of_orders = path.stem.startswith(("rating", "score"))
    left_out = name == "wide" and (path.stem.startswith("rating_cross") or path.stem.endswith("_fr_double"))
    left_out |= name == "unseen"  # their errors are twice as large: intervals of all other images would be too wide
    if of_orders and not left_out:
        most = ORDER_SCENES["fr" if "_fr" in path.stem else "nr"]
        _write(target / "orders" / f"{stem}.json", [row for row in rows if _scene(row) < most], name)


def _scene(row: dict) -> int:
    return max(int(re.findall(r"/(\d+)_", row[role])[0]) for role in ROLES if row.get(role))


def _write(path: Path, rows: list[dict], name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    moved = [row | {role: f"{name}/{row[role]}" for role in ROLES if row.get(role)} for row in rows]
    path.write_text(json.dumps(moved))


if __name__ == "__main__":
    main(*sys.argv[1:])
