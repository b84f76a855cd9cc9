"""The commands ``evaluate`` and ``calibrate`` of ``python -m training``."""

import argparse
import json
import os
import sys
from pathlib import Path

from depictqa_core.chat.endpoint import is_address
from depictqa_core.cli.server import add_server, server_options
from depictqa_core.errors import TaskError


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Options of ``evaluate``."""
    parser.add_argument("checkpoint", help="checkpoint or model folder, address of a server, or 'bundled'")
    parser.add_argument("records", nargs="*", help="test files in the published format")
    _add_common(parser)
    parser.add_argument("--output", required=True, help="folder for answers, results.json and report.html")
    voting = "opinions by reference; a record file with pairs of all its images votes on them, else all pairs"
    parser.add_argument("--voting", action="append", default=[], metavar="FILE", help=f"{voting} (may be repeated)")
    parser.add_argument(
        "--no-reference", action="store_true", help="compare all pairs of --voting without the reference"
    )
    parser.add_argument("--no-swap", action="store_true", help="compare pairs in one order only, in half the time")
    parser.add_argument("--no-metrics", action="store_true", help="do not compute the classical metrics")
    at = "at DEPICTQA_API_BASE"
    parser.add_argument(
        "--peer-model",
        action="append",
        default=[],
        metavar="MODEL",
        help=f"what answers as a peer (may be repeated): a model {at} by its name, the folder of a judge, 'bundled', "
        "or MODEL@ADDRESS for a judge on a server",
    )
    parser.add_argument("--judge-model", metavar="MODEL", help=f"a model {at} that scores detailed answers")
    parser.add_argument(
        "--judge-version", choices=("v2", "v1"), default="v2", help="version of its prompt (default: v2)"
    )
    parser.set_defaults(run=_evaluate, resumes=True)


def add_calibrate(parser: argparse.ArgumentParser) -> None:
    """Options of ``calibrate``."""
    where = "its folder (of a server, --settings) gets the calibration"
    parser.add_argument("checkpoint", help=f"checkpoint or model folder, address of a server, or 'bundled'; {where}")
    parser.add_argument("records", nargs="+", help="test files of images that the checkpoint was not trained on")
    _add_common(parser)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=("temperatures", "orders", "scores"),
        default=("temperatures", "orders", "scores"),
        help="what to fit (default: all that the records cover)",
    )
    parser.add_argument(
        "--clean-share",
        type=_share,
        default=0.5,
        help="share of clean images among those that will be judged, for which probabilities and scores hold"
        " (default: 0.5; 'records': that of the records)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the fit, and change nothing")
    parser.set_defaults(run=_calibrate)


def _share(text: str) -> float | None:
    if text == "records":
        return None
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a number between 0 and 1 nor 'records'")
    return share


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", required=True, help="folder that the image paths are relative to")
    parser.add_argument("--task", help="published task type of all records, such as quality_single_A_noref")
    parser.add_argument("--device", default="auto")
    add_server(parser)
    parser.add_argument("--base", metavar="FOLDER", help="base model of an adapter (default: as the adapter states)")


def _evaluate(arguments) -> int:
    from depictqa_core.judge import load_judge

    from .evaluate import Extras, evaluate_sets
    from .sets import read_set
    from .voting import all_pairs, covers, read_truth

    sets = [read_set(path, arguments.root, arguments.task) for path in arguments.records]
    truths = {Path(path).stem: read_truth(path) for path in arguments.voting}
    for name, truth in truths.items():
        if not any(covers(test_set, truth) for test_set in sets):
            sets.append(all_pairs(name, truth, arguments.root, reference=not arguments.no_reference))
    if not sets:
        raise TaskError("evaluate: give record files, or --voting with a file of opinions")
    extras = Extras(
        metrics=not arguments.no_metrics,
        models=[_client(model) for model in arguments.peer_model if not _is_judge(model)],
        judges={name: _peer(name, arguments) for name in arguments.peer_model if _is_judge(name)},
        grader=_client(arguments.judge_model) if arguments.judge_model else None,
        version=arguments.judge_version,
        truths=truths,
        swap=not arguments.no_swap,
    )
    judge = load_judge(arguments.checkpoint, arguments.device, base=arguments.base, **server_options(arguments))
    sets = _supported(judge, sets)
    results = evaluate_sets(judge, sets, arguments.output, extras, _place(arguments.checkpoint))
    print(json.dumps({name: _headline(result) for name, result in results["sets"].items()}, indent=1))
    print(f"written: {arguments.output}/results.json and {arguments.output}/report.html", file=sys.stderr)
    return 0


def _place(checkpoint: str) -> str:
    """How the report calls a checkpoint: the path of its folder, or the address without what could be a secret."""
    if not is_address(checkpoint):
        from depictqa_core.loading.checkpoint_folder import checkpoint_folder

        return str(checkpoint_folder(checkpoint).resolve())
    from urllib.parse import urlsplit

    parts = urlsplit(checkpoint)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def _supported(judge, sets: list) -> list:
    """Return the sets that the checkpoint supports; report the others on stderr."""
    known, kept = set(judge.backend.capabilities.tasks), []
    for test_set in sets:
        if unknown := sorted(test_set.tasks - known):
            print(f"left out {test_set.name}: not supported by the checkpoint: {', '.join(unknown)}", file=sys.stderr)
        else:
            kept.append(test_set)
    if not kept:
        raise TaskError(f"none of these tasks is supported by the checkpoint; it supports {', '.join(sorted(known))}")
    return kept


def _is_judge(peer: str) -> bool:
    """Whether a peer is a judge, with probabilities; else it is the name of a model that answers in words."""
    return peer == "bundled" or os.path.isdir(peer) or is_address(peer.partition("@")[2])


def _peer(name: str, arguments: argparse.Namespace):
    """Load a judge as a peer; one on a server is used as the options for servers say, with the model of its name."""
    from depictqa_core.judge import load_judge

    model, _, address = name.partition("@")
    if not is_address(address):
        return load_judge(name, arguments.device)
    used = {key: value for key, value in server_options(arguments).items() if key != "settings"}
    return load_judge(address, **{**used, "model": model})


def _calibrated_folder(arguments: argparse.Namespace) -> Path:
    """The folder that gets the calibration."""
    from depictqa_core.loading.checkpoint_folder import checkpoint_folder

    if not is_address(arguments.checkpoint):
        return checkpoint_folder(arguments.checkpoint)
    if arguments.settings is None:
        raise TaskError("calibrate: a server has no folder; give one for its calibration by --settings FOLDER")
    return Path(arguments.settings)


def _client(model: str):
    from depictqa_core.chat.client import Client
    from depictqa_core.chat.endpoint import MODEL, Endpoint

    return Client(Endpoint.from_environment({**os.environ, MODEL: model}))


def _headline(result: dict) -> dict:
    """The few numbers of a set that fit a terminal; everything is in results.json."""
    keys = ("accuracy", "count", "ece", "ece_by_chance", "srcc", "plcc")
    line = {kind: {k: found[k] for k in keys if k in found} for kind, found in result["metrics"].items()}
    for file, found in result.get("voting", {}).items():
        rounded = {key: found[key] and round(found[key], 6) for key in ("srcc", "plcc")}
        line[f"voting on {file}"] = {**rounded, "votes": found["votes"]}
    if graded := result.get("judged"):
        line["detailed answers"] = {key: graded[key] for key in ("score", "count", "failed")}
    return {**{key: result[key] for key in ("records", "answered", "failed")}, **line}


def _calibrate(arguments) -> None:
    from depictqa_core.judge import load_judge

    from . import calibration, temperatures
    from .sets import read_set

    folder = _calibrated_folder(arguments)
    sets = [read_set(path, arguments.root, arguments.task) for path in arguments.records]
    served = server_options(arguments)
    judge, parts = (
        load_judge(arguments.checkpoint, arguments.device, base=arguments.base, **served),
        tuple(arguments.only),
    )
    fits = calibration.calibrate_all(judge, sets, parts=parts, clean_share=arguments.clean_share)
    print(calibration.table(fits))
    if not calibration.fitted(fits):
        print(f"nothing was fitted: every question has fewer than {temperatures.MINIMUM} records; nothing was written")
    elif not arguments.dry_run:
        print(f"written to {folder}: {json.dumps(calibration.store(folder, fits))}")
