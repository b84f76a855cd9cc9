"""The data set commands of ``python -m training``: build, split, describe, read."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

EPILOGUE = "docs/dataset.md has the commands in order."


def _from(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number from some least one."""

    def whole(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least}")
        return int(text)

    return whole


def add_build(parser: argparse.ArgumentParser) -> None:
    """``build``: scenes of the mini recipe (--scenes), or a whole data set by its plan (--plan)."""
    parser.epilog = EPILOGUE
    parser.add_argument("pictures", help="folder of pristine pictures")
    parser.add_argument("out", help="data root: pictures, samples or scenes, and records are written here")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--scenes", type=_from(1), help="how many scenes (each a reference and its variants)")
    what.add_argument("--plan", help="plan file (YAML), such as training/recipes/dq495k/plan.yaml")
    parser.add_argument("--split", default="train", help="name of the split that the pictures belong to")
    parser.add_argument("--seed", type=_from(0), help="instead of the plan's, or of 131")
    parser.add_argument(
        "--workers", type=_from(0), default=1, help="processes (ray: tasks at a time); 0 for as many as there are CPUs"
    )
    parser.add_argument(
        "--engine", choices=("processes", "ray"), default="processes", help="this machine, or a cluster"
    )
    parser.add_argument(
        "--form", choices=("train", "test"), help="records with conversations, or queries; instead of the plan's"
    )
    scenes = parser.add_argument_group("with --scenes")
    scenes.add_argument(
        "--resaved", type=float, help="share of the pictures that are saved again as JPEG or resized (default: 0.25)"
    )
    native = parser.add_argument_group(
        "with --scenes at native resolution (256 to 4096 px; see docs/native_scenes.md)",
        "With any of these options the scenes are made at native resolution.",
    )
    native.add_argument("--native", action="store_true", help="with all of these at their defaults")
    native.add_argument("--pristine", type=float, help="share of images without damage (default: 0.5)")
    native.add_argument("--drawn", type=float, help="share of scenes that are drawn by program (default: 0.35)")
    native.add_argument("--looks", type=float, help="share of scenes with a look such as greyscale (default: 0.3)")
    native.add_argument(
        "--published", type=float, help="share of photographs' scenes that are made as without --native (default: 0)"
    )
    native.add_argument("--local", type=float, help="share of damaged images with damage to a part (default: 0.22)")
    native.add_argument("--faults", type=float, help="share of damaged images with faults (default: 0.22)")
    native.add_argument(
        "--short", help="bands of short sides, such as 256-512:0.6,512-1024:0.4 (shares with the sum 1)"
    )
    native.add_argument(
        "--held-out", action="store_true", help="faults and drawings of the kinds that training never uses"
    )
    plans = parser.add_argument_group("with --plan")
    plans.add_argument("--splits", help="JSON with lists of picture names by split (see the command split)")
    plans.add_argument("--parts", nargs="+", default=[], help="only these parts, such as identification rating_single")
    plans.add_argument("--scale", type=float, default=1.0, help="make a smaller set of the same shape, such as 0.001")
    plans.add_argument(
        "--decided-ratings", action="store_true", help="pairs of distorted pictures in the place of human rating sets"
    )
    plans.add_argument(
        "--plan-only", action="store_true", help="print time and disk from a measured rate, make nothing"
    )
    parser.set_defaults(run=lambda arguments: (_build_plan if arguments.plan else _build_scenes)(arguments))


def _build_scenes(arguments: argparse.Namespace) -> None:
    from .build.scenes import build_scenes
    from .records.scene_records import write_records

    options = _scene_options(arguments)
    seed = 131 if arguments.seed is None else arguments.seed
    with _bar(arguments.scenes, "scenes") as bar:
        report = build_scenes(
            arguments.pictures, arguments.out, arguments.scenes, seed, arguments.split, workers=_workers(arguments),
            engine=arguments.engine, options=options, progress=lambda done, _: bar.update(done - bar.n),
        )  # fmt: skip
    _say_skipped(report.skipped)
    counts = write_records(arguments.out, seed=seed, form=arguments.form or "train")
    print(json.dumps(counts, indent=1, default=str))


