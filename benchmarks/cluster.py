"""Large runs on Ray: growth with the number of workers, failures, a machine that joins, and the ratio to a local run.

    python -m benchmarks.cluster --out benchmarks/results/cluster.json

The cluster is simulated: all of it is on this machine, and a judge that waits stands for one that computes on another
machine. So this measures how work is spread, collected and repeated, not how fast a judge is. The ratio alone uses the
bundled judge.
"""

import argparse
import json
import os
import random
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.scale import make_images
from depictqa_core import load_judge
from depictqa_core.bulk.engines import Engine, LocalEngine
from depictqa_core.bulk.plan import Plan
from depictqa_core.bulk.process_engine import ProcessEngine, suitable
from depictqa_core.bulk.ray_engine import ROOT, RayEngine
from depictqa_core.bulk.run import Progress, run_on
from depictqa_core.judge import Judge
from depictqa_core.results import LabelProbability, Score
from depictqa_core.tasks import LEVELS

BATCH = 4
SMALL = 200
"""Small images, listed again and again."""


class WaitingJudge:
    """Scores by mean brightness after a wait.

    Args:
        delay: seconds for each image.
        pids: a folder for the number of its process, None for none.
    """

    backend = SimpleNamespace(limit_caches=lambda images: None, close=lambda: None)
    info: dict[str, Any] = {"name": "waiting", "version": "1", "files": {}}
    notices: Sequence[str] = ()

    def __init__(self, delay: float, pids: str | None = None):
        self._delay, self._turn = delay, threading.Lock()
        if pids:
            Path(pids, str(os.getpid())).touch()

    def score(self, images: Sequence[Any]) -> list[Score]:
        with self._turn:
            time.sleep(self._delay * len(images))
        levels = tuple(LabelProbability(level, 0.2) for level in LEVELS)
        points = [float(image.rgb.mean()) / 2.55 for image in images]
        return [Score(i.name, p, 35.0, 0.5, levels, 0.0, 100.0, "levels", 1.0) for i, p in zip(images, points)]


class Clock:
    """Remembers when images were done."""

    def __init__(self) -> None:
        self._done: list[tuple[float, int]] = []

    def __call__(self, progress: Progress) -> None:
        self._done.append((time.perf_counter(), progress.done))

    def rate(self, start: float = 0.1, end: float = 0.9) -> float:
        """Images a second between two shares of the run: without the start of the workers, and the last ones.

        The slope of a line through all reports, since those of several workers come in bursts.
        """
        total, began = self._done[-1][1], self._done[0][0]
        inner = [(at - began, done) for at, done in self._done if start * total <= done <= end * total]
        return float(np.polyfit(*zip(*inner), 1)[0])

    def when(self, share: float) -> float:
        """Seconds from the first report until this share was done."""
        total = self._done[-1][1]
        return next(at for at, done in self._done if done >= share * total) - self._done[0][0]


def listed(folder: Path, count: int) -> str:
    """A list of ``count`` small images."""
    rng = np.random.default_rng(0)
    for number in range(SMALL):
        path = folder / f"{number}.png"
        if not path.exists():
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    listing = folder / f"{count}.csv"
    listing.write_text("image\n" + "".join(f"{number % SMALL}.png\n" for number in range(count)))
    return str(listing)


def timed(engine: Engine, report: Callable[[Progress], None] | None = None) -> tuple[Clock, float]:
    """Run, and return the clock and all seconds."""
    clock, began = Clock(), time.perf_counter()

    def both(progress: Progress) -> None:
        clock(progress)
        if report:
            report(progress)

    run_on(engine, both)
    return clock, time.perf_counter() - began


def loaded_together(folder: str, count: int) -> Judge:
    """Load the bundled judge; if the folder exists, wait until ``count`` processes have noted there that they did."""
    judge, notes = load_judge(), Path(folder)
    if notes.exists():
        (notes / str(os.getpid())).touch()
        while len(os.listdir(notes)) < count:
            time.sleep(0.01)
    return judge


def seconds_of_judging(engine: Engine, loaded: Path) -> float:
    """Run, and return the seconds from when the last judge was loaded until the last image was done."""
    began = ended = time.time()

    def note(progress: Progress) -> None:
        nonlocal ended
        ended = time.time()

    run_on(engine, note)
    return ended - max(began, *(path.stat().st_mtime for path in loaded.iterdir()))


