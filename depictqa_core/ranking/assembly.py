"""Assembly of a Ranking from an order of images and the results of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..calibration import SELF_CONSISTENCY
from ..confidence import certainty_at, lowest
from ..images import RGBImage
from ..results import Comparison, Identification, RankedImage, Ranking, Score
from .rank_order import ranks

TIE_POINTS = 1.0
"""Two scores that differ by less than this are tied."""


def reason(found: Identification | None, rated: Score | None) -> str:
    """Return the reason for a rank: the distortion ("perhaps" below 50 %) with its confidence, and the level."""
    parts = []
    if found is not None:
        perhaps = "perhaps " if found.confidence < 0.5 else ""
        named = found.text.lower() if found.labels else "no distortion" if perhaps else "no distortion found"
        parts.append(f"{perhaps}{named} ({found.confidence:.0%} confidence)")
    if rated is not None:
        level = max(rated.levels, key=lambda item: item.probability).label
        parts.append(f"quality {level}")
    return ", ".join(parts)


@dataclass(frozen=True)
class Order:
    """An order of images by their indexes.

    Attributes:
        places: the indexes, best first.
        tied: whether two images, by index, are tied; ``rank_order.ranks`` makes the ranks from it.
        bounds: (strength, low, high) per place.
    """

    places: Sequence[int]
    tied: Callable[[int, int], bool]
    bounds: Sequence[tuple[float, float, float]]


def assemble(
    pictures: Sequence[RGBImage],
    order: Order,
    scores: Sequence[Score] | None,
    found: Sequence[Identification] | None,
    method: str,
    answers: Sequence[Comparison] = (),
    asked: Sequence[tuple[int, int]] = (),
    budget: int | None = None,
    stopped: str = "scores",
    certainty: str = SELF_CONSISTENCY,
) -> Ranking:
    """Assemble a Ranking from an order and what is known of each image.

    Args:
        pictures: the judged images, in input order.
        order: of their indexes.
        scores, found: Score and Identification per image, or None if not requested.
        answers: the Comparisons.
        asked: pair of indexes of each Comparison.
        budget, stopped, certainty: as in Ranking.
    """
    places, tied = order.places, order.tied
    coverages = [[some[index].coverage for some in (scores, found) if some] for index in range(len(pictures))]
    for pair, answer in zip(asked, answers):
        for index in pair:
            coverages[index].append(answer.coverage)
    ranked = []
    for place, (index, rank) in enumerate(zip(places, ranks(places, tied))):
        strength, low, high = order.bounds[place]
        ranked.append(
            RankedImage(
                rank=rank,
                index=index,
                picture=pictures[index].name,
                strength=strength,
                low=low,
                high=high,
                score=scores[index].score if scores else None,
                spread=scores[index].spread if scores else None,
                labels=found[index].labels if found else None,
                reason=reason(found[index] if found else None, scores[index] if scores else None),
                tied_with_next=place + 1 < len(places) and tied(index, places[place + 1]),
                confidence=found[index].confidence if found else None,
                coverage=lowest(coverages[index]),
            )
        )
    disagreement = sum(answer.disagreement for answer in answers) / len(answers) if answers else 0.0
    coverage = lowest(place.coverage for place in ranked)
    certainty = certainty_at(lowest(answer.coverage for answer in answers), certainty)
    return Ranking(tuple(ranked), method, len(answers), disagreement, budget, stopped, coverage, certainty)


def order_by_score(scores: Sequence[Score]) -> Order:
    """Return the order by score; a difference below ``TIE_POINTS`` is a tie."""
    places = sorted(range(len(scores)), key=lambda i: (-scores[i].score, i))
    bounds = [(scores[i].score, scores[i].low, scores[i].high) for i in places]
    return Order(places, lambda i, j: abs(scores[i].score - scores[j].score) < TIE_POINTS, bounds)
