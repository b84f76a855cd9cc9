"""The command read."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..command_options import whole_number_from


def add_read(parser: argparse.ArgumentParser) -> None:
    """``read``: rating records (or voting files) from a human rating set, or the published metadata files."""
    from . import READERS
    from .published_records import NAME

    known = "; ".join(f"{reader.name} ({reader.layout})" for reader in READERS.values())
    parser.epilog = f"Rating sets and their layouts: {known}. {NAME}: the published metadata files, checked."
    parser.add_argument("name", choices=(*READERS, NAME), metavar="name", help="which set")
    parser.add_argument("folder", help="folder of the set in its native layout")
    parser.add_argument(
        "--out", required=True, help=f"JSON file of records that is written; with {NAME} also a folder, a file for each"
    )
    parser.add_argument("--root", help="data root for image paths (default: the folder)")
    parser.add_argument("--pairs", type=whole_number_from(1), default=10_000, help="maximum number of pairs")
    parser.add_argument("--margin", type=float, help="minimum difference of opinions, as a share of their range")
    parser.add_argument("--split", help="train or test (or the set's own splits)")
    parser.add_argument("--no-reference", action="store_true", help="records without the reference")
    parser.add_argument("--form", choices=("train", "test"), default="train")
    parser.add_argument("--seed", type=whole_number_from(0), default=132)
    parser.add_argument("--voting", help="JSON file of opinions by reference; --out receives all pairs of each")
    parser.add_argument("--references", type=whole_number_from(1), help="with --voting: maximum number of references")
    parser.add_argument("--files", default="**/*.json", help=f"with {NAME}: which files, as a glob")
    parser.set_defaults(run=lambda arguments: (_read_published if arguments.name == NAME else _read)(arguments))


def _read(arguments: argparse.Namespace) -> None:
    from ..building.plan import PUBLISHED_MIX
    from ..records.format import ListFile, Part, record_rng
    from ..records.ratings import draw_pairs, in_split, rating_records, voting_files
    from . import READERS, read_set

    reader, root = READERS[arguments.name], arguments.root or arguments.folder
    data = read_set(reader.name, arguments.folder)
    _say_missing(data.missing)
    found = in_split(data.found, arguments.split)
    records: Iterable[dict]
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
    from training.output_files import write_text

    from ..records.format import ListFile
    from . import ReaderError
    from .published_records import FORMS, Published, read_published

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


def _say_missing(missing: list[str]) -> None:
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        print(f"{len(missing)} images are not there: {shown}", file=sys.stderr)


def _write_json(path: str, content) -> None:
    from training.output_files import write_text

    write_text(path, json.dumps(content, ensure_ascii=False))
