"""A judge behind ``depictqa serve``: it answers as if it were here, in one request for each question.

The server describes its judge in the list of its models: what it supports, and its calibration. Its answers are
calibrated there, so nothing is applied to them here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from .. import tasks
from ..calibration import Calibration
from ..chat.client import Reply
from ..chat.endpoint import EndpointError
from ..errors import TaskError
from ..images.size_policy import SizePolicy
from ..runtime.byte_cache import ByteCache
from ..runtime.prefix_cache import PrefixCache
from ..runtime.progress import ProgressCounter
from ..tasks import Task
from .base import AnswerProbabilities, Capabilities, Criterion, ImageSet, Opening
from .endpoint import EndpointBackend
from .endpoint_replies import all_tokens, checked, lie
from .endpoint_server import Server
from .endpoint_ways import Send, Way
from .profiles import choose_profile
from .vlm_answers import shares
from .vlm_prompts import Wording

OWNER = "depictqa"
"""What the server calls the owner of its model, and the field with the description of the judge."""
NEVER = -9999.0
"""Log-probability of what cannot be; JSON has no infinity."""


@dataclass(frozen=True)
class ServedJudge:
    """What a server tells of its judge.

    Attributes:
        info, notices, capabilities, calibration, size: as those of a ``Backend``.
        max_pixels: larger images are shrunk to this area before they are sent.
    """

    info: dict[str, Any]
    notices: tuple[str, ...]
    capabilities: Capabilities
    calibration: Calibration
    size: SizePolicy
    max_pixels: int


def served_judge(server: Server) -> ServedJudge | None:
    """Ask a server whether it is one of ours; None if it is not, or does not list its models.

    Raises:
        EndpointError: it is, but has no such model, or its description cannot be read.
    """
    try:
        models = server.client.separate(attempts=3).get("/models").get("data")
    except EndpointError:  # whatever is wrong, the next request tells
        return None
    listed = [one for one in models if isinstance(one, dict)] if isinstance(models, list) else []
    ours = [one for one in listed if one.get("owned_by") == OWNER and isinstance(one.get(OWNER), dict)]
    if not ours:
        return None
    name = server.client.endpoint.model
    found = next((one[OWNER] for one in ours if one.get("id") == name), None)
    if found is None:
        raise EndpointError(f"{server.name}: has no judge '{name}'; its judge is {ours[0].get('id')}")
    try:
        return _read(found)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise EndpointError(
            f"{server.name}: the description of its judge cannot be read; use the same version on both sides"
        ) from None


def _read(found: Mapping[str, Any]) -> ServedJudge:
    known = {field.name for field in fields(Capabilities)}
    given = {name: value for name, value in found["capabilities"].items() if name in known}
    supported = tuple(name for name in given.pop("tasks") if name in tasks.TASKS)
    if not all(isinstance(value, bool) for value in given.values()):
        raise TypeError("capabilities")
    pixels = found["max_pixels"]
    if not isinstance(pixels, int) or pixels < 1:
        raise ValueError("max_pixels")
    return ServedJudge(
        {str(name): value for name, value in found["info"].items()},
        tuple(str(line) for line in found["notices"]),
        Capabilities(supported, **{**given, "streaming": False}),
        Calibration(dict(found["calibration"])),
        SizePolicy(**found["size"]),
        pixels,
    )


class AllAnswers(Way):
    """Log-probabilities of all allowed answers in one reply, each answer as one token."""

    name = "exact: those of the served judge"
    continues = True

    def __init__(self, server: str):
        self.server = server

    def parts(self, wording: Wording) -> Sequence[None]:
        return [None]

    def ask(self, send: Send, question: str, images: ImageSet, wording: Wording, part: None) -> np.ndarray:
        choices = list(wording.answers)
        asked = {"logprobs": True, "top_logprobs": len(choices), "structured_outputs": {"choice": choices}}
        reply: Reply = send(question, images, 1, extra=asked)
        found = dict(all_tokens(checked(self.server, reply)[0]))
        if missing := set(choices) - found.keys():
            raise lie(self.server, f"no log-probability of {len(missing)} of {len(choices)} answers")
        logs = np.array([float(found[choice]) for choice in choices])
        return np.where(logs <= NEVER, -np.inf, logs)

    def logs(self, wording: Wording, replies: Sequence[np.ndarray]) -> np.ndarray:
        return replies[0]


class ServedBackend(EndpointBackend):
    """A judge behind ``depictqa serve``.

    Args:
        server: asks it.
        served: what it tells of its judge.
        concurrency, answers: as in ``EndpointBackend``.
    """

    def __init__(self, server: Server, served: ServedJudge, concurrency: int, answers: ByteCache | None = None):
        titles = {"evaluated": "Image: ", "reference": "Reference image: "}
        usual = choose_profile(None, None, "")
        server.profile = replace(
            usual,
            name="none: the judge's own questions",
            accuracy="that of the served judge",
            titles={**usual.titles, **titles},
            reference_note="",
            max_pixels=served.max_pixels,
        )
        super().__init__(server, AllAnswers(server.name), concurrency, served.calibration, answers)
        self.served = served
        self.info = served.info
        self.notices = list(served.notices)

    @property
    def capabilities(self) -> Capabilities:
        return self.served.capabilities

    @property
    def calibration(self) -> Calibration:
        return self._calibration

    @calibration.setter
    def calibration(self, calibration: Calibration) -> None:
        raise TaskError(f"{self.name} is calibrated by its server: calibrate the checkpoint there")

    @property
    def size_policy(self) -> SizePolicy:
        return self.served.size

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
        self.require_criterion(about)
        text = self.open_question(task, question)
        answers = tasks.answers(task, text) if options is None else tuple(options)
        wording = Wording((text,), "", answers)
        own = {"task": task.name, **({about.kind: about.text} if about else {})}

        def ask(send: Send, index: int, unit: None) -> np.ndarray:
            def with_fields(*asked: Any, extra: Mapping[str, Any]) -> Reply:
                return send(*asked, extra={**extra, **own})

            found: np.ndarray = self.way.ask(with_fields, text, image_sets[index], wording, None)
            return shares(found, 1.0)

        kinds = [("choose", wording, about)] * len(image_sets)
        rows = self._ask(task, kinds, image_sets, [None], ask, lambda _, found: found[0], counter)
        table = np.array(rows).reshape(len(image_sets), len(answers) + 1)
        return AnswerProbabilities(table[:, :-1], table[:, -1])

    def plain(self, text: str) -> str:
        return text  # the served judge removes what its own tokenizer would take for control tokens

    def open_question(self, task: Task, question: str | None) -> str:
        self.require(task)
        return " ".join((question or task.question).split())

    def open_fields(self, task: Task, opening: Opening) -> dict[str, Any]:
        return {"task": task.name, **({"whole": True} if opening.whole else {})}
