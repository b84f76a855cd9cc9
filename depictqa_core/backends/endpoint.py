"""The endpoint backend: a vision-language model on an OpenAI-compatible server as a judge."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from ..calibration import Calibration
from ..chat.client import Reply
from ..chat.endpoint import RequestRejected
from ..chat.parallel import Failure, ask_all
from ..chat.replies import Step
from ..confidence import TEST_FOLDER
from ..errors import DepictQAError
from ..runtime.byte_cache import ByteCache
from ..runtime.prefix_cache import PrefixCache
from ..runtime.progress import OnText, ProgressCounter
from ..tasks import Task
from .base import (
    ANSWER_BYTES,
    AnswerProbabilities,
    Capabilities,
    Criterion,
    ImageSet,
    Opening,
    WrittenAnswer,
    content_key,
    names_of,
)
from .endpoint_replies import checked
from .endpoint_server import Server, without_control
from .endpoint_ways import Send, Way
from .stored_answers import Store, answer_all
from .vllm_server import VllmServer
from .vlm_answers import shares
from .vlm_prompts import TASKS
from .worded import WordedBackend, model_card

_WORDS = re.compile(r"\s*\S+")


class EndpointBackend(WordedBackend):
    """A model of a server.

    Args:
        server: asks it.
        way: how probabilities come from it.
        concurrency: number of parallel requests.
        calibration: what is known of its errors.
        answers: where answers are stored, as in ``NativeBackend``.
        own: the server, if it was started for this judge alone.
    """

    def __init__(
        self,
        server: Server,
        way: Way,
        concurrency: int,
        calibration: Calibration,
        answers: ByteCache | None = None,
        own: VllmServer | None = None,
    ):
        self.server, self.way, self.concurrency, self._own = server, way, concurrency, own
        self.profile, endpoint = server.profile, server.client.endpoint
        if own is None:
            source = f"served by {endpoint.origin}"
            self.info = model_card(endpoint.model, "as served", source, self.profile, probabilities=way.name)
        else:
            self.info = {**own.card, "probabilities": way.name}
        self.notices = [way.notice] if way.notice else []
        self._calibration = calibration
        self.answers = ByteCache(ANSWER_BYTES) if answers is None else answers

    @property
    def low_coverage_remedy(self) -> str:
        return "run depictqa info --self-test with its address and --model" if self._own is None else TEST_FOLDER

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(tasks=TASKS, criteria=True, openings=self.way.continues, streaming=False)

    @property
    def calibration(self) -> Calibration:
        return self._calibration

    @calibration.setter
    def calibration(self, calibration: Calibration) -> None:
        self._calibration = calibration

    @property
    def facts(self) -> dict[str, str]:
        cache, key = self.server.cache, self.server.client.endpoint.key
        return {
            "server": self.server.name,
            "model": self.name,
            "probabilities": self.way.name,
            "profile": self.profile.name,
            "images": f"lossless PNG, shrunk to at most {self.profile.max_pixels:,} pixels",
            "parallel requests": str(self.concurrency),
            "key": "sent" if key else "none",
            "answers on disk": "none" if cache is None else str(cache.path),
        }

    def identity(self) -> dict[str, Any]:
        served = self.server.client.endpoint.identity if self._own is None else self._own.identity
        return {**super().identity(), "profile": asdict(self.profile), "server": served}

    def ended(self) -> str | None:
        return None if self._own is None else self._own.ended()

    def close(self) -> None:
        if self._own is not None:
            self._own.close()

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
        closed = self.closed_question(task, question, options, about)
        wording, temperatures = closed.wording, closed.temperatures
        parts = self.way.parts(wording) if len(image_sets) else ()
        units = [(text, part) for text in wording.texts for part in parts]

        def ask(send: Send, index: int, unit: tuple[str, Any]) -> Any:
            text, part = unit
            return self.way.ask(send, text, image_sets[index], wording, part)

        def combine(index: int, found: list[Any]) -> np.ndarray:
            temperature = temperatures[image_sets[index][-1] is not None]
            each = (found[start : start + len(parts)] for start in range(0, len(found), len(parts)))
            return np.mean([shares(self.way.logs(wording, some), temperature) for some in each], 0)

        kinds = [closed.kind] * len(image_sets)
        table = np.array(self._ask(task, kinds, image_sets, units, ask, combine, counter))
        table = table.reshape(len(image_sets), len(closed.answers) + 1)
        return self.calibrated(task, question, closed.answers, image_sets, table, closed.own)

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
        text = self.open_question(task, question)
        openings = openings or [Opening()] * len(image_sets)

        def ask(send: Send, index: int, unit: None) -> WrittenAnswer:
            opening = openings[index]
            extra = {"logprobs": True, "top_logprobs": 1} if self.way.scored else {}
            extra |= self.open_fields(task, opening)
            reply = send(text, image_sets[index], max_new_tokens, begun=opening.text, extra=extra)
            begun = self.tokens(opening.text, opening.probability, opening.written)
            ids, chances = self._scored(reply)
            ids, chances = begun.ids + ids, begun.probabilities + chances
            return WrittenAnswer((opening.text + reply.text).strip(), ids, chances if self.way.scored else [])

        kinds = [("write", text, max_new_tokens, o.text, o.probability, o.whole) for o in openings]
        found = self._ask(task, kinds, image_sets, [None], ask, lambda _, answers: answers[0], counter)
        if on_text:
            for index, written in enumerate(found):
                on_text(index, written.text)
        return found

    def plain(self, text: str) -> str:
        return without_control(text)

    def open_fields(self, task: Task, opening: Opening) -> dict[str, Any]:
        """Return further fields of a request for a written answer."""
        return {}

    def tokens(self, text: str, probability: float, written: WrittenAnswer | None = None) -> WrittenAnswer:
        """Split a text into tokens: those of the model's answer as far as both agree, then words."""
        if not self.way.scored:
            return WrittenAnswer(text, [], [])
        ids, place = [], 0
        for token in written.ids if written else ():
            if not text.startswith(token, place):
                break
            ids.append(token)
            place += len(token)
        known = list(written.probabilities[: len(ids)]) if written else []
        words = _WORDS.findall(text[place:])
        return WrittenAnswer(text, ids + words, known + [probability] * len(words))

    def decode(self, ids: list[str]) -> str:
        return "".join(ids)

    def _scored(self, reply: Reply) -> tuple[list[str], list[float]]:
        """The tokens of a written text with their probabilities; words with their mean where they do not join to it."""
        if not self.way.scored:
            return [], []
        steps: tuple[Step, ...] = checked(self.server.name, reply) if reply.text else ()
        ids: list[str] = []
        chances: list[float] = []
        for step in steps:
            if len("".join(ids)) >= len(reply.text):  # what follows ends the answer
                break
            ids.append(step.token)
            chances.append(math.exp(step.logprob))
        if "".join(ids) != reply.text and reply.text:
            ids = _WORDS.findall(reply.text)
            chances = [float(np.mean(chances))] * len(ids)
        return ids, chances

    def _ask(
        self,
        task: Task,
        kinds: Sequence[tuple],
        image_sets: Sequence[ImageSet],
        units: Sequence[Any],
        ask: Callable[[Send, int, Any], Any],
        combine: Callable[[int, list[Any]], Any],
        counter: ProgressCounter,
    ) -> list:
        """One answer for each set of images, stored or new.

        Args:
            kinds: tell apart answers to the same question.
            units: the requests that one answer takes.
            ask: sends one of them about the set of an index.
            combine: makes the answer of all that ``ask`` returned.
        """
        keys = [(task.name, self.way.name, kind, content_key(i)) for kind, i in zip(kinds, image_sets, strict=True)]

        def ask_missing(missing: list[int], store: Store) -> list[DepictQAError]:
            client = self.server.client.separate()
            send = partial(self.server.send, client=client)
            found: dict[int, dict[int, Any]] = {index: {} for index in missing}
            failed: dict[int, DepictQAError] = {}

            def one(item: tuple[int, int]) -> Any:
                index, place = item
                if index in failed:
                    raise failed[index]
                return ask(send, index, units[place])

            def keep(item: tuple[int, int], outcome: Any) -> None:
                index, place = item
                if isinstance(outcome, Failure):
                    failed.setdefault(index, _about(image_sets[index], outcome))
                    return
                found[index][place] = outcome
                if len(found[index]) == len(units):
                    store(index, combine(index, [found[index][i] for i in range(len(units))]))

            items = ((index, place) for index in missing for place in range(len(units)))
            ask_all(client, items, one, keep, self.concurrency, counter.check)
            return list(failed.values())

        return answer_all(self.answers, keys, counter, ask_missing)


def _about(images: ImageSet, error: DepictQAError) -> DepictQAError:
    """The error of one request, with the names of its images."""
    return type(error)(f"{names_of(images)}: {error}") if isinstance(error, RequestRejected) else error
