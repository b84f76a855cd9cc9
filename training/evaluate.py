"""Answers a test file in the published format and computes the published metrics on it."""

import json
from collections import defaultdict
from pathlib import Path

from tqdm import tqdm

from depictqa_core import tasks
from depictqa_core.errors import DepictQAError, TaskError
from depictqa_core.images import Picture, as_picture
from depictqa_core.judge import Judge
from depictqa_core.tasks import IDENTIFICATION, RATING

from .loader import picture_paths, read_records
from .evaluation.metrics import exact, partial, summary

CHUNK = 64
CLEAR_RATING = "rating, severities at least 2 apart"


def evaluate(
    judge: Judge, records_path: str | Path, root: str | Path, task_type: str, answers_path: str | Path
) -> dict:
    """Answer every record of a test file and score the answers.

    Args:
        judge: the judge under test.
        records_path: JSON list with id, image_ref, image_A, image_B, query and, for scored sets, answer (facts 3.4).
        root: folder that picture paths are relative to.
        task_type: one of the six published task types (facts 3.1).
        answers_path: JSON lines are written here: id, text, confidence, and label probabilities for brief questions.

    Returns:
        ``{"records", "answered", "failed", "metrics": {kind: {"accuracy", "count", "bins"}}}``: accuracy by kind of
        question, and in each by confidence bin.

    Raises:
        TaskError: unknown task type, or a record without one of its fields.
    """
    tasks.setting(task_type)
    records = read_records(records_path)
    answers: dict[int, dict] = {}
    groups: dict[str, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        for key in ("id", "query"):
            if key not in record:
                raise TaskError(f"record {index} of {records_path} has no {key}")
        groups[record["query"]].append(index)
    with tqdm(total=len(records), desc="evaluate", mininterval=5) as bar, open(answers_path, "w") as so_far:
        for query, members in groups.items():
            for start in range(0, len(members), CHUNK):
                chunk = members[start : start + CHUNK]
                new = _answer(judge, [(i, records[i]) for i in chunk], Path(root), task_type, query)
                so_far.writelines(json.dumps(answer) + "\n" for answer in new.values())
                so_far.flush()  # an interrupted evaluation keeps what was answered
                answers.update(new)
                bar.update(len(chunk))
    with open(answers_path, "w", encoding="utf-8") as file:
        for index in range(len(records)):
            file.write(json.dumps(answers[index]) + "\n")
    return score_answers(records, [answers[i] for i in range(len(records))])


def _answer(judge: Judge, members: list[tuple[int, dict]], root: Path, task_type: str, query: str) -> dict[int, dict]:
    """Answers to one question about several records; a record whose picture cannot be read is answered by its error."""
    task = tasks.task_of(query, tasks.setting(task_type).pair)
    results, sets, indexes = {}, [], []
    identities = {index: record["id"] for index, record in members}
    for index, record in members:
        try:
            paths = picture_paths(record, task_type)
            sets.append({role: _picture(root, path, role, record["id"]) for role, path in paths.items()})
            indexes.append(index)
        except (DepictQAError, KeyError) as error:
            results[index] = {"id": record["id"], "text": None, "confidence": None, "error": str(error)}
    if not sets:
        return results
    answered = judge.ask(sets, task, query)
    if not task.brief:
        for index, description in zip(indexes, answered):
            results[index] = {"id": identities[index], "text": description.text, "confidence": description.confidence}
        return results
    options, rows = answered
    for index, row in zip(indexes, rows):
        best = int(row.argmax())
        probabilities = {option: round(float(p), 6) for option, p in zip(options, row) if p >= 5e-7}
        results[index] = {
            "id": identities[index],
            "text": options[best],
            "confidence": round(float(row[best]), 6),
            "probabilities": probabilities,
        }
    return results


def _picture(root: Path, path: str | None, role: str, identity) -> Picture:
    if not path:
        raise TaskError(f"record {identity} has no picture for {role}")
    return as_picture(root / path, path)


def score_answers(records: list[dict], answers: list[dict]) -> dict:
    """Published metrics over records that carry an ``answer``: exact match, partial credit for two distortions."""
    values: dict[str, list[float]] = defaultdict(list)
    confidences: dict[str, list[float | None]] = defaultdict(list)
    failed = sum("error" in answer for answer in answers)
    for record, answer in zip(records, answers):
        kind = _kind(record)
        if kind is None:
            continue
        text = answer["text"] or ""
        value = partial(text, record["answer"]) if kind == "two distortions" else exact(text, record["answer"])
        groups = [kind, CLEAR_RATING] if kind == RATING.name and _severity_gap(record) >= 2 else [kind]
        for group in groups:
            values[group].append(value)
            confidences[group].append(answer["confidence"])
    metrics = {kind: summary(values[kind], confidences[kind]) for kind in sorted(values)}
    return {"records": len(records), "answered": len(records) - failed, "failed": failed, "metrics": metrics}


def _severity_gap(record: dict) -> int:
    """How far the severities of a pair lie apart, for two pictures with at most one distortion each; else 0."""
    sides = [record.get("distortions_A"), record.get("distortions_B")]
    if not all(sides) or any("severities" in side for side in sides):
        return 0
    first, second = (side.get("severity") or 0 for side in sides)
    return abs(first - second)


def _kind(record: dict) -> str | None:
    """How a record is scored: by its question and true answer; None for detailed answers and unscored sets."""
    truth = record.get("answer")
    if truth is None or not tasks.is_short(record["query"]):
        return None
    if tasks.parse_winner(truth):
        return RATING.name
    two = tasks.issue_count(record["query"]) == 2 or " and " in truth
    if tasks.parse_labels(truth) is not None:
        return "two distortions" if two else IDENTIFICATION.name
    return "other"
