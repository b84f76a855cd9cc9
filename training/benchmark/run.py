"""Run workloads: ask judges, compute classical metrics, store the answers as they come and a summary for each."""

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from depictqa_core.errors import TaskError
from depictqa_core.judge import Judge
from depictqa_core.metrics.registry import Metric
from depictqa_core.network.vision import PREPROCESSING

from ..dataset.readers import Preferred, Rated
from ..evaluation.answer_files import AnswerFile
from . import grading, records
from .asking import judged_rows, require
from .classical import measure_metrics, metric_values
from .items import DESCRIPTIONS, PAIRS, QUESTIONS, SCORES, Choice, Described, Workload, group_of, only
from .measures import measure_choices, measure_hits, measure_pairs, measure_scores
from .summaries import RunOptions, file_name, store

METRICS = "metrics"
"""The name of the file with the values of the metrics, next to those of the judges."""
GRADED = ".graded"
"""What the name of a judge's file of graded answers ends with."""


@dataclass(frozen=True)
class Contender:
    """A judge of the run.

    Attributes:
        label: its row in tables.
        load: loads it; called once, when it is its turn.
        files: a folder whose files the answers depend on, or None.
    """

    label: str
    load: Callable[[], Judge]
    files: Path | None = None


def run(
    works: Sequence[Workload],
    contenders: Sequence[Contender],
    metrics: Sequence[Metric],
    output: str | Path,
    options: RunOptions | None = None,
) -> list[dict]:
    """Run workloads with judges and metrics.

    Everything is in ``output/<set and part>/``: ``<judge>.jsonl`` with a line for each item, and ``<judge>.json`` with
    the summary. A repeated call asks only what is missing. A judge that cannot answer a workload is left out of it, and
    so are metrics that need a reference where none is shown; both are printed.

    Returns:
        the summaries.

    Raises:
        TaskError: two judges would have the same file, or a judge that of metrics or of graded answers.
        EndpointError, OutOfMemory, StorageError: the run ends; the answers so far are stored.
    """
    options, output = options or RunOptions(), Path(output)
    judges = [file_name(one.label) for one in contenders]
    for label in judges:
        if label == METRICS or label.endswith(GRADED):
            raise TaskError(f"a judge cannot be stored as {label}, which names another file: use --judge NAME={label}")
    labels = judges + [metric.name for metric in metrics]
    if double := sorted({label for label in labels if labels.count(label) > 1}):
        raise TaskError(f"two judges would be stored as {double[0]}: name one by --judge NAME={double[0]}")
    summaries = []
    values = metric_values(works, metrics, output / works[0].folder / f"{METRICS}.jsonl") if works else {}
    for work in works:
        _print_notes(work)
        summaries += measure_metrics(work, metrics, values, output / work.folder, options)
    for contender in contenders:
        judge = contender.load()
        for work in works:
            try:
                records.require(judge, work) if work.records else require(judge, work)
            except TaskError as error:
                print(f"{contender.label} left out of {work.label}: {error}", file=sys.stderr)
                continue
            summaries.append(_judge(contender, judge, work, output / work.folder, options))
        del judge
    return summaries


def _print_notes(work: Workload) -> None:
    if work.missing:
        named = ", ".join(work.missing[:5]) + (", ..." if len(work.missing) > 5 else "")
        print(f"{work.label}: {len(work.missing)} images are not there: {named}", file=sys.stderr)
    for note in work.notes:
        print(f"{work.label}: {note}", file=sys.stderr)


def _depends(contender: Contender, judge: Judge, work: Workload) -> dict[str, Any]:
    files = None
    if contender.files is not None:  # weights of the same name may have changed
        facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in contender.files.iterdir()]
        files = hashlib.sha256(repr(sorted(facts)).encode()).hexdigest()
    stamp = {**judge.backend.identity(), "preprocessing": PREPROCESSING, "files": files}
    return {**stamp, "kind": work.kind, "root": str(work.root.resolve())}


