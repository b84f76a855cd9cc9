"""The published DQ-495K test files: answered and scored as ``evaluate`` does, with intervals."""

import hashlib
from pathlib import Path

from depictqa_core import tasks
from depictqa_core.errors import TaskError
from depictqa_core.judge import Judge
from depictqa_core.tasks import RATING

from ..dataset.readers import Preferred
from ..evaluation import judged
from ..evaluation.answer_files import AnswerFile, judge_answers
from ..evaluation.scoring import credit, score
from ..evaluation.sets import TestSet, kind_of
from .items import Workload
from .measures import measure_hits
from .summaries import RunOptions


def require(judge: Judge, work: Workload) -> None:
    """Raise TaskError unless a judge supports all tasks of a test file."""
    assert work.records is not None
    if unknown := sorted(work.records.tasks - set(judge.backend.capabilities.tasks)):
        raise TaskError(f"not supported by {judge.backend.name}: {', '.join(unknown)}")


def answers(judge: Judge, work: Workload, path: Path, depends: dict, options: RunOptions) -> tuple[list[dict], dict]:
    """Answer a test file and measure the answers.

    Returns:
        (the answers, values with intervals): accuracy as published (partial credit for two distortions), ratings also
        in both orders, ``judged`` for detailed answers where there is a grader; ``details`` is ``scoring.score``.
    """
    test_set = work.records
    assert test_set is not None
    stamp = {**depends, "swap": True, **test_set.stamp()}
    rows = AnswerFile(path, stamp).fill(test_set.ids, judge_answers(judge, test_set), work.label)
    worth, groups = _credits(test_set, rows)
    found = measure_hits(worth, groups, [None] * len(worth), **options.bootstrap)
    found.pop("by")
    details = score(test_set, rows)
    metrics = details["metrics"]
    if RATING.name in metrics and (swapped := metrics[RATING.name].get("order_swap")):
        found["values"] |= {"accuracy_of_both": swapped["accuracy_of_both"], "same_winner": swapped["consistent"]}
    for kind in metrics.values():
        found["values"].setdefault("ece", kind.get("ece"))
    if options.grader is not None and judged.detailed(test_set):
        found = _graded(test_set, rows, path.with_suffix(".graded.jsonl"), options, found)
    if not worth:
        found["values"].pop("accuracy", None)
    return rows, {**found, "details": {"records": details["records"], "metrics": _short(metrics)}}


def _credits(test_set: TestSet, rows: list[dict]) -> tuple[list[float], list[str]]:
    """What the answer to each record with a true short answer is worth, and what records are resampled by."""
    worth, groups = [], []
    for record, task_type, row in zip(test_set.records, test_set.task_types, rows):
        kind = kind_of(record, task_type)
        if kind is not None:
            worth.append(credit(kind, record, row))
            groups.append(_group(record))
    return worth, groups


def _group(record: dict) -> str:
    return str(record.get("image_ref") or record.get("image_A") or record.get("image_B"))


def _graded(test_set: TestSet, rows: list[dict], path: Path, options: RunOptions, found: dict) -> dict:
    grader = options.grader
    assert grader is not None
    ids, source = judged.judged_answers(grader, test_set, rows, options.version)
    texts = hashlib.sha256(repr([(row["id"], row["text"]) for row in rows]).encode()).hexdigest()
    where = {"base": grader.endpoint.identity, "model": grader.endpoint.model, "version": options.version}
    scored = AnswerFile(path, {**where, "answers": texts, **test_set.stamp()}).fill(ids, source, "scores")
    known = [row for row in scored[: judged.FIRST] if row.get("score") is not None]
    groups = {record["id"]: _group(record) for record in test_set.records}
    worth = [row["score"] for row in known]
    one = measure_hits(worth, [groups[row["id"]] for row in known], [None] * len(known), **options.bootstrap)
    found["values"]["judged"] = one["values"]["accuracy"]
    if one["intervals"]:
        found["intervals"]["judged"] = one["intervals"]["accuracy"]
    return {**found, "grader": f"{grader.endpoint.model} ({options.version})", "scored": len(known)}


def _short(metrics: dict) -> dict:
    """Metrics by kind, without curves."""
    return {kind: {k: v for k, v in one.items() if not isinstance(v, list)} for kind, one in metrics.items()}


def rated_pairs(test_set: TestSet) -> list[Preferred]:
    """The ratings of a test file with a true winner, as pairs that metrics can decide."""
    found = []
    for record, task_type in zip(test_set.records, test_set.task_types):
        if kind_of(record, task_type) == RATING.name:
            reference = record["image_ref"] if tasks.setting(task_type).reference else None
            share = float(tasks.parse_winner(record["answer"]) == "A")
            found.append(Preferred(record["image_A"], record["image_B"], reference, share))
    return found