def _scene_options(arguments: argparse.Namespace):
    """``SceneOptions``, or ``NativeOptions`` where one of their options is given."""
    from .build.native import NativeOptions
    from .build.synthesis import SceneOptions

    options = {"fault": "faults", "sizes": "short"}
    names = ("pristine", "drawn", "looks", "published", "local", "fault", "sizes", "held_out")
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
    from .build.cost import measure, table
    from .build.factory import build_samples, find_split
    from .detailed.answers import kept_answers
    from .records.plan_records import write_plan_records
    from .records.ratings import write_ratings

    plan = _plan(arguments)
    sources = find_split(arguments.pictures, arguments.split, arguments.splits)
    if arguments.plan_only:
        print(f"{plan.name}: {len(sources.names)} pictures; processor time, measured on one core\n")
        print(table(plan, measure(plan, sources), _workers(arguments) or os.cpu_count()))
        return
    written = write_ratings(plan, arguments.out)  # first: a set that is not there should not be found after days
    total = sum(wanted.samples for wanted in plan.sets.values())
    with _bar(total, "samples") as bar:
        report = build_samples(
            plan, sources, arguments.out, _workers(arguments), arguments.engine,
            lambda done, _: bar.update(done - bar.n),
        )  # fmt: skip
    _say_skipped(report.skipped)
    written |= write_plan_records(plan, arguments.out, lambda name: kept_answers(arguments.out, name))
    for name, counts in written.items():
        print(
            f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "records")
        )


def _workers(arguments: argparse.Namespace) -> int:
    """Ray counts the CPUs of its cluster itself."""
    return arguments.workers or (os.cpu_count() or 1 if arguments.engine == "processes" else 0)


def add_split(parser: argparse.ArgumentParser) -> None:
    """``split``: divide the pristine pictures at random."""
    parser.add_argument("pictures", help="folder of pristine pictures")
    parser.add_argument("out", help="JSON file that receives the names under 'train' and 'test'")
    parser.add_argument("--test", type=float, default=0.05, help="test pictures: a share below 1, or a number")
    parser.add_argument("--seed", type=_from(0), default=132)

    def run(arguments):
        from .build.factory import write_splits

        counts = write_splits(arguments.pictures, arguments.out, arguments.test, arguments.seed)
        print(", ".join(f"{count} {name}" for name, count in counts.items()))

    parser.set_defaults(run=run)


def add_describe(parser: argparse.ArgumentParser) -> None:
    """``describe``: ask an endpoint for the detailed answers of a built plan."""
    parser.epilog = (
        "The endpoint is named by DEPICTQA_API_BASE, DEPICTQA_API_MODEL and DEPICTQA_API_KEY. Run build again "
        "afterwards: it puts the answers into the records."
    )
    parser.add_argument("root", help="data root that build --plan has filled")
    parser.add_argument("--plan", required=True, help="the plan file")
    parser.add_argument("--parts", nargs="+", default=[], help="only these parts")
    parser.add_argument("--scale", type=float, default=1.0, help="as given to build")
    parser.add_argument("--limit", type=_from(1), help="at most so many requests in this run")
    parser.add_argument("--again", action="store_true", help="ask once more where an answer was dropped")
    parser.add_argument("--concurrency", type=_from(1), default=4, help="requests at a time")
    parser.add_argument("--per-minute", type=float, help="most requests a minute")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one answer")
    parser.add_argument("--input-price", type=float, help="price of a million input tokens, for the estimate")
    parser.add_argument("--output-price", type=float, help="price of a million output tokens")
    parser.add_argument("--dry-run", action="store_true", help="print requests (pictures as sizes) and send nothing")
    parser.add_argument("--yes", action="store_true", help="send the requests, instead of printing the estimate only")
    parser.set_defaults(run=_describe, decided_ratings=False, seed=None, form=None)


