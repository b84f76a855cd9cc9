"""The command line of the training package: ``python -m training pictures|build|train|evaluate``."""

import argparse
import json
import sys

from depictqa_core.errors import DepictQAError

from .evaluation.command import add_calibrate, add_evaluate


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Expected failures end in one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Make the data, train and evaluate judges.")
    commands = parser.add_subparsers(dest="command", required=True)
    _pictures(
        commands.add_parser(
            "pictures", help="pristine pictures: list, unpack, check, deduplicate, split", add_help=False
        )
    )
    _build(commands.add_parser("build", help="make distorted pictures and records from pristine pictures"))
    _train(commands.add_parser("train", help="train a recipe to a checkpoint folder"))
    add_evaluate(commands.add_parser("evaluate", help="answer test files in the published format and score them"))
    add_calibrate(commands.add_parser("calibrate", help="fit temperatures on validation records into a checkpoint"))
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except (DepictQAError, ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rest", nargs=argparse.REMAINDER)

    def run(arguments):
        from .pictures import main as pictures

        return pictures(arguments.rest)

    parser.set_defaults(run=run)


def _build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", help="folder of pristine pictures")
    parser.add_argument("out", help="data root: pictures, scenes and records are written here")
    parser.add_argument("--scenes", type=int, required=True, help="how many scenes (each a reference and its variants)")
    parser.add_argument("--split", default="train", help="name of the split that the scenes belong to")
    parser.add_argument("--seed", type=int, default=131)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--form", choices=("train", "test"), default="train", help="records with conversations, or queries"
    )

    def run(arguments):
        from tqdm import tqdm

        from .dataset.records import write_records
        from .dataset.scenes import build_scenes

        with tqdm(total=arguments.scenes, desc="scenes", mininterval=5) as bar:
            report = build_scenes(
                arguments.pictures,
                arguments.out,
                arguments.scenes,
                arguments.seed,
                arguments.split,
                workers=arguments.workers,
                progress=lambda done, _: bar.update(done - bar.n),
            )
        for picture, reason in report.skipped.items():
            print(f"skipped {picture}: {reason}", file=sys.stderr)
        counts = write_records(arguments.out, seed=arguments.seed, form=arguments.form)
        print(json.dumps(counts, indent=1, default=str))

    parser.set_defaults(run=run)


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="recipe file (YAML)")
    parser.add_argument("--data", help="data root, instead of the recipe's")
    parser.add_argument("--output", help="checkpoint folder, instead of the recipe's")
    parser.add_argument("--steps", type=int, help="optimiser steps, instead of the recipe's")
    parser.add_argument("--restart", action="store_true", help="ignore the saved state of an earlier run")

    def run(arguments):
        from .recipe import read_recipe
        from .train import train

        recipe = read_recipe(arguments.recipe, data=arguments.data, output=arguments.output, steps=arguments.steps)
        print(train(recipe, resume=not arguments.restart))

    parser.set_defaults(run=run)


if __name__ == "__main__":
    sys.exit(main())
