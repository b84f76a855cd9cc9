"""What the data set commands share: types of options, the plan that they name, the progress bar."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace


def whole_number_from(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number from some least one."""

    def whole(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}")
        return int(text)

    return whole


def named_plan(arguments: argparse.Namespace):
    """The plan of a command, with what its options change."""
    from .building.plan import read_plan

    plan = read_plan(arguments.plan).scaled(arguments.scale)
    plan = plan.with_decided_ratings() if arguments.decided_ratings else plan
    changed = {name: getattr(arguments, name) for name in ("seed", "form") if getattr(arguments, name) is not None}
    plan = replace(plan, **changed)
    return plan.only(arguments.parts) if arguments.parts else plan


def progress_bar(total: int, what: str):
    from tqdm import tqdm

    return tqdm(total=total, desc=what, mininterval=1)


def report_skipped(skipped: dict[str, str]) -> None:
    for picture, reason in skipped.items():
        print(f"skipped {picture}: {reason}", file=sys.stderr)
    if skipped:
        print(f"{len(skipped)} images were skipped", file=sys.stderr)
