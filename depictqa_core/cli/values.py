"""The values of options: from the text of a command line to a checked value, with one line for any other."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, Protocol

IMAGE_FORMATS = (".png", ".jpg", ".jpeg", ".webp")
"""Formats of sheets, maps and charts."""


class Verbs(Protocol):
    """What adds a command: the subparsers of ``argparse``."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """Add a command, and return its parser."""


def number(low: float, high: float) -> Callable[[str], float]:
    """Return what reads a number from ``low`` to ``high``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:  # NaN as well
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {low:g} to {high:g}")
        return value

    return parse


def whole(low: int, high: int | None = None, unit: str = "") -> Callable[[str], int]:
    """Return what reads a whole number from ``low`` to ``high`` (None: of at most 18 digits).

    Args:
        unit: of the number, for messages.
    """
    limits = f"from {low}" if high is None else f"from {low} to {high}"

    def parse(text: str) -> int:
        value = int(text) if text.isdecimal() and len(text) <= 18 else -1
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"'{text}' is not a number{unit and f' of {unit}'} {limits}")
        return value

    return parse


def file_name(*extensions: str, advice: str = "choose such a name") -> Callable[[str], str]:
    """Return what takes the name of an output file with one of some extensions.

    So ``--json a.png b.png`` does not overwrite an image.
    """

    def parse(text: str) -> str:
        if not text.lower().endswith(extensions):
            raise argparse.ArgumentTypeError(f"'{text}' does not end in {' or '.join(extensions)}: {advice}")
        return text

    return parse


def json_file(text: str) -> str:
    """Take the name of a JSON file, or "-" for stdout."""
    advice = "put --json without a file after the images"
    return text if text == "-" else file_name(".json", advice=advice)(text)


def texts(text: str) -> tuple[str, ...]:
    """Split a text at its commas; empty parts stay, for whoever refuses them."""
    return tuple(part.strip() for part in text.split(","))


def names(text: str) -> tuple[str, ...]:
    """Split a text at its commas into different names; empty ones are left out."""
    return tuple(dict.fromkeys(filter(None, texts(text))))


def names_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Return what splits a text at its commas into different names, each one of ``known``."""

    def parse(text: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(texts(text)))
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is not one of {', '.join(known)}")
        return found

    return parse
