"""The commands build and split."""

import argparse
import json
import os

from ..command_options import named_plan, progress_bar, report_skipped, whole_number_from

EPILOGUE = "docs/dataset.md has the commands in order."


def add_build(parser: argparse.ArgumentParser) -> None:
    """``build``: scenes of the mini recipe (--scenes), or a whole data set by its plan (--plan)."""
    parser.epilog = EPILOGUE
    parser.add_argument("pictures", metavar="IMAGES", help="folder of pristine images")
    parser.add_argument("out", help="data root: images, samples or scenes, and records are written here")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--scenes", type=whole_number_from(1), help="how many scenes (each a reference and its variants)")
    what.add_argument("--plan", help="plan file (YAML), such as training/recipes/dq495k/plan.yaml")
    parser.add_argument("--split", default="train", help="name of the split that the images belong to")
    parser.add_argument("--seed", type=whole_number_from(0), help="instead of the plan's, or of 131")
    parser.add_argument(
        "--workers",
        type=whole_number_from(0),
        default=1,
        help="number of processes (ray: parallel tasks); 0: one per CPU",
    )
    parser.add_argument(
        "--engine", choices=("processes", "ray"), default="processes", help="this machine, or a cluster"
    )
    parser.add_argument(
        "--form", choices=("train", "test"), help="records with conversations, or queries; instead of the plan's"
    )
    scenes = parser.add_argument_group("with --scenes")
    scenes.add_argument(
        "--resaved", type=float, help="share of the images that are saved again as JPEG or resized (default: 0.25)"
    )
    native = parser.add_argument_group(
        "with --scenes at native resolution (256 to 4096 px; see docs/native_scenes.md)",
        "With any of these options the scenes are made at native resolution.",
    )
    native.add_argument("--native", action="store_true", help="with all of these at their defaults")
    native.add_argument("--pristine", type=float, help="share of images without damage (default: 0.5)")
    native.add_argument("--drawn", type=float, help="share of procedurally drawn scenes (default: 0.35)")
    native.add_argument("--looks", type=float, help="share of scenes with a look such as greyscale (default: 0.3)")
    native.add_argument("--look", nargs="+", dest="look_names", metavar="NAME", help="draw from these looks only")
    native.add_argument(
        "--pushed",
        type=float,
        help="share of single distortions that push the look of their scene too far (default: 0)",
    )
    native.add_argument(
        "--styled", type=float, help="share of photographs' scenes that are drawn in an art style (default: 0)"
    )
    native.add_argument(
        "--published", type=float, help="share of photographs' scenes that are made as without --native (default: 0)"
    )
    native.add_argument(
        "--local", type=float, help="share of damaged images with damage in one region only (default: 0.22)"
    )
    native.add_argument("--faults", type=float, help="share of damaged images with faults (default: 0.22)")
    native.add_argument(
        "--short", help="bands of short sides, such as 256-512:0.6,512-1024:0.4 (shares with the sum 1)"
    )
    native.add_argument(
        "--held-out", action="store_true", help="held-out faults and drawings, which training never uses"
    )
    plans = parser.add_argument_group("with --plan")
    plans.add_argument("--splits", help="JSON with lists of image names by split (see the command split)")
    plans.add_argument("--parts", nargs="+", default=[], help="only these sets, such as identification rating_single")
    plans.add_argument("--scale", type=float, default=1.0, help="scale the size of the set, such as 0.001")
    plans.add_argument(
        "--decided-ratings", action="store_true", help="pairs of distorted images instead of human rating sets"
    )
    plans.add_argument("--plan-only", action="store_true", help="only measure and print the time and disk space needed")
    parser.set_defaults(
        run=lambda arguments: (_build_plan if arguments.plan else _build_scenes)(arguments), resumes=True
    )


def _build_scenes(arguments: argparse.Namespace) -> None:
    from ..records.scene_records import write_records
    from .scenes import build_scenes

    options = _scene_options(arguments)
    seed = 131 if arguments.seed is None else arguments.seed
    with progress_bar(arguments.scenes, "scenes") as bar:
        report = build_scenes(
            arguments.pictures, arguments.out, arguments.scenes, seed, arguments.split, workers=_workers(arguments),
            engine=arguments.engine, options=options, progress=lambda done, _: bar.update(done - bar.n),
        )  # fmt: skip
    report_skipped(report.skipped)
    counts = write_records(arguments.out, seed=seed, form=arguments.form or "train")
    print(json.dumps(counts, indent=1, default=str))


