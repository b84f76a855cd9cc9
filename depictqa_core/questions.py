"""The rule by which a user's question counts as one that a checkpoint supports.

A checkpoint whose configuration says ``free_questions: false`` has learned sentence patterns, not language: asked for a
cat, it names a distortion. It is asked only its training questions (``wordings``). The published checkpoints are built
on a language model that understands other words, and take any question.
"""

import re
from difflib import get_close_matches
from functools import cache

from .errors import TaskError
from .tasks import WORSE, Task
from .wordings import trained_questions

_EMPTY = frozenset("a an the this that these those it image evaluated and or of please".split())
"""Words that change nothing about what is asked: articles, words for the image, and what joins words."""
_BOTH = re.compile(r"\b(?:(?:of|between) )?(?:image )?a,? (?:and|or) (?:image )?b\b")
"""Names both images; a question about two images asks the same without them."""

_DAMAGE = (
    r"(?:\w+ )?(?:distort|degrad|damag|flaw|defect|fault|artifact|issue|problem|nois|blur|compress|pixelat|grain"
    r"|severe)"
)
_WORSE = re.compile(
    rf"\b(?:{WORSE}|worst|poorest|noisier|blurrier|grainier)\b|\b(?:more|most|stronger|higher) {_DAMAGE}"
    rf"|\b(?:lower|lowest)\b(?! {_DAMAGE})|\b(?:less|least|fewer|fewest)\b(?! {_DAMAGE})|\b(?:not|never)\b|n't\b",
    re.IGNORECASE,
)
"""Asks for the image that is not the better one."""


def require_better(question: str) -> None:
    """Refuse a question about two images whose answer is the worse one: verdicts and probabilities name the better.

    Raises:
        TaskError: with what to do.
    """
    if found := _WORSE.search(question):
        raise TaskError(
            f"question '{question}': asks for the worse image ('{found[0]}'), and a comparison tells which is better; "
            "ask which of the two is better"
        )


def require_trained(question: str, task: Task, name: str) -> None:
    """Refuse a question that is not one of the training questions of a task.

    It is one if it has the same words in the same order; case, punctuation, endings of the plural, the short-answer
    tail and words that change nothing (articles, "image" for "image") make no difference.

    Args:
        question: as the user worded it.
        task: that the question belongs to.
        name: of the checkpoint.

    Raises:
        TaskError: with the most similar training question, and what to do.
    """
    if _words(task.ask(question)) in _known(task):
        return
    (similar,) = get_close_matches(question, trained_questions(task), n=1, cutoff=0) or ("none for this task",)
    raise TaskError(
        f"question '{question}': not supported by {name}, which learned the sentences of its training questions and no "
        f"others; the most similar one is: {similar} Leave the question out, ask that one, use identify or score, or "
        "load a checkpoint that takes free questions"
    )


@cache
def _known(task: Task) -> frozenset[tuple[str, ...]]:
    return frozenset(_words(task.ask(question)) for question in trained_questions(task))


def _words(question: str) -> tuple[str, ...]:
    """The words that a question is compared by: lower case, singular, without those of ``_EMPTY``."""
    text = re.sub(r"\b(?:image|picture|photo)s?\b", "image", re.sub(r"['’]s\b", "", question.lower()))
    text = re.sub(r"\bimage ([ab])\b", r"image_\1", _BOTH.sub(" ", text))
    told = [word for word in re.findall(r"\w+", text) if word not in _EMPTY]
    return tuple(word[:-1] if len(word) > 3 and word[-1] == "s" != word[-2] else word for word in told)
