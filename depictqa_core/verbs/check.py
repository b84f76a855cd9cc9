"""Check: a user's own question about each image, with the user's own answers."""

from collections.abc import Sequence
from dataclasses import replace

from ..backends.base import Backend, SingleSet
from ..checks import is_string
from ..errors import TaskError
from ..results import Check, LabelProbability
from ..runtime.progress import ProgressCounter
from ..tasks import QUESTION

MAX_ANSWERS = 32


def check_answers(answers: Sequence[str]) -> tuple[str, ...]:
    """Return a user's answers without blanks around them.

    Raises:
        TaskError: they are no texts, fewer than two, more than ``MAX_ANSWERS``, empty, or two are equal.
    """
    texts = isinstance(answers, (list, tuple)) and all(map(is_string, answers))
    found = [answer.strip() for answer in answers] if texts else []
    if not 2 <= len(found) <= MAX_ANSWERS or not all(found):
        raise TaskError(f"answers: give 2 to {MAX_ANSWERS} texts, such as 'yes' and 'no'")
    if len({answer.lower() for answer in found}) < len(found):
        raise TaskError(f"answers: two of {', '.join(found)} are equal; give different ones")
    return tuple(found)


def require_checks(backend: Backend) -> None:
    """Raise TaskError unless a backend answers users' own questions."""
    if QUESTION.name not in backend.capabilities.tasks or not backend.capabilities.free_questions:
        raise TaskError(
            f"own questions are not supported by {backend.name}: load a vision-language model (docs/judges.md), or use"
            " identify or score"
        )


def pass_answer(accept: str | None, answers: tuple[str, ...]) -> str | None:
    """Return the answer with which an image passes, as it stands among the answers.

    Raises:
        TaskError: it is none of them.
    """
    found = [answer for answer in answers if accept is not None and answer.lower() == accept.strip().lower()]
    if accept is not None and not found:
        raise TaskError(f"'{accept}' is none of the answers {', '.join(answers)}: choose one of these to pass")
    return found[0] if found else None


def check(
    backend: Backend,
    question: str,
    answers: tuple[str, ...],
    image_sets: Sequence[SingleSet],
    counter: ProgressCounter,
    accept: str | None = None,
    threshold: float = 0.5,
) -> list[Check]:
    """Ask one question about each (image, reference); see ``Judge.check``."""
    chosen = backend.choose(QUESTION, question, image_sets, counter, options=answers)
    found = []
    for (image, _), row, coverage in zip(image_sets, *chosen):
        probabilities = tuple(LabelProbability(answer, float(p)) for answer, p in zip(answers, row))
        best = max(probabilities, key=lambda one: one.probability)
        one = Check(image.name, question, best.label, probabilities, best.probability, float(coverage))
        found.append(one if accept is None else replace(one, passed=one.probability(accept) >= threshold))
    return found
