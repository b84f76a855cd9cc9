"""``depictqa judge``: every image of folders, shards and lists, into a table that survives any interruption."""

import argparse
import contextlib
import os
import threading
from pathlib import Path

from ..bulk.parts import FORMATS, default_format
from ..bulk.run import PART_ROWS, Plan, Progress, run
from ..bulk.schema import VERBS
from ..errors import DepictQAError
from .inputs import open_judge, progress_bar
from .outputs import complain, notify
from .values import Verbs, names_of, whole

NAMED_FAILURES = 20
"""Images that could not be judged and are named on stderr; the table names all."""


def add_large_runs(verbs: Verbs, model: argparse.ArgumentParser) -> None:
    """Add the commands for large runs to those of ``depictqa``."""
    more = "The same command resumes a run that was stopped. A row is an image; docs/scale.md has the columns."
    verb = verbs.add_parser(
        "judge", help="judge any number of images into a table; can be resumed", parents=[model], epilog=more
    )
    verb.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="images, folders, patterns, .tar shards (WebDataset), .parquet tables, .csv and .jsonl lists, fsspec URLs",
    )
    verb.add_argument("--out", required=True, metavar="FOLDER", type=Path, help="folder of the table")
    verb.add_argument(
        "--verbs",
        default=tuple(VERBS),
        type=names_of(tuple(VERBS)),
        metavar="NAMES",
        help=f"what to ask, separated by commas (default: {','.join(VERBS)})",
    )
    verb.add_argument("--recursive", action="store_true", help="look into the folders inside folders as well")
    verb.add_argument("--column", metavar="NAME", help="the column of lists and tables that has the images")
    verb.add_argument(
        "--format", choices=tuple(FORMATS), help="of the table (default: parquet where pyarrow is installed, or jsonl)"
    )
    verb.add_argument(
        "--rows", type=whole(1, 10**6), default=PART_ROWS, metavar="N", help=f"rows of a file (default: {PART_ROWS})"
    )
    verb.add_argument("--quiet", action="store_true", help="no progress bar, no notices, no summary")


def judge_all(options: argparse.Namespace) -> int:
    """Run ``depictqa judge``."""
    plan = Plan(
        tuple(options.sources),
        options.out,
        options.verbs,
        options.recursive,
        options.column,
        options.format or default_format(),
        options.rows,
    )
    next(plan.items(), None)  # what does not exist is refused before the model is loaded
    with progress_bar(options, "images") as bar:
        judge = open_judge(options, bar)
    notify(options, judge.notices)
    with _Shown(plan, options.quiet) as shown:
        progress = run(judge, plan, shown)
    if not options.quiet:
        resumed = f", {progress.resumed} of them by an earlier run" if progress.resumed else ""
        failed = f", {progress.failed} could not be judged (column error)" if progress.failed else ""
        print(f"{progress.done} images in {options.out}{os.sep}part-*{resumed}{failed}")
    if progress.done == progress.failed:
        return 1
    return 3 if progress.failed else 0


class _Shown:
    """A tqdm bar with rate and time left, and the names of what could not be judged.

    The inputs are counted by a thread of its own while the first ones are judged: the time left shows once they are.
    """

    def __init__(self, plan: Plan, quiet: bool):
        from tqdm import tqdm

        self._bar = tqdm(unit=" images", disable=True if quiet else None, dynamic_ncols=True)
        self._named, self._quiet = 0, quiet
        self._stopped = threading.Event()
        self._counting = threading.Thread(target=self._count, args=(plan,), daemon=True)

    def __enter__(self) -> "_Shown":
        if not self._bar.disable:
            self._counting.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._bar.close()

    def __call__(self, progress: Progress) -> None:
        if self._bar.n == 0:
            self._bar.initial = progress.resumed  # the rate is that of this run
        self._bar.update(progress.done - self._bar.n)
        for name, error in progress.failures[: max(0, NAMED_FAILURES - self._named)]:
            with self._bar.external_write_mode():
                complain(f"{name}: {error}")
        self._named += len(progress.failures)
        if self._named > NAMED_FAILURES >= self._named - len(progress.failures):
            complain("more images could not be judged; the column error of the table names all")

    def _count(self, plan: Plan) -> None:
        count = 0
        with contextlib.suppress(DepictQAError, OSError):  # the run itself reports it
            for _ in plan.items():
                count += 1
                if self._stopped.is_set():
                    return
            self._bar.total = count
