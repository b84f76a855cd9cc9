"""What all verbs share: the backend, what it supports, and answers that need no network."""

from collections.abc import Sequence

import numpy as np

from .. import answers, tasks
from ..backends.base import AnswerProbabilities, Backend, Criterion, ImageSet
from ..calibration import CALIBRATED, SELF_CONSISTENCY
from ..confidence import lowest
from ..images.image import RGBImage
from ..images.references import identical
from ..runtime.prefix_cache import PrefixCache
from ..runtime.progress import ProgressCounter
from ..tasks import IDENTIFICATION, SCORE, Task


class Asker:
    """Asks the closed questions of the verbs.

    Attributes:
        backend: answers them.
    """

    def __init__(self, backend: Backend):
        self.backend = backend

    def supports(self, task: Task) -> bool:
        """Whether the backend answers a task."""
        return task.name in self.backend.capabilities.tasks

    @property
    def rates(self) -> bool:
        """Whether scores are means of rating levels; else images are placed among anchors by comparison."""
        return self.supports(SCORE) and not self.backend.capabilities.personal

    @property
    def names_first(self) -> bool:
        """Whether descriptions open with the names that ``identify`` gives."""
        return self.backend.capabilities.names_first and self.supports(IDENTIFICATION)

    def certainty(
        self, task: Task, question: str | None, reference: RGBImage | None, about: Criterion | None = None
    ) -> str:
        """What the confidence of a brief answer is: ``CALIBRATED`` or ``SELF_CONSISTENCY``."""
        if about is not None:
            return SELF_CONSISTENCY
        names = tasks.temperature_names(task, question or task.question, reference is not None)
        return CALIBRATED if self.backend.calibration.has_temperature(names) else SELF_CONSISTENCY

    def typical(self, image_sets: Sequence[ImageSet], counter: ProgressCounter) -> list[float | None]:
        """The typicality of each set of images, 0..1, the lowest one of its images without the reference.

        None where it is unknown, or where an image equals its reference, so that no network is asked.
        """
        decided = [any(identical(image, images[-1]) for image in images[:-1]) for images in image_sets]
        singles = [
            [image for image in images[:-1] if image is not None and not known]
            for images, known in zip(image_sets, decided)
        ]
        shown = {image.key: image for images in singles for image in images}
        found = dict(zip(shown, self.backend.typicality(list(shown.values()), counter.silent())))
        return [lowest(found[image.key] for image in images) for images in singles]

    def choose(
        self,
        task: Task,
        question: str | None,
        image_sets: Sequence[ImageSet],
        counter: ProgressCounter,
        prefixes: PrefixCache | None = None,
        about: Criterion | None = None,
    ) -> AnswerProbabilities:
        """``Backend.choose`` for all sets of images that ``answers.decided`` does not decide."""
        if about is not None:  # an image that equals its reference need not be the best by every criterion
            return self.backend.choose(task, question, image_sets, counter, prefixes, about=about)
        options = tasks.answers(task, question or task.question)
        rows = [answers.decided(task, options, images) for images in image_sets]
        left = [index for index, row in enumerate(rows) if row is None]
        if len(left) == len(image_sets):
            return self.backend.choose(task, question, image_sets, counter, prefixes)
        probabilities, coverage = np.zeros((len(image_sets), len(options))), np.ones(len(image_sets))
        for index, row in enumerate(rows):
            if row is not None:
                probabilities[index] = row
        probabilities[left], coverage[left] = self.backend.choose(
            task, question, [image_sets[index] for index in left], counter, prefixes
        )
        counter.add(len(image_sets) - len(left))
        return AnswerProbabilities(probabilities, coverage)
