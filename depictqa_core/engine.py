"""How questions are asked: pictures are encoded once, answers kept, prompts of about equal length run together.

``Engine`` knows the network and its memory; which questions make up a verb is the business of ``judge``.
"""

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from . import tasks
from .caches import ByteCache
from .checkpoints import Checkpoint
from .errors import CheckpointError, DepictQAError, OutOfMemory, TaskError
from .images import Picture, SizePolicy
from .prompts import REFERENCE, A, B, answer_ids, encode, layout
from .tasks import Task

Progress = Callable[[int, int], None]
OnText = Callable[[int, str], None]
CACHE_BYTES = 256 * 2**20
"""Default memory budget for picture embeddings that are kept between calls."""
ANSWER_BYTES = 32 * 2**20
"""Memory budget for answers that are kept between calls, so that an interrupted call goes on where it stopped."""
ANSWER_OVERHEAD = 1024
"""Bytes that one kept answer takes beside its numbers: keys, labels, words."""
BATCH = 16
"""Most questions that go through the language model together."""


class Counter:
    """Adds up the progress of several passes into one count that never falls; what ``progress`` raises is Cancel."""

    def __init__(self, progress: Progress | None, total: int):
        self.progress, self.total, self.done = progress, total, 0

    def add(self, count: int) -> None:
        """Count finished pieces of work and report."""
        self.done += count
        self.check()

    def check(self) -> None:
        """Report without a new count, so that Cancel is heard in the middle of a piece."""
        if self.progress:
            self.progress(self.done, self.total)

    def finish(self) -> None:
        """Report that what was still to do is not needed."""
        if self.done < self.total:
            self.add(self.total - self.done)


@dataclass(frozen=True)
class Written:
    """A freely written answer: its text, and its tokens without the end with the probability of each."""

    text: str
    ids: list[int]
    probabilities: list[float]


