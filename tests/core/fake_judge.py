"""A judge without a network, for tests of what is done with answers: they depend on the pixels alone."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

from depictqa_core.errors import CheckpointError
from depictqa_core.results import Check, Identification, LabelProbability, Score
from depictqa_core.tasks import FAULTS, LABELS, LEVELS, NONE, QUESTION


class FakeJudge:
    """Scores by mean brightness (0 black, 100 white); finds noise and banding in what is darker than grey."""

    info = {"name": "fake", "version": "1", "files": {}}
    notices = ()
    backend = SimpleNamespace(
        name="fake",
        capabilities=SimpleNamespace(tasks=(QUESTION.name,), free_questions=True),
        low_coverage_remedy="",
        limit_caches=lambda images: None,
        close=lambda: None,
        ended=lambda: None,
    )

    def score(self, images, reference=None, *, progress=None):
        levels = tuple(LabelProbability(level, 0.2) for level in LEVELS)
        points = [float(image.rgb.mean()) / 2.55 for image in images]
        return [Score(i.name, p, 35.0, 0.5, levels, 0.0, 100.0, "levels", 1.0) for i, p in zip(images, points)]

    def identify(self, images, reference=None, *, count=1, progress=None):
        return [self._identified(image) for image in images]

    def check(self, images, question, answers=("yes", "no"), reference=None, *, progress=None):
        """The first answer is as probable as the image is bright."""
        rest = len(answers) - 1
        found = []
        for image in images:
            p = float(image.rgb.mean()) / 255
            probabilities = tuple(LabelProbability(a, (1 - p) / rest if n else p) for n, a in enumerate(answers))
            best = max(probabilities, key=lambda one: one.probability)
            found.append(Check(image.name, question, best.label, probabilities, best.probability, 1.0))
        return found

    def _identified(self, image):
        labels = ("noise",) if image.rgb.mean() < 128 else ()
        found = labels[0] if labels else NONE
        probabilities = tuple(LabelProbability(label, 0.88 if label == found else 0.01) for label in LABELS)
        faults = tuple(LabelProbability(f, 0.75 if labels and f == "banding" else 0.25) for f in FAULTS)
        severities = tuple(3.0 for _ in labels)
        return Identification(image.name, labels, found, probabilities, 0.88, severities, 1.0, faults=faults)


class DyingJudge(FakeJudge):
    """Kills its process once, when it is asked about an image of a certain grey level.

    Args:
        marker: a file that says that it has happened.
        grey: this level.
    """

    def __init__(self, marker, grey):
        self._marker, self._grey = marker, grey

    def score(self, images, reference=None, *, progress=None):
        if any(int(image.rgb[0, 0, 0]) == self._grey for image in images) and not os.path.exists(self._marker):
            open(self._marker, "x").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(images)


class WaitingJudge(FakeJudge):
    """Notes the node of a Ray cluster that it is on, and leaves the last images to a second node until that has begun.

    Args:
        nodes: a folder with a file for each node that has judged.
        grey: the level of the first image that waits for a second file.
    """

    def __init__(self, nodes, grey):
        self._nodes, self._grey = Path(nodes), grey

    def score(self, images, reference=None, *, progress=None):
        import ray

        (self._nodes / ray.get_runtime_context().get_node_id()).touch()
        patience = time.monotonic() + 200
        while any(int(image.rgb[0, 0, 0]) >= self._grey for image in images) and len(os.listdir(self._nodes)) < 2:
            if time.monotonic() > patience:
                raise TimeoutError("no second node has judged an image")
            time.sleep(0.02)
        return super().score(images)


def refused():
    """Fail to load a judge."""
    raise CheckpointError("gone: no such folder; check the path")
