"""What heads find in images, as logits of the allowed answers."""

import pytest
import torch

from depictqa_core import tasks
from depictqa_core.network.head_answers import LIMIT, answer_logits
from depictqa_core.network.heads import NUMBERS, Findings

BLUR, NOISE = tasks.DISTORTIONS.index("blur"), tasks.DISTORTIONS.index("noise")


def found(count: int = 1, **values: torch.Tensor) -> Findings:
    parts = vars(Findings.of_numbers(torch.zeros(count, NUMBERS)))
    return Findings(**{**parts, **values})


def best(task: tasks.Task, question: str, *findings: Findings) -> list[str]:
    options = tasks.answers(task, question)
    logits = answer_logits(task, question, options, findings)
    assert logits.shape == (len(findings[0].quality), len(options)) and logits.dtype == torch.float64
    assert (logits.amax(1) == 0).all()
    return [options[place] for place in logits.argmax(1)]


@pytest.mark.parametrize("question", [tasks.IDENTIFICATION.question, tasks.ONE_ISSUE, tasks.TWO_ISSUES])
def test_the_labels_of_the_heads_are_the_best_answers(question):
    labels = torch.zeros(3, len(tasks.LABELS))
    labels[0, -1] = labels[1, BLUR] = labels[2, BLUR] = labels[2, NOISE] = 9.0
    answers = best(tasks.IDENTIFICATION, question, found(3, labels=labels))
    assert answers[0] == "None"
    if question != tasks.TWO_ISSUES:
        assert answers[1] == "Blur"
    if question != tasks.ONE_ISSUE:
        assert tasks.parse_labels(answers[2]) in (("blur", "noise"), ("noise", "blur"))


def test_single_labels_have_the_log_probabilities_of_the_heads():
    labels = torch.randn(2, len(tasks.LABELS), generator=torch.Generator().manual_seed(0))
    options = tasks.answers(tasks.IDENTIFICATION, tasks.ONE_ISSUE)
    logits = answer_logits(tasks.IDENTIFICATION, tasks.ONE_ISSUE, options, [found(2, labels=labels)])
    torch.testing.assert_close(logits.softmax(1), labels.double().softmax(1))


def test_quality_chooses_the_nearest_level():
    qualities = torch.tensor([9.0, 5.0, 3.6, 2.5, 1.3, -2.0])
    levels = best(tasks.SCORE, tasks.SCORE.question, found(6, quality=qualities))
    assert levels == ["Excellent", "Excellent", "Good", "Fair", "Poor", "Bad"]


def test_the_better_image_is_the_one_of_higher_quality_and_equal_ones_are_equal():
    one, other = torch.tensor([4.0, 1.0, 2.0]), torch.tensor([1.0, 4.0, 2.0])
    options = tasks.answers(tasks.RATING, tasks.RATING.question)
    pair = (found(3, quality=one), found(3, quality=other))
    there = answer_logits(tasks.RATING, tasks.RATING.question, options, pair)
    back = answer_logits(tasks.RATING, tasks.RATING.question, options, pair[::-1])
    assert there[:2].argmax(1).tolist() == [0, 1] and there[2, 0] == there[2, 1]
    torch.testing.assert_close(there, back.flip(1))


@pytest.mark.parametrize("task, question", [(t, t.question) for t in (tasks.IDENTIFICATION, tasks.SCORE, tasks.FAULT)])
def test_the_order_of_the_options_changes_nothing(task, question):
    some = Findings.of_numbers(torch.randn(3, NUMBERS, generator=torch.Generator().manual_seed(6)))
    options = tasks.answers(task, question)
    there, back = (answer_logits(task, question, some_order, [some]) for some_order in (options, options[::-1]))
    assert torch.equal(there, back.flip(1)) and there.unique().numel() > 1


def test_each_fault_has_its_own_log_odds():
    odds = torch.zeros(1, len(tasks.FAULTS) + 1)
    odds[0, tasks.FAULTS.index("banding")], odds[0, -1] = 3.0, -1.0
    for question, expected in [("banding", 3.0), ("moire", 0.0), (None, -1.0)]:
        asked = tasks.fault_question(question)
        logits = answer_logits(tasks.FAULT, asked, tasks.FAULT_ANSWERS, [found(faults=odds)])
        assert float(logits[0, 0] - logits[0, 1]) == pytest.approx(expected)


def test_numbers_of_an_image_unlike_all_others_stay_bounded():
    wild = Findings.of_numbers(1e6 * torch.randn(8, NUMBERS, generator=torch.Generator().manual_seed(3)))
    asked = [(tasks.IDENTIFICATION, tasks.TWO_ISSUES), (tasks.FAULT, tasks.fault_question("seams"))]
    for task, question in [*asked, (tasks.SCORE, tasks.SCORE.question)]:
        logits = answer_logits(task, question, tasks.answers(task, question), [wild])
        assert logits.isfinite().all() and logits.min() >= -2 * LIMIT


@pytest.mark.parametrize(
    "task, question, options",
    [
        (tasks.SEVERITY, tasks.SEVERITY.question, tasks.answers(tasks.SEVERITY, tasks.SEVERITY.question)),
        (tasks.QUESTION, "Is it sharp?", ("Yes", "No")),
        (tasks.IDENTIFICATION, tasks.ONE_ISSUE, ("Blur", "Dust")),
        (tasks.SCORE, tasks.SCORE.question, ("Good", "Ugly")),
    ],
)
def test_what_the_heads_do_not_know_has_no_logits(task, question, options):
    assert answer_logits(task, question, options, [found()]) is None
