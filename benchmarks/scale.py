"""Rates and memory of large runs: ``depictqa judge`` next to the bare judge, one core next to two, and duplicates.

    python -m benchmarks.scale --images 400 --out benchmarks/results/scale.json

All figures of one call come from one run, in turns, so that their ratios hold on a busy machine too. "CPU" is the time
that the process used on all cores together; it does not depend on what else runs.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 1024
HASHES = 100_000
SAMPLES = Path(__file__).parents[1] / "workflows" / "samples"


def make_images(folder: Path, count: int) -> list[str]:
    """JPEG files of SIDE x SIDE pixels, no two of them equal."""
    rng = np.random.default_rng(0)
    sources = [Image.open(path).convert("RGB").resize((SIDE, SIDE)) for path in sorted(SAMPLES.glob("*.jpg"))]
    paths = []
    for number in range(count):
        noise = rng.integers(-6, 7, (SIDE, SIDE, 1))
        pixels = np.clip(np.asarray(sources[number % len(sources)], np.int16) + noise, 0, 255).astype(np.uint8)
        paths.append(str(folder / f"{number:06d}.jpg"))
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


# ---------------------------------------------------------------------- what child processes measure


def bare(paths: list[str]) -> dict:
    """The judge alone on images that are in memory."""
    from depictqa_core import load_judge
    from depictqa_core.images.image import as_image
    from depictqa_core.runtime.threads import keep_freed_memory

    keep_freed_memory()
    judge = load_judge()
    judge.score(as_image(paths[0]))
    images = [as_image(path) for path in paths]
    for image in images:
        image.key  # noqa: B018
    began = time.perf_counter(), time.process_time()
    for start in range(0, len(images), 32):
        judge.score(images[start : start + 32])
        judge.identify(images[start : start + 32])
    return _figures(len(images), *began)


def whole(folder: str, repeats: int) -> dict:
    """``depictqa judge`` from files, without the time that loading the model takes."""
    from depictqa_core import load_judge
    from depictqa_core.bulk.plan import Plan
    from depictqa_core.bulk.run import run
    from depictqa_core.runtime.threads import keep_freed_memory

    keep_freed_memory()
    judge = load_judge()
    paths = sorted(str(path) for path in Path(folder).glob("*.jpg"))
    judge.score(paths[0])
    with tempfile.TemporaryDirectory() as out:
        listing = Path(out) / "list.csv"
        listing.write_text("image\n" + "\n".join(paths * repeats))
        began = time.perf_counter(), time.process_time()
        run(judge, Plan([str(listing)], Path(out) / "table"), lambda progress: None)
        found = _figures(len(paths) * repeats, *began)
        stored = sum(path.stat().st_size for path in (Path(out) / "table").glob("part-*"))
        return {**found, "table_bytes_per_image": round(stored / found["images"])}


def duplicates(count: int) -> dict:
    """Near duplicates among hashes: random ones, some with the long even stretches of real images, a tenth copies."""
    from depictqa_core.culling.selection import NEAR_BITS
    from depictqa_core.images.fingerprint import HashIndex

    chance = random.Random(0)
    codes = [chance.getrandbits(128) for _ in range(count // 2)]
    for _ in range(count - len(codes)):
        code, bit = 0, 0
        for place in range(128):
            bit ^= chance.random() < 0.25
            code |= bit << place
        codes.append(code)
    for place in range(0, count, 10):
        codes[place] = codes[(place + 1) % count] ^ 1 << chance.randrange(128)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter(), time.process_time()
    index, found = HashIndex(NEAR_BITS), 0
    for number, code in enumerate(f"{code:032x}" for code in codes):
        if index.first(code) is None:
            index.add(code, str(number))
        else:
            found += 1
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {**_figures(count, *began), "near_duplicates": found, "index_mib": round(memory / 1024)}


def _figures(images: int, wall: float, cpu: float) -> dict:
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "images": images,
        "seconds": round(wall, 2),
        "images_per_second": round(images / wall, 2),
        "cpu_ms_per_image": round(1000 * cpu / images, 3),
        "peak_mib": round(peak),
    }


# ---------------------------------------------------------------------- turns


def child(call: str, cores: int | None = None) -> dict:
    """Run one measurement in a process of its own, on this number of cores."""
    source = f"import json, benchmarks.scale as scale; print(json.dumps(scale.{call}))"
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(cores)} if cores else {})}
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    done = subprocess.run(
        [sys.executable, "-c", source],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, chosen),
    )
    return json.loads(done.stdout)


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400, help="image files (default: 400)")
    parser.add_argument(
        "--memory", type=int, default=0, metavar="N", help="also the memory of runs over N/20 and N images"
    )
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = make_images(Path(folder), options.images)
        found = {
            "side": SIDE,
            "bytes_per_image": round(sum(os.path.getsize(path) for path in paths) / len(paths)),
            "bare, all cores": child(f"bare({paths[: min(96, len(paths))]!r})"),
            "judge, all cores": child(f"whole({folder!r}, 1)"),
            "judge, one core": child(f"whole({folder!r}, 1)", 1),
            "duplicates, one core": child(f"duplicates({HASHES})", 1),
        }
        if options.memory:
            for images in (options.memory // 20, options.memory):
                repeats = max(1, images // options.images)
                found[f"judge, {repeats * options.images} images"] = child(f"whole({folder!r}, {repeats})")
    rate = {name: facts["images_per_second"] for name, facts in found.items() if isinstance(facts, dict)}
    found["ratios"] = {
        "judge to bare": round(rate["judge, all cores"] / rate["bare, all cores"], 3),
        "all cores to one": round(rate["judge, all cores"] / rate["judge, one core"], 3),
        "cores": len(os.sched_getaffinity(0)),
    }
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
