"""The command ``benchmark`` of ``python -m training``."""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from depictqa_core.chat.endpoint import is_address, origin_of
from depictqa_core.cli.server import add_server, server_options
from depictqa_core.errors import TaskError

from ..dataset.command_options import whole_number_from

OUTPUT = "benchmark_results"
BUNDLED = "bundled"


def add_benchmark(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark``."""
    parser.epilog = "benchmark list: the sets, where to download them, and their terms."
    parser.add_argument("name", metavar="NAME", help="a set; 'list' for all sets; 'report' for the table of a folder")
    parser.add_argument("folder", nargs="?", help="with report: the folder of results")
    parser.add_argument("--root", help="folder of the set in its native layout")
    parser.add_argument("--output", default=OUTPUT, help=f"folder of results (default: {OUTPUT})")
    about = "checkpoint or model folder, MODEL@ADDRESS or an address with --model, or 'bundled'; NAME=JUDGE names it"
    parser.add_argument("--judge", nargs="+", action="extend", metavar="JUDGE", help=f"{about} (default: bundled)")
    parser.add_argument(
        "--metric", nargs="+", action="extend", metavar="NAME", help="classical metrics (default: all that run here)"
    )
    parser.add_argument("--no-metrics", action="store_true", help="do not compute classical metrics")
    parser.add_argument("--no-judge", action="store_true", help="compute classical metrics alone")
    parser.add_argument("--split", help="a split of the set, or 'all' (default: test where the set has it, else all)")
    parser.add_argument("--no-reference", action="store_true", help="hide the references of rated images")
    parser.add_argument(
        "--pairs",
        type=whole_number_from(0),
        default=0,
        help="also compare this many pairs of rated images, the same ones for every judge",
    )
    parser.add_argument("--limit", type=whole_number_from(1), help="maximum number of items, drawn evenly")
    parser.add_argument("--seed", type=whole_number_from(0), default=0, help="of all draws (default: 0)")
    parser.add_argument(
        "--resamples", type=whole_number_from(0), default=1000, help="of the bootstrap (default: 1000; 0: no intervals)"
    )
    parser.add_argument("--grader", metavar="MODEL", help="a model at DEPICTQA_API_BASE that scores descriptions")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-published", action="store_true", help="with report: without the figures of others")
    add_server(parser)
    parser.set_defaults(run=_benchmark, resumes=True)


def _benchmark(arguments: argparse.Namespace) -> int:
    from .report import report
    from .sets import Options, known, open_set

    if arguments.name == "list":
        for name, origin in known().items():
            print(f"{name}: {origin}")
        return 0
    if arguments.name == "report":
        print(report(arguments.folder or arguments.output, published=not arguments.no_published), end="")
        return 0
    if arguments.folder is not None:
        raise TaskError(f"'{arguments.folder}': give the folder of the set by --root {arguments.folder}")
    if arguments.name not in known():
        raise TaskError(f"unknown set '{arguments.name}': choose one of {', '.join(known())}, or list, or report")
    if arguments.root is None:
        raise TaskError(f"give the folder of the set by --root FOLDER: {known()[arguments.name]}")
    options = Options(
        split=arguments.split,
        reference=not arguments.no_reference,
        pairs=arguments.pairs,
        limit=arguments.limit,
        seed=arguments.seed,
    )
    _check_options(arguments)
    return _run(arguments, open_set(arguments.name, arguments.root, options))


def _check_options(arguments: argparse.Namespace) -> None:
    """Raise TaskError for an option that the set does not have."""
    from ..dataset.readers import READERS
    from .sets import SPLIT_SETS

    rated = arguments.name in READERS
    for option, given, allowed in (
        ("--pairs", arguments.pairs, rated),
        ("--no-reference", arguments.no_reference, rated),
        ("--split", arguments.split, rated or arguments.name in SPLIT_SETS),
    ):
        if given and not allowed:
            raise TaskError(f"{option} is for rating sets; leave it out for {arguments.name}")


def _run(arguments: argparse.Namespace, works: list) -> int:
    from depictqa_core.chat.client import Client
    from depictqa_core.chat.endpoint import MODEL, Endpoint
    from depictqa_core.metrics import registry

    from .report import NAMES
    from .run import run
    from .summaries import RunOptions

    grader = None
    if arguments.grader:
        grader = Client(Endpoint.from_environment({**os.environ, MODEL: arguments.grader}))
    metrics = [] if arguments.no_metrics else registry.chosen(arguments.metric, True)
    judges = [] if arguments.no_judge else [_contender(name, arguments) for name in arguments.judge or [BUNDLED]]
    options = RunOptions(arguments.resamples, arguments.seed, grader)
    summaries = run(works, judges, metrics, arguments.output, options)
    for one in summaries:
        value = one["values"].get(one["headline"])
        shown = "no value" if value is None else f"{value:.3f}"
        counted = f"n {one['count']}, failed {one['failed']}"
        print(f"{one['title']} ({one['part']}): {one['judge']}: {NAMES[one['headline']]} {shown} ({counted})")
    if not summaries:
        raise TaskError("nothing was measured: no judge and no metric can answer this set")
    print(f"written: {arguments.output}; the table: python -m training benchmark report {arguments.output}")
    return 0


def _contender(text: str, arguments: argparse.Namespace) -> Any:
    """A judge of the command line: a folder, an address, 'bundled' or the judge of another package."""
    from .run import Contender

    label, what = _named(text)
    model, _, address = what.partition("@")
    if is_address(address):
        return Contender(label or f"{model}@{origin_of(address)}", _served(address, model, arguments))
    if is_address(what):
        name = label or f"{arguments.model}@{origin_of(what)}"
        return Contender(name, _served(what, arguments.model, arguments))
    folder = Path(what) if os.path.isdir(what) else None
    return Contender(label or (folder.resolve().name if folder else what), _local(what, arguments.device), folder)


def _named(text: str) -> tuple[str | None, str]:
    """Split NAME=JUDGE, where there is no folder of the whole name."""
    label, sign, what = text.partition("=")
    if sign and what and not os.path.exists(text) and re.fullmatch(r"[\w.+ -]+", label):
        return label, what
    return None, text


def _local(what: str, device: str) -> Callable[[], Any]:
    def load() -> Any:
        from depictqa_core.judge import load_judge

        return load_judge(what, device)

    return load


def _served(address: str, model: str | None, arguments: argparse.Namespace) -> Callable[[], Any]:
    def load() -> Any:
        from depictqa_core.judge import load_judge

        return load_judge(address, **{**server_options(arguments), "model": model})

    return load
