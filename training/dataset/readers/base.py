"""Common parts of the readers of human rating sets: rated images, preferences, and the search for files."""

import csv
import io
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from depictqa_core.errors import DepictQAError
from depictqa_core.images.search import PHOTOGRAPH_EXTENSIONS
from depictqa_core.storage.documents import describe, read_text

MAX_TABLE_BYTES = 2**28
"""Maximum size of a table of opinions; those of the known sets have a few MB."""

ON_ITS_PAGE = "see its page"
"""The terms of a set whose page was not checked."""
NOT_STATED = "none stated where it is downloaded; ask its authors"
"""The terms of a set whose page states none."""


class ReaderError(DepictQAError, ValueError):
    """A folder that does not have the native layout of the rating set; the message has the expected files."""


@dataclass(frozen=True)
class Rated:
    """One rated image.

    Attributes:
        image, reference: paths relative to the set's folder; the reference is None where the set has none.
        mos: mean opinion, higher is better in every set (readers invert a DMOS).
        split: the split that the set itself puts the image in, or None.
    """

    image: str
    reference: str | None
    mos: float
    split: str | None = None


@dataclass(frozen=True)
class Preferred:
    """One rated pair: ``share`` of the people (0..1) prefers image A; paths and split as in ``Rated``."""

    a: str
    b: str
    reference: str | None
    share: float
    split: str | None = None


@dataclass(frozen=True)
class Reader:
    """One rating set.

    Attributes:
        name: its name on the command line.
        title: its full name.
        layout: its files, for messages and documents.
        read: (folder, missing) -> its rated images or pairs; raises ReaderError. Images that are not there are left
            out, and their names added to the list ``missing``.
        margin: difference that a pair must have to become a record: a share of the range of opinions in the set, or,
            for preferences, of the difference of the two sides' shares.
        address: the page from which the set is downloaded.
        licence: its terms of use, as far as its page or its own files state them.
    """

    name: str
    title: str
    layout: str
    read: Callable[[Path, list[str]], Iterator[Rated | Preferred]]
    margin: float = 0.1
    address: str = ""
    licence: str = ON_ITS_PAGE

    @property
    def origin(self) -> str:
        """Layout, download page and terms in one line, for messages."""
        return f"{self.title} is read from {self.layout}; download: {self.address} (terms: {self.licence})"


class Pictures:
    """Finds image files in a folder by name, in any case and in any of the subfolders.

    Args:
        folder: the set's folder.
        missing: receives the names that were not found.
        within: subfolders to search (recursively); missing ones are skipped.

    Raises:
        ReaderError: none of the subfolders exists.
    """

    def __init__(self, folder: Path, missing: list[str], *within: str):
        roots = [folder / name for name in within if (folder / name).is_dir()]
        if not roots:
            raise ReaderError(f"{folder} has no folder {' or '.join(within)}")
        self._missing = missing
        self._found = {
            file.name.lower(): file.relative_to(folder).as_posix()
            for root in roots
            for file in sorted(root.rglob("*"), reverse=True)  # of two of a name, the first in order is kept
            if file.suffix.lower() in PHOTOGRAPH_EXTENSIONS
        }

    @property
    def paths(self) -> list[str]:
        """All paths relative to the set's folder, in order."""
        return sorted(self._found.values())

    def get(self, name: str) -> str | None:
        """Path relative to the set's folder, or None."""
        found = self._found.get(name.strip().lower())
        if found is None:
            self._missing.append(name.strip())
        return found


def find_file(folder: Path, *names: str) -> Path:
    """Return the first of these files that exists; raise a ReaderError that lists all of them."""
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
        raise ReaderError(f"{file}: line {rows.line_num + 1} is not a row of a table ({error})") from error


def lines(file: Path) -> list[str]:
    """The lines of a text file that are not empty; raises ReaderError where it cannot be read."""
    return [line.strip() for line in _text(file).splitlines() if line.strip()]


def _text(file: Path) -> str:
    return read_text(file, limit=MAX_TABLE_BYTES, remedy="download it again", error=ReaderError)


def number(value, file: Path, what: str) -> float:
    """Parse a score; raise a ReaderError with its position if it is not a number."""
    with suppress(TypeError, ValueError):
        if math.isfinite(score := float(value)):
            return score
    raise ReaderError(f"{file}: the score of {what} is not a number: {describe(value)}")
