"""Writes the measured figures into the documents: README, the card of the bundled model, evaluation.md, evidence.md.

    python -m benchmarks.figures [--results FILE]    # after python -m benchmarks.quality
    python -m benchmarks.figures --check             # exit status 1 if a document differs from the file

The files of ``benchmarks.sensitivity``, ``bias`` and ``reliability`` are read next to it.

A document has each block of figures between two lines, ``<!-- figures: NAME -->`` and ``<!-- end of figures -->``.
What is between them is replaced; everything else is written by people.
"""

import argparse
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from depictqa_core.errors import DepictQAError
from depictqa_core.storage.documents import nearest, read_json
from training.output_files import write_text

from . import evidence_tables, figure_rows, figure_tables
from .shares import RESULTS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "depictqa_core/checkpoints/depictqa-mini/README.md", "docs/evaluation.md", "docs/evidence.md")
EVIDENCE = ("sensitivity", "bias", "reliability")
"""Commands whose files are named NAME_mini.json, next to that of ``benchmarks.quality``."""
BLOCKS: dict[str, Callable[[dict], list[str]]] = {
    "published task": figure_tables.published_task,
    "published task, short": figure_tables.published_task_short,
    "ladders": figure_tables.ladders,
    "pairs with a reference": figure_tables.reference_baseline,
    "certainty of orders": figure_tables.orders,
    "certainty of scores": figure_tables.scores,
    "dropped scores": figure_tables.dropped_scores,
    "everyday images": figure_rows.everyday,
    "everyday images, short": figure_rows.everyday_short,
    "commands": figure_rows.commands,
    "sensitivity": evidence_tables.sensitivity,
    "sensitivity, short": evidence_tables.sensitivity_short,
    "false alarms": evidence_tables.false_alarms,
    "bias": evidence_tables.bias,
    "reliability": evidence_tables.reliability,
    "reliability, short": evidence_tables.reliability_short,
    **{f"commands of {name}": partial(evidence_tables.commands, name) for name in EVIDENCE},
}
"""Name of a block -> its lines, from what was `measured`."""
_BLOCK = re.compile(r"^<!-- figures: ([^\n]*) -->\n.*?^<!-- end of figures -->$", re.MULTILINE | re.DOTALL)
_MARKS = re.compile(r"^<!-- (?:figures: .*|end of figures) -->$", re.MULTILINE)


def measured(results: Path) -> dict:
    """The content of the file of ``benchmarks.quality``, with those of `EVIDENCE` under their names."""
    content = read_json(results)
    for name in EVIDENCE:
        file = results.with_name(f"{name}_mini.json")
        content[name] = read_json(file) if file.is_file() else {"parts": {}}
    return content


def updated(text: str, content: dict, where: str = "document") -> str:
    """Return a document with every block of figures replaced.

    Args:
        text: the document.
        content: what was `measured`.
        where: how messages call the document.

    Raises:
        DepictQAError: a block is unknown, or a mark has no partner.
    """
    found = _BLOCK.findall(text)
    if 2 * len(found) != len(_MARKS.findall(text)):
        raise DepictQAError(f"{where}: a block of figures begins or ends twice; give each its two marks")
    if unknown := [name for name in found if name not in BLOCKS]:
        raise DepictQAError(f"{where}: unknown block of figures '{unknown[0]}'{nearest(unknown[0], BLOCKS)}")
    return _BLOCK.sub(lambda block: _block(block[1], content), text)


def _block(name: str, content: dict) -> str:
    lines = "\n".join(BLOCKS[name](content)).strip()
    return f"<!-- figures: {name} -->\n\n{lines or 'Not measured.'}\n\n<!-- end of figures -->"


def differing(content: dict, write: bool) -> list[str]:
    """Names of the documents that differ from what was measured; with ``write`` they are brought up to date."""
    names = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        if (new := updated(text, content, name)) != text:
            names.append(name)
            if write:
                write_text(ROOT / name, new)
    return names


def main(argv: list[str] | None = None) -> int:
    """Write or check the documents; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="file of benchmarks.quality (default: %(default)s)"
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if a document differs")
    arguments = parser.parse_args(argv)
    try:
        names = differing(measured(arguments.results), write=not arguments.check)
    except DepictQAError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name in names:
        print(f"{name}: {'differs; run python -m benchmarks.figures' if arguments.check else 'written'}")
    return int(arguments.check and bool(names))


if __name__ == "__main__":
    sys.exit(main())
