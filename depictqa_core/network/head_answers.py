"""Answers of the heads: what they find in images, as logits of the allowed answers to a question.

They are added to the log-probabilities of the language model, with a weight that calibration fits (a product of
experts, Hinton 2002): the language model reads all features of an image, the heads learned from other kinds of images
with a loss of their own. Severities have none: on held-out images the best weight of the heads' grades is 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ..tasks import (
    DISTORTIONS,
    FAULT,
    FAULTS,
    IDENTIFICATION,
    LABELS,
    LEVEL_SCORES,
    RATING,
    SCORE,
    WINNERS,
    Task,
    answers,
    parse_labels,
)
from .heads import BEST, Findings

LIMIT = 8.0
"""Log odds are clipped to this: in an image unlike the training images, the logits of a head are unreliable."""
STEP = BEST / (len(LEVEL_SCORES) - 1)
"""Distance of two rating levels on the scale of the quality."""


def answer_logits(task: Task, question: str, options: Sequence[str], found: Sequence[Findings]) -> torch.Tensor | None:
    """Compute the logits of the allowed answers, float64 [B, K] on the CPU.

    Args:
        task, question, options: what was asked, and the K allowed answers.
        found: what the heads find in the evaluated images, or in all images A and in all images B; B each.

    Returns:
        None for a question that the heads do not answer.
    """
    answer = _ANSWERS.get(task)
    logits = answer(question, options, *(_bounded(one) for one in found)) if answer else None
    return None if logits is None else logits - logits.amax(1, keepdim=True)


def _bounded(found: Findings) -> Findings:
    """Log-probabilities of labels, log odds of faults and quality, in their ranges; float64 on the CPU."""
    numbers = Findings.of_numbers(found.numbers().to("cpu", torch.float64))
    labels = numbers.labels.log_softmax(1).clamp(min=-LIMIT)
    faults, quality = numbers.faults.clamp(-LIMIT, LIMIT), numbers.quality.clamp(0, BEST)
    return replace(numbers, labels=labels, faults=faults, quality=quality)


def _identification(question: str, options: Sequence[str], found: Findings) -> torch.Tensor | None:
    """Each label has the log-probability of the heads. Two distortions share the probability, so that the best case of
    both is a half."""
    columns = []
    for option in options:
        labels = parse_labels(option)
        if labels is None:
            return None
        places = [LABELS.index(label) for label in labels] or [len(DISTORTIONS)]
        columns.append(sum(found.labels[:, place] - torch.tensor(1 / len(places)).log() for place in places))
    return torch.stack(columns, 1)  # type: ignore[arg-type]


def _score(question: str, options: Sequence[str], found: Findings) -> torch.Tensor | None:
    """Each level has the log-density of a normal error of one level."""
    points = dict(zip(answers(SCORE, SCORE.question), LEVEL_SCORES))
    if not set(options) <= points.keys():
        return None
    levels = torch.tensor([points[option] for option in options], dtype=torch.float64) / 100 * BEST
    return -(((found.quality[:, None] - levels) / STEP) ** 2) / 2


def _faults(question: str, options: Sequence[str], found: Findings) -> torch.Tensor | None:
    """The log odds of the fault, or of any where the question names none."""
    fault = next((name for name in FAULTS if f"the fault {name}" in question), None)
    odds = found.faults[:, FAULTS.index(fault) if fault else len(FAULTS)]
    return _two(options, "Yes", "No", odds)


def _rating(question: str, options: Sequence[str], one: Findings, other: Findings) -> torch.Tensor | None:
    """The difference of the qualities."""
    return _two(options, *WINNERS, one.quality - other.quality)


def _two(options: Sequence[str], first: str, second: str, odds: torch.Tensor) -> torch.Tensor | None:
    """Logits of two answers from the log odds of the first one."""
    if sorted(options) != sorted((first, second)):
        return None
    return torch.stack([odds / 2 if option == first else -odds / 2 for option in options], 1)


_ANSWERS: dict[Task, Callable[..., torch.Tensor | None]] = {
    IDENTIFICATION: _identification,
    SCORE: _score,
    FAULT: _faults,
    RATING: _rating,
}
