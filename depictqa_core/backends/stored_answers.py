"""Answers that are stored between calls: no question is asked twice, and an interrupted call resumes."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from ..errors import DepictQAError
from ..runtime.byte_cache import ByteCache
from ..runtime.progress import ProgressCounter
from .base import WrittenAnswer

ANSWER_OVERHEAD, TOKEN_BYTES = 1024, 80
"""Bytes that a stored answer takes next to its numbers, and a token of a written one with its probability."""

Store = Callable[[int, Any], None]


def answer_all(
    answers: ByteCache,
    keys: Sequence[Hashable],
    counter: ProgressCounter,
    ask: Callable[[list[int], Store], list[DepictQAError]],
) -> list:
    """Answer N questions: what is stored, or was asked before under an equal key, is not asked again.

    Args:
        answers: where answers are stored.
        keys: for each question everything that its answer depends on.
        counter: counts every answered question.
        ask: asks the questions of some indexes, hands each answer over as ``store(index, answer)`` as soon as it is
            known, and returns the errors of those that failed.

    Raises:
        DepictQAError: the first of these errors, after everything else was asked.
    """
    places: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        places.setdefault(key, []).append(index)
    found = {key: answers.get(key) for key in places}
    missing = {indexes[0]: key for key, indexes in places.items() if found[key] is None}
    if known := len(keys) - sum(len(places[key]) for key in missing.values()):
        counter.add(known)

    def store(index: int, answer: Any) -> None:
        key = missing[index]
        found[key] = answer
        answers.put(key, answer, _bytes(answer))
        counter.add(len(places[key]))

    if missing and (failures := ask(list(missing), store)):
        raise failures[0]
    return [found[key] for key in keys]


def _bytes(answer: WrittenAnswer | np.ndarray) -> int:
    numbers = TOKEN_BYTES * len(answer.ids) if isinstance(answer, WrittenAnswer) else answer.nbytes
    return ANSWER_OVERHEAD + numbers
