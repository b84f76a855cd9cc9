"""Checks of the judge's arguments: one rule per name."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, TypeGuard

from .errors import TaskError
from .runtime.byte_cache import ByteCache
from .tasks import Task


@dataclass(frozen=True)
class Rule:
    """The allowed values in words (``allowed``) and as a test."""

    allowed: str
    fits: Callable[[Any], bool]


def check(**arguments: object) -> None:
    """Reject arguments of a wrong type or out of range.

    Args:
        arguments: values by argument name; ``RULES`` has the names.

    Raises:
        TaskError: a value is not allowed; the message has the argument and the allowed values.
    """
    for name, value in arguments.items():
        rule = RULES[name]
        if not rule.fits(value):
            shown = repr(value) if isinstance(value, (Real, str)) else f"a {type(value).__name__}"
            raise TaskError(f"{name} is {shown if len(shown) < 80 else shown[:77] + '...'}: give {rule.allowed}")


def is_whole(value: Any, low: int = 1) -> bool:
    """Return whether a value is a whole number (of Python or numpy, but not True or 1.0) of at least ``low``."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= low


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Return whether a value is a finite number (of Python or numpy, but not True) from ``low`` to ``high``."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    return math.isfinite(value) and low <= float(value) <= high


def is_text(value: object) -> TypeGuard[str]:
    """Return whether a value is non-empty text that UTF-8 can encode."""
    return is_string(value) and bool(value.strip())


def is_string(value: object) -> TypeGuard[str]:
    """Return whether a value is text that UTF-8 can encode; it may be empty."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _or_none(allowed: Callable) -> Callable:
    return lambda value: value is None or allowed(value)


_FLAG = (lambda value: type(value).__name__ in ("bool", "bool_"), "True or False")  # of Python and of every numpy
_FUNCTION = (_or_none(callable), "a function, or None")
_FOLDER = (_or_none(lambda value: isinstance(value, str) or hasattr(value, "__fspath__")), "a folder, or None")

_ARGUMENTS: dict[str, tuple[Callable, str]] = {
    "accept": (_or_none(is_text), "one of the answers, or None"),
    "anchors": _FOLDER,
    "answers": (lambda value: value is None or isinstance(value, ByteCache), "a caches.ByteCache, or None"),
    "base": _FOLDER,
    "budget": (_or_none(is_whole), "at least 1 pair, as a whole number, or None for the default"),
    "cache": _FOLDER,
    "cache_bytes": (_or_none(lambda value: is_whole(value, 0)), "a whole number of bytes, 0 or more, or None"),
    "checkpoint": _FOLDER,
    "compiled": _FLAG,
    "concurrency": (
        _or_none(lambda value: is_whole(value) and value <= 1024),
        "a whole number from 1 to 1024, or None",
    ),
    "confidence": (
        lambda value: is_number(value, 0.5, 1) and value < 1,
        "a probability from 0.5 to below 1, such as 0.95",
    ),
    "count": (_or_none(is_whole), "1, 2 or None"),
    "criterion": (_or_none(is_string), "what to judge images by, as text, or None for their quality"),
    "dtype": (is_text, "the name of a number format, such as 'float32'"),
    "encoder": _FOLDER,
    "explain": _FLAG,
    "faults": (_or_none(_FLAG[0]), "True, False or None"),
    "margin": (lambda value: is_number(value, 0), "a number from 0"),
    "max_new_tokens": (is_whole, "at least 1, as a whole number"),
    "method": (is_text, "'pairs' or 'score'"),
    "model": (_or_none(is_text), "the name of the model on the server"),
    "on_text": _FUNCTION,
    "picked": (lambda value: isinstance(value, str), "numbers of images as text, best first: '3, 1'"),
    "per_page": (is_whole, "a whole number of images from 1"),
    "progress": _FUNCTION,
    "prompt": (_or_none(is_string), "what images should show, as text, or None"),
    "question": (_or_none(is_string), "a question as text, or None for the usual one"),
    "reasons": _FLAG,
    "resamples": (is_whole, "a whole number from 1"),
    "seed": (lambda value: is_whole(value, 0), "a whole number from 0"),
    "settings": _FOLDER,
    "task": (lambda value: isinstance(value, Task), "a task, such as tasks.RATING"),
    "threshold": (lambda value: is_number(value, 0, 1), "a probability from 0 to 1"),
    "tile": (is_whole, "a whole number of pixels from 1"),
    "top_k": (_or_none(is_whole), "at least 1, as a whole number, or None for the whole order"),
    "vllm": (_or_none(is_string), "arguments of vllm serve as text, which may be empty, or None"),
    "votes": (_or_none(is_whole), "at least 1, as a whole number, or None for no votes"),
}
"""The test and the allowed values in words, by argument name."""
RULES = {name: Rule(allowed, fits) for name, (fits, allowed) in _ARGUMENTS.items()}
