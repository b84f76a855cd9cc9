"""Threads that work on several pictures at a time, each computing with its own share of the processor cores."""

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def parallel(work: Callable, items: Sequence, check: Callable[[], None]) -> list:
    """``[work(item) for item in items]``, several at a time.

    Small operations gain nothing from several threads inside them, and lose much when the cores are busy: many
    pictures with one thread each are faster than one picture with all threads.

    Args:
        work: called in inference mode, from any thread.
        items: what to work on.
        check: called in the caller's thread after each finished item; what it raises stops the rest.

    Raises:
        what ``work`` or ``check`` raises, once nothing is running any more.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(items))
    if workers < 2:
        results = []
        for item in items:
            results.append(_quietly(work, item))
            check()
        return results
    running = {_pool(workers, threads // workers).submit(_quietly, work, item): item for item in items}
    try:
        for done in as_completed(running):
            done.result()
            check()
        return [future.result() for future in running]
    finally:
        started = [future for future in running if not future.cancel()]
        for future in started:
            future.exception()


def _quietly(work: Callable, item):
    with torch.inference_mode():
        return work(item)


def keep_freed_memory() -> None:
    """Have the C library of Linux keep what large tensors leave behind, instead of giving it back and asking again.

    The latter costs a sixth of the time of a picture. This is for programs of our own: the setting is the process's.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other systems have other allocators
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 2**28)
        mallopt(_M_MMAP_THRESHOLD, 2**26)


@functools.cache
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """A pool whose threads compute with ``threads`` threads each; those of all other threads stay as they are."""
    before = torch.get_num_threads()
    ready = threading.Barrier(workers + 1)
    pool = ThreadPoolExecutor(workers, "depictqa", _use_threads, (threads,))
    for _ in range(workers):
        pool.submit(ready.wait)
    ready.wait()  # every thread has begun, and has set its number
    torch.set_num_threads(before)  # the number that threads begin with is common to all
    return pool


def _use_threads(count: int) -> None:
    torch.get_num_threads()  # a thread takes over the common number when it first asks, even after it set its own
    torch.set_num_threads(count)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
