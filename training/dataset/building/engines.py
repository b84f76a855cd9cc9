"""Makes shards on processes or on a Ray cluster."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import cv2
import torch

from .shard import BuildError, Shard, make_shard, one_thread

ENGINES = ("processes", "ray")


def run_shards(shards: list[Shard], workers: int = 1, engine: str = "processes") -> Iterator[tuple[Shard, dict]]:
    """Make the shards in any order; yields (shard, sources skipped in it) as soon as its file is there.

    Args:
        workers: processes; each uses one thread. With Ray, most tasks at a time (0: as many as the cluster has CPUs).
        engine: "processes" on this machine, or "ray": Ray Data on the cluster that ``RAY_ADDRESS`` names, or on a local
            one. Machines of a cluster need this package and the data folder under the same path.

    Raises:
        StorageError: a file cannot be written (a full disk).
        BuildError: a worker process died.
        ValueError: unknown engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine '{engine}': choose one of {', '.join(ENGINES)}")
    if not shards:
        return
    if engine == "ray":
        from .ray_engine import run_on_ray

        yield from run_on_ray(shards, workers)
    elif workers <= 1 or len(shards) == 1:
        threads = torch.get_num_threads(), cv2.getNumThreads()
        one_thread()
        try:
            for shard in shards:
                yield shard, make_shard(shard)
        finally:
            torch.set_num_threads(threads[0])
            cv2.setNumThreads(threads[1])
    else:
        yield from _run_in_processes(shards, workers)


def _begin_worker() -> None:
    """One thread, and none of it once the build is gone: a worker whose parent was killed would wait for ever.

    Ctrl-C reaches the workers too; the build ends them.
    """
    one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    build = multiprocessing.parent_process()
    assert build is not None  # this runs in a worker

    def follow() -> None:
        build.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _run_in_processes(shards: list[Shard], workers: int) -> Iterator[tuple[Shard, dict]]:
    # spawn: a forked torch can hang on the locks of its thread pool
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(shards)), mp_context=context, initializer=_begin_worker)
    others = set(multiprocessing.active_children())
    try:
        futures = {pool.submit(make_shard, shard): shard for shard in shards}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise BuildError(
            "a worker process died (killed, or out of memory): run the same command again, with fewer workers if "
            "memory was short; it resumes where it stopped"
        ) from error
    except KeyboardInterrupt:
        for worker in set(multiprocessing.active_children()) - others:  # unfinished shards are made again
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
