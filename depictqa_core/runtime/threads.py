"""Threads that work on several images at a time, each computing on one processor core."""

import contextlib
import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def parallel(work: Callable, items: Sequence, check: Callable[[], None]) -> list:
    """``[work(item) for item in items]``, several at a time.

    Small operations gain nothing from several threads inside them, and lose much when the cores are busy: many
    images with one thread each are faster than one image with all threads.

    Args:
        work: called in inference mode, from any thread.
        items: what to work on.
        check: called in the caller's thread after each finished item; what it raises stops the rest.

    Raises:
        what ``work`` or ``check`` raises, once nothing is running any more.
    """
    at_once = min(torch.get_num_threads(), len(items))
    if at_once < 2:
        results = []
        for item in items:
            results.append(_quietly(work, item))
            check()
        return results
    pool, waiting, running = _pool(), deque(enumerate(items)), {}
    results = [None] * len(items)
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                index, item = waiting.popleft()
                running[pool.submit(_quietly, work, item)] = index
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                results[running.pop(done)] = done.result()
                check()
        return results
    finally:
        wait(running)


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


def _pool() -> ThreadPoolExecutor:
    """The one pool of this process: as many threads as torch uses when it is first needed, each computing alone."""
    with _lock:
        if not _pools:
            _pools.append(_new_pool(torch.get_num_threads()))
        return _pools[0]


def _new_pool(size: int) -> ThreadPoolExecutor:
    ready = threading.Barrier(size + 1)
    pool = ThreadPoolExecutor(size, "depictqa", _compute_alone)
    for _ in range(size):
        pool.submit(ready.wait)
    ready.wait()  # every thread has begun, and has set its number
    torch.set_num_threads(size)  # threads that begin later take over a number that is common to all
    return pool


def _compute_alone() -> None:
    torch.get_num_threads()  # a thread takes over the common number when it first asks, even after it set its own
    torch.set_num_threads(1)


_lock, _pools = threading.Lock(), []


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _pools.clear()  # threads do not survive a fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
