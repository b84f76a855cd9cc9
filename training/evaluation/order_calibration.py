"""How far the order of images in a ranking can be trusted, fitted on pairs of known order."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from depictqa_core import tasks
from depictqa_core.calibration import OrderCalibration
from depictqa_core.judge import Judge
from depictqa_core.prompts import REFERENCE, A, B
from depictqa_core.ranking import bradley_terry as ranking
from depictqa_core.ranking import pair_selection

from .error_models import Ranked, fit_order, gaps, order_likelihood, rankings
from .sets import TestSet
from .temperatures import MINIMUM

LARGEST, RANKINGS = 12, 150
"""Maximum number of images per ranking for the calibration of orders, and maximum number of rankings per setting."""


@dataclass(frozen=True)
class OrderFit:
    """What calibration did for the order of images in one setting.

    Attributes:
        calibration: the fitted one; None where there were too few pairs.
        count: pairs of known order.
        nll_before, nll_after: mean negative log-likelihood of the true order, by the judge's self-consistency (all
            answers of a ranking) and calibrated.
        claimed, right: of the pairs to whose order the calibrated ranking of all answers gives 95 % and more: mean
            probability, and share that is right. None if there are none.
    """

    calibration: OrderCalibration | None
    count: int
    nll_before: float
    nll_after: float | None
    claimed: float | None
    right: float | None


def calibrate_order(judge: Judge, sets: Sequence[TestSet], minimum: int = MINIMUM) -> dict[str, OrderFit]:
    """Fit ``order_fr`` and ``order_nr`` on the pairs of known order that the records cover.

    Images that are connected by pairs are ranked as the judge ranks them, under its present temperatures (so fit these
    first); the truth of a pair is its record's answer.

    Returns:
        name -> what was fitted, for the settings that any record covers; empty if there are none.
    """
    return {key: _fit_order(some, minimum) for key, some in ranked_sets(judge, sets).items()}


def ranked_sets(judge: Judge, sets: Sequence[TestSet]) -> dict[str, list[Ranked]]:
    """All answers to all pairs in rankings of the records' images, by ``order_fr`` and ``order_nr``."""
    # setting -> reference, or file of pairs without one -> {(better, worse): None}; images by their keys
    decided: dict[str, dict[str, dict[tuple[str, str], None]]] = defaultdict(dict)
    shown: dict = {}
    for test_set in sets:
        chosen = [
            i for i, r in enumerate(test_set.records) if _winner(r) and tasks.setting(test_set.task_types[i]).pair
        ]
        kept, pictures, _ = test_set.readable(chosen)
        for index, roles in zip(kept, pictures):
            better, worse = (A, B) if _winner(test_set.records[index]) == "A" else (B, A)
            shown |= {picture.key: picture for picture in roles.values()}
            if roles[A].key == roles[B].key:
                continue
            seen = REFERENCE in roles
            kind = roles[REFERENCE].key if seen else test_set.name
            pairs = decided["order_fr" if seen else "order_nr"].setdefault(kind, {})
            pairs[roles[better].key, roles[worse].key] = None
    found: dict[str, list[Ranked]] = {}
    for name, by_reference in sorted(decided.items()):
        asked = [
            (reference, members, pairs)
            for reference, pairs in by_reference.items()
            for members in rankings(list(pairs), LARGEST)
        ]
        asked = asked[:: max(1, -(-len(asked) // RANKINGS))]
        with tqdm(total=len(asked), desc=f"calibrate {name}", mininterval=5) as bar:
            found[name] = []
            for reference, members, pairs in asked:
                place = {key: number for number, key in enumerate(members)}
                known = [(place[a], place[b]) for a, b in pairs if a in place and b in place]
                compared = pair_selection.all_pairs(len(members))
                answers = judge.compare_many(
                    [(shown[members[i]], shown[members[j]]) for i, j in compared],
                    [shown.get(reference)] * len(compared),
                )
                wins = [answer.probability_a for answer in answers]
                found[name].append(Ranked(len(members), compared, wins, known))
                bar.update()
    return found


def _winner(record: dict) -> str | None:
    return tasks.parse_winner(str(record.get("answer"))) if tasks.is_short(record["query"]) else None


def _fit_order(some: list[Ranked], minimum: int) -> OrderFit:
    count = sum(len(ranked.decided) for ranked in some)
    before = []
    for ranked in some:
        weight = ranking.estimate_weight(ranked.count, ranked.pairs, ranked.wins)
        fit = ranking.bradley_terry(ranked.count, ranked.pairs, ranked.wins, weight)
        before += [-np.log(max(fit.probability(i, j), 1e-12)) for i, j in ranked.decided]
    if count < minimum:
        return OrderFit(None, count, float(np.mean(before)), None, None, None)
    calibration = fit_order(some)
    gap, variance = gaps(some, calibration.weight)
    probability = calibration.probability(gap, variance)
    claims = np.maximum(probability, 1 - probability) >= 0.95
    return OrderFit(
        calibration,
        count,
        float(np.mean(before)),
        order_likelihood(calibration, gap, variance),
        float(np.maximum(probability, 1 - probability)[claims].mean()) if claims.any() else None,
        float((probability > 0.5)[claims].mean()) if claims.any() else None,
    )
