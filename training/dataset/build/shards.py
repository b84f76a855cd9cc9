"""Runs a build in shards, on processes or on a Ray cluster, so that a stop at any moment loses and doubles nothing."""

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from depictqa_core.loading.checkpoint import file_hash
from depictqa_core.storage.documents import parse_json, read_json
from depictqa_core.errors import DepictQAError
from training.files import write_file, write_text, writing

ENGINES = ("processes", "ray")


class BuildError(DepictQAError):
    """A build that cannot go on; the message says why and what to do. What is finished stays, and is not made again."""


@dataclass(frozen=True)
class Store:
    """Lines 0, 1, 2, ... as JSON in files ``<folder>/<prefix>-00000.jsonl`` of ``size`` lines each."""

    folder: str
    prefix: str
    size: int

    def file(self, shard: range) -> Path:
        return Path(self.folder) / f"{self.prefix}-{shard.start // self.size:05d}.jsonl"

    def missing(self, count: int) -> list[range]:
        """The shards that a build of ``count`` lines still has to make: those without a file, or with a shorter one."""
        shards = (range(start, min(start + self.size, count)) for start in range(0, count, self.size))
        return [shard for shard in shards if _lines(self.file(shard)) < len(shard)]

    def read(self) -> Iterator[dict]:
        """All lines in order.

        Raises:
            ValueError: a line is damaged; the message names it.
        """
        for file in sorted(Path(self.folder).glob(f"{self.prefix}-*.jsonl")):
            with file.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    yield parse_json(line, f"{file.name}, line {number}", remedy="delete the file and build again")


@dataclass(frozen=True)
class Shard:
    """One unit of work: the lines of ``span``, made one by one by ``make(index, skipped)``.

    ``make`` must be picklable, must depend on nothing but its own state and the index, and notes sources that it could
    not use in ``skipped`` (name -> reason). Files that it writes must be complete when it returns.
    """

    store: Store
    span: range
    make: Callable[[int, dict[str, str]], dict]


class Ledger:
    """A file beside the shards that says what a build depends on, so that nobody goes on with other settings, and which
    sources were skipped (``skipped``: name -> reason, of all runs so far)."""

    def __init__(self, file: Path):
        self.file = file
        self.skipped: dict[str, str] = {}

    def open(self, settings: dict) -> None:
        """Begin a build, or go on with one; what a killed run had begun to write is removed.

        Raises:
            BuildError: the build was begun with other settings, or the file is damaged.
        StorageError: it cannot be written.
        """
        self._settings = json.loads(json.dumps(settings))  # tuples become lists, as they are read back
        _remove_parts(self.file.parent)
        if not self.file.exists():
            self._write()
            return
        before = read_json(self.file, remedy="choose an empty folder", error=BuildError)
        before.setdefault("contents", self._settings.get("contents"))  # older versions did not note it
        changed = [name for name, value in self._settings.items() if before.get(name) != value]
        if changed:
            raise BuildError(
                f"{self.file.parent} was begun with other {' and '.join(changed)}; choose an empty folder or the same "
                "arguments"
            )
        self.skipped = before.get("skipped", {})

    def note(self, skipped: dict[str, str]) -> None:
        """Remember sources that could not be used."""
        if skipped.keys() - self.skipped.keys():
            self.skipped.update(skipped)
            self._write()

    def close(self) -> None:
        """End a build: what a worker that died had begun to write, before another made its shard, is removed."""
        _remove_parts(self.file.parent)

    def _write(self) -> None:
        document = json.dumps({**self._settings, "skipped": self.skipped}, indent=1, ensure_ascii=False)
        write_text(self.file, document + "\n")


def names_digest(names: tuple[str, ...]) -> str:
    """What the settings of a build keep of its list of sources."""
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def contents_digest(folder: str | Path, names: tuple[str, ...]) -> str:
    """What the settings of a build keep of what its sources hold: another picture under an old name is another one."""

    def hashed(name: str) -> str:
        try:
            return file_hash(Path(folder) / name)
        except OSError:
            return "unreadable"

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return hashlib.sha256("\n".join(pool.map(hashed, names)).encode()).hexdigest()


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


def make_shard(shard: Shard) -> dict[str, str]:
    """Make the lines of one shard and then its file; returns the sources that had to be skipped.

    Raises:
        StorageError: a file cannot be written; no part of it stays.
    """
    skipped: dict[str, str] = {}
    with writing(shard.store.folder):
        text = "".join(json.dumps(shard.make(index, skipped), ensure_ascii=False) + "\n" for index in shard.span)
        write_file(shard.store.file(shard.span), lambda part: part.write_text(text, encoding="utf-8"))
    return skipped


def _remove_parts(folder: Path) -> None:
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)


def one_thread() -> None:
    """Many processes with many threads each would slow one another down."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _begin_worker() -> None:
    """One thread, and none of it once the build is gone: a worker whose parent was killed would wait for ever."""
    one_thread()
    build = multiprocessing.parent_process()

    def follow() -> None:
        build.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _run_in_processes(shards: list[Shard], workers: int) -> Iterator[tuple[Shard, dict]]:
    # spawn: a forked torch can hang on the locks of its thread pool
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(shards)), mp_context=context, initializer=_begin_worker)
    try:
        futures = {pool.submit(make_shard, shard): shard for shard in shards}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise BuildError(
            "a worker process died (killed, or out of memory): run the same command again, with fewer workers if "
            "memory was short; it goes on where it stopped"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0
