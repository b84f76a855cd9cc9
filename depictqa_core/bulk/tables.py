"""Images that are stored in Parquet tables, read with the package pyarrow."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO

from ..errors import DocumentError, ImageError, PackageError, quoted
from .places import Place

BATCH = 16
"""Rows with images that are read at a time."""


def pyarrow() -> Any:
    """Import pyarrow with its Parquet reader.

    Raises:
        PackageError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise PackageError("Parquet needs the package pyarrow; run pip install pyarrow, or use JSONL") from error
    return pyarrow


class Rows:
    """One Parquet file, read forwards.

    Args:
        stream: the open file, which must be seekable.
        path: how messages call it.
        place: the file system of ``path``; only what pickles needs it.

    Raises:
        DocumentError: it is not a Parquet file.
        PackageError: pyarrow is not installed.
    """

    def __init__(self, stream: BinaryIO, path: str, place: Place | None = None):
        arrow = pyarrow()
        try:
            self._file = arrow.parquet.ParquetFile(stream)
        except (arrow.ArrowException, OSError) as error:
            raise DocumentError(f"{path} is not a Parquet file ({quoted(error)}); write it again") from error
        self._arrow, self._path, self._place = arrow, path, place
        self._lock = threading.Lock()
        self._batches: Iterator[Any] = iter(())
        self._recent: deque[tuple[int, list]] = deque(maxlen=2)
        self._next = 0
        metadata = self._file.metadata
        self.count: int = metadata.num_rows
        self.columns: tuple[str, ...] = tuple(self._file.schema_arrow.names)
        self._groups = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]

    @classmethod
    def open(cls, place: Place, path: str) -> "Rows":
        """Open a table; an unpickled one opens its file again."""
        return cls(place.open(path), path, place)

    def __reduce__(self) -> tuple[Callable[..., "Rows"], tuple[Place | None, str]]:
        return Rows.open, (self._place, self._path)

    def kind(self, column: str) -> str:
        """Tell what a column holds: "path", "bytes", or "struct" of both as Hugging Face datasets store images.

        Raises:
            DocumentError: something else.
        """
        types, found = self._arrow.types, self._file.schema_arrow.field(column).type
        if types.is_string(found) or types.is_large_string(found):
            return "path"
        if types.is_binary(found) or types.is_large_binary(found):
            return "bytes"
        if types.is_struct(found) and found.get_field_index("bytes") >= 0:
            return "struct"
        raise DocumentError(
            f"{self._path}: column {column} holds {found}; paths or the bytes of image files are needed"
        )

    def values(self, column: str) -> Iterator[Any]:
        """Yield all values of a column."""
        for batch in self._file.iter_batches(columns=[column]):
            yield from batch.column(0).to_pylist()

    def loader(self, column: str, kind: str, row: int) -> Callable[[], bytes]:
        """Return what gives the content of the image in a row, in any thread; rows are asked for nearly in order."""
        return partial(self._content, column, kind, row)

    def _content(self, column: str, kind: str, row: int) -> bytes:
        try:
            value = self._value(column, row)
        except (self._arrow.ArrowException, OSError) as error:
            raise ImageError(f"the table cannot be read here ({quoted(error)}). Write it again.") from error
        value = value and value["bytes"] if kind == "struct" else value
        if not value:
            raise ImageError("the row holds no image. Leave it out.")
        return value

    def _value(self, column: str, row: int) -> Any:
        with self._lock:
            if not self._recent or row < self._recent[0][0]:
                self._start(column, row)
            while row >= self._next:
                values = next(self._batches).column(0).to_pylist()
                self._recent.append((self._next, values))
                self._next += len(values)
            return next(values[row - start] for start, values in self._recent if start <= row < start + len(values))

    def _start(self, column: str, row: int) -> None:
        """Begin to read at the row group that has a row."""
        first = group = 0
        while first + self._groups[group] <= row:
            first += self._groups[group]
            group += 1
        wanted = range(group, len(self._groups))
        self._batches = self._file.iter_batches(BATCH, row_groups=list(wanted), columns=[column])
        self._recent.clear()
        self._next = first
