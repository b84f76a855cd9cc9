"""Outputs of the command line: files, stdout, and messages on stderr."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from ..confidence import atypical, reliable, uncovered
from ..errors import DepictQAError
from ..reports import json_csv, text_table
from ..results import Failure
from ..storage.files import write_file

Text = Callable[[int | None, float], str]
"""What prints: given the width of the terminal, and the confidence below which answers are uncertain."""


def complain(line: str) -> None:
    """Print an error line on stderr."""
    with contextlib.suppress(OSError):  # a closed stderr must not lose the answers
        print(f"depictqa: {text_table.printable(line)}", file=sys.stderr, flush=True)


def notify(options: argparse.Namespace, notices: Sequence[str]) -> None:
    """Print notices on stderr, except with --quiet."""
    if not options.quiet:
        for notice in notices:
            complain(f"notice: {notice}")


def outputs_of(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the files that this run will write, as (option, path)."""
    names = ("json", "csv", "markdown", "sheet", "out", "chart", "frame")
    named = [(f"--{name}", getattr(options, name, None)) for name in names]
    return [(option, path) for option, path in named if path not in (None, "-")]


def check_outputs(options: argparse.Namespace, inputs: Sequence[str]) -> None:
    """Reject, before the work, outputs that cannot be written or would overwrite a judged image."""
    taken = {os.path.realpath(path) for path in (*inputs, getattr(options, "reference", None)) if path is not None}
    for option, path in outputs_of(options):
        if os.path.realpath(path) in taken:
            raise DepictQAError(f"{option} {path}: this is one of the images; choose another name")
        taken.add(os.path.realpath(path))
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise DepictQAError(f"{option} {path}: there is no folder {folder}")
        if os.path.isdir(path):
            raise DepictQAError(f"{option} {path}: this is a folder; give a file")
        if not all(os.access(place, os.W_OK) for place in (path, folder) if os.path.exists(place)):
            raise DepictQAError(f"{option} {path}: cannot be written; check the permissions")


def write_answers(
    options: argparse.Namespace,
    card: dict,
    results: list[dict],
    failures: list[Failure],
    text: Text,
    notices: Sequence[str] = (),
    left_out: Sequence[dict] = (),
    **facts: Any,
) -> None:
    """Write the files first, so that nothing is lost if stdout is closed; then print JSON or the table.

    ``notices`` are also in the JSON; answers ``left_out`` are not written.
    """
    reference = getattr(options, "reference", None)
    minimum, note = getattr(options, "min_confidence", 0.0), ""
    if minimum or any(uncovered(result.get("coverage")) for result in results):
        results = [{**result, "reliable": _reliable(result, minimum)} for result in results]
        left_out = [{**result, "reliable": False} for result in left_out]
    if minimum:
        uncertain = sum(result["reliable"] is False for result in results)
        unlike = ", or an atypical image" if any(atypical(result.get("typicality")) for result in results) else ""
        note = f"\n\n{uncertain} of {len(results)} uncertain: confidence below {minimum:g}{unlike}" if uncertain else ""
        facts["min_confidence"] = minimum
    facts["notices"] = list(notices) or None
    document = json_csv.json_text(options.verb, card.get("name"), results, failures, reference=reference, **facts)
    # lone surrogates of undecodable file names become escapes, which are valid JSON
    files: dict[str, str] = {}
    if getattr(options, "csv", None):
        files[options.csv] = json_csv.csv_text(results, failures, left_out)
    if options.json not in (None, "-"):
        files[options.json] = document
    written: list[str] = []
    failed: DepictQAError | None = None
    for path, content in files.items():
        try:
            with _named(path):
                write_file(path, content)
            written.append(path)
        except DepictQAError as error:
            failed = error
    notify(options, notices)
    if options.json == "-":
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        sys.stdout.write(document)
    elif not options.quiet:
        print(text(text_table.terminal_width(), minimum) + note)
    _say_written(options, written)
    if failed:
        raise failed


def save_drawing(options: argparse.Namespace, picture: Image.Image, path: str) -> None:
    """Write a sheet, map or chart (a PIL image) in the format of the file extension.

    Raises:
        DepictQAError: the file cannot be written.
    """
    format, data = Image.registered_extensions().get(Path(path).suffix.lower()), io.BytesIO()
    try:
        picture.save(data, format, quality=92)
    except (OSError, ValueError) as error:  # WebP is limited to 16383 pixels, JPEG to 65500
        size = f"{picture.width} x {picture.height}"
        raise DepictQAError(f"'{path}': {size} pixels cannot be saved as {format} ({error}); choose .png") from error
    with _named(path):
        write_file(path, data.getbuffer())
    _say_written(options, [path])


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Add the file name to errors while writing it: those of a full disk lack it."""
    try:
        yield
    except OSError as error:
        raise DepictQAError(f"cannot write '{path}': {error.strerror or error}") from error


def _say_written(options: argparse.Namespace, paths: list[str]) -> None:
    if not options.quiet:
        for path in paths:
            with contextlib.suppress(OSError):
                print(f"written: {text_table.printable(path)}", file=sys.stderr, flush=True)


def _reliable(result: dict, minimum: float) -> bool | None:
    """Return whether an answer is reliable; None for a rank without a reason."""
    if "rank" in result and result["labels"] is None:
        return None
    return reliable(result.get("confidence"), minimum, result.get("coverage"), result.get("typicality"))
