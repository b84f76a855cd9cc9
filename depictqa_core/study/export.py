"""A study for publications: votes as CSV, a table in Markdown, a sentence on the method; and as preferences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..images.image import RGBImage
from ..reports.text_table import printable, table
from ..storage.appending import csv_line
from ..storage.preferences import Collected, Preference, collect
from .evaluation import Person, table_of
from .votes import Record

COLUMNS = (
    *("person", "counted", "trial", "kind", "left", "right", "damaged", "choice", "seconds", "revision", "time"),
    *("group", "reference"),
)


def votes_csv(record: Record, people: Sequence[Person]) -> str:
    """Format all votes as CSV with a header. People are numbers: their names stay in the file of the study."""
    counted = {person.number: person.passed for person in people}
    lines = [csv_line(COLUMNS)]
    for vote in sorted(record.votes, key=lambda vote: (vote.person, vote.trial)):
        left, right = (record.plan.images[index] for index in (vote.left, vote.right))
        reference = None if left.reference is None else record.plan.references[left.reference].name
        row = [vote.person + 1, int(counted[vote.person]), vote.trial + 1, vote.kind, left.name, right.name]
        row += [vote.damaged, vote.choice, vote.seconds, vote.revision, vote.time, left.group or None, reference]
        lines.append(csv_line(row))
    return "".join(lines)


def number(values: Sequence[float | None], form: str = ".3f") -> str:
    """Format a number with its interval: ``0.812 [0.745, 0.871]``; "-" for none."""
    value, *interval = values
    if value is None:
        return "-"
    return f"{value:{form}}" + (f" [{interval[0]:{form}}, {interval[1]:{form}}]" if None not in interval else "")


def facts_of(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The numbers of an evaluation about people, as (what, value)."""
    people, votes, agreed = found["people"], found["votes"], found["agreement"]
    rows = [
        ("people", f"{people['counted']} counted of {people['took_part']}"),
        ("left out: failed attention checks", str(people["failed_checks"])),
        ("attention checks right", f"{people['checks_right']} of {people['checks']}"),
        ("votes", f"{votes['counted']} on {votes['pairs_with_votes']} of {found['study']['pairs']} pairs"),
        ("ties", str(votes["ties"]) if found["study"]["ties_allowed"] else "not allowed"),
        ("median time of an answer", "-" if votes["median_seconds"] is None else f"{votes['median_seconds']:.1f} s"),
        ("left image chosen (0.5: no position bias)", number(votes["chosen_left"])),
        ("equal answers of two people", f"{number(agreed['pairwise'])}; by chance {number(agreed['by_chance'])}"),
        ("Krippendorff's alpha (nominal)", number(agreed["alpha"])),
        ("one person against the majority of the others", number(agreed["one_against_others"])),
    ]
    if both := votes["equal_in_both_orders"]:
        rows.append(("same answer in both orders", f"{both[0]} of {both[1]}"))
    if people["without_checks"]:
        rows.append(("people who saw no attention check", str(people["without_checks"])))
    if votes["incomplete_lines"]:
        rows.append(("lines that were never finished", str(votes["incomplete_lines"])))
    return rows


def _judges(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    columns = ["judge", "pair accuracy", "log-loss", "SRCC of strengths"]
    rows = [
        [one["judge"], number(one["accuracy"]), number(one.get("log_loss", [None])), number(one["srcc"])]
        for one in found["judges"]
    ]
    return columns, rows


def _parts(found: dict[str, Any], images: int | None = None) -> list[tuple[list[str], list[list[str]]]]:
    """All tables of an evaluation, empty ones left out: (columns, rows)."""
    tables = [(["people", "value"], [list(row) for row in facts_of(found)]), _judges(found)]
    tables.append(
        (
            ["folder", "votes won (ties half)", "votes"],
            [[o["label"], number(o["won"]), str(o["votes"])] for o in found["labels"]],
        )
    )
    if not found["labels"]:  # of many groups with few images each, single strengths say little
        best = [[one["image"], number(one["strength"], ".2f"), str(one["votes"])] for one in found["images"]]
        tables.append((["image", "strength (logits)", "votes"], best[:images]))
    return [one for one in tables if one[1]]


def text(found: dict[str, Any], width: int | None) -> str:
    """Format an evaluation for a terminal."""
    tables = [table(columns, rows, "<" * len(columns), width) for columns, rows in _parts(found, 30)]
    return "\n\n".join([*tables, _on_intervals(found)])


def markdown(found: dict[str, Any]) -> str:
    """Format an evaluation for a publication: tables, a sentence on the method, and how to cite the program."""
    lines = [f"# Study: {_cell(found['study']['question'])}", ""]
    for columns, rows in _parts(found):
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in (columns, ["---"] * len(columns), *rows)]
        lines.append("")
    lines += [_on_intervals(found), "", "## Method", "", method(found), "", "```bibtex", BIBTEX, "```", ""]
    return "\n".join(lines)


BIBTEX = f"""@software{{depictqa,
  title = {{DepictQA for ComfyUI}},
  version = {{{__version__}}},
  note = {{Human study and evaluation: depictqa study}}
}}"""


def _cell(value: str) -> str:
    """One line in which nothing is a column, a link, code or an element of a page."""
    flat = printable(" ".join(value.split())) if value != "---" else value
    for mark in "\\`*_[]|":
        flat = flat.replace(mark, f"\\{mark}")
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _on_intervals(found: dict[str, Any]) -> str:
    boot = found["bootstrap"]
    over = "people and pairs" if found["people"]["counted"] > 1 else "pairs"
    return (
        f"95 % intervals: bootstrap over {over}, {boot['draws']} resamples, seed {boot['seed']} (agreement: over pairs;"
        " strengths of images: of the Bradley-Terry fit). They hold for these images."
    )


def method(found: dict[str, Any]) -> str:
    """Describe the method in a few sentences for a publication."""
    study, people, votes = found["study"], found["people"], found["votes"]
    shown = " next to a reference" if study["references"] else ""
    ties = "a tie was allowed" if study["ties_allowed"] else "a choice was forced"
    orders = "each person saw each pair in both orders" if study["both_orders"] else "sides were balanced over people"
    return (
        f"{people['counted']} people compared {votes['pairs_with_votes']} pairs of {study['images']} images{shown} in a"
        f" browser, at full resolution on demand ({votes['counted']} votes; {ties}; {orders}; within a group every"
        f" image was in equally many pairs, seed {study['seed']}). The question was: {_cell(study['question'])}"
        f" {people['failed_checks']} of {people['took_part']} people gave the expected answer to fewer than"
        f" {people['pass_share']:.0%} of their attention checks (a damaged copy of an image, or the same image twice)"
        " and were left out. Strengths are Bradley-Terry fits; a tie counts half a vote for each image. DepictQA"
        f" {study['version']} ran the study, {__version__} evaluated it."
    )


def store_preferences(
    folder: Path, record: Record, people: Sequence[Person], images: Sequence[RGBImage], references: Sequence[RGBImage]
) -> Collected:
    """Store what the majority of the people who passed prefers, as training records for a personal judge.

    Pairs without a majority make no record.
    """
    votes = table_of(record, people)
    picks = []
    for (left, right), won, count in zip(record.plan.pairs, votes.shares.sum(0), votes.counts.sum(0)):
        if won != count / 2:
            better, worse = (left, right) if won > count / 2 else (right, left)
            place = record.plan.images[left].reference
            picks.append(Preference(images[better], images[worse], None if place is None else references[place]))
    return collect(folder, picks)
