"""Rows added at the end of shared files: text, JSON lines and CSV."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..errors import StorageError
from .files import encoded, locked, readable_file_errors

FORMULA = (
    *("=", "+", "-", "@", "\t", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}"),
    *("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}"),
)
"""First characters of a formula in a spreadsheet."""


def append_text(path: str | Path, text: str, closing: Callable[[bytes], str] | None = None) -> None:
    """Append whole lines to a file: all of them or none, never mixed with those of another run.

    Args:
        path: the file; created if it does not exist.
        text: lines, each with its line end.
        closing: maps the content of the file to the text to add first; by default the line end that the last line lacks
            if its writer was killed.

    Raises:
        OSError: the file cannot be written; it is as it was.
    """
    with locked(path), open(path, "a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if closing is None:
            file.seek(max(0, end - 1))
            text = ("\n" if end and file.read(1) != b"\n" else "") + text
        else:
            file.seek(0)
            text = closing(file.read()) + text
        try:
            rest = memoryview(encoded(text))
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise


def append_jsonl(path: str | Path, row: Mapping) -> None:
    """Append one line of JSON to a file as ``append_text`` does.

    Raises:
        StorageError: the file cannot be written; it is as it was.
    """
    with readable_file_errors(path):
        append_text(path, json.dumps(row, ensure_ascii=False) + "\n")


def append_csv(path: str | Path, row: Mapping) -> None:
    """Append one row to a CSV file as ``append_text`` does, with the header before the first.

    Args:
        path: the file; created if it does not exist.
        row: column -> value; None is an empty cell.

    Raises:
        StorageError: the file cannot be written, or has other columns; it is unchanged.
    """
    header = csv_line(row)

    def closing(content: bytes) -> str:
        if not content:
            return header
        first = content.split(b"\n", 1)[0].decode("utf-8-sig", "replace").rstrip("\r") + "\n"
        if first != header:
            raise StorageError(f"{path}: has other columns than this version writes; move it or choose another name")
        return _closing_csv(content)

    with readable_file_errors(path):
        append_text(path, csv_line(row.values()), closing)


def _closing_csv(content: bytes) -> str:
    """Return the text that completes the last row of a CSV file: nothing, a line end, or the missing quotes too."""
    if content.endswith(b"\n") and content.count(b'"') % 2 == 0:
        return ""
    for end in ("", "\n", '"\n'):
        text = io.StringIO(content.decode("utf-8", "replace") + end + "x\n", newline="")
        with contextlib.suppress(csv.Error):
            *_, last = csv.reader(text)
            if last == ["x"]:
                return end
    return "\n"


def csv_line(values: Iterable) -> str:
    """Format one row of a CSV file, with its line end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(csv_cell, values))
    return text.getvalue()


def csv_cell(value: object) -> object:
    """Format a value for a CSV file: None is empty, and text that a spreadsheet would run as a formula starts with an
    apostrophe, which marks text in spreadsheets.

    >>> csv_cell("=1+1"), csv_cell("a-b"), csv_cell(-1.5), csv_cell(None)
    ("'=1+1", 'a-b', -1.5, '')
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    # the csv module of older Pythons cannot write a NUL, and does not quote a CR
    value = value.replace("\0", "\N{REPLACEMENT CHARACTER}").replace("\r", "\n")
    return f"'{value}" if value.startswith(FORMULA) else value
