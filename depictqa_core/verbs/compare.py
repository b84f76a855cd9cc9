"""Compare: which of two images is better, asked in both orders."""

from collections.abc import Sequence

import numpy as np

from .. import answers
from ..backends.base import Criterion, PairSet
from ..results import Comparison
from ..runtime.prefix_cache import PrefixCache
from ..runtime.progress import ProgressCounter
from ..tasks import RATING
from .asking import Asker


def compare(
    asker: Asker,
    question: str | None,
    image_sets: Sequence[PairSet],
    counter: ProgressCounter,
    prefixes: PrefixCache | None = None,
    about: Criterion | None = None,
) -> list[Comparison]:
    """Compare A with B in each (A, B, reference), in both orders; other arguments as in ``Backend.choose``."""
    swapped = [(b, a, reference) for a, b, reference in image_sets]
    rows, coverage = asker.choose(RATING, question, [*image_sets, *swapped], counter, prefixes, about)
    count, typical = len(image_sets), asker.typical(image_sets, counter)
    covered = np.minimum(coverage[:count], coverage[count:])
    return [
        answers.comparison(
            a.name,
            b.name,
            float(forward[0]),
            float(backward[1]),
            coverage=float(least),
            certainty=asker.certainty(RATING, question, reference, about),
            typicality=typicality,
        )
        for (a, b, reference), forward, backward, least, typicality in zip(
            image_sets, rows[:count], rows[count:], covered, typical
        )
    ]
