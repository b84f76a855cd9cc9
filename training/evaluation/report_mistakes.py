"""The worst mistakes as a part of the report, with their images."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from depictqa_core.errors import DepictQAError
from depictqa_core.reports.drawing import thumbnail

from ..dataset.records.image_paths import read_image

SIDE = 220
"""Largest side of an image in pixels."""


def mistakes(found: Sequence[dict], root: Path | None) -> str:
    """The mistakes of a set as HTML.

    Args:
        found: as ``mistakes.worst`` gives them.
        root: folder that the image paths are relative to; None leaves the images out.
    """
    if not found:
        return ""
    parts = ["<h3>Worst mistakes</h3>"]
    for entry in found:
        images = "".join(_figure(role, path, root) for role, path in entry["images"].items())
        sure = "" if entry["confidence"] is None else f", confidence {entry['confidence']:.2f}"
        parts.append(
            f'<div class="mistake"><div>{images}</div><div><p class="soft">{escape(str(entry["kind"]))},'
            f" id {escape(str(entry['id']))}: {escape(entry['why'])}{sure}</p>"
            f"<p>{escape(entry['question'])}</p><p><b>answer</b> {escape(entry['text'])}</p>"
            f"<p><b>true</b> {escape(str(entry['truth']))}</p></div></div>"
        )
    return "".join(parts)


def _figure(role: str, path: str, root: Path | None) -> str:
    name = role.lower() if len(role) > 1 else role
    if root is None:
        return f"<figure><figcaption>{escape(name)}: {escape(path)}</figcaption></figure>"
    try:
        shown = thumbnail(read_image(root, path), (SIDE, SIDE))
    except DepictQAError:
        return f"<figure><figcaption>{escape(name)}: {escape(path)} cannot be read</figcaption></figure>"
    data = base64.b64encode(_jpeg(shown)).decode("ascii")
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{escape(name, quote=True)}" width="{shown.width}"'
        f' height="{shown.height}"><figcaption>{escape(name)}</figcaption></figure>'
    )


def _jpeg(image: Image.Image) -> bytes:
    held = io.BytesIO()
    image.convert("RGB").save(held, "JPEG", quality=88)
    return held.getvalue()
