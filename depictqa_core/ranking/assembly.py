"""Assembles a Ranking from an order of images and what is known of each of them."""

from ..calibration import SELF_CONSISTENCY
from ..confidence import lowest
from ..results import Identification, RankedPicture, Ranking, Score
from .bradley_terry import ranks

TIE_POINTS = 1.0
"""Two scores less than this apart are tied."""


def reason(found: Identification | None, rated: Score | None) -> str:
    """One sentence on a picture's place: its distortion ("perhaps" below 50 %), how sure that is, and its rating."""
    parts = []
    if found is not None:
        perhaps = "perhaps " if found.confidence < 0.5 else ""
        named = found.text.lower() if found.labels else "no distortion" if perhaps else "no distortion found"
        parts.append(f"{perhaps}{named} ({found.confidence:.0%} sure)")
    if rated is not None:
        level = max(rated.levels, key=lambda item: item.probability).label
        parts.append(f"quality {level}")
    return ", ".join(parts)


def assemble(
    pictures,
    places,
    tied,
    bounds,
    scores,
    found,
    method,
    answers,
    budget=None,
    stopped="scores",
    certainty=SELF_CONSISTENCY,
) -> Ranking:
    """A Ranking from the order and what is known of each picture.

    Args:
        pictures: the judged Pictures, in input order.
        places: their indexes, best first.
        tied: whether two pictures, by index, cannot be told apart; ranks are made of it by ``bradley_terry.ranks``.
        bounds: (strength, low, high) per place.
        scores, found: Score and Identification per picture, or None where they were not asked for.
        answers: the Comparisons that were made.
        budget, stopped, certainty: as in Ranking.
    """
    ranked = []
    for place, (index, rank) in enumerate(zip(places, ranks(places, tied))):
        strength, low, high = bounds[place]
        ranked.append(
            RankedPicture(
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
            )
        )
    disagreement = sum(answer.disagreement for answer in answers) / len(answers) if answers else 0.0
    coverage = lowest(answer.coverage for some in (scores, found, answers) for answer in some or ())
    return Ranking(tuple(ranked), method, len(answers), disagreement, budget, stopped, coverage, certainty)


def order_by_score(scores: list[Score]):
    """Places, ties and bounds for ``assemble``: by falling score; less than ``TIE_POINTS`` apart is a tie."""
    places = sorted(range(len(scores)), key=lambda i: (-scores[i].score, i))
    bounds = [(scores[i].score, scores[i].low, scores[i].high) for i in places]
    return places, lambda i, j: abs(scores[i].score - scores[j].score) < TIE_POINTS, bounds
