"""``depictqa judge``: every image of folders, shards and lists, into a table that survives any interruption."""

import argparse
import contextlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..bulk.engines import Engine, LocalEngine, opened
from ..bulk.parts import FORMATS, default_format
from ..bulk.plan import PART_ROWS, Plan
from ..bulk.process_engine import ProcessEngine, processes_for
from ..bulk.run import Progress, run_on
from ..bulk.schema import DEFAULT_VERBS, VERBS, OwnQuestion
from ..errors import DepictQAError
from ..images.image_files import AT_ONCE
from .inputs import open_judge, opening, progress_bar
from .outputs import complain, notify
from .server import vllm_arguments
from .values import Verbs, names_of, number, texts, whole

if TYPE_CHECKING:
    from ..judge import Judge

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
        default=DEFAULT_VERBS,
        type=names_of(tuple(VERBS)),
        metavar="NAMES",
        help=f"what to ask of {','.join(VERBS)} (default: {','.join(DEFAULT_VERBS)})",
    )
    verb.add_argument("--question", help="what the verb check asks; needs a vision-language model")
    verb.add_argument("--answers", type=texts, metavar="A,B", help="of check, separated by commas (default: yes,no)")
    verb.add_argument("--recursive", action="store_true", help="look into the folders inside folders as well")
    verb.add_argument("--column", metavar="NAME", help="the column of lists and tables that has the images")
    verb.add_argument(
        "--format", choices=tuple(FORMATS), help="of the table (default: parquet where pyarrow is installed, or jsonl)"
    )
    verb.add_argument(
        "--rows", type=whole(1, 10**6), default=PART_ROWS, metavar="N", help=f"rows of a file (default: {PART_ROWS})"
    )
    verb.add_argument(
        "--batch",
        type=whole(1, 10**4),
        default=AT_ONCE,
        metavar="N",
        help=f"maximum number of images judged together (default: {AT_ONCE})",
    )
    verb.add_argument("--quiet", action="store_true", help="no progress bar, no notices, no summary")
    group = verb.add_argument_group("engine")
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="this process (default), or Ray Data on the cluster at RAY_ADDRESS, or on this machine without it",
    )
    group.add_argument(
        "--processes",
        type=whole(1, 1024),
        metavar="N",
        help="with local: processes that judge, each with a model of its own (default: one on each core for a small "
        "model on the CPU and many images, otherwise 1)",
    )
    group.add_argument(
        "--actors",
        type=whole(1, 10**5),
        metavar="N",
        help="with ray: number of judges (default: one on each GPU, or on each machine without GPUs, of a small model "
        "on each core)",
    )
    group.add_argument(
        "--gpus", type=number(0, 1024), metavar="N", help="with ray: GPUs of a judge, such as 0.5 (default: 1 if any)"
    )
    verb.set_defaults(refuse=verb.error)


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
        options.batch,
        _own_question(options),
    )
    if options.engine != "ray" and (options.actors is not None or options.gpus is not None):
        options.refuse("--actors and --gpus need --engine ray")
    if options.engine != "local" and options.processes is not None:
        options.refuse("--processes needs --engine local; Ray has --actors")
    if options.processes is not None and vllm_arguments(options) is not None:
        options.refuse("--processes is for small models on the CPU; leave it out with --vllm")
    next(plan.items(), None)  # what does not exist is refused before the model is loaded
    with _engine(options, plan) as engine:
        notify(options, engine.notices)
        with _Shown(plan, options.quiet) as shown:
            progress = run_on(engine, shown)
    if not options.quiet:
        resumed = f", {progress.resumed} of them by an earlier run" if progress.resumed else ""
        failed = f", {progress.failed} could not be judged (column error)" if progress.failed else ""
        print(f"{progress.done} images in {options.out}{os.sep}part-*{resumed}{failed}")
    if progress.done == progress.failed:
        return 1
    return 3 if progress.failed else 0


def _own_question(options: argparse.Namespace) -> OwnQuestion | None:
    """What the verb check asks."""
    asked = "check" in options.verbs
    if asked and options.question is None:
        options.refuse("--verbs check needs --question")
    if not asked and (options.question is not None or options.answers is not None):
        options.refuse("--question and --answers need check in --verbs")
    return OwnQuestion(options.question, options.answers or ("yes", "no")) if asked else None


@contextlib.contextmanager
def _engine(options: argparse.Namespace, plan: Plan) -> Iterator[Engine]:
    """Open the engine that the options name, with its judge."""
    with contextlib.ExitStack() as stack:
        with progress_bar(options, "images") as bar:
            if options.engine == "ray":
                from ..bulk.ray_engine import RayEngine

                bar.note("starting Ray and loading the model ...")
                engine: Engine = stack.enter_context(RayEngine(opening(options), plan, options.actors, options.gpus))
            else:
                engine = _local(options, plan, opened(partial(open_judge, options, bar), plan), stack)
        yield engine


def _local(options: argparse.Namespace, plan: Plan, judge: "Judge", stack: contextlib.ExitStack) -> Engine:
    """Open the engine of this machine: the judge, or processes with others like it."""
    processes = options.processes or processes_for(judge, plan)
    if processes == 1:
        return LocalEngine(judge, plan)
    if getattr(judge.device, "type", None) != "cpu":
        options.refuse("--processes needs a judge on the CPU; leave it out")
    return stack.enter_context(ProcessEngine(opening(options), plan, processes, judge))


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
