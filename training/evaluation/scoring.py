"""Scores the answers to a test set: the published metrics, and what calibration, order and difficulty add to them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from depictqa_core import tasks
from depictqa_core.tasks import RATING, SCORE, SEVERITY

from .correlation import correlations
from .metrics import (
    area_under_risk,
    calibration_error,
    calibration_error_by_chance,
    exact,
    mean,
    partial,
    reliability,
    risk_coverage,
    summary,
    wilson,
)
from .sets import DOUBLE, OTHER, TestSet, kind_of

CLEAR_RATING = "rating, severities at least 2 apart"
CURVE_POINTS = 200
NAMED = 20
"""Maximum number of failures and unmatched ids that are listed; the rest is counted."""


def score(test_set: TestSet, answers: Sequence[dict]) -> dict:
    """Score the answers to a test set.

    Args:
        answers: dicts with id, text and confidence, and optionally probabilities and swapped, in any order. They are
            joined with the records by id.

    Returns:
        ``{"records", "answered", "failed", "failures", "unmatched", "metrics": {kind: {...}}}``. Each kind of question
        has accuracy, count and bins (``metrics.summary``), low and high (the 95 % interval of the accuracy), chance
        (the accuracy of answers drawn from the allowed ones) and unparsed (answers that the question does not allow);
        where its answers have confidences ece, ece_by_chance, reliability, risk_coverage and aurc (not for scores,
        whose level probabilities are no beliefs); where the records say so by_category and by_severity; ratings that
        were asked both ways order_swap; scores srcc and plcc with the record's quality or mos; severities grade_error.
        An answer that is an error counts as wrong and has no confidence; a record without any answer is unmatched and
        counts nowhere.
    """
    by_id = {answer["id"]: answer for answer in answers}
    groups = defaultdict(list)
    failures, without = [], []
    for record, task_type in zip(test_set.records, test_set.task_types):
        answer = by_id.pop(record["id"], None)
        if answer is None:
            without.append(record["id"])
            continue
        if "error" in answer:
            failures.append({"id": record["id"], "error": answer["error"]})
        kind = kind_of(record, task_type)
        if kind is None:
            continue
        groups[kind].append((record, answer))
        if kind == RATING.name and severity_gap(record) >= 2:
            groups[CLEAR_RATING].append((record, answer))
    count = len(test_set.records) - len(without)
    return {
        "records": len(test_set.records),
        "answered": count - len(failures),
        "failed": len(failures),
        "failures": failures[:NAMED],
        "unmatched": {
            "records": {"count": len(without), "ids": without[:NAMED]},
            "answers": {"count": len(by_id), "ids": list(by_id)[:NAMED]},
        },
        "metrics": {kind: _kind(kind, groups[kind]) for kind in sorted(groups)},
    }


def _kind(kind: str, pairs: list[tuple[dict, dict]]) -> dict:
    values = [credit(kind, record, answer) for record, answer in pairs]
    result = summary(values, [answer["confidence"] for _, answer in pairs])
    result |= _interval(float(np.mean(values)), len(values)) | {"chance": _chance(kind, pairs)}
    if kind != OTHER:
        rated = kind in (RATING.name, CLEAR_RATING)
        result["unparsed"] = sum(_unparsed(record, answer, rated) for record, answer in pairs)
    if kind != SCORE.name:  # the probabilities of levels say where between two of them an image lies
        result |= _certainty(kind, pairs, values)
    for key, of in (("by_category", categories), ("by_severity", severities)):
        groups = defaultdict(list)
        for (record, _), value in zip(pairs, values):
            for name in of(record):
                groups[name].append(value)
        if groups:
            names = sorted(groups, key=lambda name: (name is None, str(name)))
            result[key] = {str(name): {"accuracy": mean(groups[name]), "count": len(groups[name])} for name in names}
    if kind in (RATING.name, CLEAR_RATING):
        result |= _order_swap(pairs)
    if kind == SCORE.name:
        result |= _opinion(pairs)
    if kind == SEVERITY.name:
        result |= _grade_error(pairs)
    return result


def _interval(share: float, count: int) -> dict[str, float]:
    """The 95 % interval of an accuracy (``metrics.wilson``)."""
    low, high = wilson(min(1.0, max(0.0, share)), count)
    return {"low": round(low, 6), "high": round(high, 6)}


def _chance(kind: str, pairs: list[tuple[dict, dict]]) -> float | None:
    """The accuracy of answers that are drawn from the allowed ones of each question; None where all are allowed."""
    known: dict[tuple[str, str], float | None] = {}
    for record, _ in pairs:
        key = (record["query"], record["answer"])
        if key not in known:
            task = tasks.task_of(record["query"], kind in (RATING.name, CLEAR_RATING))
            options = tuple(tasks.listed_answers(record["query"])) if kind == OTHER else tasks.answers(task, key[0])
            known[key] = mean(credit(kind, record, {"text": option}) for option in options)
    chances = [known[record["query"], record["answer"]] for record, _ in pairs]
    return None if None in chances else mean(chances)


def credit(kind: str, record: dict, answer: dict) -> float:
    """Return what the answer to a record of a kind (``sets.kind_of``) is worth, 0..1."""
    said, truth = answer["text"] or "", record["answer"]
    if kind == OTHER:  # an option that the question lists may be written as its text, its letter, or both
        options = tasks.listed_answers(record["query"])
        said, truth = (
            next((option for option, spelled in options.items() if text.strip() in spelled), text)
            for text in (said, truth)
        )
    return (partial if kind == DOUBLE else exact)(said, truth)


def _unparsed(record: dict, answer: dict, pair: bool) -> bool:
    """Return whether an answer is not an allowed answer of its question."""
    allowed = tasks.answers(tasks.task_of(record["query"], pair), record["query"])
    return "error" not in answer and (answer["text"] or "").strip() not in allowed


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _certainty(kind: str, pairs, values: list[float]) -> dict:
    """Calibration and selection of the answers that have a confidence.

    A confidence is the probability of the answer as it is written, so a hit is the exact answer even where the metric
    gives partial credit.
    """
    sure = [
        (answer["confidence"], exact(answer["text"] or "", record["answer"]) if kind == DOUBLE else value, value)
        for (record, answer), value in zip(pairs, values)
        if answer["confidence"] is not None
    ]
    if not sure:
        return {}
    confidences, hits, credits = zip(*sure)
    curve = risk_coverage(confidences, credits)
    thinned = curve if len(curve) <= CURVE_POINTS else [curve[i] for i in _spread(len(curve), CURVE_POINTS)]
    return {
        "ece": _rounded(calibration_error(confidences, hits)),
        "ece_by_chance": _rounded(calibration_error_by_chance(confidences)),
        "reliability": [{k: round(v, 6) for k, v in b.items()} for b in reliability(confidences, hits)],
        "aurc": _rounded(area_under_risk(curve)),
        "risk_coverage": [[round(x, 6) for x in point] for point in thinned],
    }


def _spread(length: int, count: int) -> Iterable[int]:
    return np.unique(np.linspace(0, length - 1, count).round().astype(int)).tolist()


def _order_swap(pairs) -> dict:
    """Measure the position bias of ratings.

    ``consistent``: share with one winner in both orders. ``difference``: mean |p(A first) - p(A second)|.
    ``first_chosen``: share of all answers that choose the image shown first (0.5 is free of bias).
    ``accuracy_of_one``, ``accuracy_of_both``: accuracy in the order of the record, and of the mean of both orders,
    which is what ``compare`` answers, with its 95 % interval as ``low`` and ``high``.
    """
    both = [(record, answer) for record, answer in pairs if "swapped" in answer]
    if not both:
        return {}
    first, second = tasks.WINNERS
    forward = np.array([answer["probabilities"].get(first, 0.0) for _, answer in both])
    backward = np.array([answer["swapped"].get(first, 0.0) for _, answer in both])
    truth = np.array([record["answer"].strip() == first for record, _ in both])
    right = ((forward + backward) / 2 >= 0.5) == truth
    return {
        "order_swap": {
            "count": len(both),
            "accuracy_of_one": mean((forward >= 0.5) == truth),
            "consistent": mean((forward >= 0.5) == (backward >= 0.5)),
            "difference": mean(abs(forward - backward)),
            "first_chosen": mean(np.concatenate([forward >= 0.5, backward < 0.5])),
            "accuracy_of_both": mean(right),
            **_interval(float(right.mean()), len(both)),
        }
    }


def opinion_of(record: dict) -> float | None:
    """Return the true quality of a record's image: ``mos``, else ``quality``."""
    return next((float(record[key]) for key in ("mos", "quality") if record.get(key) is not None), None)


