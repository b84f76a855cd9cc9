"""The VLM backend: any image-text-to-text model of transformers as a judge."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ..calibration import Calibration
from ..engine.batching import not_finite, out_of_memory, run_in_batches
from ..errors import DepictQAError, OutOfMemory
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
    aligned,
    content_key,
)
from .stored_answers import Store, answer_all
from .vlm_answers import answer_columns, answer_log_probabilities, answer_rows, answer_tokens, shares
from .vlm_batch import BatchNetwork, groups, most_together
from .vlm_loading import LoadedVlm
from .vlm_prompts import TASKS, ChatTemplate, Prompt, Wording, plain
from .vlm_runner import NOTHING, Runner
from .worded import WordedBackend

ROWS = 64
"""Maximum number of continuations that run together."""
FEATURE_BYTES = 512 * 2**20
"""Default memory budget for vision features and prepared images."""


class VlmBackend(WordedBackend):
    """A vision-language model of transformers.

    Args:
        loaded: the model with its processor, profile and card.
        cache_bytes: memory budget for vision features; None takes ``FEATURE_BYTES``.
        answers: where answers are stored, as in ``NativeBackend``.

    Attributes:
        run: runs the model.
    """

    def __init__(self, loaded: LoadedVlm, cache_bytes: int | None = None, answers: ByteCache | None = None):
        self.info, self.notices, self.profile = loaded.card, [], loaded.profile
        self.tokenizer = loaded.processor.tokenizer
        self.template = ChatTemplate(loaded.processor, self.profile, self.name)
        self.ends = loaded.ends
        self._calibration, self._personal = Calibration(loaded.calibration), loaded.personal
        self.run = self._runner(loaded, FEATURE_BYTES if cache_bytes is None else cache_bytes)
        self.answers = ByteCache(ANSWER_BYTES) if answers is None else answers
        self._lock = threading.RLock()
        self._sessions, self._counting = 0, threading.Lock()

    def _runner(self, loaded: LoadedVlm, cache_bytes: int) -> Runner:
        """Make what runs the model."""
        template, processor = self.template, loaded.processor
        return BatchNetwork(
            loaded.model, processor, template.image_token, template.layout, self.profile.max_pixels, cache_bytes
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(tasks=TASKS, criteria=True, personal=self._personal)

    @property
    def calibration(self) -> Calibration:
        return self._calibration

    @calibration.setter
    def calibration(self, calibration: Calibration) -> None:
        self._calibration = calibration

    @property
    def device(self) -> torch.device:
        return self.run.device

    @property
    def network(self) -> torch.nn.Module:
        return self.run.model

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "profile": asdict(self.profile), "dtype": str(self.run.model.dtype)}

    @contextmanager
    def session(self) -> Iterator[None]:
        with self._counting:
            if not self._sessions:
                self.run.open_states()
            self._sessions += 1
        try:
            yield
        finally:
            with self._counting:
                self._sessions -= 1
                if not self._sessions:
                    self.run.close_states()

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

        def ask(batch: list[int]) -> list[np.ndarray | None]:
            some = [image_sets[index] for index in batch]
            tables = [self._probabilities(text, wording, some, temperatures, counter) for text in wording.texts]
            return [mean if np.isfinite(mean).all() else None for mean in np.mean(tables, 0)]

        kinds = [closed.kind] * len(image_sets)
        found = self._ask(task, kinds, image_sets, ask, counter, most_together(self.run))
        table = np.array(found).reshape(len(image_sets), len(closed.answers) + 1)
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
        begun = [self.tokens(opening.text, opening.probability, opening.written) for opening in openings]

        def ask(batch: list[int]) -> list[WrittenAnswer | None]:
            return [one(index) for index in batch]

        def one(index: int) -> WrittenAnswer | None:
            opening = begun[index]

            def show(ids: list[int]) -> None:
                if on_text is not None:
                    on_text(index, self.text(opening.ids + ids))

            prompt = self.template.prompt(text, image_sets[index])
            ids, chances = self._greedy(prompt, opening.ids, max_new_tokens, show if on_text else None, counter)
            if not np.isfinite(chances).all():
                return None
            ids = opening.ids + ids
            return WrittenAnswer(self.text(ids), ids, opening.probabilities + chances)

        kinds = [("write", text, max_new_tokens, o.text, o.probability) for o in openings]
        found = self._ask(task, kinds, image_sets, ask, counter)
        if on_text:
            for index, written in enumerate(found):
                on_text(index, written.text)
        return found

    def tokens(self, text: str, probability: float, written: WrittenAnswer | None = None) -> WrittenAnswer:
        return aligned(text, self.run.ids(self.template.spacing + text) if text else [], probability, written)

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    # ------------------------------------------------------------------ questions in one wording

    def _probabilities(
        self,
        text: str,
        wording: Wording,
        image_sets: Sequence[ImageSet],
        temperatures: dict[bool, float],
        counter: ProgressCounter,
    ) -> np.ndarray:
        """Probabilities [sets of images, answers + 1] of one wording of a question; the last column is coverage."""
        prompts = [self.template.prompt(text, images, wording.stem) for images in image_sets]
        spacing = " " if wording.stem else self.template.spacing
        spaced = [spacing + answer for answer in wording.answers]
        table = np.empty((len(prompts), len(spaced) + 1))
        for group in groups(self.run, prompts):
            some, sets = [prompts[index] for index in group], [image_sets[index] for index in group]
            tokens = answer_tokens(some[0].texts[-1], spaced, self.run.ids, self.ends[0])
            rows, columns = answer_rows(tokens), answer_columns(tokens)
            for index, found in zip(group, self._rows(some, rows, columns, sets, counter), strict=True):
                logs = answer_log_probabilities(tokens, rows, columns, found)
                table[index] = shares(logs, temperatures[image_sets[index][-1] is not None])
        return table

    def _rows(
        self,
        prompts: list[Prompt],
        rows: list[list[int]],
        columns: list[int],
        image_sets: list[ImageSet],
        counter: ProgressCounter,
    ) -> list[list[torch.Tensor]]:
        """What the network gives for each of some prompts that can run together."""
        if len(prompts) > 1 and isinstance(self.run, BatchNetwork):
            return self.run.together(prompts, rows, counter.check, ROWS, columns)
        return [self._one(prompts[0], rows, columns, image_sets[0], counter)]

    def _one(
        self, prompt: Prompt, rows: list[list[int]], columns: list[int], images: ImageSet, counter: ProgressCounter
    ) -> list[torch.Tensor]:
        """``Network.shared`` or ``Network.plain``, with fewer rows at once where memory is short."""
        if self.run.sharing == NOTHING:
            return self.run.plain(prompt, rows, counter.check, columns)
        found: list[torch.Tensor] = []

        def run(some: list[list[int]]) -> None:
            found.extend(self.run.shared(prompt, some, counter.check, len(some), columns))

        failures = run_in_batches(rows, ROWS, run, lambda _: self._out_of_memory(images), self.run.open_states)
        if failures:
            raise failures[0]
        return found

    def _greedy(
        self,
        prompt: Prompt,
        opening: list[int],
        max_new_tokens: int,
        show: Callable[[list[int]], None] | None,
        counter: ProgressCounter,
    ) -> tuple[list[int], list[float]]:
        """Continue a prompt with the most probable tokens: ids without the end, and the probability of each."""
        ids: list[int] = []
        chances: list[float] = []
        for logs in self._next(prompt, opening, ids, counter):
            chance, token = logs.max(-1)
            if int(token) in self.ends:
                break
            ids.append(int(token))
            chances.append(float(chance.exp()))
            if show:
                show(ids)
            if len(ids) == max_new_tokens:
                break
        return ids, chances

    def _next(
        self, prompt: Prompt, opening: list[int], written: list[int], counter: ProgressCounter
    ) -> Iterator[torch.Tensor]:
        """Log-probabilities of the next token, again and again; ``written`` grows in between."""
        if self.run.sharing == NOTHING:
            while True:
                yield self.run.plain(prompt, [opening + written], counter.check)[0][-1]
        state = self.run.state(prompt, counter.check)
        for token in opening:
            state = self.run.step(state, token)
        while True:
            yield state.log_probabilities
            counter.check()
            state = self.run.step(state, written[-1])

    # ------------------------------------------------------------------ many questions

    def _ask(
        self,
        task: Task,
        kinds: list[tuple],
        image_sets: Sequence[ImageSet],
        ask: Callable[[list[int]], list],
        counter: ProgressCounter,
        size: int = 1,
    ) -> list:
        """One answer for each set of images, stored or new; ``kinds`` tells apart answers to the same question.

        Args:
            ask: answers the questions of some indexes, None for an answer that is not finite.
            size: maximum number of questions that are asked together.
        """
        content = [content_key(images) for images in image_sets]
        keys = [(task.name, kind, key) for kind, key in zip(kinds, content, strict=True)]

        def ask_missing(missing: list[int], store: Store) -> list[DepictQAError]:
            def run(batch: list[int]) -> None:
                damaged = []
                try:
                    answers = ask(batch)
                except OutOfMemory as error:
                    if len(batch) == 1:
                        raise
                    raise MemoryError from error  # ``run_in_batches`` asks fewer at once: the others may fit
                for index, found in zip(batch, answers, strict=True):
                    if found is None:  # an answer made from NaN would be made up
                        damaged.append(image_sets[index])
                    else:
                        store(index, found)
                if damaged:
                    raise not_finite(damaged[0], self.name, "bfloat16 or float32")

            members = sorted(missing, key=lambda index: _order(image_sets[index]))
            too_large = lambda index: self._out_of_memory(image_sets[index])  # noqa: E731
            with self._lock, self.session():
                return run_in_batches(members, size, run, too_large, self.run.open_states)

        return answer_all(self.answers, keys, counter, ask_missing)

    def plain(self, text: str) -> str:
        return plain(text, self.template.special)

    def _out_of_memory(self, images: ImageSet) -> OutOfMemory:
        return out_of_memory(images, self.device, "the model as float16, int8 or int4, or a smaller model")


def _order(images: ImageSet) -> tuple[list, list]:
    """Sorts images of equal sizes together, for batches, and of those equal prefixes."""
    shown = [image for image in (images[-1], *images[:-1]) if image is not None]
    return [image.rgb.shape for image in shown], [image.key for image in shown]