def table(folder: Path) -> dict[str, bytes]:
    """The files of a table."""
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}


# ---------------------------------------------------------------------- what is measured


def growth(ray: Any, folder: Path, workers: Sequence[int], delay: float, each: int) -> list[dict]:
    """The rate with each number of workers."""
    found = []
    for count in workers:
        plan = Plan([listed(folder, each * count)], folder / f"out{count}", ("score",), batch=BATCH)
        with _cluster(ray, count), RayEngine(partial(WaitingJudge, delay), plan, count) as engine:
            clock, seconds = timed(engine)
        found.append({"workers": count, "images": each * count, "images_per_second": round(clock.rate(), 1)})
        found[-1] |= {"of_the_sum": round(clock.rate() * delay / count, 3), "seconds_with_start": round(seconds, 1)}
        print(json.dumps(found[-1]), flush=True)
    return found


def failures(ray: Any, folder: Path, workers: int, delay: float, count: int, kills: int) -> dict:
    """Workers that are killed at random, next to the same run without: is the table the same, what does it cost?"""
    plan = Plan([listed(folder, count)], folder / "local", ("score",), batch=BATCH)
    run_on(LocalEngine(WaitingJudge(0), plan), lambda progress: None)  # type: ignore[arg-type]
    chance, seconds, killed = random.Random(0), {}, 0
    with _cluster(ray, workers):
        for times in (0, kills):
            pids = folder / f"pids{times}"
            pids.mkdir()
            name = f"kills{times}"
            due = sorted(chance.uniform(0.1, 0.8) * count for _ in range(times))

            def kill(progress: Progress, due: list = due, pids: Path = pids) -> None:
                nonlocal killed
                while due and progress.done >= due[0]:
                    alive = [int(path.name) for path in pids.iterdir() if _works(path.name)]
                    if not alive:
                        return
                    os.kill(chance.choice(alive), signal.SIGKILL)
                    due.pop(0)
                    killed += 1

            plan = Plan([listed(folder, count)], folder / name, ("score",), batch=BATCH)
            with RayEngine(partial(WaitingJudge, delay, str(pids)), plan, workers) as engine:
                clock, _ = timed(engine, kill)
            seconds[times] = clock.when(1.0)
            assert table(folder / name) == table(folder / "local"), "the table differs from the local one"
    found = {"workers": workers, "images": count, "workers_killed": killed, "table_as_local": True}
    found |= {"seconds": round(seconds[0], 1), "seconds_with_kills": round(seconds[kills], 1)}
    found["lost_seconds_of_one_worker_per_kill"] = round((seconds[kills] - seconds[0]) * workers / killed, 1)
    print(json.dumps(found), flush=True)
    return found


