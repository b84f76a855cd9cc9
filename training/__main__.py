"""The command line of the training package: ``python -m training images|build|train|evaluate|...``."""

import argparse
import sys

from depictqa_core.errors import DepictQAError
from depictqa_core.runtime.stopping import interrupted_by_signals
from depictqa_core.runtime.streams import open_streams

from .benchmark.command import add_benchmark
from .dataset.building.command import add_build, add_split
from .dataset.detailed.command import add_describe
from .dataset.readers.command import add_read
from .evaluation.command import add_calibrate, add_evaluate
from .evaluation.typicality import add_typicality
from .inspection.command import add_inspect
from .sources.command import add_images
from .trainer.averaging import add_average
from .trainer.storage_format import add_convert
from .trainer.tower_commands import add_crops, add_tiles, add_tower


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status. Expected errors are one line on stderr."""
    open_streams()
    parser = argparse.ArgumentParser(prog="python -m training", description="Make the data, train and evaluate judges.")
    parser.set_defaults(resumes=False)  # commands that resume set it
    commands = parser.add_subparsers(dest="command", required=True)
    add_images(
        commands.add_parser(
            "images",
            aliases=["pictures"],  # the name until 0.4
            help="pristine images: list, unpack, check, deduplicate, split",
        )
    )
    add_split(commands.add_parser("split", help="split pristine images into train and test"))
    add_build(commands.add_parser("build", help="make distorted images and records from pristine images"))
    add_describe(commands.add_parser("describe", help="ask an endpoint for the detailed answers of a built data set"))
    add_read(commands.add_parser("read", help="records from human rating sets and published files"))
    add_inspect(commands.add_parser("inspect", help="counts, examples and overlap of data roots"))
    _train(commands.add_parser("train", help="train a recipe to a checkpoint folder"))
    add_convert(commands.add_parser("convert", help="store the weights of a checkpoint in another number format"))
    add_crops(commands.add_parser("crops", help="crops with the truth of every cell, for the towers for native size"))
    add_tower(commands.add_parser("tower", help="train the local tower on crops"))
    add_tiles(commands.add_parser("tiles", help="train the tile tower end to end on scenes and crops"))
    add_average(
        commands.add_parser("average", help="average the weights of a checkpoint and of one fine-tuned from it")
    )
    add_evaluate(commands.add_parser("evaluate", help="evaluate a checkpoint on test files in the published format"))
    add_benchmark(commands.add_parser("benchmark", help="judges and metrics on published data sets, in one table"))
    add_calibrate(commands.add_parser("calibrate", help="calibrate a checkpoint on validation records"))
    add_typicality(commands.add_parser("typicality", help="store how typical images are of the training images"))
    arguments = parser.parse_args(argv)
    try:
        with interrupted_by_signals():
            return arguments.run(arguments) or 0
    except KeyboardInterrupt:
        print("\ninterrupted" + (f"; {_how_to_resume(arguments)}" if arguments.resumes else ""), file=sys.stderr)
        return 130
    except (DepictQAError, ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _how_to_resume(arguments: argparse.Namespace) -> str:
    if getattr(arguments, "restart", False):
        return "run the same command without --restart to resume"
    return "run the same command again to resume"


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="recipe file (YAML)")
    parser.add_argument("--data", help="data root (default: the recipe's)")
    parser.add_argument("--output", help="checkpoint folder to write (default: the recipe's)")
    parser.add_argument("--name", help="name of the checkpoint (default: the recipe's)")
    parser.add_argument("--steps", type=int, help="optimizer steps (default: the recipe's)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="replace a value of the recipe, such as learning_rate=2e-4 or adapter.r=8 (may be repeated)",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="start from the beginning: delete the saved state, features, rehearsal and imported start, and replace"
        " the finished checkpoint",
    )
    parser.add_argument("--plan", action="store_true", help="only print parameters, steps, memory and time")
    parser.add_argument("--devices", type=int, default=1, help="with --plan: how many devices (default 1)")
    parser.add_argument("--records", type=int, help="with --plan: records per epoch, if the data does not exist yet")
    parser.add_argument("--tflops", type=float, default=150, help="with --plan: real speed of a device")

    def run(arguments):
        from .trainer.recipe import read_recipe

        given = {key: getattr(arguments, key) for key in ("name", "data", "output", "steps")}
        recipe = read_recipe(arguments.recipe, arguments.settings, **given)
        if arguments.plan:
            from .trainer.run_cost import lines, run_cost

            print("\n".join(lines(run_cost(recipe, arguments.devices, arguments.records), arguments.tflops)))
            return 0
        from .trainer.loop import Stopped
        from .trainer.train import train

        try:
            print(train(recipe, resume=not arguments.restart))
        except Stopped as stopped:
            print(f"{stopped}\n{_how_to_resume(arguments)}", file=sys.stderr)
            return 130

    parser.set_defaults(run=run, resumes=True)


if __name__ == "__main__":
    sys.exit(main())
