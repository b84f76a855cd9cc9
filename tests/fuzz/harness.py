"""What the fuzzers share: damage, the loop over seeded cases, and the watch over it.

A case is right if it is accepted or ends in the error family (``DepictQAError``). Any other exception is a fault, so
is a case that takes longer than ``LIMIT`` seconds of processor time, or one that hangs.
"""

import argparse
import copy
import faulthandler
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from depictqa_core.errors import DepictQAError

LIMIT = 5.0
"""Seconds of processor time for one case."""
HANG = 600
"""Seconds after which a process that does not finish a case is ended; machines are shared, so more than ``LIMIT``."""

Case = Callable[[random.Random], float | None]
"""One case: raises DepictQAError for what it refuses, and returns by what factor the limit is higher, if it is."""


@dataclass
class Outcome:
    """What became of some cases; faults are (number of the case, what happened)."""

    counts: Counter = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)
    slowest: float = 0.0


def run(case: Case, numbers: range, seed: int, progress: Callable[[int], None] = lambda number: None) -> Outcome:
    """Try the cases of some numbers; a case depends on (seed, number) alone."""
    outcome = Outcome()
    for number in numbers:
        progress(number)
        faulthandler.dump_traceback_later(HANG, exit=True)
        start, allowed = time.process_time(), LIMIT
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                allowed *= case(random.Random(f"{seed} {number}")) or 1
            outcome.counts["accepted"] += 1
        except DepictQAError as error:
            outcome.counts["refused"] += 1
            if "\n" in str(error) or not str(error):
                outcome.faults.append((number, f"a message that is not one line: {str(error)!r}"))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # panics of libraries in Rust are no Exceptions
            outcome.faults.append((number, traceback.format_exc()))
        taken = time.process_time() - start
        outcome.slowest = max(outcome.slowest, taken)
        if taken > allowed:
            outcome.faults.append((number, f"took {taken:.1f} s of processor time"))
    faulthandler.cancel_dump_traceback_later()
    return outcome


def command(module: str, make: Callable[[Path], Case]) -> int:
    """The command line of a fuzzer; returns the exit status.

    Cases run in processes of their own, so that a hang or a crash of a library costs one case.

    Args:
        module: its name, as in ``python -m``.
        make: makes the case function, with a folder to write into.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--cases", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case (default: 0)")
    parser.add_argument("--worker", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return _work(options, make)
    total, number, end = Outcome(), options.first, options.first + options.cases
    while number < end:
        with tempfile.TemporaryDirectory() as folder:
            notes = Path(folder) / "notes"
            arguments = ["--cases", end - number, "--seed", options.seed, "--first", number, "--worker", notes]
            process = subprocess.run([sys.executable, "-m", module, *map(str, arguments)], capture_output=True)
            lines = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
        for line in lines:
            if "counts" in line:
                total.counts.update(line["counts"])
                total.faults += [tuple(fault) for fault in line["faults"]]
                total.slowest = max(total.slowest, line["slowest"])
        begun = max((line["begun"] for line in lines if "begun" in line), default=number)
        if process.returncode:
            tail = process.stderr.decode(errors="replace")[-3000:]
            total.faults.append((begun, f"the process ended with status {process.returncode}: {tail}"))
        number = begun + 1
    for fault, what in total.faults:
        print(f"case {fault} of seed {options.seed}: {what}")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(total.counts.items()))
    print(f"{module}: {options.cases} cases: {counts}; {len(total.faults)} faults; slowest {total.slowest:.2f} s")
    return bool(total.faults)


CHUNK = 50
"""Cases after which a process notes what became of them."""


def _work(options, make: Callable[[Path], Case]) -> int:
    with tempfile.TemporaryDirectory() as folder, open(options.worker, "a", buffering=1) as notes:
        case = make(Path(folder))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        end = options.first + options.cases
        for start in range(options.first, end, CHUNK):
            numbers = range(start, min(end, start + CHUNK))
            outcome = run(case, numbers, options.seed, lambda number: notes.write(f'{{"begun": {number}}}\n'))
            line = {"counts": outcome.counts, "faults": outcome.faults, "slowest": outcome.slowest}
            notes.write(json.dumps(line) + "\n")
    return 0


# ---------------------------------------------------------------------- damage


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes with up to four kinds of damage: flipped bits, other bytes, cuts, zeros, repeats, foreign bytes."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        place = rng.randrange(len(data) + 1)
        if rng.random() < 0.4:
            place = min(place, rng.randrange(64))  # headers say more than bodies
        length = rng.choice((1, 2, 4, 16, 256))
        match rng.randrange(8):
            case 0 if data:
                data[place % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[place % len(data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del data[place:]
            case 3:
                data[place : place + length] = bytes(len(data[place : place + length]))
            case 4:
                data[place:place] = data[place : place + length]
            case 5:
                data[place : place + length] = rng.randbytes(length)
            case 6:
                del data[place : place + length]
            case _:
                data[place : place + 4] = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, 65536)).to_bytes(
                    4, rng.choice(["little", "big"])
                )
    return bytes(data)


def deep(levels: int):
    """Lists inside one another."""
    value = []
    for _ in range(levels):
        value = [value]
    return value


ODD = (
    *(None, True, False, 0, -1, 1, 3, 0.5, 1e9, -1e308, 2**31, 2**63, 10**30, float("nan"), float("inf")),
    *("", " ", "x", "1e9", "none", "x" * 5000, "../../etc/passwd", "/etc/passwd", "/dev/zero", "a\0b", "\ud800", "\n"),
    *("日本語", "<img src=x>", "*", "**/*", "(a+)+$", "~"),
    *([], {}, [1], ["x"], [None], {"x": 1}, {"": None}, [[]], [{}], {"kind": "clip"}, deep(30), deep(200)),
)
"""Values that somebody may have put where another one belongs."""


def damaged_value(value, rng: random.Random):
    """A copy of settings with one or more values replaced, left out, renamed, repeated or added."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        inside = [one for one in _containers(value) if one]
        if not inside or rng.random() < 0.02:
            return copy.deepcopy(rng.choice(ODD))
        place = rng.choice(inside)
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        match rng.randrange(6):
            case 0:
                del place[key]
            case 1 if isinstance(place, dict):
                place[rng.choice((key + "x", key[:-1], "", "x" * 300, key.upper()))] = place.pop(key)
            case 2 if isinstance(place, list):
                place.extend([place[key]] * rng.choice((1, 3)))
            case 3 if isinstance(place[key], (int, float)):
                place[key] = place[key] * rng.choice((-1, 0, 0.5, 10, 10**9))
            case _:
                place[key] = copy.deepcopy(rng.choice(ODD))
    return value


def _containers(value) -> list:
    """Every dict and list inside a value, and the value itself."""
    found = [value] if isinstance(value, (dict, list)) else []
    for place in found:  # which grows meanwhile
        inside = place.values() if isinstance(place, dict) else place
        found += [one for one in inside if isinstance(one, (dict, list))]
    return found
