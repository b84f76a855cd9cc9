"""Threads that process several images in parallel, each on one CPU core."""

import contextlib
import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def parallel(
    work: Callable[[_Item], _Result],
    items: Sequence[_Item],
    take: Callable[[_Result], None],
    most: int | None = None,
) -> list[_Result]:
    """Return ``[work(item) for item in items]``, computed in parallel.

    Small operations do not benefit from several threads, and become slow when the cores are busy: many images with one
    thread each are faster than one image with all threads.

    Args:
        work: called in inference mode, from any thread.
        items: the items.
        take: called in the caller's thread with the result of each finished item; an exception stops the rest.
        most: maximum number of items at a time, None for torch's number of threads.

    Raises:
        Any exception of ``work`` or ``take``, after all threads have stopped.
    """
    at_once = min(torch.get_num_threads() if most is None else most, len(items))
    if at_once < 2:
        results = []
        for item in items:
            results.append(_quietly(work, item))
            take(results[-1])
        return results
    pool, waiting = _pool(), deque(enumerate(items))
    running: dict[Future[_Result], int] = {}
    finished: dict[int, _Result] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                index, item = waiting.popleft()
                running[pool.submit(_quietly, work, item)] = index
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                index = running.pop(done)
                finished[index] = done.result()
                take(finished[index])
        return [finished[index] for index in range(len(items))]
    finally:
        wait(running)


def _quietly(work: Callable[[_Item], _Result], item: _Item) -> _Result:
    with torch.inference_mode():
        return work(item)


def keep_freed_memory() -> None:
    """Make malloc of Linux reuse the memory of large tensors instead of returning it to the system.

    Returning it costs a sixth of the time per image. Only for our own programs: the setting is process-wide.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other systems have other allocators
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 2**28)
        mallopt(_M_MMAP_THRESHOLD, 2**26)


def _pool() -> ThreadPoolExecutor:
    """Return the thread pool of this process: as many threads as torch uses on first use, each with one thread in
    torch."""
    with _lock:
        if not _pools:
            _pools.append(_new_pool(torch.get_num_threads()))
        return _pools[0]


def _new_pool(size: int) -> ThreadPoolExecutor:
    ready = threading.Barrier(size + 1)
    pool = ThreadPoolExecutor(size, "depictqa", _compute_alone)
    for _ in range(size):
        pool.submit(ready.wait)
    ready.wait()  # every thread has started and set its number
    torch.set_num_threads(size)  # threads that start later get the global number
    return pool


def _compute_alone() -> None:
    torch.get_num_threads()  # a thread gets the global number on its first query, even after it set its own
    torch.set_num_threads(1)


_lock = threading.Lock()
_pools: list[ThreadPoolExecutor] = []


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _pools.clear()  # threads do not survive a fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
