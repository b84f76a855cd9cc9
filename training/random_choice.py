"""A random choice, as every part of the training draws it."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_Option = TypeVar("_Option")


def pick(options: Sequence[_Option], rng: np.random.Generator) -> _Option:
    """Draw one of the options, each as likely as the others."""
    return options[int(rng.integers(len(options)))]
