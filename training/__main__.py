"""The command line of the training package: ``python -m training pictures|build|train|evaluate|...``."""

import argparse
import sys

from depictqa_core.errors import DepictQAError
from depictqa_core.runtime.stopping import interrupted_by_signals
from depictqa_core.runtime.streams import open_streams

from .dataset.commands import add_build, add_describe, add_read, add_split
from .evaluation.command import add_calibrate, add_evaluate
from .trainer.averaging import add_average
from .trainer.tower_commands import add_crops, add_tower


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Expected failures end in one line on standard error."""
    open_streams()
    parser = argparse.ArgumentParser(prog="python -m training", description="Make the data, train and evaluate judges.")
    commands = parser.add_subparsers(dest="command", required=True)
    _pictures(
        commands.add_parser(
            "pictures", help="pristine pictures: list, unpack, check, deduplicate, split", add_help=False
        )
    )
    add_split(commands.add_parser("split", help="divide pristine pictures into train and test"))
    add_build(commands.add_parser("build", help="make distorted pictures and records from pristine pictures"))
    add_describe(commands.add_parser("describe", help="ask an endpoint for the detailed answers of a built data set"))
    add_read(commands.add_parser("read", help="records from human rating sets and published files"))
    _train(commands.add_parser("train", help="train a recipe to a checkpoint folder"))
    add_crops(commands.add_parser("crops", help="crops with the truth of every cell, for the local tower"))
    add_tower(commands.add_parser("tower", help="train the local tower on crops"))
    add_average(commands.add_parser("average", help="average two checkpoints, one of which was tuned from the other"))
    add_evaluate(commands.add_parser("evaluate", help="answer test files in the published format and score them"))
    add_calibrate(commands.add_parser("calibrate", help="fit temperatures on validation records into a checkpoint"))
    arguments = parser.parse_args(argv)
    try:
        with interrupted_by_signals():
            return arguments.run(arguments) or 0
    except (DepictQAError, ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rest", nargs=argparse.REMAINDER)

    def run(arguments):
        from .sources.prepare import main as pictures

        return pictures(arguments.rest)

    parser.set_defaults(run=run)


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="recipe file (YAML)")
    parser.add_argument("--data", help="data root, instead of the recipe's")
    parser.add_argument("--output", help="checkpoint folder, instead of the recipe's")
    parser.add_argument("--steps", type=int, help="optimiser steps, instead of the recipe's")
    parser.add_argument(
        "--restart",
        action="store_true",
        help="begin anew: drop the saved state, features, rehearsal and imported start",
    )
    parser.add_argument("--plan", action="store_true", help="print parameters, steps, memory and time; train nothing")
    parser.add_argument("--devices", type=int, default=1, help="with --plan: how many devices (default 1)")
    parser.add_argument("--records", type=int, help="with --plan: records in an epoch, where the data is not there yet")
    parser.add_argument("--tflops", type=float, default=150, help="with --plan: what a device really does")

    def run(arguments):
        from .trainer.recipe import read_recipe

        recipe = read_recipe(arguments.recipe, data=arguments.data, output=arguments.output, steps=arguments.steps)
        if arguments.plan:
            from .trainer.run_cost import lines, plan

            print("\n".join(lines(plan(recipe, arguments.devices, arguments.records), arguments.tflops)))
            return 0
        from .trainer.train import Stopped, train

        try:
            print(train(recipe, resume=not arguments.restart))
        except Stopped as stopped:
            print(f"{stopped}\nthe same command goes on from there", file=sys.stderr)
            return 130

    parser.set_defaults(run=run)


if __name__ == "__main__":
    sys.exit(main())
