"""Summaries: one JSON file for each set and judge, from which reports are made."""

import datetime
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from depictqa_core import __version__
from depictqa_core.chat.client import Client

from ..evaluation.bootstrap import RESAMPLES
from ..output_files import write_text
from .items import Workload

NAMED = 20
"""Maximum number of failures that a summary lists; the rest is counted."""


@dataclass(frozen=True)
class RunOptions:
    """How answers are measured.

    Attributes:
        resamples: of the bootstrap.
        seed: of the bootstrap.
        grader: a language model that scores written answers, or None.
        version: of its prompt for the published records.
    """

    resamples: int = RESAMPLES
    seed: int = 0
    grader: Client | None = None
    version: str = "v2"

    @property
    def bootstrap(self) -> dict[str, Any]:
        """The arguments of the measures."""
        return {"resamples": self.resamples, "seed": self.seed}


def file_name(label: str) -> str:
    """The name of a judge's files."""
    return re.sub(r"[^\w.-]+", "_", label)


def store(file: Path, work: Workload, about: dict, rows: Sequence[dict], found: dict, options: RunOptions) -> dict:
    """Write a summary.

    Args:
        about: who answered: judge, judge_kind, info.
        rows: the answers, of which failures are counted and listed.
        found: values, intervals and what else was measured.

    Returns:
        the summary.
    """
    failures = [{"id": row.get("id"), "error": row["error"]} for row in rows if "error" in row]
    summary = {
        "set": work.name,
        "title": work.title,
        "part": work.part,
        "kind": work.kind,
        "headline": work.headline,
        **about,
        "count": len(rows) - len(failures),
        "failed": len(failures),
        "missing_images": len(work.missing),
        **found,
        "failures": failures[:NAMED],
        "notes": list(work.notes),
        "resamples": options.resamples,
        "seed": options.seed,
        "versions": _versions(),
        "date": datetime.date.today().isoformat(),
    }
    write_text(file, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    return summary


def _versions() -> dict[str, str]:
    found = {"depictqa": __version__}
    for name in ("torch", "transformers", "scipy", "piq", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
