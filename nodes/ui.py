"""The display of answers on a node: a report, a table with thumbnails, text while it is generated.

Names and texts come from users, files and models. They reach the front end in two ways: ``show_text`` sends them as
``plain`` text, and web/js/answers.js draws the cells of a ``Table`` as text nodes.
"""

import json
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import folder_paths
from comfy_api.latest import io
from PIL import Image
from server import PromptServer

from ..depictqa_core.images.image import RGBImage
from ..depictqa_core.results import Check, Identification
from ..depictqa_core.runtime.progress import OnText

if TYPE_CHECKING:
    from .loaded_judge import LoadedJudge

REPORT_TOOLTIP = "All results: a table in Markdown, or JSON with one entry per answer (report_format)."
THUMBNAIL_PIXELS = 1024
"""Longest side of what is drawn small in a table, and large on a click."""
THUMBNAIL_FOLDER = "depictqa"
SHOWN_ROWS = 100
STREAM_SECONDS = 0.1
BRACKETS = str.maketrans("<>", "‹›")
WORD_JOINER = "\N{WORD JOINER}"


def probabilities_json(answer: Identification | Check) -> str:
    """The probabilities of all labels or answers of one result, as JSON."""
    return json.dumps({item.label: round(item.probability, 6) for item in answer.probabilities})


def report_output() -> io.String.Output:
    """The output ``report``, which every judging node has."""
    return io.String.Output("report", display_name="report", tooltip=REPORT_TOOLTIP)


@dataclass(frozen=True)
class Table:
    """A table that web/js/answers.js draws on a node.

    Attributes:
        columns: headings of the text columns in the order in which they are drawn; a column may have no heading.
        rows: texts, one per column.
        pictures: the images in front of each row.
        notes: lines above the table.
        name: which column has the name of the image; it stands first in lines of text.
    """

    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    pictures: Sequence[tuple[RGBImage, ...]] = ()
    notes: Sequence[str] = ()
    name: int = 0

    def to_ui(self) -> dict:
        """Return plain values for the browser: the first ``SHOWN_ROWS`` rows, with thumbnails."""
        rows = [
            {"cells": cells, "thumbnails": [name for name in map(_thumbnail, pictures) if name]}
            for cells, pictures in zip(self.rows[:SHOWN_ROWS], self.pictures, strict=False)
        ]
        notes = list(self.notes)
        if len(self.rows) > SHOWN_ROWS:
            notes.append(f"The first {SHOWN_ROWS} of {len(self.rows)}; the report has all of them.")
        return {"columns": list(self.columns), "rows": rows, "notes": notes, "folder": THUMBNAIL_FOLDER}

    def to_text(self) -> str:
        """Return the table as text, one line per row, for ComfyUI's text display and the history of the run."""
        return "\n".join([*self.notes, *map(self._line, self.rows)])

    def to_markdown(self) -> str:
        """Return the notes as a Markdown list and all rows as a Markdown table."""
        lines = [f"- {_markdown(note)}" for note in self.notes]
        if self.rows:
            lines += ["", *map(_table_line, (self.columns, ["---"] * len(self.columns), *self.rows))]
        return "\n".join(lines).strip()

    def _line(self, row: Sequence[str]) -> str:
        others = [
            f"{heading} {cell}".strip()
            for index, (heading, cell) in enumerate(zip(self.columns, row, strict=True))
            if cell and index != self.name
        ]
        return f"{row[self.name]}: " + ", ".join(others)


def _table_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_markdown, cells)) + " |"


def _markdown(text: str) -> str:
    """One line of text in which nothing is a column, a link or an element of a page."""
    return plain(" ".join(str(text).split())).replace("|", "\\|").replace("[", "\\[")


def report(task: str, model: "LoadedJudge", results: list[dict], notices: Sequence[str] = (), **facts: object) -> str:
    """Return the JSON of a ``report`` output: the task, the checkpoint's name, further facts, and the answers."""
    content = {"task": task, "checkpoint": model.info.get("name"), **facts, "results": results}
    if notices:
        content["notices"] = list(notices)
    # equal JSON without a "<", so that a node that previews it as Markdown finds no HTML in a name
    return json.dumps(content, indent=2, ensure_ascii=False).replace("<", "\\u003c")