def _judge(contender: Contender, judge: Judge, work: Workload, folder: Path, options: RunOptions) -> dict:
    name, depends = file_name(contender.label), _depends(contender, judge, work)
    info = {key: judge.info[key] for key in ("name", "version") if key in judge.info}
    about = {"judge": contender.label, "judge_kind": "judge", "info": info}
    if work.records is not None:
        rows, found = records.answers(judge, work, folder / f"{name}.jsonl", depends, options)
    else:
        ids = [work.identity(item) for item in work.items]
        label = f"{contender.label}: {work.label}"
        rows = AnswerFile(folder / f"{name}.jsonl", depends).fill(ids, judged_rows(judge, work), label)
        found = _measured(work, rows, options)
        if work.kind == DESCRIPTIONS and options.grader is not None:
            found = _described(work, rows, folder / f"{name}{GRADED}.jsonl", options)
    return store(folder / f"{name}.json", work, about, rows, found, options)


def _measured(work: Workload, rows: list[dict], options: RunOptions) -> dict:
    """Values and intervals of a judge's rows; items without an answer are left out and counted as failed."""
    how = options.bootstrap
    known = [index for index, row in enumerate(rows) if "error" not in row]
    groups = [group_of(work.items[index]) for index in known]
    if work.kind == SCORES:
        rated = only(work.items, Rated)
        opinions, references = [rated[i].mos for i in known], [rated[i].reference for i in known]
        return measure_scores([rows[i]["score"] for i in known], opinions, references, **how)
    if work.kind == PAIRS:
        preferred = only(work.items, Preferred)
        shares = [preferred[i].share for i in known]
        found = measure_pairs([rows[i]["probability_a"] for i in known], shares, groups, **how)
        if known:
            found["values"]["disagreement"] = round(float(np.mean([rows[i]["disagreement"] for i in known])), 6)
        return found
    if work.kind == QUESTIONS:
        choices = only(work.items, Choice)  # a question without an answer is a wrong one
        asked = [
            {
                "answer": item.answer,
                "text": row.get("text"),
                "confidence": row.get("confidence"),
                "options": len(item.options),
                "group": item.images[0],
                "category": item.category,
            }
            for item, row in zip(choices, rows)
        ]
        return measure_choices(asked, **how)
    return {"values": {}, "intervals": {}}


def _described(work: Workload, rows: list[dict], file: Path, options: RunOptions) -> dict:
    grader = options.grader
    assert grader is not None
    items = only(work.items, Described)
    pairs = [(row, item) for row, item in zip(rows, items) if "error" not in row and item.text]
    texts = [row["text"] for row, _ in pairs]
    digest = hashlib.sha256(repr(texts).encode()).hexdigest()
    depends = {"base": grader.endpoint.identity, "model": grader.endpoint.model, "answers": digest}
    ids = [row["id"] for row, _ in pairs]
    source = grading.graded(grader, ids, texts, [str(item.text) for _, item in pairs])
    scored = AnswerFile(file, depends).fill(ids, source, f"scores of {work.label}")
    complete = [row for row in scored if all(row.get(name) is not None for name in grading.CRITERIA)]
    how = options.bootstrap
    found: dict[str, dict] = {"values": {}, "intervals": {}}
    columns = {name: [row[name] for row in complete] for name in grading.CRITERIA}
    columns["sum"] = [sum(row[name] for name in grading.CRITERIA) for row in complete]
    for name, column in columns.items() if complete else ():
        one = measure_hits(column, [row["id"] for row in complete], [None] * len(complete), **how)
        found["values"][name] = one["values"]["accuracy"]
        if one["intervals"]:
            found["intervals"][name] = one["intervals"]["accuracy"]
    return {
        **found,
        "grader": grader.endpoint.model,
        "scored": len(complete),
        "not_scored": len(scored) - len(complete),
    }
