"""Answers to users' own questions as text."""

from collections.abc import Sequence

from ..confidence import uncovered
from ..results import Check
from .text_table import table


def check_table(results: Sequence[Check], width: int | None = None, minimum: float = 0.0) -> str:
    """One line per image: the answer, its probability, and whether it passed."""
    rows = []
    for result in results:
        doubtful = result.confidence < minimum or uncovered(result.coverage)
        passed = "" if result.passed is None else "passed" if result.passed else "rejected"
        rows.append([result.picture, f"{result.answer}{' ?' if doubtful else ''}", f"{result.confidence:.2f}", passed])
    return table(["image", "answer", "probability", ""], rows, "<<><", width, shrink=0)
