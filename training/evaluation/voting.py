"""Scores by voting: each rated pair gives its winner and loser a vote; the mean vote is the score (method.md 8.3)."""

import math
from collections import defaultdict
from itertools import combinations
from pathlib import Path

from depictqa_core import tasks
from depictqa_core.errors import TaskError
from depictqa_core.storage.documents import named, read_json
from depictqa_core.tasks import RATING

from ..dataset.records.record_models import RECORD_BYTES
from .correlation import mean_correlations
from .sets import TestSet


def read_truth(path: str | Path) -> dict[str, dict[str, float]]:
    """Reference -> {distorted image: mean opinion score}, from a file ``{reference: {dist_paths, mos_list}}``.

    Raises:
        TaskError: the file is not of that form.
    """
    truth = {}
    where = f"the file of --voting, {named(path)},"
    content = read_json(path, None, where=where, limit=RECORD_BYTES, error=TaskError)
    try:
        for reference, entry in content.items():
            paths, opinions = entry["dist_paths"], entry["mos_list"]
            if len(paths) != len(opinions):
                raise TaskError(f"{path}: {reference} has {len(paths)} dist_paths and {len(opinions)} mos_list entries")
            truth[reference] = {name: float(opinion) for name, opinion in zip(paths, opinions)}
            texts = all(isinstance(name, str) for name in paths)
            if not texts or not all(map(math.isfinite, truth[reference].values())):
                raise ValueError("names must be text, and opinions finite numbers")
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise TaskError(f"{path} is no voting file: it must map references to dist_paths and mos_list") from error
    return truth


def all_pairs(name: str, truth: dict[str, dict[str, float]], root: str | Path, reference: bool = True) -> TestSet:
    """Every unordered pair of each reference's images as a test set, asked once, in the order of the file.

    Args:
        reference: whether the reference is shown.
    """
    records, question = [], RATING.ask()
    for index, (pristine, opinions) in enumerate(truth.items()):
        for number, (a, b) in enumerate(combinations(opinions, 2)):
            shown = {"image_ref": pristine if reference else None, "image_A": a, "image_B": b}
            records.append({"id": f"{name}_{index}_{number}", **shown, "query": question})
    task_type = "quality_compare" if reference else "quality_compare_noref"
    return TestSet(name, Path(root), records, [task_type] * len(records))


def pairs_in(test_set: TestSet, truth: dict[str, dict[str, float]]) -> list[int]:
    """Indexes of the records that rate two images of one reference."""
    reference_of = {path: reference for reference, opinions in truth.items() for path in opinions}
    chosen = []
    for index, (record, task_type) in enumerate(zip(test_set.records, test_set.task_types)):
        if tasks.task_of(record["query"], tasks.setting(task_type).pair) is RATING:
            a, b = (reference_of.get(record.get(field) or "") for field in ("image_A", "image_B"))
            if a is not None and a == b:
                chosen.append(index)
    return chosen


def covers(test_set: TestSet, truth: dict[str, dict[str, float]]) -> bool:
    """Whether every image of a voting file stands in at least one rated pair of a test set."""
    chosen = [test_set.records[index] for index in pairs_in(test_set, truth)]
    rated = {record[field] for record in chosen for field in ("image_A", "image_B")}
    return bool(rated) and all(path in rated for opinions in truth.values() for path in opinions)


def vote(test_set: TestSet, answers: list[dict], truth: dict[str, dict[str, float]]) -> dict:
    """SRCC and PLCC of voted scores with opinions, per reference and on average.

    A vote gives the winner its confidence c (1 where an answer has none) and the loser 1 - c. Answers that name no
    winner, such as errors, give no vote and are counted.

    Returns:
        ``correlation.mean_correlations`` with ``votes``, ``without_vote`` and ``unrated`` (images without a vote).
    """
    by_id = {answer["id"]: answer for answer in answers}
    votes, without = defaultdict(list), 0
    chosen = pairs_in(test_set, truth)
    for index in chosen:
        record = test_set.records[index]
        answer = by_id.get(record["id"], {})
        winner = tasks.parse_winner(answer.get("text") or "")
        if winner is None:
            without += 1
            continue
        confidence = answer.get("confidence")
        sure = 1.0 if confidence is None else confidence
        votes[record["image_A"]].append(sure if winner == "A" else 1 - sure)
        votes[record["image_B"]].append(sure if winner == "B" else 1 - sure)
    scores = {path: sum(given) / len(given) for path, given in votes.items()}
    groups = {}
    for reference, opinions in truth.items():
        rated = [path for path in opinions if path in scores]
        if rated:
            groups[reference] = ([scores[path] for path in rated], [opinions[path] for path in rated])
    unrated = sum(path not in scores for opinions in truth.values() for path in opinions)
    return {
        **mean_correlations(groups),
        "votes": len(chosen) - without,
        "without_vote": without,
        "unrated": unrated,
    }
