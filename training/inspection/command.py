"""The command ``inspect``."""

import argparse
from pathlib import Path


def add_inspect(parser: argparse.ArgumentParser) -> None:
    """``inspect``: counts, examples and overlap of data roots."""
    parser.add_argument("root", type=Path, help="data root with its record files")
    parser.add_argument("--records", default="*.json", metavar="PATTERN", help="names of record files (default: all)")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw examples of every task and label")
    parser.add_argument("--examples", type=int, default=24, help="number of examples on the sheet (default: 24)")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="ROOT",
        help="another data root, such as the test set: what both have; exit status 1 if they share images",
    )
    parser.set_defaults(run=_inspect)


def _inspect(arguments: argparse.Namespace) -> int:
    from ..output_files import write_file
    from . import counts, overlap, sheet

    found = list(counts.entries(arguments.root, arguments.records))
    print("\n".join(counts.lines(counts.count(found, arguments.root))))
    if arguments.sheet:
        page = sheet.sheet(sheet.chosen(found, arguments.examples), arguments.root)
        write_file(arguments.sheet, lambda part: page.save(part, "PNG"))
        print(f"written: {arguments.sheet}")
    if arguments.against:
        others = list(counts.entries(arguments.against, arguments.records))
        shared = overlap.overlap((arguments.root, found), (arguments.against, others))
        print("\n".join(overlap.lines(shared)))
        return int(bool(shared.sources or shared.files or shared.near))
    return 0
