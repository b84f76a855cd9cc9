"""Options for judges on a server, the same for every command that loads a judge."""

import argparse
from typing import Any

VLLM_ARGUMENTS = "--vllm-args"


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add the options of a judge on a server."""
    about = "The key comes from DEPICTQA_API_KEY or OPENAI_API_KEY."
    group = parser.add_argument_group("server", f"where the checkpoint is an address. {about}")
    group.add_argument("--model", metavar="NAME", help="name of the model on the server")
    group.add_argument("--concurrency", type=int, metavar="N", help="number of parallel requests (default: 8)")
    group.add_argument(
        "--votes",
        type=int,
        metavar="N",
        help="where the server has no log-probabilities: ask N times, and count the answers",
    )
    group.add_argument("--answer-cache", metavar="FOLDER", help="store answers of the server, and do not ask again")
    group.add_argument(
        "--settings", metavar="FOLDER", help="folder with depictqa_profile.json and depictqa_calibration.json"
    )


def add_vllm(parser: argparse.ArgumentParser) -> None:
    """Add the options by which vLLM serves a model folder for one command."""
    group = parser.add_argument_group("vLLM", "for the folder of a vision-language model; needs the command vllm")
    group.add_argument("--vllm", action="store_true", help="have vLLM serve the model on this machine while this runs")
    group.add_argument(
        VLLM_ARGUMENTS, metavar="TEXT", help="the same, with further arguments of vllm serve ('--max-model-len 8192')"
    )


def vllm_arguments(options: argparse.Namespace) -> str | None:
    """Return the argument ``vllm`` of ``load_judge``."""
    return (options.vllm_args or "") if options.vllm or options.vllm_args is not None else None


def server_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of ``load_judge`` for a server; None for what was not given."""
    names = {"model": "model", "concurrency": "concurrency", "votes": "votes", "settings": "settings"}
    return {name: getattr(options, given) for name, given in {**names, "cache": "answer_cache"}.items()}
