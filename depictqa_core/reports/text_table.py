"""Text laid out for a terminal: aligned columns, wide characters, long names shortened."""

import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence


def common_folder(names: Sequence[str]) -> str:
    """Return the common folder (with its last slash) of all names."""
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    return first[: max(first.rfind("/", 0, same), first.rfind("\\", 0, same)) + 1]


def table(columns: list[str], rows: list[list[str]], align: str, width: int | None = None, shrink: int = 0) -> str:
    """Format an aligned table.

    Args:
        columns: headings.
        rows: cells, as many as columns in each row.
        align: "<" or ">" for each column.
        width: of the terminal in characters; None never shortens anything.
        shrink: the column that is shortened, in the middle, if a line is too wide.
    """
    lines = [list(columns), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(text_width, column)) for column in zip(*lines)]
    if width is not None and (over := sum(widths) + 2 * (len(widths) - 1) - width) > 0:
        widths[shrink] = max(min(widths[shrink], 16), widths[shrink] - over)
        for line in lines:
            line[shrink] = _shortened(line[shrink], widths[shrink])
    lines.insert(1, ["-" * size for size in widths])
    return "\n".join("  ".join(map(_padded, line, widths, align)).rstrip() for line in lines)


def printable(text: str) -> str:
    """Return ``text`` on one line and without control characters, which file names may have."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def text_width(text: str) -> int:
    """Return the width in terminal columns: East Asian wide characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _padded(text: str, width: int, align: str) -> str:
    space = " " * (width - text_width(text))
    return text + space if align == "<" else space + text


def _shortened(text: str, width: int) -> str:
    if text_width(text) <= width:
        return text
    head, tail = text[: len(text) // 3], text[len(text) // 3 :]
    while text_width(head) > (width - 1) // 3:
        head = head[:-1]
    while text_width(tail) > width - 1 - text_width(head):
        tail = tail[1:]
    return f"{head}…{tail}"


def indented(text: str, width: int | None) -> str:
    lines = [printable(line) for line in text.splitlines()]
    if width is not None:
        lines = [part for line in lines for part in textwrap.wrap(line, max(20, min(width, 110) - 2)) or [""]]
    return "\n".join(f"  {line}".rstrip() for line in lines)


def terminal_width() -> int | None:
    """Return the width of the terminal; None if stdout is a file or a pipe, where nothing is shortened."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