def _scene_options(arguments: argparse.Namespace):
    """``SceneOptions``, or ``NativeOptions`` where one of their options is given."""
    from .native_options import NativeOptions
    from .synthesis import SceneOptions

    options = {"fault": "faults", "sizes": "short"}
    shares = ("pristine", "drawn", "looks", "pushed", "styled", "published", "local", "fault")
    names = (*shares, "look_names", "sizes", "held_out")
    values = {name: getattr(arguments, options.get(name, name)) for name in names}
    given = {name: value for name, value in values.items() if value is not None and value is not False}
    if not given and not arguments.native:
        return SceneOptions() if arguments.resaved is None else SceneOptions(resaved=arguments.resaved)
    if arguments.resaved is not None:
        raise ValueError("--resaved is not an option of scenes at native resolution: most are saved again")
    if "sizes" in given:
        given["sizes"] = _bands(given["sizes"])
    if {"local", "fault"} & given.keys():  # the other kinds of damage keep their proportions
        plain = NativeOptions()
        local, fault = given.get("local", plain.local), given.get("fault", plain.fault)
        if not 0 <= local + fault <= 1:
            raise ValueError(f"--local and --faults are shares of the damaged images, got {local} and {fault}")
        factor = (1 - local - fault) / (1 - plain.local - plain.fault)
        given |= {name: getattr(plain, name) * factor for name in ("single", "double", "ladder")}
    return NativeOptions(**given)


def _bands(text: str) -> tuple[tuple[int, int, float], ...]:
    """ "256-512:0.6,512-1024:0.4" as bands of sizes."""
    try:
        bands = []
        for part in text.split(","):
            sides, share = part.split(":")
            low, high = map(int, sides.split("-"))
            bands.append((low, high, float(share)))
        return tuple(bands)
    except ValueError as error:
        raise ValueError(f"--short must be bands such as 256-512:0.6,512-1024:0.4, got {text!r}") from error


def _build_plan(arguments: argparse.Namespace) -> None:
    from ..detailed.collection import kept_answers
    from ..records.plan_records import write_plan_records
    from ..records.ratings import write_ratings
    from .build_cost import measure, table
    from .factory import build_samples, find_split

    plan = named_plan(arguments)
    sources = find_split(arguments.pictures, arguments.split, arguments.splits)
    if arguments.plan_only:
        print(f"{plan.name}: {len(sources.names)} images; CPU time, measured on one core\n")
        print(table(plan, measure(plan, sources), _workers(arguments) or os.cpu_count() or 1))
        return
    written = write_ratings(plan, arguments.out)  # first: a set that is not there should not be found after days
    total = sum(wanted.samples for wanted in plan.sets.values())
    with progress_bar(total, "samples") as bar:
        report = build_samples(
            plan, sources, arguments.out, _workers(arguments), arguments.engine,
            lambda done, _: bar.update(done - bar.n),
        )  # fmt: skip
    report_skipped(report.skipped)
    written |= write_plan_records(plan, arguments.out, lambda name: kept_answers(arguments.out, name))
    for name, counts in written.items():
        print(
            f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "records")
        )


def _workers(arguments: argparse.Namespace) -> int:
    """Ray counts the CPUs of its cluster itself."""
    return arguments.workers or (os.cpu_count() or 1 if arguments.engine == "processes" else 0)


def add_split(parser: argparse.ArgumentParser) -> None:
    """``split``: divide the pristine images at random."""
    parser.add_argument("pictures", metavar="IMAGES", help="folder of pristine images")
    parser.add_argument("out", help="JSON file that receives the names under 'train' and 'test'")
    parser.add_argument("--test", type=float, default=0.05, help="test images: a share below 1, or a number")
    parser.add_argument("--seed", type=whole_number_from(0), default=132)

    def run(arguments):
        from .factory import write_splits

        counts = write_splits(arguments.pictures, arguments.out, arguments.test, arguments.seed)
        print(", ".join(f"{count} {name}" for name, count in counts.items()))

    parser.set_defaults(run=run)
