"""One table over judges and sets in Markdown, from the summaries of all runs of a folder; published figures apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from depictqa_core.errors import TaskError
from depictqa_core.storage.documents import read_json

from .items import DESCRIPTIONS, PAIRS, QUESTIONS, RECORDS, SCORES

PUBLISHED = Path(__file__).parent / "published.json"
NAMES = {
    "srcc": "SRCC",
    "plcc": "PLCC",
    "krcc": "KRCC",
    "rmse": "RMSE",
    "pair_accuracy": "pair accuracy",
    "srcc_by_reference": "SRCC by reference",
    "accuracy": "accuracy",
    "two_afc": "2AFC",
    "people": "people",
    "disagreement": "position bias",
    "accuracy_of_both": "accuracy, both orders",
    "same_winner": "same winner in both orders",
    "chance": "chance",
    "ece": "ECE",
    "judged": "judged",
    "completeness": "completeness",
    "precision": "precision",
    "relevance": "relevance",
    "sum": "sum",
}
"""How values are called in tables, in the order of the columns."""
KINDS = {
    SCORES: ("Scores", ("srcc", "plcc", "krcc", "rmse", "pair_accuracy", "srcc_by_reference")),
    PAIRS: ("Pairs", ("accuracy", "two_afc", "people", "disagreement")),
    QUESTIONS: ("Closed questions", ("accuracy", "chance", "ece")),
    RECORDS: ("Published records", ("accuracy", "accuracy_of_both", "same_winner", "ece", "two_afc", "judged")),
    DESCRIPTIONS: ("Descriptions", ("completeness", "precision", "relevance", "sum")),
}
"""Kind of workload -> title and columns of its table."""


def read_summaries(folder: str | Path) -> list[dict]:
    """Read the summaries of a folder, by set and part, judges before metrics.

    Raises:
        TaskError: there are none.
    """
    found = []
    for file in sorted(Path(folder).glob("*/*.json")):
        content = read_json(file, None)
        if isinstance(content, dict) and {"set", "part", "judge", "values", "kind"} <= content.keys():
            found.append(content)
    if not found:
        raise TaskError(
            f"{folder}: no summaries of benchmarks; run python -m training benchmark NAME --output {folder}"
        )
    return sorted(found, key=lambda one: (one["title"], one["part"], one["judge_kind"] == "metric", one["judge"]))


def report(folder: str | Path, published: bool = True) -> str:
    """Return the report of a folder in Markdown: an overview, all values, categories, and published figures.

    Args:
        published: whether to append the figures that others have published for the same sets.
    """
    found = read_summaries(folder)
    parts = ["# Benchmarks", "## Overview", _overview(found)]
    for kind, (title, columns) in KINDS.items():
        rows = [one for one in found if one["kind"] == kind]
        if rows:
            parts += [f"## {title}", _details(rows, columns)]
    if categories := _categories(found):
        parts += ["## By category", categories]
    parts += ["## How it was measured", _conditions(found)]
    if published and (figures := _published({one["set"] for one in found})):
        parts += ["## Published by others, not measured here", figures]
    return "\n\n".join(parts) + "\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    cells = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells)


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _value(summary: dict, name: str) -> str:
    """A value with its interval."""
    value, ends = summary["values"].get(name), summary.get("intervals", {}).get(name)
    digits = 2 if name == "rmse" else 3
    text = _number(value, digits)
    return f"{text} [{_number(ends[0], digits)}, {_number(ends[1], digits)}]" if text and ends else text


def _work(one: dict) -> tuple[str, str]:
    return one["title"], one["part"]


def _overview(found: list[dict]) -> str:
    """Judges by sets; a cell has SRCC / PLCC of scores, and the headline value of other kinds."""
    works = list(dict.fromkeys(map(_work, found)))
    heads = {_work(one): one["headline"] for one in found}
    judges = list(dict.fromkeys(one["judge"] for one in sorted(found, key=lambda one: one["judge_kind"] == "metric")))
    cells = {(one["judge"], _work(one)): one for one in found}

    def cell(one: dict | None) -> str:
        if one is None:
            return ""
        if one["headline"] == "srcc":
            return f"{_number(one['values'].get('srcc'))} / {_number(one['values'].get('plcc'))}"
        return _number(one["values"].get(one["headline"]))

    rows = [[judge, *(cell(cells.get((judge, work))) for work in works)] for judge in judges]
    names = ["SRCC / PLCC" if heads[work] == "srcc" else NAMES[heads[work]] for work in works]
    return table(["judge", *(f"{title} ({part}): {name}" for (title, part), name in zip(works, names))], rows)


def _details(rows: list[dict], columns: Sequence[str]) -> str:
    used = [name for name in columns if any(one["values"].get(name) is not None for one in rows)]
    body = [
        [one["title"], one["part"], one["judge"], one["count"], one["failed"], *(_value(one, name) for name in used)]
        for one in rows
    ]
    return table(["set", "part", "judge", "n", "failed", *(NAMES[name] for name in used)], body)


def _categories(found: list[dict]) -> str:
    rows = []
    for one in found:
        for category, by in (one.get("by") or {}).items():
            value = {"values": {"accuracy": by["accuracy"]}, "intervals": {"accuracy": by["interval"]}}
            rows.append([one["title"], one["part"], category, one["judge"], by["count"], _value(value, "accuracy")])
    return table(["set", "part", "category", "judge", "n", "accuracy"], rows) if rows else ""


def _conditions(found: list[dict]) -> str:
    versions = sorted({" ".join((name, number)) for one in found for name, number in one["versions"].items()})
    dates = sorted({one["date"] for one in found})
    resamples = sorted({one["resamples"] for one in found})
    lines = [
        f"Dates: {' to '.join(dict.fromkeys((dates[0], dates[-1])))}. Packages: {', '.join(versions)}.",
        f"In brackets: 95 % bootstrap intervals ({', '.join(map(str, resamples))} resamples of references, or of images"
        " without one; none for fewer than 10 of them).",
    ]
    missing = {(one["title"], one["part"], one["missing_images"]) for one in found if one["missing_images"]}
    lines += [f"{title} ({part}): {count} images were not there." for title, part, count in sorted(missing)]
    notes = {(one["title"], one["part"], note) for one in found for note in one.get("notes", ())}
    lines += [f"{title} ({part}): {note}." for title, part, note in sorted(notes)]
    graders = {(one["title"], one["part"], one["grader"]) for one in found if one.get("grader")}
    lines += [f"{title} ({part}): scored by {grader}." for title, part, grader in sorted(graders)]
    return "\n\n".join(lines)


def read_published() -> list[dict]:
    """Read the sourced figures of others: ``published.json``, one object for each table of a source."""
    return read_json(PUBLISHED, list)


def _published(sets: set[str]) -> str:
    rows = []
    for source in read_published():
        for name, judges in source["figures"].items():
            if name not in sets:
                continue
            for judge, values in judges.items():
                shown = ", ".join(f"{NAMES[key]} {value}" for key, value in values.items())
                where = f"[{source['title']}]({source['address']})"
                about = f"{source['part']}; {source['protocol']}"
                rows.append([name, judge, shown, about, where, source["read"], "not measured here"])
    return table(["set", "judge", "figures", "protocol", "source", "read on", ""], rows) if rows else ""
