"""What every reader of a human rating set gives: pictures with opinions, or preferences; and how it finds its files."""

import csv
import io
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from depictqa_core.errors import DepictQAError
from depictqa_core.storage.documents import describe, read_text

MAX_TABLE_BYTES = 2**28
"""Largest table of opinions; those of the known sets have a few MB."""


class ReaderError(DepictQAError, ValueError):
    """A folder that does not hold the rating set in its native layout; the message says what was looked for."""


@dataclass(frozen=True)
class Rated:
    """One rated picture.

    Attributes:
        image, reference: paths relative to the set's folder; the reference is None where the set has none.
        mos: mean opinion, higher is better in every set (a DMOS is turned round by its reader).
        split: the split that the set itself puts the picture in, or None.
    """

    image: str
    reference: str | None
    mos: float
    split: str | None = None


@dataclass(frozen=True)
class Preferred:
    """One rated pair: ``share`` of the people (0..1) prefers picture A; paths and split as in ``Rated``."""

    a: str
    b: str
    reference: str | None
    share: float
    split: str | None = None


@dataclass(frozen=True)
class Reader:
    """One rating set.

    Attributes:
        name: how it is called on the command line.
        title: its name for people.
        layout: the files that it is read from, for messages and documents.
        read: (folder, missing) -> its rated pictures or pairs; raises ReaderError. Pictures that are not there are left
            out, and their names added to the list ``missing``.
        margin: difference that a pair must have to become a record: a share of the range of opinions in the set, or,
            for preferences, of the difference of the two sides' shares.
    """

    name: str
    title: str
    layout: str
    read: Callable[[Path, list[str]], Iterator[Rated | Preferred]]
    margin: float = 0.1


class Pictures:
    """Finds picture files in a folder by their name, whatever its case and whichever of the subfolders holds it.

    Args:
        folder: the set's folder.
        missing: receives the names that were asked for in vain.
        within: subfolders to look in (recursively); those that are not there are passed over.

    Raises:
        ReaderError: none of the subfolders is there.
    """

    SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")

    def __init__(self, folder: Path, missing: list[str], *within: str):
        roots = [folder / name for name in within if (folder / name).is_dir()]
        if not roots:
            raise ReaderError(f"{folder} has no folder {' or '.join(within)}")
        self._missing = missing
        self._found = {
            file.name.lower(): file.relative_to(folder).as_posix()
            for root in roots
            for file in sorted(root.rglob("*"), reverse=True)  # of two of a name, the first in order is kept
            if file.suffix.lower() in self.SUFFIXES
        }

    def get(self, name: str) -> str | None:
        """Path relative to the set's folder, or None."""
        found = self._found.get(name.strip().lower())
        if found is None:
            self._missing.append(name.strip())
        return found


def find_file(folder: Path, *names: str) -> Path:
    """The first of these files that is there; raises ReaderError that names them all."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ReaderError(f"{folder} has no {' or '.join(names)}")


def table(file: Path, *columns: str) -> Iterator[dict[str, str]]:
    """Rows of a CSV file with a header that has at least these columns.

    Raises:
        ReaderError: the file cannot be read, is no table of texts, or lacks a column.
    """
    rows = csv.DictReader(io.StringIO(_text(file), newline=""), skipinitialspace=True)
    try:
        missing = [name for name in columns if name not in (rows.fieldnames or ())]
        if missing:
            raise ReaderError(f"{file} has no column {', '.join(missing)}; it has {', '.join(rows.fieldnames or ())}")
        for row in rows:
            if short := [name for name in columns if row[name] is None]:
                raise ReaderError(f"{file}: line {rows.line_num} has no {short[0]}; download the file again")
            yield row
    except csv.Error as error:
        raise ReaderError(f"{file}: line {rows.line_num + 1} is no row of a table ({error})") from error


def lines(file: Path) -> list[str]:
    """The lines of a text file that are not empty; raises ReaderError where it cannot be read."""
    return [line.strip() for line in _text(file).splitlines() if line.strip()]


def _text(file: Path) -> str:
    return read_text(file, limit=MAX_TABLE_BYTES, remedy="download it again", error=ReaderError)


def number(value, file: Path, what: str) -> float:
    """A score as a number; raises ReaderError that says where none stands."""
    with suppress(TypeError, ValueError):
        if math.isfinite(score := float(value)):
            return score
    raise ReaderError(f"{file}: the score of {what} is no number: {describe(value)}")
