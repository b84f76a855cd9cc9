"""Log-probabilities in the replies of servers: checked, and what they tell of the answers that are allowed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..chat.client import Reply, Step
from ..chat.endpoint import EndpointError

ROUNDING = 1e-3
"""How far the probabilities of tokens may exceed 1 together, by rounding in half precision."""
TOKEN = "token_id:"


def folded(text: str) -> str:
    """Return a text without what does not distinguish answers: case, and blanks in front."""
    return text.casefold().lstrip()


def known_masses(steps: Sequence[Step], answers: Sequence[str]) -> np.ndarray:
    """Compute from the tokens of one written answer what is known of every allowed one; see ``Top``.

    Args:
        steps: checked.

    Returns:
        float64 [answers], probabilities that sum to at most 1.
    """
    spelled = [folded(answer) for answer in answers]
    masses = np.zeros(len(answers))
    written, share = "", 1.0
    for step in steps:
        complete = [index for index, answer in enumerate(spelled) if answer == folded(written)]
        continued = 0.0
        for token, value in all_tokens(step):
            fitting = _fitting(folded(written + token), spelled)
            chance = share * math.exp(float(value))
            continued += chance if set(fitting) - {*complete} else 0.0
            if len(fitting) == 1 and fitting != complete:
                masses[fitting[0]] += chance
        for index in complete:  # the answer ends here unless a longer one continues it
            masses[index] += max(0.0, share - continued)
        written += step.token
        share *= math.exp(float(step.logprob))
        open_ = _fitting(folded(written), spelled)
        if len(open_) < 2:
            return masses
    for index, answer in enumerate(spelled):  # the text ends with an answer that others begin with
        if answer == folded(written):
            masses[index] += share
    return masses


def _fitting(text: str, answers: Sequence[str]) -> list[int]:
    """The answers that a text begins, or that it begins with; of the latter only the longest."""
    begun = [index for index, answer in enumerate(answers) if answer.startswith(text)]
    if begun:
        return begun
    whole = [index for index, answer in enumerate(answers) if text.startswith(answer) and _ends(text, answer)]
    return [max(whole, key=lambda index: len(answers[index]))] if whole else []


def _ends(text: str, answer: str) -> bool:
    """Whether an answer ends in a text that begins with it: no word continues."""
    return not text[len(answer) : len(answer) + 1].isalnum()


def checked(server: str, reply: Reply) -> tuple[Step, ...]:
    """Return the tokens of a reply with log-probabilities that can be true.

    Raises:
        EndpointError: there are none, or one is above 0, NaN or no number, or those of one place sum to more than 1.
    """
    if not reply.steps:
        raise lie(server, "an answer without them, though it gave some before")
    for step in reply.steps:
        total = 0.0
        for _, value in all_tokens(step):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
                raise lie(server, f"{value!r} for a token"[:60])
            if value > ROUNDING:
                raise lie(server, f"{value:g} for a token, which is above 0")
            total += math.exp(min(0.0, value))
        if total > 1 + ROUNDING:
            raise lie(server, f"probabilities that sum to {total:.4g} in one place")
    return reply.steps


def lie(server: str, what: str) -> EndpointError:
    """Return the error for log-probabilities that cannot be true."""
    return EndpointError(
        f"{server}: its log-probabilities cannot be used: {what}; update the server, or judge with another one"
    )


def all_tokens(step: Step) -> list[tuple[str, Any]]:
    """All tokens of one place, each once."""
    return list(
        {**dict(step.others), **({} if step.token in dict(step.others) else {step.token: step.logprob})}.items()
    )


def token_id(server: str, token: str) -> int:
    number = token.removeprefix(TOKEN)
    if not token.startswith(TOKEN) or not number.isdecimal():
        raise lie(server, "tokens that are not named by their numbers")
    return int(number)
