"""The parts in which a large run writes its table: Parquet or JSONL, each written whole, and read back in order."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..errors import DocumentError
from ..storage.documents import describe, parse_json, read_json
from ..storage.files import readable_file_errors, write_file
from .schema import SCHEMA, Column, Row
from .tables import pyarrow

RUN = "run.json"
"""What the run is: schema, questions, judge, inputs. It is written before the first part."""
KINDS = {
    "text": ("string", ()),
    "integer": ("int64", ()),
    "number": ("float64", ()),
    "flag": ("bool_", ()),
    "texts": ("list_", ("string",)),
    "numbers": ("list_", ("float64",)),
}
"""The type in pyarrow of each kind of column."""


class Format(Protocol):
    """A way to store the rows of a part."""

    suffix: str

    def write(self, path: Path, rows: Sequence[Row]) -> None:
        """Write a file with these rows."""

    def read(self, path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
        """Yield the rows of a file, with these columns or all."""


class ParquetFormat:
    """Parquet, written and read with pyarrow.

    Args:
        columns: of the table; only ``write`` needs them.
    """

    suffix = ".parquet"

    def __init__(self, columns: Sequence[Column] = ()):
        self._arrow = arrow = pyarrow()
        fields = []
        for column in columns:
            name, inner = KINDS[column.kind]
            fields.append(arrow.field(column.name, getattr(arrow, name)(*(getattr(arrow, one)() for one in inner))))
        self._schema = arrow.schema(fields, metadata={"depictqa.schema": str(SCHEMA)})

    def write(self, path: Path, rows: Sequence[Row]) -> None:
        table = self._arrow.Table.from_pylist(list(rows), schema=self._schema)
        self._arrow.parquet.write_table(table, path, compression="zstd")

    def read(self, path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
        try:
            with self._arrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=columns and list(columns)):
                    yield from batch.to_pylist()
        except self._arrow.ArrowException as error:
            raise DocumentError(f"{path} is damaged ({error}); delete it and run the same command again") from error


class JsonlFormat:
    """One JSON object a line, without any package."""

    suffix = ".jsonl"

    def __init__(self, columns: Sequence[Column] = ()):
        self._columns = [column.name for column in columns]

    def write(self, path: Path, rows: Sequence[Row]) -> None:
        with open(path, "w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps({name: row.get(name) for name in self._columns}, ensure_ascii=False) + "\n")

    def read(self, path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                row = parse_json(line, f"{path}, line {number}", remedy="delete the file and run the command again")
                yield row if columns is None else {name: row.get(name) for name in columns}


FORMATS: dict[str, type[ParquetFormat] | type[JsonlFormat]] = {"parquet": ParquetFormat, "jsonl": JsonlFormat}


def default_format() -> str:
    """Return "parquet" where pyarrow is installed, else "jsonl"."""
    from importlib.util import find_spec

    return "parquet" if find_spec("pyarrow") else "jsonl"


class Parts:
    """The parts of one run, in its folder: ``part-000000.parquet`` and so on.

    Args:
        folder: that of the run.
        stored: how rows are stored.
    """

    def __init__(self, folder: Path, stored: Format):
        self.folder, self._stored = folder, stored

    def path(self, number: int) -> Path:
        """The file of a part."""
        return self.folder / f"part-{number:06d}{self._stored.suffix}"

    def write(self, number: int, rows: Sequence[Row]) -> None:
        """Write a part; others see all of its rows or none of them.

        Raises:
            StorageError: the file cannot be written; it is as it was.
        """
        path = self.path(number)
        with readable_file_errors(path):
            write_file(path, lambda part: self._stored.write(part, rows))

    def read(self, number: int, columns: Sequence[str] | None = None) -> list[Row]:
        """The rows of a part; none where it is not there."""
        path = self.path(number)
        return list(self._stored.read(path, columns)) if path.exists() else []

    def remove_unfinished(self) -> None:
        """Remove what a killed process was writing."""
        for path in self.folder.glob(".*.part"):
            path.unlink(missing_ok=True)


def read_run(folder: str | Path) -> dict[str, Any]:
    """Read what the run in a folder is: "format", "verbs", "judge", "columns" and more.

    Raises:
        DocumentError: the folder has no run, or one of another version.
    """
    path = Path(folder) / RUN
    if not path.is_file():
        raise DocumentError(f"{folder}: has no {RUN}; name the folder that depictqa judge wrote")
    run = read_json(path)
    if run.get("schema") != SCHEMA:
        raise DocumentError(f"{folder}: has schema {run.get('schema')}, this version reads {SCHEMA}; judge it again")
    if run.get("format") not in FORMATS:
        known = ", ".join(FORMATS)
        raise DocumentError(f"{path}: format is {describe(run.get('format'))}; allowed: {known}; judge it again")
    return run


def read_rows(folder: str | Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Read the table of a run, finished or not.

    Args:
        folder: that of the run.
        columns: which to read; None for all.

    Yields:
        rows in the order of the inputs, with one part in memory at a time.

    Raises:
        DocumentError: the folder has no run, one of another version, or a damaged part.
    """
    folder = Path(folder)
    parts = Parts(folder, FORMATS[read_run(folder)["format"]]())
    number = 0
    while rows := parts.read(number, columns):
        yield from rows
        number += 1