def points_of(answer: dict) -> float | None:
    """The score of an answer to a score question, 0..100: the mean points under its level probabilities."""
    shares = answer.get("probabilities")
    points = dict(zip((level.capitalize() for level in tasks.LEVELS), tasks.LEVEL_SCORES))
    if not shares:
        return points.get((answer.get("text") or "").strip())
    return sum(share * points[level] for level, share in shares.items()) / sum(shares.values())


def _opinion(pairs) -> dict:
    known = [(points_of(answer), opinion_of(record)) for record, answer in pairs]
    known = [pair for pair in known if None not in pair]
    found = correlations(*zip(*known)) if known else None
    return {key: round(found[key], 6) for key in ("srcc", "plcc")} if found else {}


def _grade_error(pairs) -> dict:
    """Mean distance of the mean grade (1 to 5, under the probabilities) from the true one, in grades."""
    place = {grade.capitalize(): number for number, grade in enumerate(tasks.GRADES, start=1)}
    errors = [
        abs(
            sum(share * place[grade] for grade, share in answer["probabilities"].items())
            - place[record["answer"].capitalize()]
        )
        for record, answer in pairs
        if answer.get("probabilities")
    ]
    return {"grade_error": mean(errors)} if errors else {}


# ---------------------------------------------------------------------- truth of a record


def categories(record: dict) -> list[str]:
    """The distortion categories of a record's image or images; it counts in each of them once."""
    sides = [record, *(record.get(key) or {} for key in ("distortions_A", "distortions_B"))]
    found: dict[str, None] = {}
    for side in sides:
        for name in side.get("distortion_classes") or [side.get("distortion_class")]:
            if name:
                found[name] = None
    if not found and record.get("answer") == tasks.answer_text(()):
        return ["pristine"]
    return list(found)


def severities(record: dict) -> list:
    """Return the severity of an image (the stronger of two distortions), or the difference of those of a pair."""
    if record.get("distortions_A") and record.get("distortions_B"):
        a, b = (_severity(record[key]) for key in ("distortions_A", "distortions_B"))
        return [] if a is None or b is None else [abs(a - b)]
    known = _severity(record)
    return [] if known is None else [known]


def _severity(side: dict) -> int | None:
    several = side.get("severities")
    if isinstance(several, list):
        return max(several)
    return side.get("severity", several)


def severity_gap(record: dict) -> int:
    """Return the difference of the severities of a pair, for two images with at most one distortion each; else 0."""
    sides = [side for side in (record.get("distortions_A"), record.get("distortions_B")) if side]
    if len(sides) < 2 or any("severities" in side for side in sides):
        return 0
    first, second = (side.get("severity") or 0 for side in sides)
    return abs(first - second)
