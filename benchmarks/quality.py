"""Everything that is measured of the quality of a judge, in one run and one file.

    python -m benchmarks.quality --records data/reserved data/fresh --photographs data/pictures_fresh/reserved \
        --drawings data/drawings/validation [--checkpoint DIR] [--output runs/quality.json]
    python -m benchmarks.quality --photographs FOLDER --only sizes looks    # some parts
    python -m benchmarks.quality --list

Each part is stored in the file as soon as it is done; the same command resumes, and leaves out what is stored. Parts
that need a folder which is not given are left out. Shares have the number of images and a 95 % interval (Wilson).
``python -m benchmarks.figures`` writes the tables of the documents from ``benchmarks/results/quality_mini.json``: give
this file as ``--output`` for the bundled model alone.

Folders: ``--records`` takes data roots of test records, each measured on its own (``published_task``; part names begin
with the name of the folder, and "black images", which measures chance, runs only if ``--only`` names it);
``--photographs`` pristine photographs that the judge was not trained on, the larger the better; ``--drawings`` other
pristine images by style (``everyday``, ``consistency``). Drawings made by program need no folder.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from depictqa_core.errors import DepictQAError
from depictqa_core.judge import Judge, load_judge
from depictqa_core.storage.documents import read_json
from training.output_files import write_text

from . import consistency, everyday, ladders, published_task, score_ladders
from .ending import ended
from .everyday import Material
from .shares import share

OUTPUT = Path("runs/quality.json")
ONLY_NAMED = ("black images",)
"""Parts that run only if they are named."""
LADDER_IMAGES, LADDER_SIDE = 20, 256

Measure = Callable[[Judge], dict]


def parts(records: list[Path], material: Material, limit: int) -> dict[str, Measure]:
    """Name -> measurement, for all that the given folders allow.

    Args:
        records: data roots of test records.
        material: images of the other parts.
        limit: maximum number of records per set.
    """
    found: dict[str, Measure] = {}
    for root in records:
        for name, of_root in published_task.PARTS.items():
            found[f"{root.name}/{name}"] = lambda judge, root=root, of_root=of_root: of_root(judge, root, limit)
    if material.photographs:
        found["score ladders"] = lambda judge: severity_ladders(judge, material)
        found["ladders of unseen distortions"] = lambda judge: unseen_ladders(judge, material)
    for name, part in {**everyday.PARTS, **consistency.PARTS}.items():
        if needed(name, material):
            found[name] = lambda judge, name=name, part=part: table(judge, material, name, part)
    return found


def needed(name: str, material: Material) -> bool:
    """Whether a part has the folder that it needs; scales and biases are measured on what there is."""
    if name == "non-photographs":
        return material.drawings is not None
    return name in ("drawings", "speed", *consistency.PARTS) or material.photographs is not None


def table(judge: Judge, material: Material, name: str, part: everyday.Part) -> dict:
    """The rows of a part; each is printed when it is known. The random numbers of a part depend on its name alone."""
    rows = {}
    for row, values in part(judge, material, np.random.default_rng([material.seed, *name.encode()])):
        if values:
            rows[row] = values
            print(f"  {row}: {words(values)}", flush=True)
    return rows


def words(values: dict) -> str:
    """The values of a row for a terminal."""
    shown = {key: value["share"] if isinstance(value, dict) else value for key, value in values.items()}
    return ", ".join(f"{key} {value:g}" for key, value in shown.items())


def severity_ladders(judge: Judge, material: Material) -> dict:
    """SRCC of score and severity over ladders of each distortion, without a reference."""
    images = [*material.photographs_of(LADDER_SIDE, min(LADDER_IMAGES, material.count))]
    if not images:
        return {}
    means = {
        name: round(float(np.mean(values)), 4)
        for name, values in score_ladders.measure(judge, images, reference=False).items()
    }
    return {"images": len(images), "mean": round(float(np.mean(list(means.values()))), 4), "each": means}


def unseen_ladders(judge: Judge, material: Material) -> dict:
    """Rankings of ladders of twelve distortions that no training image has."""
    images = [Image.fromarray(image) for image in material.photographs_of(LADDER_SIDE, min(10, material.count))]
    if not images:
        return {}
    found = ladders.measure(judge, images)
    distances = [distance for some in found.values() for distance in some]
    return {
        "images": len(images),
        "ladders": len(distances),
        "completely in order": share(distance == 0 for distance in distances),
        "wrong pairs": sum(distances),
        "pairs": 15 * len(distances),
        "each": {name: round(float(np.mean(np.equal(some, 0))), 4) for name, some in found.items()},
    }


# ---------------------------------------------------------------------- the file


class Results:
    """The file of a table: parts that are done, and what they were made with.

    Args:
        path: JSON file; it is made when the first part is done.
        settings: what the results depend on: the model and its digest, and the settings of the run. A setting of one
            run that the file has with another value means that its parts cannot be mixed.
        again: parts to measure again. With any, a file that was made with other settings is begun again.

    Raises:
        DepictQAError: the file was made with other settings.
    """

    def __init__(self, path: Path, settings: dict, again: Sequence[str] = ()):
        self.path, self.content = path, read_json(path) if path.is_file() else _empty()
        stored = self.content["settings"]
        other = [key for key in settings if key in stored and stored[key] != settings[key]]
        if other and again:
            self.content, stored, other = (empty := _empty()), empty["settings"], []
        if other:
            raise DepictQAError(
                f"{path}: its parts were measured with another {', '.join(other)} ({stored[other[0]]}, now "
                f"{settings[other[0]]}); choose another file with --output, or measure all again with --restart"
            )
        stored.update(settings)
        for name in again:
            self.parts.pop(name, None)

    @property
    def parts(self) -> dict:
        """Name -> what was measured."""
        return self.content["parts"]

    def add(self, name: str, found: dict, command: str) -> None:
        """Store one part."""
        self.parts[name] = plain(found)
        self.content["commands"] = list(dict.fromkeys([*self.content["commands"], command]))
        write_text(self.path, json.dumps(self.content, indent=1, allow_nan=False) + "\n")


def plain(value: object) -> object:
    """Nested values as JSON has them: NumPy numbers as numbers, NaN as None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _empty() -> dict:
    return {"settings": {}, "commands": [], "parts": {}}


