"""Self-test: whether a checkpoint gives its allowed answers any probability at all."""

from ..backends.base import ImageSet
from ..ranking.anchors import load_anchors
from ..runtime.progress import ProgressCounter
from ..tasks import IDENTIFICATION, RATING, SCORE, SEVERITY
from .asking import Asker


def self_test(asker: Asker) -> dict[str, float]:
    """Ask every closed question that is supported about shipped images.

    Returns:
        for each task the mean coverage, 0..1. A checkpoint in order has nearly 1; below ``confidence.LOW_COVERAGE`` its
        weights, or the language model or vision tower below them, are others than those that it was trained with.
    """
    shown = [anchor.picture for anchor in load_anchors()]
    best, worst = shown[0], shown[-1]
    found = {}
    for task in (IDENTIFICATION, RATING, SCORE, SEVERITY):
        if asker.supports(task):
            pairs: list[ImageSet] = [(best, worst, None), (worst, best, None)]
            singles: list[ImageSet] = [(best, None), (worst, None)]
            image_sets = pairs if task.pair else singles
            chosen = asker.backend.choose(task, None, image_sets, ProgressCounter(None, 0))
            found[task.name] = float(chosen.coverage.mean())
    return found
