"""What a large run judges: the images that folders, patterns, tar shards, Parquet files and lists name, in fixed order.

Nothing is loaded here: an ``Item`` is a name and a function, so a million images can be counted or skipped for the
price of a listing. Memory does not depend on how many there are.
"""

import csv
import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ..errors import DocumentError, ImageError, quoted
from ..images.damage_checks import MAX_BYTES
from ..images.search import EXTENSIONS
from ..storage.documents import parse_json
from .places import Place, place_of, walk

COLUMNS = ("image", "path", "file", "file_name", "filename", "image_path")
"""What a column with images may be called, the first that is there; ``--column`` names another."""
LONGEST_LINE = 2**20
"""Bytes of one line of a JSONL list."""


@dataclass(frozen=True)
class Item:
    """One image of a run.

    Attributes:
        name: the path as the user would write it; ``shard.tar/member`` in a tar shard; ``table.parquet#row`` (from 0)
            for an image that is stored in a table.
        load: gives the path of the image file or its content, in any thread. It can be pickled, for other processes.
            It raises ImageError or OSError where there is none.
    """

    name: str
    load: Callable[[], Path | bytes]


def items(sources: Sequence[str], recursive: bool = False, column: str | None = None) -> Iterator[Item]:
    """List the images of all sources.

    Args:
        sources: image files; folders, which give their image files; ``.tar`` shards (WebDataset), ``.parquet`` tables,
            and lists in ``.csv`` or ``.jsonl``; patterns for all of these; also behind URLs that fsspec opens. A source
            that is named twice counts once.
        recursive: whether folders inside folders count.
        column: the column of tables and lists that has the images; None takes the first of ``COLUMNS``.

    Yields:
        the images in a fixed order: sources as given, folders in natural order, tables and shards in theirs. What
        cannot be read at all is an Item as well, whose ``load`` says why.

    Raises:
        ImageError: a source that does not exist, or a folder without images.
        DocumentError: a list or table without a column of images.
        PackageError: a package for this kind of source is not installed.
    """
    for source in dict.fromkeys(sources):
        place, path = place_of(source)
        if place.is_folder(path):
            yield from _folder(place, path, recursive)
            continue
        for file in place.expand(path):
            reader = next((read for suffix, read in READERS.items() if file.lower().endswith(suffix)), None)
            if reader is None:
                yield Item(file, place.image(file))
            else:
                yield from reader(place, file, column)


def _folder(place: Place, folder: str, recursive: bool) -> Iterator[Item]:
    found = False
    for path in walk(place, folder, recursive):
        if path.lower().endswith(EXTENSIONS):
            found = True
            yield Item(path, place.image(path))
    if not found:
        hint = "" if recursive else "; --recursive looks into its folders as well"
        raise ImageError(f"{folder}: no images in this folder{hint}. Name tar shards and tables by a pattern.")


def _refused(name: str, reason: str) -> Item:
    """An Item that cannot be loaded."""
    return Item(name, partial(_refuse, reason))


def _refuse(reason: str) -> bytes:
    raise ImageError(reason)


def _opened(place: Place, path: str) -> BinaryIO:
    try:
        return place.open(path)
    except OSError as error:
        raise DocumentError(f"{path} cannot be read ({error.strerror or error}); check the path") from error


# ---------------------------------------------------------------------- tar shards


def _tar(place: Place, path: str, column: str | None) -> Iterator[Item]:
    """The images of a tar shard, read from their place in the file when they are needed."""
    if not path.lower().endswith(".tar"):
        raise DocumentError(f"{path}: a compressed shard cannot be read in parts; decompress it to .tar")
    count, reason = 0, None
    with _opened(place, path) as stream:
        try:
            archive = tarfile.open(fileobj=stream, mode="r:")
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header otherwise
                count += 1
                if member.isreg() and member.name.lower().endswith(EXTENSIONS):
                    yield _member(place, path, member)
            stream.seek(archive.offset)
            if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes a damaged header for the end
                reason = "a header is damaged"
        except tarfile.TarError as error:
            reason = quoted(error)
    if reason:
        yield _refused(f"{path}/{count}", f"the shard is damaged after {count} members ({reason}). Download it again.")


def _member(place: Place, path: str, member: tarfile.TarInfo) -> Item:
    name, start, length = f"{path}/{member.name}", member.offset_data, member.size
    if member.issparse() or length > MAX_BYTES:
        return _refused(name, f"is sparse or has more than {MAX_BYTES} bytes. Pack the shard again without it.")
    return Item(name, partial(_section, place, path, start, length))


def _section(place: Place, path: str, start: int, length: int) -> bytes:
    data = place.read(path, start, length)
    if len(data) < length:
        raise ImageError(f"the shard ends after {len(data)} of {length} bytes. Download it again.")
    return data


# ---------------------------------------------------------------------- lists


def _csv(place: Place, path: str, column: str | None) -> Iterator[Item]:
    with io.TextIOWrapper(_opened(place, path), "utf-8-sig", "replace", newline="") as stream:
        rows = csv.DictReader(stream)
        try:
            named = _chosen(path, rows.fieldnames or (), column)
            for number, row in enumerate(rows, 1):
                yield _listed(place, path, f"row {number}", row[named])
        except csv.Error as error:
            raise DocumentError(f"{path}: is not valid CSV after line {rows.line_num} ({error}); repair it") from error


def _jsonl(place: Place, path: str, column: str | None) -> Iterator[Item]:
    with _opened(place, path) as stream:
        number = 0
        while line := stream.readline(LONGEST_LINE):
            number += 1
            where = f"line {number}"
            if not line.strip():
                continue
            try:
                row = parse_json(line, where, remedy="repair the line", error=ImageError)
                value = row[_chosen(where, tuple(row), column, ImageError)]
            except ImageError as error:
                yield _refused(f"{path}#{number}", str(error))
                continue
            yield _listed(place, path, where, value)


def _chosen(where: str, columns: Sequence[str], wanted: str | None, error: type = DocumentError) -> str:
    """The name of the column with the images."""
    found = next((name for name in ((wanted,) if wanted else COLUMNS) if name in columns), None)
    if found is None:
        looked = wanted or ", ".join(COLUMNS)
        raise error(f"{where}: has no column {looked}, only {', '.join(columns)[:200]}; name it with --column")
    return found


def _listed(place: Place, path: str, where: str, value: object) -> Item:
    if not isinstance(value, str) or not value.strip():
        return _refused(f"{path}#{where.split()[-1]}", f"{where} of the list names no image.")
    file = place.join(path, value)
    return Item(file, place.image(file))


# ---------------------------------------------------------------------- Parquet


def _parquet(place: Place, path: str, column: str | None) -> Iterator[Item]:
    from .tables import Rows

    with _opened(place, path) as stream:
        rows = Rows(stream, path)
        named = _chosen(path, rows.columns, column)
        kind = rows.kind(named)
        if kind == "path":
            for number, value in enumerate(rows.values(named)):
                yield _listed(place, path, f"row {number}", value)
            return
        count = rows.count
    content = Rows.open(place, path)
    for number in range(count):
        yield Item(f"{path}#{number}", content.loader(named, kind, number))


READERS = {
    ".tar": _tar,
    ".tar.gz": _tar,
    ".tgz": _tar,
    ".tar.zst": _tar,
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _jsonl,
}
"""What reads a source, by the end of its name."""
