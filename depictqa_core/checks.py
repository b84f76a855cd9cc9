"""What the arguments of the judge may be: one rule for each name, wherever it occurs."""

import math
from collections.abc import Callable
from numbers import Integral, Real

from .errors import TaskError
from .runtime.byte_cache import ByteCache
from .tasks import Task


def check(**arguments) -> None:
    """Refuse arguments of a wrong type or out of range.

    Args:
        arguments: values by the name that they have in the call; ``RULES`` has the names.

    Raises:
        TaskError: the first value that is not allowed; the message names the argument and what may be given.
    """
    for name, value in arguments.items():
        allowed, wanted = RULES[name]
        if not allowed(value):
            shown = repr(value) if isinstance(value, (Real, str)) else f"a {type(value).__name__}"
            raise TaskError(f"{name} is {shown if len(shown) < 80 else shown[:77] + '...'}: give {wanted}")


def is_whole(value, low: int = 1) -> bool:
    """Whether a value is a whole number (of Python or numpy; True and 1.0 are none) of at least ``low``."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= low


def is_number(value, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether a value is a finite number (of Python or numpy; True is none) from ``low`` to ``high``."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high


def is_text(value) -> bool:
    """Whether a value is text that says something and that UTF-8 can hold."""
    return is_string(value) and bool(value.strip())


def is_string(value) -> bool:
    """Whether a value is text that UTF-8 can hold; it may be empty."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _or_none(allowed: Callable) -> Callable:
    return lambda value: value is None or allowed(value)


_FLAG = (lambda value: type(value).__name__ in ("bool", "bool_"), "True or False")  # of Python and of every numpy
_FUNCTION = (_or_none(callable), "a function, or None")
_FOLDER = (_or_none(lambda value: isinstance(value, str) or hasattr(value, "__fspath__")), "a folder, or None")

RULES: dict[str, tuple[Callable, str]] = {
    "anchors": _FOLDER,
    "answers": (lambda value: value is None or isinstance(value, ByteCache), "a caches.ByteCache, or None"),
    "budget": (_or_none(is_whole), "at least 1 pair, as a whole number, or None for the default"),
    "cache_bytes": (_or_none(lambda value: is_whole(value, 0)), "a whole number of bytes, 0 or more, or None"),
    "checkpoint": _FOLDER,
    "compiled": _FLAG,
    "confidence": (
        lambda value: is_number(value, 0.5, 1) and value < 1,
        "a probability from 0.5 to below 1, such as 0.95",
    ),
    "count": (_or_none(is_whole), "1, 2 or None"),
    "dtype": (is_text, "the name of a number format, such as 'float32'"),
    "encoder": _FOLDER,
    "explain": _FLAG,
    "faults": (_or_none(_FLAG[0]), "True, False or None"),
    "margin": (lambda value: is_number(value, 0), "a number from 0"),
    "max_new_tokens": (is_whole, "at least 1, as a whole number"),
    "method": (is_text, "'pairs' or 'score'"),
    "on_text": _FUNCTION,
    "picked": (lambda value: isinstance(value, str), "numbers of pictures as text, best first: '3, 1'"),
    "per_page": (is_whole, "a whole number of pictures from 1"),
    "progress": _FUNCTION,
    "question": (_or_none(is_string), "a question as text, or None for the usual one"),
    "reasons": _FLAG,
    "resamples": (is_whole, "a whole number from 1"),
    "seed": (lambda value: is_whole(value, 0), "a whole number from 0"),
    "task": (lambda value: isinstance(value, Task), "a task, such as tasks.RATING"),
    "tile": (is_whole, "a whole number of pixels from 1"),
    "top_k": (_or_none(is_whole), "at least 1, as a whole number, or None for the whole order"),
}
"""Whether a value is allowed, and what may be given, by the name of the argument."""
