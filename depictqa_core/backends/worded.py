"""What backends share that ask a general vision-language model in the words of a profile."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import tasks
from ..tasks import Task
from .base import Backend, Criterion
from .profiles import Profile
from .vlm_prompts import Wording, closed_wording, open_wording


class ClosedQuestion(NamedTuple):
    """A closed question in the words of a profile.

    Attributes:
        answers: the allowed answers, under their names in results.
        wording: the question, and the spelling of each answer.
        temperatures: without (False) and with (True) a reference.
        own: whether criterion or answers are the user's own, about which nothing was measured.
    """

    answers: tuple[str, ...]
    wording: Wording
    temperatures: dict[bool, float]
    own: bool

    @property
    def kind(self) -> tuple:
        """What tells its stored answers from those to other questions of the task."""
        return ("choose", self.wording, *self.temperatures.values())


class WordedBackend(Backend):
    """A backend that asks in the words of a profile.

    Attributes:
        profile: the words.
    """

    profile: Profile

    @abstractmethod
    def plain(self, text: str) -> str:
        """Remove from a user's text what the model would take for a control token."""

    def closed_question(
        self, task: Task, question: str | None, options: Sequence[str] | None, about: Criterion | None
    ) -> ClosedQuestion:
        """Word the question of ``choose``; arguments as there.

        Raises:
            TaskError: the task is not supported.
        """
        self.require(task)
        answers = tasks.answers(task, question or task.question) if options is None else tuple(options)
        about = about and Criterion(about.kind, self.plain(about.text))
        asked = None if question is None else self.plain(question)
        wording = closed_wording(self.profile, task, asked, answers, options is not None, about)
        own = about is not None or options is not None
        return ClosedQuestion(answers, wording, self.temperatures(task, question, own), own)

    def open_question(self, task: Task, question: str | None) -> str:
        """Word the question of ``write``; arguments and errors as in ``closed_question``."""
        self.require(task)
        return open_wording(self.profile, task, None if question is None else self.plain(question))


def model_card(name: str, version: str, source: str, profile: Profile, **more: str) -> dict[str, Any]:
    """Return what reports say of a general model.

    Args:
        source: what is known of where it comes from, such as "a qwen3_vl model".
        more: further entries.
    """
    return {
        "name": name,
        "version": version,
        "license": "see the model's own card",
        "trained_on": f"unknown; {source}, asked by the profile {profile.name}",
        **more,
        "profile": profile.name,
        "accuracy": profile.accuracy,
    }