class Engine:
    """Asks one loaded checkpoint many questions at once.

    Questions are sets of pictures: tuples (A, reference) or, for tasks about pairs, (A, B, reference), where the
    reference may be None. All methods may be called from several threads.

    An error about one group of questions does not stop the others: it is raised at the end, and the answers that were
    found stay in the cache, so that a repeated call asks only what is missing.

    Attributes:
        pictures: the cache of picture embeddings, by picture content.
    """

    def __init__(self, checkpoint: Checkpoint, cache_bytes: int = CACHE_BYTES):
        self.model, self.tokenizer = checkpoint.model, checkpoint.tokenizer
        self.name = str(checkpoint.card.get("name", "this checkpoint"))
        self.pictures = ByteCache(cache_bytes)
        self._answers = ByteCache(ANSWER_BYTES)

    @property
    def device(self):
        """Where the network is now."""
        return next(self.model.parameters()).device

    def require(self, task: Task) -> None:
        """Raise TaskError unless the checkpoint was taught the task."""
        if task.name not in self.model.config.tasks:
            known = ", ".join(self.model.config.tasks)
            raise TaskError(f"{self.name} was never taught the task {task.name}; it knows {known}")

    def choose(self, task: Task, question: str | None, asked: Sequence[tuple], report: Counter) -> np.ndarray:
        """Probabilities float64 [N, answers] of the closed answers (``tasks.answers``) to one question.

        Args:
            question: another wording, None for the task's own.
            asked: N sets of pictures.
            report: counts every answered question.

        Raises:
            TaskError, CheckpointError, OutOfMemory: see the class.
        """
        from .decoding import answer_probabilities

        self.require(task)
        options = tasks.answers(task, question or task.question)
        ids = [answer_ids(option, self.tokenizer) for option in options]
        heat = {seen: self.model.config.answer_temperature(task.name, seen) for seen in (False, True)}

        def answer(prompts, indexes):
            temperature = heat[asked[indexes[0]][-1] is not None]  # all of a batch have a reference, or none has
            rows = answer_probabilities(self.model.language, prompts, ids, temperature).numpy().astype(np.float64)
            for row in rows:
                self._check_finite(row)
            return rows

        found = self._ask(task, task.ask(question), ("choose", *heat.values()), asked, answer, report)
        return np.array(found).reshape(len(asked), len(options))

    def write(
        self,
        task: Task,
        question: str | None,
        asked: Sequence[tuple],
        max_new_tokens: int,
        report: Counter,
        on_text: OnText | None = None,
    ) -> list[Written]:
        """Freely written answers to one question, always taking the most probable token.

        Args:
            question, asked, report: as in ``choose``.
            max_new_tokens: longest answer in tokens; a longer one is cut off there.
            on_text: called as (index in ``asked``, text so far) while an answer grows, and once for a known one.

        Raises:
            TaskError, CheckpointError, OutOfMemory: see the class.
        """
        from .decoding import greedy

        self.require(task)
        end = answer_ids("", self.tokenizer)

        def answer(prompts, indexes):
            def step(written: dict[int, list[int]]) -> None:
                if on_text:
                    for row, ids in written.items():
                        on_text(indexes[row], self._text(without_end(ids, end)))
                report.check()

            answers = []
            for generated in greedy(self.model.language, prompts, end, max_new_tokens, step):
                self._check_finite(generated.probabilities)
                ids = without_end(generated.ids, end)
                answers.append(Written(self._text(ids), ids, generated.probabilities[: len(ids)]))
            return answers

        found = self._ask(task, task.ask(question), ("write", max_new_tokens), asked, answer, report)
        if on_text:
            for index, written in enumerate(found):
                on_text(index, written.text)
        return found

    def decode(self, ids: list[int]) -> str:
        """The text of tokens, without special ones."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _text(self, ids: list[int]) -> str:
        return self.decode(ids).strip()

    def _check_finite(self, probabilities) -> None:
        """An answer made from NaN would be made up."""
        if not np.isfinite(probabilities).all():
            raise CheckpointError(
                f"{self.name} gave no finite probabilities: its weights are damaged, or too large for half precision"
                " (then load it as float32)"
            )

    # ------------------------------------------------------------------ groups of questions

    def _ask(self, task: Task, question: str, kind: tuple, asked, answer: Callable, report: Counter) -> list:
        """One answer per set of pictures, from the cache or from ``answer(prompts, indexes)``, batch by batch."""
        places: dict[tuple, list[int]] = {}  # the same question twice is asked once
        for index, pictures in enumerate(asked):
            key = (task.name, question, kind, tuple(picture and picture.key for picture in pictures))
            places.setdefault(key, []).append(index)
        answers = {key: self._answers.get(key) for key in places}
        if known := sum(len(places[key]) for key in places if answers[key] is not None):
            report.add(known)
        missing = {indexes[0]: key for key, indexes in places.items() if answers[key] is None}
        failures: list[DepictQAError] = []
        for has_reference in (False, True):
            members = [index for index in missing if (asked[index][-1] is not None) == has_reference]
            members.sort(key=lambda index: self._area(asked[index]))
            parts = encode(layout(question, task.pair, has_reference), self.tokenizer)
            roles = ((A, B) if task.pair else (A,)) + ((REFERENCE,) if has_reference else ())

            def run(batch: list[int], parts=parts, roles=roles) -> None:
                prompts = self._prompts(parts, [dict(zip(roles, asked[index])) for index in batch], report)
                for index, found in zip(batch, answer(prompts, batch)):
                    key = missing[index]
                    answers[key] = found
                    self._answers.put(key, found, ANSWER_OVERHEAD + getattr(found, "nbytes", 0))
                report.add(sum(len(places[missing[index]]) for index in batch))

            failures += run_in_batches(members, BATCH, run, lambda index: self._out_of_memory(asked[index]))
        if failures:
            raise failures[0]
        found = {index: answers[key] for key, indexes in places.items() for index in indexes}
        return [found[index] for index in range(len(asked))]

    def _area(self, pictures: tuple) -> int:
        """Pixels that the network sees, a measure of how long a prompt becomes."""
        policy = SizePolicy(**self.model.config.size)
        return sum(math.prod(policy.padded(p.height, p.width)) for p in pictures if p is not None)

    def _out_of_memory(self, pictures: tuple) -> OutOfMemory:
        names = ", ".join(picture.name for picture in pictures if picture is not None)
        return OutOfMemory(
            f"{names}: not enough memory on {self.device} even for this question alone; free some, or load the model"
            " as float16, on another device, or a smaller checkpoint"
        )

    def _prompts(self, parts, shown: list[dict[str, Picture]], report: Counter) -> list:
        """Embeddings [L, hidden] of one prompt for each set of pictures (by role)."""
        import torch

        with torch.inference_mode():
            seen = self._seen([picture for pictures in shown for picture in pictures.values()], report)
            slots = [_slots(pictures) for pictures in shown]
            distinct = list(dict.fromkeys(slot for by_role in slots for slot in by_role.values()))
            rows = self.model.connect([seen[k] for k, _ in distinct], [seen.get(r) for _, r in distinct])
            tokens = dict(zip(distinct, rows))
            return [
                self.model.embed_prompt(parts, {role: tokens[slot] for role, slot in by_role.items()})
                for by_role in slots
            ]

    def _seen(self, pictures: list[Picture], report: Counter) -> dict[str, object]:
        """What the vision tower saw in pictures, by content key, on the device of the network.

        Cancel is heard after each picture is prepared, so that it does not wait for the whole batch.
        """
        from .vision import prepare

        distinct = {picture.key: picture for picture in pictures}
        pooled = {key: self.pictures.get(key) for key in distinct}
        missing = [key for key, row in pooled.items() if row is None]
        prepared = []
        for key in missing:
            prepared.append(prepare(distinct[key], self.model.config))
            report.check()
        for key, row in zip(missing, self.model.encode(prepared) if prepared else ()):
            pooled[key] = row
            kept = row.to("cpu", copy=True)  # a view would keep its whole batch alive
            self.pictures.put(key, kept, kept.numel() * kept.element_size())
        return {key: row.to(self.device) for key, row in pooled.items()}


def run_in_batches(members: list, size: int, run: Callable[[list], None], too_large: Callable) -> list[DepictQAError]:
    """``run(batch)`` over all members in order; a batch that does not fit into memory is halved and tried again.

    Args:
        members: what to work on.
        size: most members of a batch.
        run: does the work of one batch.
        too_large: makes the error for a member that does not fit even alone.

    Returns:
        the errors of batches that failed, each raised as DepictQAError or out of memory; other errors pass through.
    """
    failures, start = [], 0
    while start < len(members):
        batch = members[start : start + size]
        fits = True
        try:
            run(batch)
        except DepictQAError as error:
            failures.append(error)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            fits = False
        if not fits:  # only here, behind the except block, are the tensors of the failed run free
            release_memory()
            if len(batch) > 1:
                size = (len(batch) + 1) // 2
                continue
            failures.append(too_large(batch[0]))
        start += len(batch)
    return failures


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the CPU or on any accelerator."""
    text = str(error).lower()
    signs = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
    return isinstance(error, MemoryError) or any(sign in text for sign in signs)


def release_memory() -> None:
    """Give back what the allocators of torch hold for later."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def without_end(ids: list[int], end: list[int]) -> list[int]:
    """The written words only: an answer that was cut off has no end, and one may stop without the newline before it."""
    for size in range(len(end), 0, -1):
        if ids[-size:] == end[-size:]:
            return ids[:-size]
    return ids


def _slots(pictures: dict[str, Picture]) -> dict[str, tuple[str, str | None]]:
    """Per role the keys of the picture and of the reference that it is seen beside; the reference stands alone."""
    beside = pictures[REFERENCE].key if REFERENCE in pictures else None
    return {role: (picture.key, None if role == REFERENCE else beside) for role, picture in pictures.items()}
