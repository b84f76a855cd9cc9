"""What a node shows of its answers: a report, a table with small pictures on the node, words as they are written."""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass

import folder_paths
from comfy_api.latest import io
from PIL import Image
from server import PromptServer

from ..depictqa_core.images import Picture

REPORT_TOOLTIP = "Everything in one JSON text, one entry per answer."
THUMBNAIL_PIXELS = 96
THUMBNAIL_FOLDER = "depictqa"
SHOWN_ROWS = 100
STREAM_SECONDS = 0.1


@dataclass(frozen=True)
class Table:
    """What web/depictqa.js draws on a node.

    Attributes:
        columns: headings of the text columns; the first is for the name of the picture, words need no heading.
        rows: texts, one per column.
        pictures: the pictures in front of each row.
        notes: lines above the table.
    """

    columns: list[str]
    rows: list[list[str]]
    pictures: list[tuple[Picture, ...]]
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
        return {"columns": self.columns, "rows": rows, "notes": notes, "folder": THUMBNAIL_FOLDER}

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
    return json.dumps(content, indent=2, ensure_ascii=False)


def node_output(cls, *values, table: Table) -> io.NodeOutput:
    """The node's output, with its answers shown on it.

    They appear under the node at once in words, by message, in every version of ComfyUI, and are kept in the run's
    history; where web/depictqa.js runs, it puts the table in their place.
    """
    text = table.to_text()
    PromptServer.instance.send_progress_text(text, cls.hidden.unique_id)
    return io.NodeOutput(*values, ui={"text": [text], "depictqa": [table.to_ui()]})


def stream(cls, names: list[str]):
    """A callback ``(index, text so far)`` that shows under the node what is being written about each picture."""
    texts, node_id, last = {}, cls.hidden.unique_id, 0.0

    def on_text(index: int, text: str):
        nonlocal last
        texts[index] = text
        if time.monotonic() - last >= STREAM_SECONDS:  # a message per token would keep the browser busy
            last = time.monotonic()
            lines = (f"{names[i]}: {texts[i]}" for i in sorted(texts))
            PromptServer.instance.send_progress_text("\n\n".join(lines), node_id)

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
