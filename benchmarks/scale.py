"""Rates and memory of large runs: ``depictqa judge`` next to the bare judge, one core next to two, and duplicates.

    python -m benchmarks.scale --images 640 --out benchmarks/results/scale.json
    python -m benchmarks.scale --images 0 --memory 20000 --out benchmarks/results/scale.json

"CPU" is the time that the process used on all cores together; it does not depend on what else runs.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from PIL import Image

if TYPE_CHECKING:
    from depictqa_core import Judge
    from depictqa_core.bulk.engines import Engine

SIDE, SMALL_SIDE = 1024, 256
HASHES = 100_000
SAMPLES = Path(__file__).parents[1] / "workflows" / "samples"


def make_images(folder: Path, count: int, side: int = SIDE) -> list[str]:
    """JPEG files of side x side pixels, no two of them equal."""
    rng = np.random.default_rng(0)
    sources = [Image.open(path).convert("RGB").resize((side, side)) for path in sorted(SAMPLES.glob("*.jpg"))]
    paths = []
    for number in range(count):
        noise = rng.integers(-6, 7, (side, side, 1))
        pixels = np.clip(np.asarray(sources[number % len(sources)], np.int16) + noise, 0, 255).astype(np.uint8)
        paths.append(str(folder / f"{number:06d}.jpg"))
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


# ---------------------------------------------------------------------- what child processes measure


def bare(paths: list[str]) -> dict:
    """The judge alone on images that are in memory."""
    from depictqa_core.images.image import as_image

    judge = loaded()
    judge.score(as_image(paths[0]))
    images = [as_image(path) for path in paths]
    for image in images:
        image.key  # noqa: B018
    judge.identify(as_image(paths[0]))
    began, used = time.perf_counter(), time.process_time()
    for start in range(0, len(images), 32):
        judge.score(images[start : start + 32])
        judge.identify(images[start : start + 32])
    return _figures(len(images), time.perf_counter() - began, time.process_time() - used)


def loaded() -> "Judge":
    """Load the bundled judge as ``depictqa judge`` does."""
    from depictqa_core import load_judge
    from depictqa_core.runtime.threads import keep_freed_memory

    keep_freed_memory()
    return load_judge()


def reading(folder: str) -> dict:
    """What ``depictqa judge`` does with a file before it is judged: read, decode, check for damage, hash."""
    from depictqa_core.bulk.loading import load
    from depictqa_core.bulk.sources import items

    began, used = time.perf_counter(), time.process_time()
    count = sum(load(item).error is None for item in items([folder]))
    return _figures(count, time.perf_counter() - began, time.process_time() - used)


def whole(folder: str) -> dict:
    """``depictqa judge`` on the JPEG files of a folder, without the time that loading the model takes."""
    from depictqa_core.bulk.engines import LocalEngine, opened
    from depictqa_core.bulk.plan import Plan
    from depictqa_core.bulk.process_engine import ProcessEngine, suitable
    from depictqa_core.bulk.run import run_on
    from depictqa_core.bulk.sources import items

    samples = itertools.cycle(list(items([str(SAMPLES)])))
    with tempfile.TemporaryDirectory() as out, contextlib.ExitStack() as stack:
        plan = Plan([folder], Path(out) / "table")
        judge = opened(loaded, plan)
        engine: Engine = LocalEngine(judge, plan)
        if (processes := suitable(judge)) > 1:
            engine = stack.enter_context(ProcessEngine(loaded, plan, processes, judge))
        for _ in engine.rows(itertools.islice(samples, plan.batch * processes), 0):
            pass  # every process has loaded its judge
        used, began = _processor_seconds(), time.perf_counter()
        progress = run_on(engine, lambda progress: None)
        seconds, used = time.perf_counter() - began, _processor_seconds() - used
        stored = sum(path.stat().st_size for path in plan.folder.glob("part-*"))
        return {
            **_figures(progress.done, seconds, used),
            "processes": processes,
            "table_bytes_per_image": round(stored / progress.done),
        }


def _family() -> list[psutil.Process]:
    """This process and those that it started."""
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def _processor_seconds() -> float:
    return sum(used.user + used.system for used in (process.cpu_times() for process in _family()))


def _peak_mib() -> float:
    """Most memory that each process of this family had, added up; Linux has it in /proc."""
    peak = 0
    for process in _family():
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak += int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    return peak / 1024


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
    before = _peak_mib()
    began, used = time.perf_counter(), time.process_time()
    index, found = HashIndex(NEAR_BITS), 0
    for number, code in enumerate(f"{code:032x}" for code in codes):
        if index.first(code) is None:
            index.add(code, str(number))
        else:
            found += 1
    figures = _figures(count, time.perf_counter() - began, time.process_time() - used)
    return {**figures, "near_duplicates": found, "index_mib": round(_peak_mib() - before)}


def _figures(images: int, seconds: float, used: float) -> dict:
    return {
        "images": images,
        "seconds": round(seconds, 2),
        "images_per_second": round(images / seconds, 2),
        "cpu_ms_per_image": round(1000 * used / images, 3),
        "peak_mib": round(_peak_mib()),
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


def rates(images: int) -> dict:
    """The judge next to the bare judge, two cores next to one, reading alone, and duplicates."""
    with tempfile.TemporaryDirectory() as folder:
        paths = make_images(Path(folder), images)
        found: dict[str, Any] = {
            "side": SIDE,
            "bytes_per_image": round(sum(os.path.getsize(path) for path in paths) / len(paths)),
            "bare, all cores": child(f"bare({paths[: min(96, len(paths))]!r})"),
            "judge, all cores": child(f"whole({folder!r})"),
            "judge, one core": child(f"whole({folder!r})", 1),
            "reading, one core": child(f"reading({folder!r})", 1),
            "duplicates, one core": child(f"duplicates({HASHES})", 1),
        }
    rate = {name: facts["images_per_second"] for name, facts in found.items() if isinstance(facts, dict)}
    found["ratios"] = {
        "judge to bare": round(rate["judge, all cores"] / rate["bare, all cores"], 3),
        "all cores to one": round(rate["judge, all cores"] / rate["judge, one core"], 3),
        "cores": len(os.sched_getaffinity(0)),
    }
    return found


def memory(most: int) -> dict:
    """The judge on many small images, and on a twentieth of them."""
    found = {}
    for images in (most // 20, most):
        with tempfile.TemporaryDirectory() as folder:
            make_images(Path(folder), images, SMALL_SIDE)
            found[f"judge, {images} images of {SMALL_SIDE} px"] = child(f"whole({folder!r})")
    return found


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=int, default=640, help="image files, 0 for no rates; a multiple of 64 is fair to two processes"
    )
    parser.add_argument(
        "--memory", type=int, default=0, metavar="N", help="also the memory of runs over N/20 and N small images"
    )
    parser.add_argument("--out", type=Path, help="a JSON file to write; parts that are not measured stay")
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    command = shlex.join(["python", "-m", "benchmarks.scale", *sys.argv[1:]])
    parts = {"rates": (rates, options.images), "memory": (memory, options.memory)}
    for name, (measured, images) in parts.items():
        if images:
            old = [key for key in found if name == "memory" and f"images of {SMALL_SIDE} px" in key]
            found = {key: value for key, value in found.items() if key not in old}
            found = {**found, **measured(images), "commands": {**found.get("commands", {}), name: command}}
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
