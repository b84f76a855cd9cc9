"""Bias report: what moves the answers of a judge although the quality of the image is the same.

    python -m benchmarks.bias --photographs FOLDER [--count 16] [--checkpoint DIR] [--output runs/bias.json]

Each effect is a mean over photographs with a 95 % interval (bootstrap by photograph). "points" are those of the score:
answers after a change minus answers before it, on each photograph and on a copy of it with a distortion of severity 2.
"probability" is 0..1. The mean absolute change shows what cancels out in the mean. Parts:

order: how much more often the image that is shown first is preferred than one half, on equal images and on a clean and
    a damaged one; and what of that is left in ``compare``, which asks in both orders.
option: the answers of the question about quality, listed in reverse.
size, aspect, crop: the photograph at other short sides than 512 px, cut to other aspects of the same area than a
    square, and cut to a share of its sides. The latter two also change what is shown.
format: the same image saved in lossless formats, and in lossy ones at high quality.
profile: the same colours stored in a wider space with its ICC profile.
brightness: score against mean luma over the clean photographs: points per 64 grey levels. Dark scenes can also be worse
    photographs: this is no change of one image.
drawing: clean drawings made by program against clean photographs.
names: the same file under names in other languages, and names that speak of quality.
batch: the same image first, in the middle and last among other images, against alone.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from depictqa_core.errors import DepictQAError
from depictqa_core.judge import load_judge

from .bias_effects import PARTS, shown_of
from .ending import ended
from .everyday import SIDE, Material
from .quality import Results, named

OUTPUT = Path("runs/bias.json")


def main(argv: list[str] | None = None) -> int:
    """Measure the parts that are not in the file yet; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, metavar="FOLDER", help="pristine photographs")
    parser.add_argument("--count", type=int, default=16, help="maximum number of photographs (default: %(default)s)")
    parser.add_argument("--least", type=int, default=SIDE, help="least short side of a photograph in pixels")
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--checkpoint", help="checkpoint folder (default: the bundled one)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON file (default: %(default)s)")
    parser.add_argument("--restart", action="store_true", help="measure again what the file holds")
    arguments = parser.parse_args(argv)
    return ended(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    """Measure the parts that are not in the file, and store each."""
    material = Material(arguments.photographs, None, arguments.count, arguments.seed)
    photographs = list(material.large(arguments.least))
    if len(photographs) < 2:
        raise DepictQAError(
            f"{arguments.photographs}: fewer than two images have a short side of {arguments.least} px or more; give "
            "another folder, or a smaller --least"
        )
    judge = load_judge(arguments.checkpoint)
    settings = {
        "model": f"{judge.info.get('name')} {judge.info.get('version')}",
        "weights": judge.info.get("files", {}).get("model.safetensors", {}).get("sha256"),
        "photographs": named(arguments.photographs),
        "images": len(photographs),
        "least": arguments.least,
        "seed": arguments.seed,
    }
    parts = arguments.only or list(PARTS)
    results = Results(arguments.output, settings, parts if arguments.restart else ())
    shown = shown_of(photographs, arguments.seed)
    for name in parts:
        if name in results.parts:
            continue
        start = time.monotonic()
        found = dict(PARTS[name](judge, shown))
        results.add(name, found, command(arguments))
        for row, values in found.items():
            print(f"{name}: {row}: {json.dumps(values['effect'])} {values['unit']}", flush=True)
        print(f"  {time.monotonic() - start:.0f} s", flush=True)
    print(f"written: {arguments.output}")


def command(arguments: argparse.Namespace) -> str:
    """The command as documents have it."""
    words = ["python", "-m", "benchmarks.bias", "--photographs", named(arguments.photographs)]
    words += ["--only", *arguments.only] if arguments.only else []
    words += ["--count", str(arguments.count), "--least", str(arguments.least), "--seed", str(arguments.seed)]
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