def _describe(arguments: argparse.Namespace) -> int | None:
    from training.endpoint import MODEL, Client, Endpoint, shown_request

    from .build.plan import PlanError
    from .detailed.answers import collect, detailed_sets, estimate, pending, request, unbuilt

    plan = _plan(arguments)
    if not detailed_sets(plan):
        raise PlanError(f"{plan.name} has no detailed answers to ask for: only assessments and comparisons have")
    if missing := unbuilt(arguments.root, plan):
        raise PlanError(f"{arguments.root} has no samples of {', '.join(missing)}: build them first, by the same plan")
    todo = [one for name in detailed_sets(plan) for one in pending(plan, arguments.root, name, arguments.again)]
    todo = todo[: arguments.limit]
    if arguments.dry_run:
        for one in todo:
            shown = shown_request(request(one, os.environ.get(MODEL), arguments.root))
            print(json.dumps({"set": one.set_name, "sample": one.index, **shown}, ensure_ascii=False))
        return None
    if not todo:
        print("every sample has its answer; the next step is build, which puts them into the records")
        return None
    sets = dict.fromkeys(one.set_name for one in todo)
    costs = [estimate(name, [one for one in todo if one.set_name == name]) for name in sets]
    _print_costs(costs, arguments.input_price, arguments.output_price)
    if not arguments.yes:
        print("nothing was sent; add --yes to send the requests")
        return None
    client = Client(Endpoint.from_environment(), arguments.timeout, per_minute=arguments.per_minute)
    with _bar(len(todo), "answers") as bar:
        counts = collect(todo, arguments.root, client, arguments.concurrency, lambda outcome: bar.update())
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    print("run build again: it puts the answers into the records")
    return None


def _print_costs(costs: list, input_price: float | None, output_price: float | None) -> None:
    priced = input_price is not None and output_price is not None
    print(
        f"{'set':<22}{'requests':>10}{'input tokens':>15}{'output tokens':>15}" + (f"{'money':>12}" if priced else "")
    )
    total: Counter = Counter()
    for cost in costs:
        line = f"{cost.set_name:<22}{cost.requests:>10,}{cost.input_tokens:>15,}{cost.output_tokens:>15,}"
        money = cost.money(input_price, output_price) if priced else 0.0
        print(line + (f"{money:>12,.2f}" if priced else ""))
        total.update(requests=cost.requests, i=cost.input_tokens, o=cost.output_tokens, money=money)
    line = f"{'total':<22}{total['requests']:>10,}{total['i']:>15,}{total['o']:>15,}"
    print(line + (f"{total['money']:>12,.2f}" if priced else "  (give --input-price and --output-price for money)"))


def add_read(parser: argparse.ArgumentParser) -> None:
    """``read``: rating records (or voting files) from a human rating set, or the published metadata files."""
    from .readers import READERS
    from .readers.published import NAME

    known = "; ".join(f"{reader.name} ({reader.layout})" for reader in READERS.values())
    parser.epilog = f"Rating sets and their layouts: {known}. {NAME}: the published metadata files, checked."
    parser.add_argument("name", choices=(*READERS, NAME), metavar="name", help="which set")
    parser.add_argument("folder", help="folder of the set in its native layout")
    parser.add_argument(
        "--out", required=True, help=f"JSON file of records that is written; with {NAME} also a folder, a file for each"
    )
    parser.add_argument("--root", help="data root that picture paths shall be relative to; by default the folder")
    parser.add_argument("--pairs", type=_from(1), default=10_000, help="most pairs")
    parser.add_argument("--margin", type=float, help="least difference of opinions, as a share of their range")
    parser.add_argument("--split", help="train or test (or the set's own splits)")
    parser.add_argument("--no-reference", action="store_true", help="records without the reference")
    parser.add_argument("--form", choices=("train", "test"), default="train")
    parser.add_argument("--seed", type=_from(0), default=132)
    parser.add_argument("--voting", help="JSON file of opinions by reference; --out receives all pairs of each")
    parser.add_argument("--references", type=_from(1), help="with --voting: the first so many references")
    parser.add_argument("--files", default="**/*.json", help=f"with {NAME}: which files, as a glob")
    parser.set_defaults(run=lambda arguments: (_read_published if arguments.name == NAME else _read)(arguments))


