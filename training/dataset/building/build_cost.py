"""Cost of a plan before it starts: time and disk space of every set, from a rate measured on trial samples."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .factory import Sources
from .plan import Plan
from .samples import SampleMaker
from .shard import one_thread

BYTES_PER_RECORD = 900
"""About what a line of samples and its records take in text files."""


@dataclass(frozen=True)
class SetCost:
    """One set (or the references): how many, seconds for each on one core, bytes on disk for each."""

    name: str
    count: int
    seconds: float
    size: float


TRIAL, TRIAL_SECONDS = 16, 2.0
"""Samples that are tried of each set, and more until so much time went by: times of samples differ by a factor."""


def measure(plan: Plan, sources: Sources, trial: int = TRIAL, seconds: float = TRIAL_SECONDS) -> list[SetCost]:
    """Make some samples of every set in a temporary folder and measure the mean CPU time, on one core.

    CPU time does not include other work on the machine. References are measured separately: each source image is
    loaded and scaled once, however many samples use it.

    Args:
        trial: minimum number of samples of each set.
        seconds: minimum CPU time in total per set.

    Raises:
        SceneError: none of the source images can be used.
    """
    one_thread()
    rows, references, reference_bytes, reference_seconds = [], 0, 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for set_name, wanted in plan.sets.items():
            maker = SampleMaker(set_name, sources.folder, sources.names, folder, plan.seed, plan.drawing)
            maker(0, {})  # what is loaded and compiled once must not count
            known = _size(Path(folder) / "references")
            made, first, again = 0, 0.0, 0.0
            while made < trial or again < seconds:
                made += 1
                first += _seconds(maker, made)
                again += _seconds(maker, made)  # with the reference in place
            now = _size(Path(folder) / "references")
            references += now[0] - known[0]
            reference_bytes += now[1] - known[1]
            reference_seconds += max(0.0, first - again)
            _, written = _size(Path(folder) / set_name)
            rows.append(SetCost(set_name, wanted.samples, again / made, written / (made + 1) + BYTES_PER_RECORD))
    if references:
        total = sum(row.count for row in rows)
        drawn = round(len(sources.names) * (1 - (1 - 1 / len(sources.names)) ** total))  # each at least once
        rows.append(SetCost("references", drawn, reference_seconds / references, reference_bytes / references))
    return rows


def _seconds(maker: SampleMaker, index: int) -> float:
    start = time.process_time()
    maker(index, {})
    return time.process_time() - start


def table(plan: Plan, rows: list[SetCost], workers: int) -> str:
    """The planning table as text, one line for every set, with the rating sets and the total."""
    lines = [f"{'part':<24}{'samples':>10}{'ms each':>10}{f'time ({workers} cores)':>18}{'disk':>12}"]
    seconds = sum(row.count * row.seconds for row in rows)
    size = sum(row.count * row.size for row in rows)
    for row in rows:
        lines.append(_line(row.name, row.count, row.seconds, row.count * row.seconds / workers, row.count * row.size))
    for one in plan.ratings:  # images are there already
        lines.append(_line(f"rating ({one.reader})", one.pairs, None, 0.0, one.pairs * BYTES_PER_RECORD))
        size += one.pairs * BYTES_PER_RECORD
    samples = sum(wanted.samples for wanted in plan.sets.values()) + sum(one.pairs for one in plan.ratings)
    lines.append(_line("total", samples, None, seconds / workers, size))
    return "\n".join(lines)


def _line(name: str, count: int, seconds: float | None, total: float, size: float) -> str:
    each = "" if seconds is None else f"{1000 * seconds:.1f}"
    return f"{name:<24}{count:>10,}{each:>10}{_duration(total):>18}{_bytes(size):>12}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{seconds / 60:.1f} min"


def _bytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _size(folder: Path) -> tuple[int, int]:
    """(files, bytes) below a folder."""
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return len(sizes), sum(sizes)
