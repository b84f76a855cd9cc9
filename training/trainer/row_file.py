"""Rows of numbers by name in one growing file, so that work on thousands of images can be resumed."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from depictqa_core.errors import ImageError
from depictqa_core.storage.documents import parse_json
from depictqa_core.storage.files import locked

from ..output_files import write_text, writing

CHUNK = 64
"""Names that are worked on side by side on all cores."""


class RowFile:
    """float32 rows [width] by name, kept as ``<stem>.jsonl`` (names) and ``<stem>.f32`` (values) in a folder.

    Both only grow, and only rows whose name and value are whole count; several processes may fill one file.

    Attributes:
        index: name -> row.
        failed: name -> why it has none.
    """

    def __init__(self, folder: Path, stem: str, width: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._names, self._values, self.width = folder / f"{stem}.jsonl", folder / f"{stem}.f32", width
        self.index = self._known()
        self.failed: dict[str, str] = {}
        self.rows: np.ndarray | None = None

    def _known(self) -> dict[str, int]:
        """Name -> row of the rows that are whole on disk; JSON keeps a name on one line, whatever is in it."""
        lines = self._names.read_bytes().split(b"\n")[:-1] if self._names.exists() else []
        complete = self._values.stat().st_size // (4 * self.width) if self._values.exists() else 0
        remedy = "delete it to compute its contents again"
        return {
            parse_json(line, f"{self._names}, line {row + 1}", str, remedy=remedy): row
            for row, line in enumerate(lines[:complete])
        }

    def fill(self, names: list[str], compute: Callable[[str], torch.Tensor], what: str) -> None:
        """Add the rows that are missing: ``compute(name)`` [width]; a name for which it raises ImageError has none.

        Raises:
            StorageError: the disk is full; what was written before stays.
        """
        with writing(self._values), locked(self._names):
            self.index = self._known()
            self._fill(names, compute, what)
        if self.index:
            self.rows = np.memmap(self._values, dtype=np.float32, mode="r", shape=(len(self.index), self.width))

    def _fill(self, names: list[str], compute: Callable[[str], torch.Tensor], what: str) -> None:
        missing = [name for name in names if name not in self.index]
        write_text(self._names, "".join(map(_line, self.index)))

        def attempt(name: str) -> torch.Tensor | str:
            try:
                with torch.no_grad():
                    return compute(name).float().cpu()
            except ImageError as error:
                return str(error)

        mode = "r+b" if self._values.exists() else "w+b"
        with open(self._values, mode) as values, open(self._names, "a", encoding="utf-8") as listed:
            values.truncate(len(self.index) * 4 * self.width)
            values.seek(0, 2)
            with ThreadPoolExecutor(os.cpu_count() or 1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                for start in tqdm(range(0, len(missing), CHUNK), desc=what, unit_scale=CHUNK, mininterval=10):
                    chunk = missing[start : start + CHUNK]
                    for name, row in zip(chunk, pool.map(attempt, chunk)):
                        if isinstance(row, str):
                            self.failed[name] = row
                            continue
                        values.write(row.numpy().tobytes())
                        listed.write(_line(name))
                        self.index[name] = len(self.index)

    def __getitem__(self, name: str) -> torch.Tensor:
        if self.rows is None or name not in self.index:
            raise ImageError(self.failed.get(name, f"{name}: is not in {self._values}"))
        return torch.from_numpy(self.rows[self.index[name]].copy())


def _line(name: str) -> str:
    return json.dumps(name) + "\n"
