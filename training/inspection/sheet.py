"""A sheet of examples: records of every task and label, with their images, questions and answers."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from depictqa_core.errors import ImageError
from depictqa_core.reports import drawing
from depictqa_core.reports.drawing import INK, SMALL, SOFT, TEXT

from ..dataset.records.image_paths import read_image
from .counts import Entry, truth

BOX, GAP, PAD = 190, 8, 16
"""Side of an image and distances, in pixels."""
LINES = 4
"""Maximum number of lines of an answer."""
COLUMNS = 3


def chosen(entries: Iterable[Entry], most: int, seed: int = 0) -> list[Entry]:
    """Choose entries at random, one of each task and label before a second one of any, frequent labels first.

    Args:
        most: maximum number of entries.
    """
    rng = np.random.default_rng(seed)
    groups: dict[tuple[str, str], list[Entry]] = {}
    listed = list(entries)
    for index in rng.permutation(len(listed)):
        entry = listed[index]
        groups.setdefault((entry.task, entry.label), []).append(entry)
    largest = sorted(groups, key=lambda key: (key[0], -len(groups[key]), key[1]))
    place = {key: [other for other in largest if other[0] == key[0]].index(key) for key in groups}
    ranked = sorted((turn, place[key], key) for key, some in groups.items() for turn in range(len(some)))
    found = [groups[key][turn] for turn, _, key in ranked[:most]]
    return sorted(found, key=lambda entry: (entry.task, entry.label))


def sheet(entries: list[Entry], root: Path) -> Image.Image:
    """Draw a card for each entry: its images by role, task, answer and what is true of its images."""
    width = 3 * BOX + 2 * GAP
    height = BOX + 30 + (LINES + 2) * 18
    columns = min(COLUMNS, max(1, len(entries)))
    rows = -(-len(entries) // columns)
    page = Image.new("RGB", (columns * (width + PAD) + PAD, rows * (height + PAD) + PAD), "white")
    for number, entry in enumerate(entries):
        x = PAD + number % columns * (width + PAD)
        y = PAD + number // columns * (height + PAD)
        _card(page, x, y, width, entry, root)
    return page


def _card(page: Image.Image, x: int, y: int, width: int, entry: Entry, root: Path) -> None:
    for place, (role, path) in enumerate(entry.images.items()):
        left = x + place * (BOX + GAP)
        try:
            drawing.framed(page, left, y, (BOX, BOX), read_image(root, path))
        except ImageError:
            drawing.write(page, (left + BOX // 2, y + BOX // 2), "cannot be read", SMALL, SOFT, "mm")
        drawing.write(page, (left, y + BOX + 4), role.lower() if len(role) > 1 else role, SMALL, SOFT, "la")
    top = y + BOX + 24
    drawing.write(page, (x, top), drawing.shortened(f"{entry.task}: {_answer(entry)}", TEXT, width), TEXT, INK, "la")
    known = ", ".join(f"{name} {severity}" for name, severity in truth(entry.record))
    text = f"true: {known}" if known else f"file {entry.file}, id {entry.record.get('id')}"
    drawing.write(page, (x, top + 20), drawing.shortened(text, SMALL, width), SMALL, SOFT, "la")
    if entry.label.startswith("("):
        for row, line in enumerate(drawing.wrapped(_text(entry), SMALL, width, LINES)):
            drawing.write(page, (x, top + 38 + 17 * row), line, SMALL, INK, "la")


def _answer(entry: Entry) -> str:
    return "" if entry.label.startswith("(") else entry.label


def _text(entry: Entry) -> str:
    talk = entry.record.get("conversations")
    return str(talk[1]["value"] if talk else entry.record.get("answer", ""))
