"""Replies of chat servers as values, and the small things that are read from their answers."""

import email.utils
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

LONGEST_RETRY_AFTER = 3600.0  # seconds


class Step(NamedTuple):
    """One token of an answer, as the server reported it; nothing of it is checked.

    Attributes:
        token: its text, or ``token_id:N``.
        logprob: its log-probability.
        others: tokens that could stand there, each with its log-probability.
    """

    token: str
    logprob: Any
    others: tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        text: what the model wrote.
        finish: why it ended: "stop", "length", "content_filter", ...
        prompt_tokens, completion_tokens: what it cost, if told.
        steps: its tokens with their log-probabilities; None if the server gave none.
        thought: whether the server reported a chain of thought apart from the text.
    """

    text: str
    finish: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    steps: tuple[Step, ...] | None = None
    thought: bool = False


def named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def said(body: object) -> str:
    """The message in the body of a refusal."""
    if isinstance(body, dict):
        found = body.get("error", body)
        body = found.get("message", found) if isinstance(found, dict) else found
    return "" if body is None else str(body)


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which gives seconds or a date; None if there is none that can be read."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER) if seconds == seconds else None