def _read(arguments: argparse.Namespace) -> None:
    from .build.plan import PUBLISHED_MIX
    from .readers import READERS, read_set
    from .records.format import ListFile, Part, record_rng
    from .records.ratings import draw_pairs, in_split, rating_records, voting_files

    reader, root = READERS[arguments.name], arguments.root or arguments.folder
    data = read_set(reader.name, arguments.folder)
    _say_missing(data.missing)
    found = in_split(data.found, arguments.split)
    if arguments.voting:
        records, truth = voting_files(reader.name, found, arguments.folder, root, arguments.references)
        _write_json(arguments.voting, truth)
    else:
        margin = reader.margin if arguments.margin is None else arguments.margin
        pairs = draw_pairs(found, arguments.pairs, margin, record_rng(arguments.seed, f"pairs {reader.name}", 0))
        reference = not arguments.no_reference and any(item.reference for item in found)
        part = Part(f"rating_{'fr' if reference else 'nr'}_{reader.name}", reference, arguments.form, PUBLISHED_MIX)
        records = rating_records(reader.name, pairs, arguments.folder, root, part, arguments.seed)
    with ListFile(Path(arguments.out)) as file:
        for record in records:
            file.append(record)
    print(f"{reader.title}: {len(found)} opinions, {file.count} records in {arguments.out}")


def _read_published(arguments: argparse.Namespace) -> None:
    from training.files import write_text

    from .readers import ReaderError
    from .readers.published import FORMS, Published, read_published
    from .records.format import ListFile

    form, out, parts = arguments.split or arguments.form, Path(arguments.out), []
    if form not in FORMS:
        raise ReaderError(f"unknown split '{form}': the published files have {' and '.join(FORMS)}")
    one_file = out.suffix == ".json" and not out.is_dir()
    if Path(arguments.folder).resolve().is_relative_to(out.resolve()):
        raise ReaderError(f"{out} holds the published files themselves: choose another folder, such as {out}/records")

    def read() -> Iterator[Published]:
        for part in read_published(arguments.folder, arguments.files, form, without=out):
            _say_missing(part.missing)
            left_out = "".join(f", {count} left out: {reason}" for reason, count in part.left_out.items())
            print(f"{part.file}: {len(part.records)} records{left_out}")
            if part.records:
                parts.append(part)
                yield part

    if one_file:
        with ListFile(out) as file:
            for part in read():
                for record in part.joined():
                    file.append(record)
    else:
        for part in read():
            with ListFile(out / part.file) as file:
                for record in part.records:
                    file.append(record)
    print(f"{sum(len(part.records) for part in parts)} records in {out}")
    if form == "train":
        lines = "".join(f"  {json.dumps(part.file, ensure_ascii=False)}: {part.weight}\n" for part in parts)
        print(f"for a recipe, with the published weights:\nparts:\n{lines}", end="")
        if not one_file:
            write_text(out / "parts.yaml", f"parts:\n{lines}")


def _plan(arguments: argparse.Namespace):
    """The plan of a command, with what its options change."""
    from .build.plan import read_plan

    plan = read_plan(arguments.plan).scaled(arguments.scale)
    plan = plan.with_decided_ratings() if arguments.decided_ratings else plan
    changed = {name: getattr(arguments, name) for name in ("seed", "form") if getattr(arguments, name) is not None}
    plan = replace(plan, **changed)
    return plan.only(arguments.parts) if arguments.parts else plan


def _bar(total: int, what: str):
    from tqdm import tqdm

    return tqdm(total=total, desc=what, mininterval=1)


def _say_skipped(skipped: dict[str, str]) -> None:
    for picture, reason in skipped.items():
        print(f"skipped {picture}: {reason}", file=sys.stderr)
    if skipped:
        print(f"{len(skipped)} pictures were skipped", file=sys.stderr)


def _say_missing(missing: list[str]) -> None:
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        print(f"{len(missing)} pictures are not there: {shown}", file=sys.stderr)


def _write_json(path: str, content) -> None:
    from training.files import write_text

    write_text(path, json.dumps(content, ensure_ascii=False))
