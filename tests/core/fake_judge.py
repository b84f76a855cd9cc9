"""A judge without a network, for tests of what is done with answers: they depend on the pixels alone."""

from depictqa_core.results import Identification, LabelProbability, Score
from depictqa_core.tasks import LABELS, LEVELS, NONE


class FakeJudge:
    """Scores by mean brightness (0 black, 100 white); finds noise in what is darker than grey."""

    info = {"name": "fake", "version": "1", "files": {}}
    notices = ()

    def score(self, images, reference=None, *, progress=None):
        levels = tuple(LabelProbability(level, 0.2) for level in LEVELS)
        points = [float(image.rgb.mean()) / 2.55 for image in images]
        return [Score(i.name, p, 35.0, 0.5, levels, 0.0, 100.0, "levels", 1.0) for i, p in zip(images, points)]

    def identify(self, images, reference=None, *, count=1, progress=None):
        return [self._identified(image) for image in images]

    def _identified(self, image):
        labels = ("noise",) if image.rgb.mean() < 128 else ()
        found = labels[0] if labels else NONE
        probabilities = tuple(LabelProbability(label, 0.88 if label == found else 0.01) for label in LABELS)
        return Identification(image.name, labels, found, probabilities, 0.88, tuple(3.0 for _ in labels), 1.0)
