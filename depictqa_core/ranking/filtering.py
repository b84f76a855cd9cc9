"""Decides which pictures are good enough, from their scores and distortions; knows nothing of models."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..checks import is_number, is_whole
from ..confidence import LEAST_COVERAGE, reliable, uncovered
from ..errors import TaskError
from ..results import Identification, Score
from ..tasks import DISTORTIONS, FAULTS

ANY = "any"
METHODS = ("score", "pairs")
"""How the best images are found: by the score of each, or by comparing them two by two."""
LIMITS = {"min_score": 100, "best_percent": 100, "top_k": 100000, "probability": 1, "min_confidence": 1}
"""The largest value of every criterion that is a number; the smallest is 0."""


@dataclass(frozen=True)
class Criteria:
    """What a picture must meet to be passed: all that are set.

    Attributes:
        min_score: least score, 0 to 100; 0 is not set.
        best_percent: share of all pictures that is passed, rounded up, those with the best scores, 0 to 100; 100 is not
            set.
        top_k: number of pictures that are passed, those with the best scores; 0 is not set.
        distortions: labels and faults (``tasks.FAULTS``) that a picture must not have; empty is not set.
        probability: what the probabilities of these labels must come to together to reject a picture, 0 to 1. As in an
            Identification, two distortions of one picture share it. A fault rejects a picture by its own probability.
        min_confidence: least confidence of every answer that was asked for, 0 to 1; 0 is not set. Answers with too
            little coverage (``confidence.LEAST_COVERAGE``) are rejected in any case.
        method: one of ``METHODS``, for ``best_percent`` and ``top_k``.
    """

    min_score: float
    best_percent: float
    top_k: int
    distortions: tuple[str, ...]
    probability: float
    min_confidence: float
    method: str = METHODS[0]

    def __post_init__(self):
        for name, high in LIMITS.items():
            value = getattr(self, name)
            if not is_number(value, 0, high) or (name == "top_k" and not is_whole(value, 0)):
                raise TaskError(f"{name}: {value} is out of range; give a number from 0 to {high}.")

    @property
    def need_scores(self) -> bool:
        """Whether scores are needed to decide."""
        wanted = self.min_score > 0 or (self._relative and self.method == METHODS[0])
        return wanted or (self.min_confidence > 0 and not self.need_distortions)

    @property
    def need_order(self) -> bool:
        """Whether the images must be ranked by pairs to decide."""
        return self._relative and self.method == METHODS[1]

    @property
    def _relative(self) -> bool:
        return self.best_percent < 100 or self.top_k > 0

    def best_of(self, count: int) -> int:
        """How many of ``count`` images ``best_percent`` and ``top_k`` pass, from 1 (0 for none of them)."""
        share = max(min(count, 1), math.ceil(round(count * self.best_percent / 100, 6)))
        return min(share, self.top_k or share)

    @property
    def need_distortions(self) -> bool:
        """Whether distortions must be identified to decide."""
        return bool(self.distortions)

    @property
    def need_faults(self) -> bool:
        """Whether faults must be asked for to decide."""
        return any(name in FAULTS for name in self.distortions)

    def faults(
        self,
        count: int,
        scores: list[Score] | None,
        found: list[Identification] | None,
        order: Sequence[int] | None = None,
        order_coverage: float | None = None,
    ) -> list[list[str]]:
        """Why each of ``count`` pictures is rejected, one phrase per criterion that it misses; empty when it is passed.

        Args:
            scores: a Score per picture, None when ``need_scores`` is False.
            found: an Identification per picture, None when ``need_distortions`` is False.
            order: indexes of the images, best first, None when ``need_order`` is False.
            order_coverage: 0..1, the lowest one of the answers that the order was made of (``Ranking.coverage``): an
                unreliable order passes no image.
        """
        faults = [[] for _ in range(count)]
        if scores and order is None:
            order = sorted(range(count), key=lambda index: -scores[index].score)  # ties in the order of the input
        if order is not None:
            share = math.ceil(round(count * self.best_percent / 100, 6))
            for place, index in enumerate(order):
                if scores and scores[index].score < self.min_score:
                    faults[index].append(f"score {scores[index].score:.1f} is below {self.min_score:g}")
                if place >= share:
                    faults[index].append(f"not among the best {self.best_percent:g} %")
                if self.top_k and place >= self.top_k:
                    faults[index].append(f"not among the best {self.top_k}")
        if found:
            for fault, answer in zip(faults, found, strict=True):
                named = [item for item in answer.probabilities if item.label in self.distortions]
                total = sum(item.probability for item in named)
                if named and total >= self.probability:
                    main = [item.label for item in named if item.probability >= total / 4]
                    fault.append(f"{', '.join(main)} ({total:.0%})")
                for item in answer.faults or ():
                    if item.label in self.distortions and item.probability >= self.probability:
                        fault.append(f"{item.label} ({item.probability:.0%})")
        if uncovered(order_coverage):
            for fault in faults:
                fault.append(f"unreliable order: coverage {order_coverage:.2g} is below {LEAST_COVERAGE:g}")
        for answers in (scores, found):
            for fault, answer in zip(faults, answers or (), strict=False):
                if uncovered(answer.coverage):
                    fault.append(f"unreliable: coverage {answer.coverage:.2g} is below {LEAST_COVERAGE:g}")
                elif not reliable(answer.confidence, self.min_confidence):
                    fault.append(f"confidence {answer.confidence:.2f} is below {self.min_confidence:g}")
        return faults


def named_distortions(text: str) -> tuple[str, ...]:
    """The distortions and faults that a comma-separated text names, in any case; ``any`` stands for all distortions.

    Raises:
        TaskError: a name is not known.
    """
    names = [" ".join(name.lower().split()) for name in text.replace("\n", ",").split(",")]
    names = [name for name in names if name]
    unknown = [name for name in names if name not in (*DISTORTIONS, *FAULTS, ANY)]
    if unknown:
        known = ", ".join((*DISTORTIONS, *FAULTS))
        raise TaskError(
            f"distortions: {', '.join(unknown)} is not known; choose from: {known}, or {ANY} (of the first 12)."
        )
    chosen = [label for name in names for label in (DISTORTIONS if name == ANY else (name,))]
    return tuple(dict.fromkeys(chosen))
