"""Answers as JSON and CSV, in one layout for all verbs."""

import json
from collections.abc import Sequence
from typing import Any

from ..results import Failure
from ..storage.appending import csv_line
from ..tasks import LABELS, LEVELS, NONE


def json_text(
    task: str, checkpoint: str | None, results: list[dict], failures: Sequence[Failure] = (), **facts: Any
) -> str:
    """Return one JSON document with the same layout for every verb; equal answers give equal bytes.

    Args:
        task: the verb.
        checkpoint: name of the checkpoint that answered.
        results: the answers as dicts.
        failures: images that could not be judged.
        facts: additional entries; None values are left out.
    """
    facts = {key: value for key, value in facts.items() if value is not None}
    content = {"task": task, "checkpoint": checkpoint, **facts, "results": results}
    content["failures"] = [failure.to_dict() for failure in failures]
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def csv_text(results: list[dict], failures: Sequence[Failure] = (), left_out: Sequence[dict] = ()) -> str:
    """Return CSV with one row per answer, then one per failure with only the columns ``picture`` and ``error``.

    Probabilities get a column per label; several labels, and their severities, are joined by " and "; an image without
    distortions has the label "none". None is an empty cell, and text that would be a formula is marked as text
    (``csv_cell``). Without answers, ``left_out`` determines the columns.
    """
    rows = [_row(result) for result in results] + [_row(failure.to_dict()) for failure in failures]
    columns = next((list(_row(answer)) for answer in (*results, *left_out)), [])
    if "picture" not in columns and (failures or not columns):
        columns.append("picture")
    columns = [*columns, "error"]
    return csv_line(columns) + "".join(csv_line(row.get(column) for column in columns) for row in rows)


def _row(result: dict) -> dict:
    row: dict[str, object] = {}
    for key, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            probability = {item["label"]: item["probability"] for item in value}
            row |= {label: probability[label] for label in (*LABELS, *LEVELS) if label in probability}
        elif isinstance(value, list):
            row[key] = " and ".join(map(str, value)) or (NONE if key == "labels" else None)
        else:
            row[key] = value
    return row