def settings_of(judge: Judge, arguments: argparse.Namespace) -> dict:
    """What results depend on, as `Results` compares it. Folders are named, not located: machines differ."""
    found = {
        "model": f"{judge.info.get('name')} {judge.info.get('version')}",
        "weights": judge.info.get("files", {}).get("model.safetensors", {}).get("sha256"),
        "count": arguments.count,
        "limit": arguments.limit,
        "seed": arguments.seed,
    }
    for name in ("photographs", "drawings"):
        if folder := getattr(arguments, name):
            found[name] = named(folder)
    return found


def named(folder: Path) -> str:
    """A folder as documents call it, without what is above its parent."""
    return "/".join(folder.resolve().parts[-2:])


def command(arguments: argparse.Namespace) -> str:
    """The command as documents have it: the folders, the parts and the settings of a run."""
    words = ["python", "-m", "benchmarks.quality"]
    words += ["--records", *map(named, arguments.records)] if arguments.records else []
    for name in ("photographs", "drawings"):
        folder = getattr(arguments, name)
        words += [f"--{name}", named(folder)] if folder else []
    words += ["--only", *arguments.only] if arguments.only else []
    words += ["--count", str(arguments.count), "--limit", str(arguments.limit), "--seed", str(arguments.seed)]
    return shlex.join(words)


def chosen(names: list[str], only: list[str] | None) -> list[str]:
    """The parts whose names, with or without that of their data root, begin with one of some words."""
    if not only:
        return [name for name in names if not name.endswith(ONLY_NAMED)]
    return [name for name in names if any(name.startswith(w) or name.split("/")[-1].startswith(w) for w in only)]


def main(argv: list[str] | None = None) -> int:
    """Measure what is not measured yet; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--records", nargs="+", type=Path, default=[], metavar="ROOT", help="data roots of test records"
    )
    parser.add_argument("--photographs", type=Path, metavar="FOLDER")
    parser.add_argument("--drawings", type=Path, metavar="FOLDER")
    parser.add_argument("--checkpoint", help="checkpoint folder (default: the bundled one)")
    parser.add_argument("--only", nargs="+", metavar="PART", help="measure only parts that begin with one of these")
    parser.add_argument("--count", type=int, default=40, help="images in a row (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=1000, help="maximum number of records per set")
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON file (default: %(default)s)")
    parser.add_argument("--restart", action="store_true", help="measure parts again that the file holds")
    parser.add_argument("--list", action="store_true", help="print the names of the parts that the folders allow")
    arguments = parser.parse_args(argv)
    material = Material(arguments.photographs, arguments.drawings, arguments.count, arguments.seed)
    available = parts(arguments.records, material, arguments.limit)
    names = chosen(list(available), arguments.only)
    if arguments.list:
        print("\n".join(available))
        return 0
    if not names:
        parser.error("no part is left: give --records, --photographs or --drawings, and see --list")
    return ended(lambda: measure(names, available, arguments))


def measure(names: list[str], available: dict[str, Measure], arguments: argparse.Namespace) -> None:
    """Measure the parts that are not in the file, and store each."""
    judge = load_judge(arguments.checkpoint)
    results = Results(arguments.output, settings_of(judge, arguments), names if arguments.restart else ())
    for number, name in enumerate(names, 1):
        if name in results.parts:
            print(f"[{number}/{len(names)}] {name}: done before", flush=True)
            continue
        print(f"[{number}/{len(names)}] {name}", flush=True)
        start = time.monotonic()
        found = available[name](judge)
        if not found:
            print("  left out: no image is large enough")
            continue
        results.add(name, found, command(arguments))
        if "/" in name or "ladders" in name:  # the others have printed their rows
            print(json.dumps(plain(found), indent=1))
        print(f"  {time.monotonic() - start:.0f} s", flush=True)
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    sys.exit(main())
