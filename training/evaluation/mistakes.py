"""The worst mistakes of an evaluation: what was asked about which images, what was answered, and what is true."""

from collections.abc import Iterator, Mapping, Sequence

from depictqa_core import tasks

from ..dataset.detailed.answer_checks import stated_winner
from ..dataset.records.descriptions import named
from ..trainer.record_files import picture_paths
from .scoring import credit
from .sets import DETAILED, TestSet, kind_of

LISTED = 8
"""Maximum number of mistakes of each kind of question."""
WINNER = 2
"""A wrong winner counts like this many wrong names of distortions."""


def worst(test_set: TestSet, answers: Sequence[dict], scores: Mapping | None = None) -> list[dict]:
    """Choose the worst mistakes of every kind of question.

    Of brief questions these are the wrong answers with the highest confidence. Of detailed ones those with the lowest
    scores of a grader, or without one those whose text names other distortions than the true text, or another winner.

    Args:
        answers: of the set, as ``scoring.score`` takes them.
        scores: id -> score of a detailed answer, where a grader was asked.

    Returns:
        ``{"id", "kind", "why", "question", "text", "truth", "confidence", "images"}`` each, grouped by kind, the worst
        first; images by the role in the prompt.
    """
    by_id = {answer["id"]: answer for answer in answers}
    found: dict[str, list[tuple[float, dict]]] = {}
    for record, task_type in zip(test_set.records, test_set.task_types):
        answer = by_id.get(record["id"])
        if answer is None or "error" in answer or record.get("answer") is None:
            continue
        for weight, kind, why in _mistakes(record, task_type, answer, scores or {}):
            entry = {"id": record["id"], "kind": kind, "why": why, "question": record["query"]}
            entry |= {"text": answer["text"] or "", "truth": record["answer"], "confidence": answer.get("confidence")}
            found.setdefault(kind, []).append((weight, {**entry, "images": picture_paths(record, task_type)}))
    listed = []
    for kind in sorted(found):
        listed += [entry for _, entry in sorted(found[kind], key=lambda one: -one[0])[:LISTED]]
    return listed


def _mistakes(record: dict, task_type: str, answer: dict, scores: Mapping) -> Iterator[tuple[float, str, str]]:
    """(how bad it is, the kind of question, what is wrong), if anything is."""
    said, truth = answer["text"] or "", str(record["answer"])
    pair = tasks.setting(task_type).pair
    if tasks.task_of(record["query"], pair) not in DETAILED:
        kind = kind_of(record, task_type)
        if kind and credit(kind, record, answer) < 1:
            yield answer.get("confidence") or 0.0, kind, "another answer is true"
        return
    if scores:
        score = scores.get(record["id"])
        if score is not None:
            yield -float(score), "detailed answers", f"score {score:g}"
        return
    wrong = _wrong_names(said, truth)
    winners = (stated_winner(said), stated_winner(truth)) if pair else (None, None)
    other = winners[1] is not None and winners[0] != winners[1]
    if other:
        wrong.append(f"names {f'Image {winners[0]}' if winners[0] else 'no image'} as better")
    if wrong:
        yield len(wrong) + (WINNER - 1) * other, "detailed answers", "; ".join(wrong)


def _wrong_names(said: str, truth: str) -> list[str]:
    names, true = named(said), named(truth)
    return [f"leaves out {name}" for name in sorted(true - names)] + [f"names {name}" for name in sorted(names - true)]
