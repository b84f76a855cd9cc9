"""Judges the images of a large run in several processes of this machine, each with a judge of its own.

A small network on a CPU gains little from several threads, since they wait for one another between its operations.
Processes do not: two cores are twice one.
"""

import contextlib
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ..errors import DepictQAError, OutOfMemory
from ..runtime.machine import usable_cores, usable_memory
from .engines import Groups, Opening, judged, opened, require
from .loading import batches, blocks
from .plan import Plan
from .schema import Row
from .sources import Item

if TYPE_CHECKING:
    from ..judge import Judge

MIN_IMAGES = 500
"""Images of a run for which it is worth loading the judge once more for each core."""
MEMORY_EACH = 2 * 2**30
"""Bytes that a process may take while it judges large images."""
BLOCKS_EACH = 2
"""Blocks for each process that wait or are judged, so that a free process finds the next block."""


def processes_for(judge: "Judge", plan: Plan) -> int:
    """Choose the number of processes for a run: that of ``suitable``, or 1 where the inputs have few images."""
    processes = suitable(judge)
    if processes == 1:
        return 1
    with contextlib.suppress(DepictQAError, OSError):  # the run itself reports it, after the images before
        if sum(1 for _ in islice(plan.items(), MIN_IMAGES)) == MIN_IMAGES:
            return processes
    return 1


def suitable(judge: "Judge") -> int:
    """Choose the number of processes on this machine for many images.

    Returns:
        one for each core, as far as memory allows, for a small network on the CPU; otherwise 1.
    """
    from ..backends.native import NativeBackend

    backend = judge.backend
    if not isinstance(backend, NativeBackend) or not backend.runner.answers_on_single_cores:
        return 1
    return max(1, min(usable_cores(), usable_memory() // MEMORY_EACH))


class ProcessEngine:
    """Judges in processes of this machine, blocks of images at a time; see ``engines.Engine``.

    Args:
        opening: loads the judge; it is pickled and called in every process.
        plan: what is judged.
        processes: their number, from 1.
        judge: one like theirs, which says what it is. It is not kept.

    Raises:
        TaskError: the judge does not support one of the questions.
    """

    def __init__(self, opening: Opening, plan: Plan, processes: int, judge: "Judge"):
        require(judge, plan)
        self.plan, self.info = plan, judge.info
        self.notices: Sequence[str] = judge.notices
        threads = max(1, usable_cores() // processes)
        with _interrupts_ignored():
            self._workers = [_Worker(opening, plan, threads) for _ in range(processes)]
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)

    def __enter__(self) -> "ProcessEngine":
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def rows(self, listing: Iterator[Item], start: int) -> Groups:
        """See ``Engine``.

        Raises:
            OutOfMemory: a process was killed, which the system does when memory is short.
            DepictQAError: the judge cannot be loaded in a process, or failed for another reason than an image.
        """
        waiting: deque[Future[list[Row]]] = deque()
        pool = ThreadPoolExecutor(len(self._workers), "depictqa-process")
        try:
            for place, items in blocks(listing, start, self.plan.part_rows, self.plan.batch):
                waiting.append(pool.submit(self._ask, place, items))
                if len(waiting) == BLOCKS_EACH * len(self._workers):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            self._end()  # nobody waits for the blocks in work
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _end(self) -> None:
        for worker in self._workers:
            worker.end()

    def _ask(self, place: int, items: list[Item]) -> list[Row]:
        worker = self._free.get()
        try:
            return worker.ask(place, items)
        finally:
            self._free.put(worker)


class _Worker:
    """A process with a judge, and the connection to it. It ends with this process, however that ends."""

    def __init__(self, opening: Opening, plan: Plan, threads: int):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, opening, plan, threads), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, place: int, items: list[Item]) -> list[Row]:
        try:
            self._connection.send((place, items))
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise OutOfMemory(
                "a process of this run was killed, which systems do when memory is short; the same command resumes the "
                "run, --processes 1 or a smaller --batch takes less memory"
            ) from None
        if isinstance(answer, str):
            raise DepictQAError(answer)
        return answer

    def end(self) -> None:
        self._process.terminate()
        self._process.join()
        self._connection.close()


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Have the processes that start now ignore Ctrl-C, which reaches all: that of the run ends the others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, known)


def _work(connection: Connection, opening: Opening, plan: Plan, threads: int) -> None:
    """Answer blocks until the connection ends: its other side is closed when the process of the run is gone."""
    import torch

    torch.set_num_threads(threads)
    judge: Judge | None = None
    try:
        while True:
            place, items = connection.recv()
            answer: Any
            try:
                judge = judge or opened(opening, plan)
                groups = batches(iter(items), place, plan.part_rows, plan.batch, threads)
                answer = [row for group in groups for row in judged(judge, plan, group)]
            except (DepictQAError, OSError) as error:
                answer = str(error)
            except Exception as error:
                answer = f"the judge failed with {type(error).__name__}: {error}"
            connection.send(answer)
    except (EOFError, OSError):
        return
