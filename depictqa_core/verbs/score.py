"""Score: how good an image is, by rating levels, or placed among anchors where the backend does not support them."""

from ..answers import anchored_score, flawless, level_score
from ..backends.base import Criterion
from ..confidence import lowest
from ..images.image import RGBImage
from ..images.references import identical
from ..ranking.anchors import BEST, LADDER_SIZE, Anchor, load_anchors, place, reference_ladder
from ..results import Score
from ..runtime.progress import ProgressCounter
from ..tasks import RATING, SCORE
from .asking import Asker
from .compare import compare

References = list[RGBImage | None]


class Scorer:
    """Scores images.

    Args:
        asker: asks the questions.

    Attributes:
        anchors: what images without a reference are compared with; None loads the bundled ones when they are needed.
    """

    def __init__(self, asker: Asker):
        self.asker = asker
        self.anchors: tuple[Anchor, ...] | None = None
        self._calibrated_anchors = False

    def questions(self, references: References) -> int:
        """Count the questions that ``score`` asks.

        Raises:
            TaskError: the backend cannot score in any way.
        """
        if self.asker.rates:
            return len(references)
        self.asker.backend.require(RATING if self.asker.supports(RATING) else SCORE)
        return 2 * sum(LADDER_SIZE if reference else len(self._fixed_anchors()) for reference in references)

    def score(
        self, images: list[RGBImage], references: References, counter: ProgressCounter, about: Criterion | None = None
    ) -> list[Score]:
        """Score each image, with its reference or None; ``about`` as in ``Backend.choose``."""
        if about is not None:
            return self._by_criterion(images, references, counter, about)
        scores = (self._by_levels if self.asker.rates else self._by_anchors)(images, references, counter)
        pairs = zip(scores, images, references)
        return [flawless(score) if identical(image, reference) else score for score, image, reference in pairs]

    def _by_levels(self, images: list[RGBImage], references: References, counter: ProgressCounter) -> list[Score]:
        image_sets = list(zip(images, references))
        chosen, typical = self.asker.choose(SCORE, None, image_sets, counter), self.asker.typical(image_sets, counter)
        calibrations = self._calibrations(references)
        return [
            level_score(image.name, row, float(coverage), calibration, typicality)
            for image, row, coverage, calibration, typicality in zip(images, *chosen, calibrations, typical)
        ]

    def _by_criterion(
        self, images: list[RGBImage], references: References, counter: ProgressCounter, about: Criterion
    ) -> list[Score]:
        """Scores by levels about which nothing was measured."""
        chosen = self.asker.choose(SCORE, None, list(zip(images, references)), counter, about=about)
        return [level_score(image.name, row, float(coverage)) for image, row, coverage in zip(images, *chosen)]

    def _by_anchors(self, images: list[RGBImage], references: References, counter: ProgressCounter) -> list[Score]:
        ladders = self._ladders(references)
        asked = [(i, a.picture, r) for i, r, anchors in zip(images, references, ladders) for a in anchors]
        compared, scores = iter(compare(self.asker, None, asked, counter)), []
        typical = self.asker.typical(list(zip(images, references)), counter)
        for image, reference, anchors, calibration, typicality in zip(
            images, references, ladders, self._calibrations(references), typical
        ):
            duels = [next(compared) for _ in anchors]
            placed = place([duel.probability_a for duel in duels], [anchor.position for anchor in anchors])
            covered = lowest(duel.coverage for duel in duels)
            known = calibration if reference or self._calibrated_anchors else None  # of other anchors it is not
            best = BEST if identical(image, reference) else placed
            scores.append(anchored_score(image.name, best, covered, known, typicality))
        return scores

    def _calibrations(self, references: References) -> list:
        calibration = self.asker.backend.calibration
        return [calibration.score(reference is not None) for reference in references]

    def _ladders(self, references: References) -> list[tuple[Anchor, ...]]:
        """For each image, by its reference or None, the anchors that it is compared with."""
        policy = self.asker.backend.size_policy
        distinct = {reference.key: reference for reference in references if reference}
        ladders = {key: reference_ladder(reference, policy) for key, reference in distinct.items()}
        return [ladders[reference.key] if reference else self._fixed_anchors() for reference in references]

    def _fixed_anchors(self) -> tuple[Anchor, ...]:
        if self.anchors is None:
            self.anchors, self._calibrated_anchors = load_anchors(), True
        return self.anchors
