"""The batches of every step for one process, read ahead by threads; what cannot be read is skipped and named."""

import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from depictqa_core.errors import ImageError
from depictqa_core.storage.appending import csv_line

from ..output_files import append_text
from .examples import Example
from .image_features import ImageFeatures
from .weighted_sampler import WeightedSampler, cut

PATIENCE = 1000
"""Images over which the share of unreadable ones is judged, before as many were read."""


class Unreadable:
    """Counts the images that were read and those that could not be, and names these in a file.

    Args:
        log: CSV file of path and reason; an image is named once.
        total: images of the data set.
        share: largest share of the images that may be unreadable.
    """

    def __init__(self, log: Path, total: int, share: float):
        self.log, self.total, self.share = log, total, share
        self.read, self.failed, self._lock = 0, 0, threading.Lock()
        self.paths: dict[str, str] = {}

    def note(self, path: str, reason: str) -> None:
        """Count an image as unreadable, each time that it is wanted."""
        with self._lock:
            self.failed += 1
            if path not in self.paths:
                self.paths[path] = reason
                append_text(self.log, csv_line([path, reason]))

    def check(self, read: int, failed: int) -> None:
        """Raise ImageError if too many of the images read so far, by all processes, could not be read."""
        allowed = self.share * max(read, min(self.total, PATIENCE))
        if failed > allowed:
            path, reason = next(iter(self.paths.items()), ("an image", "see the log of the other process"))
            raise ImageError(
                f"{failed} of {read} images cannot be read, which is more than unreadable_share {self.share:g} allows"
                f" (all are in {self.log}); the first: {path}: {reason}"
            )


class Batches:
    """Every step's batches for one process, a function of the step alone.

    Each batch has the arguments of the network's ``forward`` and ``scales`` [B]: what the loss of one answer token of
    each row counts, so that all tokens (or all records) of the step count the same, in whatever batch and process they
    are; and ``rehearsal`` [B]: whether a row is rehearsal. ``number`` tells the batch from all others of the step.

    Args:
        views: shows images (``LiveImages`` and its like).
        form: makes examples of records, and batches of examples (``NativeForm`` and its like).
        rehearsed: which of the parts is rehearsal, if any.
    """

    def __init__(
        self,
        recipe,
        parts: list[list[dict]],
        sampler: WeightedSampler,
        views,
        form,
        unreadable: Unreadable,
        rehearsed: int | None = None,
    ):
        self.recipe, self.parts, self.sampler, self.views = recipe, parts, sampler, views
        self.form, self.unreadable, self.rehearsed = form, unreadable, rehearsed

    def of(self, step: int, process: int = 0, processes: int = 1) -> list[dict]:
        """The batches that one of the processes does in a step."""
        drawn = self.sampler(step)
        examples = [self._example(part, row, step, place) for place, (part, row) in enumerate(drawn)]
        lengths = [e.words + sum(self.views.tokens(path, e.keep) for path in e.pictures) for e in examples]
        answer_tokens = sum(example.answer_tokens for example in examples)
        batches = []
        passes = cut(lengths, self.recipe.micro_tokens, processes)
        for number in range(process, len(passes), processes):
            indexes, counts = passes[number]
            group = [examples[index] for index in indexes]
            shown, scales = [], []
            for example in group:
                seen = self._show(example)
                share = (
                    1 / answer_tokens if self.recipe.average == "token" else 1 / (example.answer_tokens * len(examples))
                )
                scales.append(share if counts and seen else 0.0)
                shown.append(seen or [self.views.blank() for _ in example.pictures])
            batch = self.form.collate(group, shown)
            batch["scales"] = torch.tensor(scales)
            batch["rehearsal"] = torch.tensor([drawn[index][0] == self.rehearsed for index in indexes])
            batches.append({**batch, "number": number})
        return batches

    def ahead(self, steps: range, process: int, processes: int) -> Generator[list[dict], None, None]:
        """``of`` for one step after the other, with the next ones read by threads meanwhile."""
        with ThreadPoolExecutor(self.recipe.workers) as pool:
            waiting: deque[Future[list[dict]]] = deque()
            try:
                for step in steps:
                    waiting.append(pool.submit(self.of, step, process, processes))
                    if len(waiting) > self.recipe.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _example(self, part: int, row: int, step: int, place: int) -> Example:
        rng = np.random.default_rng([self.recipe.seed, step, place])
        return self.form.example(self.parts[part][row], rng)

    def _show(self, example: Example) -> list[ImageFeatures] | None:
        """Return the image features of an example; None if one of its images cannot be read."""
        shown = []
        for path, reference in zip(example.pictures, example.references):
            self.unreadable.read += 1
            try:
                shown.append(self.views.show(path, example.keep, reference))
            except ImageError as error:
                self.unreadable.note(path, str(error))
        return shown if len(shown) == len(example.pictures) else None
