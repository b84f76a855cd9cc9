"""From probabilities to answers: who wins, and how a reason is worded."""

import numpy as np
import pytest

from depictqa_core import answers, tasks
from depictqa_core.ranking.assembly import reason
from depictqa_core.reports import text as reports

OPTIONS = tasks.identification_answers(1)


@pytest.mark.parametrize(
    ("forward", "backward", "verdict"),
    [
        (0.9, 0.8, "A"),
        (0.1, 0.3, "B"),
        (0.64, 0.26, "tie"),  # 0.45 on average, but each order of asking names another winner
        (0.95, 0.45, "tie"),
        (0.95, 0.55, "A"),  # far apart, but of one mind
        (0.53, 0.54, "tie"),
        (0.8, 0.5, "tie"),
        (0.5, 0.5, "tie"),
    ],
)
def test_a_verdict_needs_both_orders_of_asking(forward, backward, verdict):
    found = answers.comparison("a", "b", forward, backward)
    turned = answers.comparison("b", "a", 1 - backward, 1 - forward)
    assert (found.verdict, turned.verdict) == (verdict, {"A": "B", "B": "A", "tie": "tie"}[verdict])
    assert found.probability_a == pytest.approx((forward + backward) / 2)
    assert found.disagreement == pytest.approx(abs(forward - backward))
    contradict = (forward - 0.5) * (backward - 0.5) < 0
    assert ("name different winners" in reports.comparison_text(found)) == contradict


@pytest.mark.parametrize(
    ("label", "probability", "words"),
    [
        ("Overly high brightness", 0.47, "perhaps overly high brightness (47% confidence)"),
        ("Overly high brightness", 0.9, "overly high brightness (90% confidence)"),
        ("None", 0.4, "perhaps no distortion (40% confidence)"),
        ("None", 0.93, "no distortion found (93% confidence)"),
    ],
)
def test_a_reason_says_perhaps_where_it_is_less_than_even(label, probability, words):
    row = np.full(len(OPTIONS), (1 - probability) / (len(OPTIONS) - 1))
    row[OPTIONS.index(label)] = probability
    found, rated = answers.identification("a", OPTIONS, row), answers.level_score("a", np.eye(5)[0])
    assert reason(found, rated) == f"{words}, quality excellent"
    assert reason(None, rated) == "quality excellent"


def test_the_confidence_of_two_labels_counts_both_orders_of_the_words():
    options = tasks.identification_answers(2)
    row = np.full(len(options), 0.2 / (len(options) - 2))
    row[options.index("Noise and blur")], row[options.index("Blur and noise")] = 0.5, 0.3
    found = answers.identification("a", options, row)
    assert (found.text, found.labels) == ("Noise and blur", ("noise", "blur"))
    assert found.confidence == pytest.approx(0.8)
