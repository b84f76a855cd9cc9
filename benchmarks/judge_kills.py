"""``depictqa judge`` killed again and again: no row of its table is lost, doubled or changed.

    python -m benchmarks.judge_kills --kills 20 --images 600 --out benchmarks/results/judge_kills.json

The command judges a folder of images with the bundled judge and is killed with SIGKILL at random moments: one time
after its start, the next time after it wrote the first new rows. The same command resumes. At the end its table is
compared with that of a run without kills.
"""

import argparse
import json
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.scale import make_images
from depictqa_core.bulk.parts import read_rows

TOLERANCE = 0.05
"""Points by which scores may differ between batches."""


def command(images: Path, table: Path, processes: int) -> list[str]:
    """The command that judges a folder, with small parts of its table, so that a kill falls into all stages of one."""
    words = ["judge", str(images), "--out", str(table), "--rows", "20", "--processes", str(processes)]
    return [sys.executable, "-m", "depictqa_core", *words]


def killed(words: list[str], table: Path, kills: int, longest: float) -> tuple[int, int]:
    """Run the command until it ends by itself, killing it at most ``kills`` times.

    Args:
        words: the command.
        table: where it writes.
        longest: seconds after the start, or the first new rows, at which it is killed at the latest.

    Returns:
        how often it was killed, and how often it had written new rows by then.
    """
    chance, found, writing = random.Random(0), 0, 0
    while True:
        before = stored(table)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if found < kills:
            while found % 2 and stored(table) == before and process.poll() is None:
                time.sleep(0.02)
            try:
                _, error = process.communicate(timeout=chance.uniform(0, longest))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                found += 1
                writing += stored(table) != before
                continue
        else:
            _, error = process.communicate()
        if process.returncode:
            raise SystemExit(f"depictqa judge ended with status {process.returncode}: {error}")
        return found, writing


def stored(table: Path) -> set[tuple[str, int]]:
    """The parts of a table, and when they were written."""
    return {(path.name, path.stat().st_mtime_ns) for path in table.glob("part-*")}


def odd_rows(table: Path, wanted: Path) -> int:
    """How many rows of a table are lost, doubled, out of order or changed."""
    rows, others = list(read_rows(table)), list(read_rows(wanted))
    same = sum(
        one["image"] == other["image"] and abs(one["score"] - other["score"]) <= TOLERANCE
        for one, other in zip(rows, others)
    )
    return max(len(rows), len(others)) - same


def store(path: Path, facts: dict[str, Any]) -> None:
    """Write what was measured, with the command that measured it."""
    command = shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    path.write_text(json.dumps({"command": command, **facts}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="default: 20")
    parser.add_argument("--images", type=int, default=400, help="default: 400")
    parser.add_argument("--processes", type=int, default=2, help="that judge (default: 2)")
    parser.add_argument(
        "--longest", type=float, default=5.0, help="latest kill, seconds after a start or new rows (default: 5)"
    )
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images, table, whole = (Path(folder) / name for name in ("images", "table", "whole"))
        images.mkdir()
        make_images(images, options.images)
        began = time.perf_counter()
        kills, writing = killed(command(images, table, options.processes), table, options.kills, options.longest)
        seconds = time.perf_counter() - began
        subprocess.run(command(images, whole, 1), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        odd, count = odd_rows(table, whole), len(list(read_rows(whole)))
    print(f"{kills} kills in {seconds:.0f} s, {writing} of them after new rows:", end=" ")
    print(f"{count} images, {odd} rows lost, doubled or changed")
    if options.out:
        facts = {
            "kills": kills,
            "kills_after_new_rows": writing,
            "images": count,
            "processes": options.processes,
            "odd_rows": odd,
        }
        store(options.out, {**facts, "seconds": round(seconds)})
    sys.exit(1 if odd or kills < options.kills else 0)


if __name__ == "__main__":
    main()
