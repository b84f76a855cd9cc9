"""A progress bar for a terminal."""

import shutil
import sys


class ProgressBar:
    """A progress bar on stderr, drawn on terminals only; usable as ``progress`` callback and as context manager.

    Args:
        label: the activity.
        unit: the unit of the count.
        quiet: draw nothing.

    Attributes:
        offset, total: set these to combine several calls in one bar.
    """

    def __init__(self, label: str, unit: str, quiet: bool = False):
        self.label, self.unit = label, unit
        self.shown = not quiet and sys.stderr.isatty()
        self.offset = 0
        self.total: int | None = None
        self._line = ""

    def note(self, text: str) -> None:
        """Show a text instead of the bar."""
        self._draw(text)

    def __call__(self, done: int, total: int) -> None:
        done, total = self.offset + done, self.total or total
        share = done / total if total else 1.0
        filled = round(24 * share)
        self._draw(f"{self.label} [{'#' * filled}{'-' * (24 - filled)}] {done}/{total} {self.unit}")

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *error: object) -> None:
        self._draw("")

    def _draw(self, line: str) -> None:
        if self.shown and line != self._line:
            line = line[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write("\r" + line.ljust(len(self._line)) + ("" if line else "\r"))
            sys.stderr.flush()
            self._line = line