def joining(ray: Any, folder: Path, workers: int, delay: float, count: int) -> dict:
    """A machine that joins after a third of a run that asked for more workers than there is space for."""
    from ray.cluster_utils import Cluster

    plan = Plan([listed(folder, count)], folder / "joined", ("score",), batch=BATCH)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 10**8})
    # as on a machine of its own: Ray starts one in the main thread of a process only
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--address={cluster.address}"]
    start += [f"--num-cpus={workers - 1}", f"--object-store-memory={10**8}"]
    machines: list[subprocess.Popen] = []

    def join(progress: Progress) -> None:
        if progress.done >= count / 3 and not machines:
            machines.append(subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    try:
        ray.init(cluster.address, log_to_driver=False, logging_level="error", runtime_env=_environment())
        with RayEngine(partial(WaitingJudge, delay), plan, workers) as engine:
            clock, _ = timed(engine, join)
    finally:
        ray.shutdown()
        for machine in machines:
            machine.terminate()
            machine.wait()
        cluster.shutdown()
    found = {"workers": f"1, then {workers}", "images": count}
    found["images_per_second_before"] = round(clock.rate(0.05, 0.33), 1)
    found["images_per_second_after"] = round(clock.rate(0.7, 0.95), 1)
    print(json.dumps(found), flush=True)
    return found


def ratio(ray: Any, folder: Path, images: int, rounds: int) -> dict:
    """The bundled judge on Ray next to the processes of ``depictqa judge``, as many of each; in turns.

    Whole runs, from when all judges are loaded: Ray Data starts new workers for every run, so none can be warmed up.
    """
    paths = make_images(folder, images)
    listing = folder / "large.csv"
    listing.write_text("image\n" + "\n".join(paths))
    judge = load_judge()
    processes = suitable(judge)
    rates: dict[str, list[float]] = {"local": [], "ray": []}
    tables: dict[str, dict] = {}
    for turn in range(rounds):
        for name, found in rates.items():
            plan, loaded = Plan([str(listing)], folder / f"{name}{turn}"), folder / f"loaded-{name}{turn}"
            opening = partial(loaded_together, str(loaded), processes)
            assert images >= processes * plan.batch, "every process loads its judge for its first block"
            if name == "local":
                loaded.mkdir()
                with ProcessEngine(opening, plan, processes, judge) as engine:
                    seconds = seconds_of_judging(engine, loaded)
            else:
                with _cluster(ray, os.cpu_count() or 1), RayEngine(opening, plan, processes) as engine:
                    loaded.mkdir()  # RayEngine itself has loaded a judge, which waits for no other
                    seconds = seconds_of_judging(engine, loaded)
            found.append(images / seconds)
            tables[name] = table(plan.folder)
    medians = {f"{name}_images_per_second": round(statistics.median(found), 2) for name, found in rates.items()}
    ratios = [on_ray / local for on_ray, local in zip(rates["ray"], rates["local"])]
    found = {"images": images, "processes": processes, **medians, "ray_to_local": round(statistics.median(ratios), 3)}
    found["same_bytes"] = tables["ray"] == tables["local"]
    print(json.dumps(found), flush=True)
    return found


def _works(pid: str) -> bool:
    """Tell whether a process is a worker that lives."""
    try:
        return "MapWorker" in Path("/proc", pid, "cmdline").read_text()
    except OSError:
        return False


class _cluster:
    """A cluster on this machine that takes itself to have a number of CPUs."""

    def __init__(self, ray: Any, cpus: int):
        self._ray, self._cpus = ray, cpus

    def __enter__(self) -> None:
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
        self._ray.init("local", num_cpus=self._cpus, runtime_env=_environment(), object_store_memory=2 * 10**8, **quiet)

    def __exit__(self, *error: object) -> None:
        self._ray.shutdown()


def _environment() -> dict:
    return {"env_vars": {"PYTHONPATH": str(ROOT)}}


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8], help="default: 1 2 4 8")
    parser.add_argument("--delay", type=float, default=0.05, help="seconds that the judge waits for an image")
    parser.add_argument("--each", type=int, default=240, help="images for each worker (default: 240)")
    parser.add_argument("--kills", type=int, default=20, help="workers that are killed (default: 20)")
    parser.add_argument("--images", type=int, default=320, help="for the ratio (default: 320)")
    parser.add_argument("--rounds", type=int, default=2, help="for the ratio (default: 2)")
    parser.add_argument(
        "--only", nargs="+", choices=("growth", "failures", "joining", "ratio"), help="measure these parts"
    )
    parser.add_argument("--out", type=Path, help="a JSON file to write; parts that are not measured stay")
    options = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_worker_niceness", "0")  # as a local run has; 15 would wait for other work
    import ray

    most = max(options.workers)
    found: dict[str, Any] = {"batch": BATCH, "cores": len(os.sched_getaffinity(0))}
    if options.only != ["ratio"]:
        found["delay"] = options.delay
    parts: dict[str, Callable[[Path], Any]] = {
        "growth": lambda folder: growth(ray, folder, options.workers, options.delay, options.each),
        "failures": lambda folder: failures(ray, folder, most, options.delay, 2 * most * options.each, options.kills),
        "joining": lambda folder: joining(ray, folder, 4, options.delay, 4 * options.each),
        "ratio": lambda folder: ratio(ray, folder, options.images, options.rounds),
    }
    parts = {name: measured for name, measured in parts.items() if name in (options.only or parts)}
    command = shlex.join(["python", "-m", "benchmarks.cluster", *sys.argv[1:]])
    if options.out and options.out.exists():
        found = {**json.loads(options.out.read_text()), **found}
    with tempfile.TemporaryDirectory() as name:
        for part, measured in parts.items():
            found[part] = measured(Path(name))
            found["commands"] = {**found.get("commands", {}), part: command}
            if options.out:  # what was measured stays if a later part fails
                options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
