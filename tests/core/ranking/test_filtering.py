"""Which images are good enough: every criterion alone and together, ties, limits, names of distortions."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depictqa_core.errors import TaskError
from depictqa_core.ranking.filtering import Criteria, named_distortions
from depictqa_core.results import Identification, LabelProbability, Score
from depictqa_core.tasks import DISTORTIONS

OFF = {"min_score": 0, "best_percent": 100, "top_k": 0, "distortions": (), "probability": 0.4, "min_confidence": 0}


def criteria(**changes):
    return Criteria(**{**OFF, **changes})


def scores(*points, confidence=0.9):
    return [
        Score(f"image {i}", float(value), 5.0, confidence, (), 0.0, 100.0, "levels")
        for i, value in enumerate(points, 1)
    ]


def found(**probabilities):
    labels = tuple(LabelProbability(*item) for item in probabilities.items())
    return Identification("image 1", (), "", labels, 0.9)


def passed(rule, points):
    return [i for i, fault in enumerate(rule.faults(len(points), scores(*points), None)) if not fault]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"min_score": 50}, [0, 2, 3]),  # exactly 50 is enough
        ({"top_k": 2}, [0, 2]),
        ({"top_k": 3}, [0, 2, 3]),
        ({"top_k": 9}, [0, 1, 2, 3]),
        ({"best_percent": 25}, [2]),
        ({"best_percent": 26}, [0, 2]),  # a part of an image counts as one
        ({"best_percent": 0}, []),
        ({"min_score": 80, "top_k": 2}, [2]),  # all criteria that are set
        ({"min_score": 100}, []),
        ({}, [0, 1, 2, 3]),
    ],
)
def test_by_score(changes, expected):
    assert passed(criteria(**changes), [70, 20, 90, 50]) == expected


def test_ties_go_to_the_first():
    assert passed(criteria(top_k=2), [50, 50, 50]) == [0, 1]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.integers(1, 12), st.floats(0, 100), st.floats(0, 100))
def test_what_passes_is_never_worse_than_what_does_not(points, top_k, percent, least):
    kept = passed(criteria(top_k=top_k, best_percent=percent, min_score=least), points)
    assert len(kept) <= min(top_k, math.ceil(len(points) * percent / 100))
    rest = [points[i] for i in range(len(points)) if i not in kept]
    assert not kept or not rest or min(points[i] for i in kept) >= max(rest)


def test_named_distortions_count_together():
    both = found(noise=0.5, blur=0.45, none=0.05)
    assert criteria(distortions=("noise",)).faults(1, None, [both]) == [["noise (50%)"]]
    assert criteria(distortions=("noise",), probability=0.6).faults(1, None, [both]) == [[]]
    assert criteria(distortions=("noise", "blur"), probability=0.9).faults(1, None, [both]) == [["noise, blur (95%)"]]
    assert criteria(distortions=DISTORTIONS).faults(1, None, [found(none=0.7, noise=0.2, blur=0.1)]) == [[]]


def test_confidence_of_every_answer_that_was_asked_for():
    rule = criteria(min_score=10, min_confidence=0.8, distortions=("noise",))
    sure, unsure = found(none=1.0), Identification("image 1", (), "", (), 0.5)
    assert rule.faults(1, scores(60), [sure]) == [[]]
    assert len(rule.faults(1, scores(60), [unsure])[0]) == 1
    assert len(rule.faults(1, scores(60, confidence=0.7), [unsure])[0]) == 2


def test_an_unreliable_order_passes_no_image():
    rule = criteria(top_k=1, method="pairs")
    assert [bool(faults) for faults in rule.faults(2, None, None, (1, 0), 0.9)] == [True, False]
    assert all("coverage" in faults[-1] for faults in rule.faults(2, None, None, (1, 0), 0.01))


def test_only_what_is_needed_is_asked():
    needs = {"": criteria(), "score": criteria(top_k=1), "confidence": criteria(min_confidence=0.5)}
    assert [rule.need_scores for rule in needs.values()] == [False, True, True]
    both = criteria(distortions=("noise",), min_confidence=0.5)
    assert (both.need_scores, both.need_distortions) == (False, True)


@pytest.mark.parametrize(
    "changes",
    [{"min_score": -1}, {"min_score": 101}, {"best_percent": math.nan}, {"top_k": -1}, {"probability": 2}],
)
def test_numbers_out_of_range_are_refused_by_name(changes):
    with pytest.raises(TaskError, match=next(iter(changes))):
        criteria(**changes)


def test_names_of_distortions():
    assert named_distortions(" Noise,  color   QUANTIZATION,, noise ") == ("noise", "color quantization")
    assert named_distortions("any") == DISTORTIONS
    assert named_distortions(" ") == ()
    with pytest.raises(TaskError, match="blurriness.*blur"):
        named_distortions("noise, blurriness")


def test_by_fault():
    """A fault rejects by its own probability, whatever the labels say; 'any' stands for the distortions alone."""
    assert named_distortions("Seams, blur") == ("seams", "blur")
    assert named_distortions("any, seams") == (*DISTORTIONS, "seams")
    assert named_distortions("any") == DISTORTIONS
    shown = replace(found(none=0.9, blur=0.1), faults=(LabelProbability("seams", 0.7), LabelProbability("moire", 0.6)))
    rule = criteria(distortions=("seams", "blur"), probability=0.65)
    assert rule.need_distortions and rule.need_faults
    assert rule.faults(1, None, [shown]) == [["seams (70%)"]]
    assert criteria(distortions=("seams",), probability=0.75).faults(1, None, [shown]) == [[]]
    assert criteria(distortions=("seams",), probability=0.0).faults(1, None, [found(none=0.9)]) == [[]]
    assert not criteria(distortions=("blur",)).need_faults
