"""Keeps several requests to an endpoint under way at once, and loses no answer that was paid for."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from depictqa_core.errors import DepictQAError, ImageError

from .endpoint import Client, NoAnswer, RequestRejected

WORKERS = 8
PATIENCE = 10
"""Number of requests in a row without an answer that end the work: the endpoint is down."""

Item, Answer = TypeVar("Item"), TypeVar("Answer")
Failure = RequestRejected | NoAnswer | ImageError
FAILURES = (RequestRejected, NoAnswer, ImageError)
"""What concerns one request alone: the others can still be answered."""


def ask_all(
    client: Client,
    items: Iterable[Item],
    ask: Callable[[Item], Answer],
    keep: Callable[[Item, Answer | Failure], object],
    workers: int = WORKERS,
) -> None:
    """Ask about every item, several at once, and hand over every outcome as soon as it comes.

    However the work ends (an endpoint that is down, a full disk, Ctrl-C), the requests under way are waited for and
    their answers handed over: they have been paid for.

    Args:
        client: closed when the work ends early, so that no thread waits for its turn.
        items: what to ask about; at most ``workers`` of them are taken ahead.
        ask: item -> its answer, called in a thread.
        keep: called in the calling thread with an item and its answer, or with the failure that concerns it alone.
        workers: number of requests at a time.

    Raises:
        EndpointError: the endpoint refuses all requests, or ``PATIENCE`` in a row had no answer.
        Exception: whatever ``keep`` raises.
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
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                outcome = _outcome(future)
                in_a_row = in_a_row + 1 if isinstance(outcome, NoAnswer) else 0
                if in_a_row == PATIENCE:
                    raise outcome
                keep(waiting.pop(future), outcome)
    except BaseException:
        client.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        for future, item in waiting.items():
            if not future.cancelled() and future.exception() is None:
                with suppress(DepictQAError):  # a full disk has been reported; the next answer may fit
                    keep(item, future.result())


def _outcome(future: Future) -> Answer | Failure:
    try:
        return future.result()
    except FAILURES as error:
        return error