def plain(text: str) -> str:
    """Replace characters that a front end may interpret as markup by similar ones.

    Some front ends insert a node's text into the page as HTML, others escape it first. Only a text without markup is
    displayed the same way in both. ``[[label|address]]`` is a link in some, and ``__LNK0__`` a placeholder for one.

    >>> plain("<b>.png & a &lt; b"), plain(plain("<b>")) == plain("<b>")
    ('‹b›.png & a ＆lt; b', True)
    """
    text = (
        str(text).encode("utf-8", "replace").decode("utf-8")
    )  # file names can have characters that UTF-8 cannot encode
    text = re.sub(r"&(?=[#\w])", "＆", text.translate(BRACKETS))
    return re.sub(r"\[(?=\[)|_(?=_LNK)", lambda match: match[0] + WORD_JOINER, text)


def show_text(cls: type[io.ComfyNode], text: str, node: str | None = None) -> str:
    """Show a text under the node now and return what was sent; no other function sends text.

    Args:
        node: id of another node to show it under.
    """
    text = plain(text)
    PromptServer.instance.send_progress_text(text, node or cls.hidden.unique_id)
    return text


def node_output(
    cls: type[io.ComfyNode],
    *values: object,
    table: Table,
    text: str | None = None,
    pairs: Sequence[dict] = (),
    node: str | None = None,
    **ui: Sequence[object],
) -> io.NodeOutput:
    """Return the node's output, with its answers shown on it.

    They appear under the node as text, in every version of ComfyUI, and are stored in the run's history, from which
    the scripts in web/ draw the table and the images whenever the node is shown again.

    Args:
        values: the values of the outputs.
        table: the table to draw on the node.
        text: the same as text; None: the text of the table.
        pairs: the pairs of images that web/js/compare.js draws above the table.
        node: id of the node of the page that shows the text, where the running node is a copy of it.
        ui: additional lists for the front end, such as ``images``.
    """
    text = show_text(cls, table.to_text() if text is None else text, node)
    answer = {**table.to_ui(), "images": ui.get("images", []), "pairs": list(pairs)}
    return io.NodeOutput(*values, ui={**ui, "text": [text], "depictqa": [answer]})


def stream(cls: type[io.ComfyNode], names: list[str]) -> OnText:
    """Return a callback ``(index, text so far)`` that shows the generated text of each image under the node."""
    texts: dict[int, str] = {}
    last = 0.0

    def on_text(index: int, text: str) -> None:
        nonlocal last
        texts[index] = text
        if time.monotonic() - last >= STREAM_SECONDS:  # a message per token would keep the browser busy
            last = time.monotonic()
            lines = (f"{names[i]}: {texts[i]}" for i in sorted(texts))
            show_text(cls, "\n\n".join(lines))

    return on_text


def preview_files(pictures: Sequence[RGBImage]) -> list[dict | None]:
    """Where the page finds a small copy of each image, None for one that cannot be written."""
    names = map(_thumbnail, pictures)
    place = {"subfolder": THUMBNAIL_FOLDER, "type": "temp"}
    return [None if name is None else {"filename": name, **place} for name in names]


def percent(value: float | None) -> str:
    """Format a probability or confidence in percent; empty if there is none."""
    return "" if value is None else f"{value:.0%}"


def _thumbnail(picture: RGBImage) -> str | None:
    """Save a thumbnail in ComfyUI's temporary folder and return its file name, None if it cannot be written."""
    folder = os.path.join(folder_paths.get_temp_directory(), THUMBNAIL_FOLDER)
    name = f"{picture.key}.jpg"
    with suppress(OSError):  # a full disk must not lose the answers
        if not os.path.exists(os.path.join(folder, name)):
            os.makedirs(folder, exist_ok=True)
            small = Image.fromarray(picture.rgb)
            small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), reducing_gap=2.0)
            small.save(os.path.join(folder, name), quality=85)
        return name
    return None
