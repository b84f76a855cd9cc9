"""``depictqa study``: people compare pairs of images in a browser; and what such a study has found."""

import argparse
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DepictQAError, ImageError, PackageError, TaskError
from ..reports import text_table
from ..reports.progress import ProgressBar
from ..storage.files import locked, readable_file_errors, write_file
from .inputs import opening
from .outputs import check_outputs, complain, notify
from .server import add_server
from .values import Verbs, file_name, json_file, names, number, whole

if TYPE_CHECKING:
    from ..study.evaluation import Opinion, Person
    from ..study.votes import Plan, Record

QUESTION = "Which image has the better quality?"


def add_study(verbs: Verbs) -> None:
    """Add the command to those of ``depictqa``."""
    more = (
        "depictqa study FOLDER runs a study until Ctrl-C; the same command resumes it. depictqa study --report VOTES"
        " evaluates it. docs/study.md has the whole way."
    )
    verb = verbs.add_parser("study", help="let people compare images in a browser, and compare judges", epilog=more)
    verb.add_argument(
        "folders",
        nargs="*",
        metavar="FOLDER",
        help="one folder: any two of its images are compared; several: images with the same file name are",
    )
    group = verb.add_argument_group("study")
    group.add_argument(
        "--votes-file", metavar="FILE", type=file_name(".jsonl"), default="study.jsonl",
        help="where votes are stored (.jsonl; default: study.jsonl)",
    )  # fmt: skip
    group.add_argument(
        "--reference", metavar="IMAGE", help="original of all images, or a folder with one for each name"
    )
    group.add_argument("--recursive", action="store_true", help="also search subfolders")
    group.add_argument("--question", default=QUESTION, metavar="TEXT", help=f"what people are asked ('{QUESTION}')")
    group.add_argument(
        "--pairs", type=whole(1, 10**6), metavar="N", help="maximum number of different pairs (default: all if few)"
    )
    group.add_argument(
        "--per-person", type=whole(1, 10_000), default=100, metavar="N", help="pairs for one person (default: 100)"
    )
    group.add_argument(
        "--checks", type=whole(0, 100), default=6, metavar="N", help="attention checks for one person (default: 6)"
    )
    group.add_argument("--both-orders", action="store_true", help="show each person each pair in both orders")
    group.add_argument("--no-ties", action="store_true", help="force a choice: no 'equally good'")
    group.add_argument("--seed", type=whole(0, 10**9), default=0, metavar="N", help="of pairs and orders (default: 0)")
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    group.add_argument("--port", type=whole(0, 65535), default=8010, help="default: 8010; 0: any free one")

    group = verb.add_argument_group("report")
    group.add_argument("--report", metavar="VOTES", help="evaluate this file of a study")
    group.add_argument(
        "--judge", action="append", default=[], metavar="CHECKPOINT",
        help="compare people with this judge: 'bundled', a folder or an address; may be given several times",
    )  # fmt: skip
    group.add_argument("--metrics", type=names, default=(), metavar="NAMES", help="and with these classical metrics")
    group.add_argument("--device", default="auto", help="for judges (default: auto)")
    group.add_argument("--dtype", default="auto", help="for judges (default: auto)")
    group.add_argument(
        "--pass-share", type=number(0, 1), default=0.75, metavar="X",
        help="people with a smaller share of attention checks right are left out (default: 0.75)",
    )  # fmt: skip
    group.add_argument("--json", nargs="?", const="-", metavar="FILE", type=json_file, help="write all numbers as JSON")
    group.add_argument("--csv", metavar="FILE", type=file_name(".csv"), help="write the votes as CSV, without names")
    group.add_argument("--markdown", metavar="FILE", type=file_name(".md"), help="write tables and a method paragraph")
    group.add_argument(
        "--preferences", metavar="FOLDER", help="add what the majority prefers as training records of a personal judge"
    )
    add_server(verb)
    verb.add_argument("--quiet", action="store_true", help="no table, no progress bar, no notices")


def study(options: argparse.Namespace) -> int:
    """Run ``depictqa study``; returns the exit status."""
    if options.report is not None:
        if options.folders:
            raise TaskError("--report evaluates a study that has its images already; leave the folders out")
        return _report(options)
    for name in ("judge", "metrics", "json", "csv", "markdown", "preferences"):
        if getattr(options, name):
            raise TaskError(f"--{name} belongs to --report VOTES")
    if not options.folders:
        raise TaskError("name a folder of images to run a study, or --report VOTES to evaluate one")
    return _run(options)


# ---------------------------------------------------------------------- running one


