"""What a node shows of its answers: a report, a table with small images on the node, text while it is written.

Names and texts come from users, files and models. A front end gets them in one of two ways only: ``show_text`` sends
them as ``plain`` text, and web/depictqa.js draws the cells of a ``Table`` as text nodes.
"""

import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass

import folder_paths
from comfy_api.latest import io
from PIL import Image
from server import PromptServer

from ..depictqa_core.images.image import Picture

REPORT_TOOLTIP = "Everything in one JSON text, one entry per answer."
THUMBNAIL_PIXELS = 96
THUMBNAIL_FOLDER = "depictqa"
SHOWN_ROWS = 100
STREAM_SECONDS = 0.1
BRACKETS = str.maketrans("<>", "‹›")
WORD_JOINER = "\N{WORD JOINER}"


@dataclass(frozen=True)
class Table:
    """What web/depictqa.js draws on a node.

    Attributes:
        columns: headings of the text columns; the first is for the name of the picture, words need no heading.
        rows: texts, one per column.
        pictures: the images in front of each row.
        notes: lines above the table.
    """

    columns: list[str] = ()
    rows: list[list[str]] = ()
    pictures: list[tuple[Picture, ...]] = ()
    notes: list[str] = ()

    def to_ui(self) -> dict:
        """Plain values for the browser: the first ``SHOWN_ROWS`` rows, with small copies of their pictures."""
        rows = [
            {"cells": cells, "thumbnails": [name for name in map(_thumbnail, pictures) if name]}
            for cells, pictures in zip(self.rows[:SHOWN_ROWS], self.pictures, strict=False)
        ]
        notes = list(self.notes)
        if len(self.rows) > SHOWN_ROWS:
            notes.append(f"The first {SHOWN_ROWS} of {len(self.rows)}; the report has them all.")
        return {"columns": list(self.columns), "rows": rows, "notes": notes, "folder": THUMBNAIL_FOLDER}

    def to_text(self) -> str:
        """The same in words, one line per row: for ComfyUI's own display and for the history of the run."""
        lines = [
            f"{row[0]}: " + ", ".join(f"{name} {cell}".strip() for name, cell in zip(self.columns[1:], row[1:]) if cell)
            for row in self.rows
        ]
        return "\n".join([*self.notes, *lines])


def report(task: str, model, results: list[dict], notices: list[str] = (), **facts) -> str:
    """The JSON text of a ``report`` output: the task, the checkpoint's name, any further facts, and the answers."""
    content = {"task": task, "checkpoint": model.info.get("name"), **facts, "results": results}
    if notices:
        content["notices"] = list(notices)
    # the same JSON without a "<": a node that previews it as Markdown takes no name for HTML
    return json.dumps(content, indent=2, ensure_ascii=False).replace("<", "\\u003c")


def plain(text: str) -> str:
    """Replace what any front end takes for markup by characters that look alike.

    Some front ends put a node's text into the page as HTML, others escape it first: only a text without any markup
    reads the same in both. ``[[label|address]]`` is a link there, and ``__LNK0__`` stands for one.

    >>> plain("<b>.png & a &lt; b"), plain(plain("<b>")) == plain("<b>")
    ('‹b›.png & a ＆lt; b', True)
    """
    text = str(text).encode("utf-8", "replace").decode("utf-8")  # a file name can hold what UTF-8 cannot
    text = re.sub(r"&(?=[#\w])", "＆", text.translate(BRACKETS))
    return re.sub(r"\[(?=\[)|_(?=_LNK)", lambda match: match[0] + WORD_JOINER, text)


def show_text(cls, text: str) -> str:
    """Show a text under the node now; no other function sends one. Returns what was sent."""
    text = plain(text)
    PromptServer.instance.send_progress_text(text, cls.hidden.unique_id)
    return text


def node_output(cls, *values, table: Table, text: str | None = None, **ui) -> io.NodeOutput:
    """Return the node's output, with its answers shown on it.

    They appear under the node at once as text, in every version of ComfyUI, and stay in the run's history; where
    web/depictqa.js runs, it draws the table instead.

    Args:
        values: the values of the outputs.
        table: what is drawn on the node.
        text: the same as text; None takes the words of the table.
        ui: further lists for the front end, such as ``images``.
    """
    text = show_text(cls, table.to_text() if text is None else text)
    return io.NodeOutput(*values, ui={**ui, "text": [text], "depictqa": [table.to_ui()]})


def stream(cls, names: list[str]):
    """A callback ``(index, text so far)`` that shows under the node what is being written about each picture."""
    texts, last = {}, 0.0

    def on_text(index: int, text: str):
        nonlocal last
        texts[index] = text
        if time.monotonic() - last >= STREAM_SECONDS:  # a message per token would keep the browser busy
            last = time.monotonic()
            lines = (f"{names[i]}: {texts[i]}" for i in sorted(texts))
            show_text(cls, "\n\n".join(lines))

    return on_text


def percent(value: float | None) -> str:
    """A probability or confidence as people read it; empty when there is none."""
    return "" if value is None else f"{value:.0%}"


def _thumbnail(picture: Picture) -> str | None:
    """The file name of a small copy in ComfyUI's temporary folder, None if it cannot be written there."""
    folder = os.path.join(folder_paths.get_temp_directory(), THUMBNAIL_FOLDER)
    name = f"{picture.key}.jpg"
    with suppress(OSError):  # a full disk must not cost the answers
        if not os.path.exists(os.path.join(folder, name)):
            os.makedirs(folder, exist_ok=True)
            small = Image.fromarray(picture.rgb)
            small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), reducing_gap=2.0)
            small.save(os.path.join(folder, name), quality=85)
        return name
    return None
