"""Compare two files of ``benchmarks.quality``: which figures differ by more than chance.

    python -m benchmarks.against NEW.json OLD.json [--output FILE]

Shares are compared by the 95 % interval of their difference (Newcombe's, from the Wilson intervals in the files): a
figure differs if it does not contain 0. Of equal models about one figure in twenty differs. Other figures (SRCC,
errors, points) are listed without an interval.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from depictqa_core.errors import DepictQAError
from depictqa_core.storage.documents import read_json
from training.output_files import write_text

VALUES = ("accuracy", "share")
SKIPPED = ("count", "images", "scenes", "versions", "low", "high", "minimum confidence")
"""Keys that are no figures of quality, or too many."""


class Figure(NamedTuple):
    """One figure: its value, and its 95 % interval if it is a share."""

    value: float
    interval: tuple[float, float] | None = None


def figures(content: Any, name: str = "") -> Iterator[tuple[str, Figure]]:
    """All figures below a part of a file, with the path of each."""
    if isinstance(content, Mapping):
        value = next((content[key] for key in VALUES if key in content), None)
        if value is not None and "low" in content:
            yield name, Figure(value, (content["low"], content["high"]))
            content = {key: one for key, one in content.items() if key not in VALUES}
        for key, one in content.items():
            if key not in SKIPPED:
                yield from figures(one, f"{name} / {key}" if name else key)
    elif isinstance(content, (int, float)) and not isinstance(content, bool):
        yield name, Figure(float(content))


def difference(new: Figure, old: Figure) -> tuple[float, float] | None:
    """The 95 % interval of the difference of two shares (Newcombe 1998, method 10); None for other figures."""
    if new.interval is None or old.interval is None:
        return None
    gap = new.value - old.value
    low = gap - math.hypot(new.value - new.interval[0], old.interval[1] - old.value)
    high = gap + math.hypot(new.interval[1] - new.value, old.value - old.interval[0])
    return low, high


def compared(new: dict, old: dict) -> dict:
    """Compare the contents of two files.

    Returns:
        ``rows`` (name, new, old, low and high of the difference of shares, whether it differs), ``shares``,
        ``better`` and ``worse`` (how many shares there are, and how many differ), and what only one of them has.
    """
    first, second = (dict(figures(content["parts"])) for content in (new, old))
    rows: list[dict] = []
    for name in (name for name in second if name in first):
        row: dict = {"figure": name, "new": first[name].value, "old": second[name].value}
        if interval := difference(first[name], second[name]):
            row |= {"low": round(interval[0], 4), "high": round(interval[1], 4)}
            row["differs"] = not interval[0] <= 0 <= interval[1]
        rows.append(row)
    differing = [row for row in rows if row.get("differs")]
    return {
        "rows": rows,
        "shares": sum("differs" in row for row in rows),
        "better": sum(row["new"] > row["old"] for row in differing),
        "worse": sum(row["new"] < row["old"] for row in differing),
        "only_old": len(second.keys() - first.keys()),
        "only_new": len(first.keys() - second.keys()),
    }


def main(argv: list[str] | None = None) -> int:
    """Print the figures that differ, and write all; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("new", type=Path, help="file of the new model")
    parser.add_argument("old", type=Path, help="file of the model to compare with")
    parser.add_argument("--output", type=Path, help="JSON file that gets all figures")
    arguments = parser.parse_args(argv)
    try:
        contents = [read_json(path) for path in (arguments.new, arguments.old)]
        if missing := [path for path, one in zip((arguments.new, arguments.old), contents) if "parts" not in one]:
            raise DepictQAError(f"{missing[0]} is not a file of benchmarks.quality: it has no parts")
        found = compared(*contents)
        if arguments.output:
            write_text(arguments.output, json.dumps(found, indent=1) + "\n")
    except DepictQAError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for row in found["rows"]:
        if row.get("differs"):
            gap = f"({row['low']:+.3f} to {row['high']:+.3f})"
            print(f"{row['figure']}: {row['new']:.3f}, formerly {row['old']:.3f} {gap}")
    print(
        f"of {found['shares']} shares {found['better']} are better and {found['worse']} are worse by more than chance;"
        f" {found['only_old']} figures are in the old file alone, {found['only_new']} in the new one alone"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
