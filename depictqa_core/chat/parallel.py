"""Parallel requests to an endpoint, without losing paid answers."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from ..errors import DepictQAError, ImageError
from .client import Client
from .endpoint import NoAnswer, RequestRejected

WORKERS = 8
PATIENCE = 10
"""Number of requests in a row without an answer after which the endpoint is considered down."""

TICK = 0.1
"""Seconds after which Cancel is looked for."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Failure = RequestRejected | NoAnswer | ImageError
FAILURES = (RequestRejected, NoAnswer, ImageError)
"""Errors of a single request: the others can still be answered."""


def ask_all(
    client: Client,
    items: Iterable[Item],
    ask: Callable[[Item], Answer],
    keep: Callable[[Item, Answer | Failure], object],
    workers: int = WORKERS,
    check: Callable[[], object] | None = None,
) -> None:
    """Send a request for every item, several in parallel, and pass on every result as soon as it arrives.

    However this ends (an endpoint that is down, a full disk, Ctrl-C), the running requests are finished and their
    answers are passed on, because they have been paid for. With ``check`` they are given up, because somebody waits.

    Args:
        client: closed if the work ends early, so that no thread keeps waiting.
        items: the items; at most ``workers`` of them are taken in advance.
        ask: item -> its answer, called in a thread.
        keep: called in the calling thread with an item and its answer, or its own error.
        workers: number of parallel requests.
        check: called again and again in the calling thread; what it raises (Cancel) ends the work at once.

    Raises:
        EndpointError: the endpoint rejects all requests, or ``PATIENCE`` in a row had no answer.
        Exception: any exception of ``keep`` or ``check``.
    """
    waiting: dict[Future, Item] = {}
    queue, in_a_row = iter(items), 0
    pool = ThreadPoolExecutor(workers)
    try:
        while True:
            for item in islice(queue, workers - len(waiting)):
                waiting[pool.submit(ask, item)] = item
            if not waiting:
                return
            for future in _done(waiting, check):
                outcome = _outcome(future)
                in_a_row = in_a_row + 1 if isinstance(outcome, NoAnswer) else 0
                if in_a_row == PATIENCE:
                    raise outcome
                keep(waiting.pop(future), outcome)
    except BaseException:
        client.close(abort=check is not None)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        for future, item in waiting.items():
            if not future.cancelled() and future.exception() is None:
                with suppress(DepictQAError):  # a full disk has been reported; the next answer may fit
                    keep(item, future.result())


def _done(waiting: dict[Future, Item], check: Callable[[], object] | None) -> set[Future]:
    """Wait for the first request that ends."""
    while True:
        done = wait(waiting, None if check is None else TICK, FIRST_COMPLETED).done
        if done or check is None:
            return done
        check()


def _outcome(future: Future[Answer]) -> Answer | Failure:
    try:
        return future.result()
    except FAILURES as error:
        return error
