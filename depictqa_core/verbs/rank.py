"""Rank: the order of many images, by comparisons or by scores."""

from typing import NamedTuple

from ..backends.base import Criterion
from ..calibration import CALIBRATED, SELF_CONSISTENCY
from ..confidence import least_certainty
from ..errors import TaskError
from ..images.image import RGBImage
from ..ranking import assembly, pair_selection, rank_order
from ..results import Comparison, Ranking
from ..runtime.progress import Progress, ProgressCounter
from ..tasks import IDENTIFICATION, RATING
from .asking import Asker
from .compare import compare
from .identify import identify
from .inputs import fitted
from .score import Scorer

METHODS = ("pairs", "score")


class Limits(NamedTuple):
    """When the comparisons of a ranking end; see ``Judge.rank``."""

    top_k: int | None
    confidence: float
    budget: int | None


def rank(
    asker: Asker,
    scorer: Scorer,
    images: list[RGBImage],
    references: list[RGBImage | None],
    progress: Progress | None,
    method: str,
    reasons: bool,
    limits: Limits,
    about: Criterion | None,
) -> Ranking:
    """Order images from best to worst; see ``Judge.rank``."""
    if method not in METHODS:
        raise TaskError(f"unknown ranking method '{method}': choose pairs or score")
    if not images:
        raise TaskError("there are no images to rank")
    if method == "pairs":
        asker.backend.require(RATING)
    scored = method == "score" or asker.rates  # by anchors it would cost more than the ranking
    named = reasons and about is None and asker.supports(IDENTIFICATION)
    pairs = pair_selection.within_budget(len(images), limits.budget) if method == "pairs" else 0
    questions = scored * scorer.questions(references) + named * len(images) + 2 * pairs
    counter = ProgressCounter(progress, questions)
    scores = scorer.score(images, references, counter, about) if scored else None
    found = identify(asker, 1, list(zip(images, references)), counter) if named else None
    if method == "score" and scores is not None:
        least = least_certainty(score.certainty for score in scores)
        return assembly.assemble(images, assembly.order_by_score(scores), scores, found, "score", certainty=least)
    asked: list[Comparison] = []
    prefixes = asker.backend.prefix_cache()  # every image comes again in later rounds

    def ask(chosen: list[tuple[int, int]]) -> list[float]:
        some = [((images[i], images[j]), _larger(references[i], references[j])) for i, j in chosen]
        image_sets = [(a, b, reference) for (a, b), reference in fitted(some)]
        new = compare(asker, None, image_sets, counter, prefixes, about)
        asked.extend(new)
        return [answer.probability_a for answer in new]

    calibration = None if about else asker.backend.calibration.order(references[0] is not None)
    outcome = pair_selection.rank_pairs(
        len(images), ask, budget=pairs, top=limits.top_k, confidence=limits.confidence, calibration=calibration
    )
    counter.finish()
    strengths = outcome.strengths
    places = rank_order.order(strengths, [score.score for score in scores] if scores else None)
    apart = rank_order.told_apart(strengths)
    bounds = [(float(strengths.values[i]), float(strengths.low[i]), float(strengths.high[i])) for i in places]
    certainty = SELF_CONSISTENCY if calibration is None else CALIBRATED
    order = assembly.Order(places, lambda i, j: not apart[i, j], bounds)
    return assembly.assemble(
        images, order, scores, found, "pairs", asked, outcome.pairs, pairs, outcome.stopped, certainty
    )


def _larger(a: RGBImage | None, b: RGBImage | None) -> RGBImage | None:
    """Of the references of two images that are compared, the one to which neither image must be enlarged."""
    if a is None or b is None:
        return a
    return b if b.height * b.width > a.height * a.width else a
