"""What a judge is made of: its backend, the parts that the verbs share, and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import tasks
from ..backends.base import Backend
from ..checks import check as check_arguments
from ..confidence import Encoder
from ..images.image import ImagesLike, RGBImage
from ..ranking.anchors import Anchor
from ..runtime.progress import Progress, ProgressCounter
from ..tasks import QUESTION, Task
from .asking import Asker
from .describe import EXPLANATION_TOKENS, Describer
from .inputs import require_known, sets_by_role, single_sets
from .score import Scorer
from .self_test import self_test

if TYPE_CHECKING:
    import torch


class JudgeBase:
    """See ``judge.Judge``, which adds the verbs."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self._asker = Asker(backend)
        self._scorer = Scorer(self._asker)
        self._describer = Describer(self._asker, self._scorer)

    @property
    def info(self) -> dict[str, Any]:
        """Name, version, licence and training data of the checkpoint."""
        return self.backend.info

    @property
    def notices(self) -> list[str]:
        """Lines about the checkpoint that a user should read, such as a failed self-test."""
        return self.backend.notices

    @property
    def facts(self) -> dict[str, str]:
        """How the judge is reached and what its probabilities are made of; empty for one in this process."""
        return self.backend.facts

    @property
    def device(self) -> torch.device | None:
        """Where the network is now; None for one that runs elsewhere."""
        return self.backend.device

    @property
    def model(self) -> torch.nn.Module | None:
        """The network, which may be moved between devices from outside; None for one that runs elsewhere."""
        return self.backend.network

    @property
    def anchors(self) -> tuple[Anchor, ...] | None:
        """Images of known quality with which scores compare where rating levels are not supported."""
        return self._scorer.anchors

    @anchors.setter
    def anchors(self, anchors: tuple[Anchor, ...] | None) -> None:
        self._scorer.anchors = anchors

    @property
    def encoder(self) -> Encoder | None:
        """Texts -> unit vectors [N, D], for the confidence of detailed answers, or None."""
        return self._describer.encoder

    @encoder.setter
    def encoder(self, encoder: Encoder | None) -> None:
        self._describer.encoder = encoder

    def encode(
        self, pictures: ImagesLike, reference: ImagesLike | None = None, *, progress: Progress | None = None
    ) -> None:
        """Compute vision features ahead, so that pixels may be released while images are judged.

        The other verbs do this by themselves; it is of use before ``rank`` where the images come a few at a time and
        can be read again (``image_files.FileImage``): then not all of them are in memory together.
        """
        check_arguments(progress=progress)
        image_sets = single_sets(pictures, reference)
        self.backend.encode_images(image_sets, ProgressCounter(progress, len(image_sets)))

    look = encode
    """The old name of ``encode``, for scripts."""

    def self_test(self) -> dict[str, float]:
        """Ask every closed question that the checkpoint supports about shipped images (``verbs.self_test``)."""
        return self_test(self._asker)

    # ------------------------------------------------------------------ single questions

    def require_supported(self, task: Task, question: str) -> None:
        """Raise TaskError if the backend does not support a task, or a question of it (``questions``)."""
        self.backend.require(task)
        require_known(question, task, self.backend)

    def ask(
        self, picture_roles: Sequence[dict[str, RGBImage]], task: Task, question: str, progress: Progress | None = None
    ) -> Any:
        """Ask one question, worded as given, about several sets of images (roles "reference", "A", "B").

        Returns:
            for brief tasks (answers, probabilities [N, len(answers)]); for detailed ones a list of Descriptions.

        Raises:
            TaskError: the checkpoint does not support the task, or not this question (``questions.require_trained``).
        """
        check_arguments(task=task, question=question, progress=progress)
        image_sets = sets_by_role(picture_roles, task)
        self.require_supported(task, question)
        counter = ProgressCounter(progress, len(image_sets))
        if task.brief:
            found = self.backend.choose(task, question, image_sets, counter)
            return tasks.answers(task, question), found.probabilities
        if task.name == QUESTION.name:
            return self._describer.answer_briefly(task, question, image_sets, counter)
        return self._describer.describe(task, question, image_sets, EXPLANATION_TOKENS, counter)