def _run(options: argparse.Namespace) -> int:
    try:
        from ..serving import process
        from ..serving.access import KEY, key_of
        from ..study.app import build_study
        from ..study.session import Session, plan_trials, require_resumable
        from ..study.votes import read_record, require_same, write_plan
    except ImportError as error:
        raise PackageError(f"depictqa study needs more packages: pip install starlette uvicorn ({error})") from None
    votes, key = Path(options.votes_file), key_of()
    address = process.Address(options.host, options.port, 5)
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(process.bound(address, key))
        with readable_file_errors(votes):
            stack.enter_context(locked(votes.with_name(f"{votes.name}.running"), wait=False))
        plan = _plan(options, votes)
        if votes.exists():
            record = read_record(votes)
            require_same(record.plan, plan, votes)
            require_resumable(record, votes)
        else:
            write_plan(votes, plan)
            record = read_record(votes)
        app = build_study(Session(votes, record), key)
        with contextlib.suppress(KeyboardInterrupt):  # how the server ends
            if not options.quiet:
                link = address.url(listening.getsockname()[1]).removesuffix("v1")
                resumed = (
                    f"resumed with {len(record.people)} people and {len(record.votes)} votes; " if record.people else ""
                )
                secret = f"people enter the key of {KEY}" if key else "for browsers of this machine only"
                shown = len(plan_trials(plan, 0))
                complain(
                    f"{resumed}{len(plan.images)} images, {len(plan.pairs)} pairs, {shown} comparisons for each person"
                )
                complain(f"study at {link} ({secret}); votes in {votes}; Ctrl-C ends it")
            process.server(app, address.grace).run(sockets=[listening])
    notify(options, [f"votes are in {votes}; evaluate them with: depictqa study --report {votes}"])
    return 0


def _plan(options: argparse.Namespace, votes: Path) -> "Plan":
    from ..study.design import design_pairs
    from ..study.images import collect_images
    from ..study.votes import Plan

    with ProgressBar("checking", "images", options.quiet) as bar:
        found = collect_images(options.folders, votes, options.reference, options.recursive, bar)
    for failure in found.failures:
        complain(f"{failure.picture}: {failure.error}")
    notify(options, found.notices)
    if len(found.images) < 2:
        raise ImageError("fewer than two images can be shown; a study needs at least two")
    return Plan(
        " ".join(options.question.split()) or QUESTION,
        found.images,
        found.references,
        tuple(design_pairs(found.groups, options.pairs, options.seed)),
        options.per_person,
        options.checks,
        options.both_orders,
        not options.no_ties,
        options.seed,
    )


# ---------------------------------------------------------------------- evaluating one


def _report(options: argparse.Namespace) -> int:
    from ..study import export
    from ..study.evaluation import check_people, evaluate
    from ..study.votes import read_record

    votes = Path(options.report)
    check_outputs(options, [options.report])
    record = read_record(votes)
    people = check_people(record, options.pass_share)
    if not any(person.passed and person.votes for person in people):
        raise TaskError(f"{votes}: no votes count: {len(people)} people took part; see --pass-share")
    opinions, failed = _opinions(options, record, people, votes)
    with ProgressBar("resampling", "judges", options.quiet) as bar:
        bar.note("resampling ...")
        found = evaluate(record, opinions, options.pass_share)
    files: dict[str, str] = {}
    document = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if options.csv:
        files[options.csv] = export.votes_csv(record, people)
    if options.markdown:
        files[options.markdown] = export.markdown(found)
    if options.json not in (None, "-"):
        files[options.json] = document
    for path, content in files.items():
        with readable_file_errors(path):
            write_file(path, content)
        notify(options, [f"written: {path}"])
    if options.json == "-":
        print(document, end="")
    elif not options.quiet:
        print(export.text(found, text_table.terminal_width()))
    return 3 if failed else 0


def _opinions(
    options: argparse.Namespace, record: "Record", people: Sequence["Person"], votes: Path
) -> tuple[list["Opinion"], bool]:
    """Ask the judges and metrics, and store preferences: what needs the images. Whether one of them failed."""
    from ..metrics.registry import chosen
    from ..study.export import store_preferences
    from ..study.opinions import of_judge, of_metric, open_images

    opinions: list[Opinion] = []
    if not (options.judge or options.metrics or options.preferences):
        return opinions, False
    plan = record.plan
    metrics = chosen(options.metrics, bool(plan.references)) if options.metrics else []
    images, references = open_images(plan, votes)
    failed = False
    for name in options.judge:
        with ProgressBar("judging", "answers", options.quiet) as bar:
            bar.note("loading the model ...")
            try:
                judge = opening(_for_judge(options, name))()
                label = str(judge.info.get("name") or name)
                taken = {one.name for one in opinions}
                opinions.append(of_judge(judge, name if label in taken else label, plan, images, references, bar))
                notify(options, judge.notices)
            except DepictQAError as error:  # the others are still compared
                complain(f"{name}: {error}")
                failed = True
    for metric in metrics:
        with ProgressBar(metric.name, "images", options.quiet) as bar:
            try:
                opinions.append(of_metric(metric, plan, images, references, bar))
            except DepictQAError as error:
                complain(f"{metric.name}: {error}")
                failed = True
    if options.preferences:
        stored = store_preferences(Path(options.preferences), record, people, images, references)
        added = f"{stored.new} new, {stored.changed} changed, {stored.known} known already, {stored.total} in all"
        notify(options, [f"{options.preferences}: {added}"])
    return opinions, failed


def _for_judge(options: argparse.Namespace, checkpoint: str) -> argparse.Namespace:
    """The options with which a judge is loaded."""
    others: dict[str, Any] = {"anchors": None, "encoder": None, "compile": False, "base": None, "cache": None}
    others |= {"vllm": False, "vllm_args": None}
    return argparse.Namespace(**{**vars(options), **others, "checkpoint": checkpoint})
