"""Answers test sets in the published format and scores the answers."""

import hashlib
from pathlib import Path

from depictqa_core import tasks
from depictqa_core.judge import Judge

from .evaluation.answers import AnswerFile, judge_answers
from .evaluation.scoring import score
from .evaluation.sets import TestSet, read_set


def evaluate(
    judge: Judge,
    records_path: str | Path,
    root: str | Path,
    task_type: str | None,
    answers_path: str | Path,
    swap: bool = True,
) -> dict:
    """Answer every record of a test file and score the answers.

    Args:
        judge: the judge under test.
        records_path: JSON list with id, image_ref, image_A, image_B, query and, for scored sets, answer (facts 3.4).
        root: folder that picture paths are relative to.
        task_type: one of the six published task types (facts 3.1), or None to take each record's own.
        answers_path: JSON lines are written here: id, text, confidence, and label probabilities for brief questions.
            What an interrupted evaluation of the same judge wrote there is not asked again.
        swap: also ask ratings with the pictures swapped.

    Returns:
        ``scoring.score``: counts, and the metrics by kind of question.

    Raises:
        TaskError: unknown task type, or a record without one of its fields.
    """
    if task_type is not None:
        tasks.setting(task_type)
    test_set = read_set(records_path, root, task_type)
    return score(test_set, answer(judge, test_set, answers_path, swap))


def answer(judge: Judge, test_set: TestSet, answers_path: str | Path, swap: bool = True) -> list[dict]:
    """The judge's answers to a test set, in the order of its records; see ``evaluate``."""
    depends = {"judge": judge.info, "calibration": judge.model.config.calibration, "swap": swap, **stamp(test_set)}
    source = judge_answers(judge, test_set, swap)
    return AnswerFile(answers_path, depends).fill(test_set, source, test_set.name)


def stamp(test_set: TestSet) -> dict:
    """What answers to a test set depend on, apart from who answers."""
    content = repr((test_set.records, test_set.task_types)).encode()
    return {"records": hashlib.sha256(content).hexdigest(), "root": str(test_set.root.resolve())}
