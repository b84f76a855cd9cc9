"""Selection of images by their scores and distortions, independent of models."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..checks import is_number, is_whole
from ..confidence import LEAST_COVERAGE, atypical, reliable, uncovered
from ..errors import TaskError
from ..results import Identification, Score
from ..tasks import DISTORTIONS, FAULTS

ANY = "any"
METHODS = ("score", "pairs")
"""How the best images are found: by the score of each, or by pairwise comparisons."""
LIMITS = {"min_score": 100, "best_percent": 100, "top_k": 100000, "probability": 1, "min_confidence": 1}
"""The maximum of every numeric criterion; the minimum is 0."""


@dataclass(frozen=True)
class Criteria:
    """The criteria of a filter; an image must meet all that are set.

    Attributes:
        min_score: minimum score, 0 to 100; 0: not set.
        best_percent: percentage of images that pass, rounded up, those with the best scores, 0 to 100; 100: not set.
        top_k: number of images that pass, those with the best scores; 0: not set.
        distortions: labels that an image must not have; empty: not set.
        probability: total probability of these labels at which an image is rejected, 0 to 1. As in an Identification,
            two distortions of one image share the probability.
        min_confidence: minimum confidence of every answer, 0 to 1; 0: not set. Answers with too little coverage
            (``confidence.LEAST_COVERAGE``) are always rejected, those about atypical images
            (``confidence.LEAST_TYPICALITY``) if this is set.
        method: one of ``METHODS``, for ``best_percent`` and ``top_k``.
    """

    min_score: float
    best_percent: float
    top_k: int
    distortions: tuple[str, ...]
    probability: float
    min_confidence: float
    method: str = METHODS[0]

    def __post_init__(self) -> None:
        for name, high in LIMITS.items():
            value = getattr(self, name)
            if not is_number(value, 0, high) or (name == "top_k" and not is_whole(value, 0)):
                raise TaskError(f"{name}: {value} is out of range; give a number from 0 to {high}.")

    @property
    def need_scores(self) -> bool:
        """Whether scores are needed."""
        wanted = self.min_score > 0 or (self._relative and self.method == METHODS[0])
        return wanted or (self.min_confidence > 0 and not self.need_distortions)

    @property
    def need_order(self) -> bool:
        """Whether a ranking by pairs is needed."""
        return self._relative and self.method == METHODS[1]

    @property
    def _relative(self) -> bool:
        return self.best_percent < 100 or self.top_k > 0

    def best_of(self, count: int) -> int:
        """Return how many of ``count`` images pass ``best_percent`` and ``top_k``, at least 1 (0 for no images)."""
        share = max(min(count, 1), math.ceil(round(count * self.best_percent / 100, 6)))
        return min(share, self.top_k or share)

    @property
    def need_distortions(self) -> bool:
        """Whether distortions are needed."""
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
        """Return why each of ``count`` images is rejected, one phrase per missed criterion; empty if it passes.

        Args:
            scores: a Score per image, None if ``need_scores`` is False.
            found: an Identification per image, None if ``need_distortions`` is False.
            order: indexes of the images, best first, None if ``need_order`` is False.
            order_coverage: 0..1, the lowest coverage of the order's answers (``Ranking.coverage``); no image passes
                with an unreliable order.
        """
        faults: list[list[str]] = [[] for _ in range(count)]
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
        judged: tuple[Sequence[Score | Identification] | None, ...] = (scores, found)
        for answers in judged:
            for fault, one in zip(faults, answers or (), strict=False):
                if uncovered(one.coverage):
                    fault.append(f"unreliable: coverage {one.coverage:.2g} is below {LEAST_COVERAGE:g}")
                elif self.min_confidence > 0 and atypical(one.typicality):
                    fault.append(f"unlike the training images: typicality {one.typicality:.2g}, confidence unknown")
                elif not reliable(one.confidence, self.min_confidence):
                    fault.append(f"confidence {one.confidence:.2f} is below {self.min_confidence:g}")
        return faults


def named_distortions(text: str) -> tuple[str, ...]:
    """Parse comma-separated names of distortions and faults, in upper or lower case; ``any`` means all distortions.

    Raises:
        TaskError: a name is unknown.
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
