"""One unit of a build: lines of JSON in a file, made whole or not at all, so that a stop loses and doubles nothing."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from depictqa_core.errors import DepictQAError
from depictqa_core.storage.documents import parse_json
from training.output_files import write_file, writing


class BuildError(DepictQAError):
    """A build that cannot continue; the message has cause and remedy. Finished shards stay and are not made again."""


@dataclass(frozen=True)
class Store:
    """Lines 0, 1, 2, ... as JSON in files ``<folder>/<prefix>-00000.jsonl`` of ``size`` lines each."""

    folder: str
    prefix: str
    size: int

    def file(self, shard: range) -> Path:
        return Path(self.folder) / f"{self.prefix}-{shard.start // self.size:05d}.jsonl"

    def missing(self, count: int) -> list[range]:
        """Return the shards that a build of ``count`` lines still has to make."""
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


def one_thread() -> None:
    """Many processes with many threads each would slow one another down."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0
