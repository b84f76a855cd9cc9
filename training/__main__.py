"""The command line of the training package: ``python -m training pictures|build|train|evaluate``."""

import argparse
import json
import sys

from depictqa_core.errors import DepictQAError


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
    _evaluate(commands.add_parser("evaluate", help="answer a test file in the published format and score it"))
    _calibrate(commands.add_parser("calibrate", help="fit temperatures on validation records into a checkpoint"))
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


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="checkpoint folder, or 'bundled'")
    parser.add_argument("records", help="test file in the published format")
    parser.add_argument("--root", required=True, help="folder that the picture paths are relative to")
    parser.add_argument("--task", required=True, help="published task type, such as quality_single_A_noref")
    parser.add_argument("--answers", required=True, help="JSON lines with the answers are written here")
    parser.add_argument("--device", default="auto")

    def run(arguments):
        from depictqa_core.judge import load_judge

        from .evaluate import evaluate

        judge = load_judge(None if arguments.checkpoint == "bundled" else arguments.checkpoint, arguments.device)
        result = evaluate(judge, arguments.records, arguments.root, arguments.task, arguments.answers)
        print(json.dumps(result, indent=1))

    parser.set_defaults(run=run)


def _calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="checkpoint folder, or 'bundled'; its config.json gets the temperatures")
    parser.add_argument("records", nargs="+", help="test files of pictures that the checkpoint was not trained on")
    parser.add_argument("--root", required=True, help="folder that the picture paths are relative to")
    parser.add_argument("--task", help="published task type of all records, such as quality_single_A_noref")
    parser.add_argument("--dry-run", action="store_true", help="print what would be fitted, and change nothing")
    parser.add_argument("--device", default="auto")

    def run(arguments):
        from depictqa_core.checkpoints import BUNDLED
        from depictqa_core.judge import load_judge

        from .evaluation import calibration
        from .evaluation.sets import read_set

        folder = BUNDLED if arguments.checkpoint == "bundled" else arguments.checkpoint
        sets = [read_set(path, arguments.root, arguments.task) for path in arguments.records]
        fits = calibration.calibrate(load_judge(folder, arguments.device), sets)
        print(calibration.table(fits))
        if not arguments.dry_run:
            print(f"written to {folder}/config.json: {json.dumps(calibration.store(folder, fits))}")

    parser.set_defaults(run=run)


if __name__ == "__main__":
    sys.exit(main())
