"""The interface between the verbs and whatever answers: a network of ours, any vision-language model, a server.

A verb asks ``Backend.choose`` for exact probabilities of a closed set of answers, and ``Backend.write`` for text. What
to ask, and what the answers mean, is the business of the verbs; how an answer is computed is that of the backend. A new
backend is one file with one subclass, and a line in ``opening`` that opens it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import tasks
from ..calibration import Calibration
from ..confidence import TEST_FOLDER
from ..engine.batching import names_of
from ..errors import TaskError
from ..images.image import RGBImage
from ..images.references import ImageSet, PairSet, SingleSet
from ..images.size_policy import SizePolicy
from ..runtime.byte_cache import ByteCache
from ..runtime.prefix_cache import PrefixCache
from ..runtime.progress import OnText, ProgressCounter
from ..tasks import Task

if TYPE_CHECKING:
    import torch


__all__ = [
    "ANSWER_BYTES",
    "AnswerProbabilities",
    "Backend",
    "Capabilities",
    "Criterion",
    "ImageSet",
    "Opening",
    "PairSet",
    "SingleSet",
    "WrittenAnswer",
    "aligned",
    "content_key",
    "names_of",
]

ANSWER_BYTES = 32 * 2**20
"""Memory budget for answers that are stored between calls, so that an interrupted call resumes where it stopped."""
IMAGE_ANSWER_BYTES = 32 * 2**10
"""What the answers to 25 questions about an image take."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend supports.

    Attributes:
        tasks: names of ``tasks.TASKS`` that it answers; it refuses the others.
        free_questions: whether descriptions and comparisons may be asked for in any words; False takes only the words
            of the training questions (``questions.require_trained``).
        criteria: whether it can be asked about a user's own criterion or prompt, and own questions with own answers.
        names_first: whether its descriptions open with the names of the distortions, as identify words them.
        personal: whether its ratings follow one person's preferences; then its scores are placed among anchors.
        openings: whether a written answer can be begun with given words, from which the model continues.
        streaming: whether ``on_text`` is called while an answer grows; otherwise it is called once, with all of it.
    """

    tasks: tuple[str, ...]
    free_questions: bool = True
    criteria: bool = False
    names_first: bool = False
    personal: bool = False
    openings: bool = True
    streaming: bool = True


class Criterion(NamedTuple):
    """What images are judged by, in place of their quality.

    Attributes:
        kind: "criterion" for a quality of an image ("sharpness of the eyes"), "prompt" for what it should show.
        text: in the user's words.
    """

    kind: str
    text: str


class AnswerProbabilities(NamedTuple):
    """Answers to a closed question about N sets of images.

    Attributes:
        probabilities: float64 [N, answers], given that the answer is an allowed one; rows sum to 1.
        coverage: float64 [N], 0..1, the probability that the model gives an allowed answer at all, before calibration.
    """

    probabilities: np.ndarray
    coverage: np.ndarray


@dataclass(frozen=True)
class WrittenAnswer:
    """A written answer.

    Attributes:
        text: without blanks around it.
        ids: its tokens, without the end of the answer; whatever ``Backend.decode`` takes.
        probabilities: 0..1, of each token.
    """

    text: str
    ids: list
    probabilities: list[float]


class Opening(NamedTuple):
    """What a written answer begins with.

    Attributes:
        text: the words; none for an answer that the model writes alone.
        probability: 0..1, of the closed answer that these words come from; each of their tokens gets it.
        written: an answer that the model wrote, of which the opening is the beginning with another last word: what both
            have in common keeps the model's probabilities.
        whole: whether no "and" may follow, because the words name all that is to be named.
    """

    text: str = ""
    probability: float = 1.0
    written: WrittenAnswer | None = None
    whole: bool = False


class Backend(ABC):
    """One loaded judge that answers questions about sets of images.

    Subclasses set the attributes, and implement ``choose``, ``write``, ``tokens`` and ``decode``. All methods may be
    called from several threads. An error about one group of questions does not stop the others: it is raised at the
    end, and the answers that were found stay stored, so that a repeated call asks only what is missing.

    Attributes:
        info: name, version, licence and training data, for reports.
        notices: lines about the judge that a user should read.
        capabilities: what it supports.
        answers: where answers are stored. Callers that outlive the judge may hand over their own.
    """

    info: dict[str, Any]
    notices: list[str]
    answers: ByteCache

    @property
    def name(self) -> str:
        """What the judge is called in messages."""
        return str(self.info.get("name", "this checkpoint"))

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What it supports."""

    @property
    def calibration(self) -> Calibration:
        """What is known of its errors. Assignable: probabilities of later answers follow it."""
        return Calibration({})

    @calibration.setter
    def calibration(self, calibration: Calibration) -> None:
        raise TaskError(f"{self.name} cannot be calibrated: its probabilities stay as they are")

    @property
    def size_policy(self) -> SizePolicy:
        """At which size it sees images."""
        return SizePolicy()

    @property
    def device(self) -> torch.device | None:
        """Where its network is now, a ``torch.device``; None for a network that runs elsewhere."""
        return None

    @property
    def network(self) -> torch.nn.Module | None:
        """The ``torch.nn.Module`` whose memory others may manage, or None for a network that runs elsewhere."""
        return None

    @property
    def facts(self) -> dict[str, str]:
        """How it is reached and what its probabilities are made of, by name, for whoever loads it."""
        return {}

    @property
    def low_coverage_remedy(self) -> str:
        """What its user can do about answers with low coverage, for messages."""
        return TEST_FOLDER

    def temperatures(self, task: Task, question: str | None, own: bool) -> dict[bool, float]:
        """Return the temperatures of a question without (False) and with (True) a reference.

        Args:
            own: whether criterion or answers are the user's own, about which nothing was measured.
        """
        names = {seen: tasks.temperature_names(task, question or task.question, seen) for seen in (False, True)}
        return {seen: 1.0 if own else self.calibration.temperature(some) for seen, some in names.items()}

    def calibrated(
        self,
        task: Task,
        question: str | None,
        options: Sequence[str],
        image_sets: Sequence[ImageSet],
        table: np.ndarray,
        own: bool,
    ) -> AnswerProbabilities:
        """Return the probabilities of answers under the prior of clean images that the calibration was fitted for.

        Args:
            options: the allowed answers, K.
            table: [N, K + 1], the probabilities under the ``temperatures``, then the coverage.
            own: as in ``temperatures``; no prior is known then.
        """
        if own:
            return AnswerProbabilities(table[:, :-1], table[:, -1])
        references = [images[-1] is not None for images in image_sets]
        asked = question or task.question
        probabilities = self.calibration.with_prior(task, asked, options, references, table[:, :-1])
        return AnswerProbabilities(probabilities, table[:, -1])

    def head_logits(
        self, task: Task, question: str, options: Sequence[str], image_sets: Sequence[ImageSet]
    ) -> np.ndarray:
        """Return what heads of the network add to the log-probabilities of answers for a weight of 1, [N, K].

        0 where there are no heads, for questions that they do not answer, and with a reference
        (``network.head_answers``).
        """
        return np.zeros((len(image_sets), len(options)))

    def identity(self) -> dict[str, Any]:
        """Return everything that answers depend on besides question and images, as JSON values."""
        return {"judge": self.info, "calibration": self.calibration.settings}

    def require(self, task: Task) -> None:
        """Raise TaskError unless the task is supported."""
        known = self.capabilities.tasks
        if task.name not in known:
            raise TaskError(f"{self.name} does not support the task {task.name}; it supports {', '.join(known)}")

    def require_criterion(self, about: Criterion | None) -> None:
        """Raise TaskError for a user's own criterion or prompt where these are not supported."""
        if about is not None and not self.capabilities.criteria:
            raise TaskError(
                f"{about.kind} is not supported by {self.name}, which judges image quality alone: leave it out, or load"
                " a vision-language model (docs/judges.md)"
            )

    def forget_answers(self) -> None:
        """Drop all stored answers, but not the vision features: for a network whose weights have changed."""
        self.answers = ByteCache(ANSWER_BYTES)

    def limit_caches(self, images: int) -> None:
        """Store what belongs to about this many images only, for a caller that asks about each image once.

        A cache that is full after few images anyway stays as it is, and so does one whose size was chosen.
        """
        self.answers.limit(images * IMAGE_ANSWER_BYTES)

    def ended(self) -> str | None:
        """Return why no question can be answered any more, such as a server of its own that ended; usually None."""
        return None

    def close(self) -> None:  # noqa: B027  # most have nothing to release
        """Release what lives outside of this process, such as a server of its own; the backend is of no use then."""

    def encode_images(self, image_sets: Sequence[ImageSet], counter: ProgressCounter) -> None:
        """Compute vision features ahead: as long as their cache holds them, questions about the images need no pixels.

        A backend without such a cache does nothing.
        """
        counter.add(len(image_sets))

    def typicality(self, images: Sequence[RGBImage], counter: ProgressCounter) -> list[float | None]:
        """Return the typicality of images, 0..1 (``typicality``); None where it is unknown."""
        return [None] * len(images)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Keep what the questions of one verb share (such as KV caches on the device) until it ends."""
        yield

    def prefix_cache(self, questions: Sequence[str] = ()) -> PrefixCache | None:
        """Make an empty cache for ``choose``: with it, calls that show the same images share work.

        Args:
            questions: what the calls ask about the same images; without questions they show the images in other
                pairs.

        It may live on the device of the network, so it should not outlive the work of one verb.
        """
        return None

    @abstractmethod
    def choose(
        self,
        task: Task,
        question: str | None,
        image_sets: Sequence[ImageSet],
        counter: ProgressCounter,
        prefixes: PrefixCache | None = None,
        options: Sequence[str] | None = None,
        about: Criterion | None = None,
    ) -> AnswerProbabilities:
        """Compute how probable the closed answers to one question are.

        Args:
            question: another wording, None for the task's own.
            image_sets: N sets of images.
            counter: counts every answered question.
            prefixes: from ``prefix_cache()``, the same one for all calls that belong together.
            options: the allowed answers, None for those of the task (``tasks.answers``).
            about: what ratings and scores are about, None for quality; only with ``capabilities.criteria``.

        Raises:
            TaskError: the task is not supported.
            CheckpointError: the network gives numbers that are no probabilities.
            OutOfMemory: one question alone does not fit into memory.
        """

    @abstractmethod
    def write(
        self,
        task: Task,
        question: str | None,
        image_sets: Sequence[ImageSet],
        max_new_tokens: int,
        counter: ProgressCounter,
        on_text: OnText | None = None,
        openings: Sequence[Opening] | None = None,
    ) -> list[WrittenAnswer]:
        """Write answers to one question, always taking the most probable token.

        Args:
            task, question, image_sets, counter: as in ``choose``.
            max_new_tokens: longest answer in tokens; a longer one is cut off there.
            on_text: called as (index in ``image_sets``, text so far), and once for a stored answer.
            openings: for each set of images what its answer begins with.

        Raises:
            TaskError, CheckpointError, OutOfMemory: as in ``choose``.
        """

    @abstractmethod
    def tokens(self, text: str, probability: float, written: WrittenAnswer | None = None) -> WrittenAnswer:
        """Split a text into tokens: those that an answer of the model begins with too have the model's probabilities.

        Args:
            probability: 0..1, of all other tokens.
            written: the model's answer, None where there is none.
        """

    @abstractmethod
    def decode(self, ids: list) -> str:
        """Return the text of tokens, without special ones."""

    def text(self, ids: list) -> str:
        """``decode``, without blanks around it."""
        return self.decode(ids).strip()


def aligned(text: str, ids: list, probability: float, written: WrittenAnswer | None) -> WrittenAnswer:
    """Build the ``WrittenAnswer`` of a text: see ``Backend.tokens``; ``ids`` are the tokens of the text."""
    same = 0
    while written and same < min(len(ids), len(written.ids)) and ids[same] == written.ids[same]:
        same += 1
    known = written.probabilities[:same] if written else []
    return WrittenAnswer(text, ids, known + [probability] * (len(ids) - same))


def content_key(images: ImageSet) -> tuple[str | None, ...]:
    """Return what an answer about images depends on: their content, the reference first."""
    return tuple(image and image.key for image in (images[-1], *images[:-1]))
