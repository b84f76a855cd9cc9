"""Dynamic batching: one thread owns the judge and answers the questions of all clients, equal ones together."""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any

from ..runtime.progress import Progress
from .limits import RequestError

Run = Callable[[Sequence[Any], Progress], Sequence[Any]]
"""Answers items of equal questions, in their order."""
Observe = Callable[[int, float], None]
"""Called after a batch with its number of items and its time in seconds."""
RECENT = 0.2
"""Weight of the newest batch in the running mean of the time per item."""


class Abandoned(Exception):
    """Nobody waits for the answers any more."""


class Job:
    """The items of one request.

    Args:
        key: equal for items that may be answered together.
        items: what is asked about, one answer each.
        run: answers them; that of any job with an equal key will do.

    Attributes:
        answers: a future of the list of answers; an item that failed has its exception there. Cancel it to give up.
    """

    def __init__(self, key: Hashable, items: Sequence[Any], run: Run):
        self.key, self.items, self.run = key, list(items), run
        self.answers: Future[list[Any]] = Future()
        self._found: dict[int, Any] = {}
        self._taken = 0

    @property
    def left(self) -> int:
        """Number of items that no batch has taken yet."""
        return len(self.items) - self._taken

    def take(self, most: int) -> range:
        """Return the indexes of the next items, at most ``most`` of them."""
        first = self._taken
        self._taken = min(len(self.items), first + most)
        return range(first, self._taken)

    def store(self, indexes: range, found: Sequence[Any]) -> None:
        """Take the answers of some items; all of them complete the future."""
        self._found.update(zip(indexes, found))
        if len(self._found) == len(self.items) and self.answers.set_running_or_notify_cancel():
            self.answers.set_result([self._found[index] for index in range(len(self.items))])


class Worker:
    """The thread that owns the judge.

    Jobs are answered in their order. A batch takes the items of the first job and those of other jobs with an equal
    key; a job that is larger than a batch goes to the end of the queue after each, so that it does not block others.
    A batch that fails is repeated item by item: an item that cannot be answered fails alone.

    Args:
        batch: maximum number of items of a batch.
        wait: seconds for which an incomplete batch waits for more.
        observe: is told of every batch.
    """

    def __init__(self, batch: int, wait: float, observe: Observe = lambda items, seconds: None):
        self.batch, self.wait, self._observe = batch, wait, observe
        self.seconds_per_item = 0.0
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="depictqa judge", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether it takes jobs."""
        return self._thread.is_alive() and not self._closed

    @property
    def waiting(self) -> int:
        """Number of items that no batch has taken yet."""
        with self._changed:
            return sum(job.left for job in self._jobs)

    def submit(self, job: Job) -> "Future[list[Any]]":
        """Add a job to the queue and return the future of its answers.

        Raises:
            RequestError: 503, the server stops.
        """
        with self._changed:
            if not self.ready:
                raise RequestError("the server stops; ask it again after its restart", 503, 5)
            self._jobs.append(job)
            self._changed.notify()
        return job.answers

    def close(self, timeout: float | None = None) -> None:
        """Take no more jobs, answer those that wait, and end the thread.

        Args:
            timeout: seconds to wait for that; None for any time.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    def _work(self) -> None:
        while (parts := self._next()) is not None:
            if parts:
                self._answer(parts)

    def _next(self) -> list[tuple[Job, range]] | None:
        """Wait for a batch and return it; None if the worker is closed and nothing waits."""
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            if not self._jobs:
                return None
            until = time.monotonic() + self.wait
            while not self._closed and self._equal() < self.batch and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._take()

    def _equal(self) -> int:
        """Number of waiting items that could be in the next batch."""
        return sum(job.left for job in self._jobs if job.key == self._jobs[0].key)

    def _take(self) -> list[tuple[Job, range]]:
        jobs = [job for job in self._jobs if not job.answers.cancelled()]
        parts: list[tuple[Job, range]] = []
        free = self.batch
        for job in jobs:
            if free and job.key == jobs[0].key:
                parts.append((job, job.take(free)))
                free -= len(parts[-1][1])
        served = [job for job, _ in parts]
        self._jobs = deque([job for job in jobs if job not in served] + [job for job in served if job.left])
        return parts

    def _answer(self, parts: list[tuple[Job, range]]) -> None:
        def progress(done: int, total: int) -> None:
            if all(job.answers.cancelled() for job, _ in parts):
                raise Abandoned

        items = [job.items[index] for job, indexes in parts for index in indexes]
        began = time.perf_counter()
        try:
            found = _answers(parts[0][0].run, items, progress)
        except Abandoned:
            return
        seconds = time.perf_counter() - began
        before = self.seconds_per_item or seconds / len(items)
        self.seconds_per_item = (1 - RECENT) * before + RECENT * seconds / len(items)
        self._observe(len(items), seconds)
        for job, indexes in parts:
            job.store(indexes, found[: len(indexes)])
            found = found[len(indexes) :]


def _answers(run: Run, items: Sequence[Any], progress: Progress) -> list[Any]:
    """The answers to a batch; an item that fails has its exception."""
    try:
        return list(run(items, progress))
    except Abandoned:
        raise
    except Exception as error:  # the thread outlives whatever a question does
        if len(items) == 1:
            return [error]
        return [answer for item in items for answer in _answers(run, [item], progress)]
