"""The report on a large run: one HTML page with a gallery that can be sorted and filtered, which needs no other file.

Names of files and errors may hold anything. They are data of the page, never markup: ``<`` is escaped in the JSON, the
script sets text alone, and the page's own policy allows no other script.
"""

import base64
import hashlib
import io
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image, ImageOps

from ..images.pillow import open_image
from ..ranking.quality_map import QualityMap
from ..storage.files import readable_file_errors, replacing
from ..tasks import FAULTS, LABELS
from .heat_map import COLOURS, overlay

Row = dict[str, Any]
Size = tuple[int, int]
CHUNK = 256
"""Thumbnails that are made at a time."""


@dataclass(frozen=True)
class Maps:
    """Quality maps of some images of the page.

    Attributes:
        places: of these images in the table, from 0.
        find: returns the map of the image with this name, or None if there is none. It is called once for each of these
            images, in the order of the table; what it raises stops the page.
        note: a sentence that the page adds to what the maps mean.
    """

    places: Collection[int]
    find: Callable[[str], QualityMap | None]
    note: str = ""


def write_gallery(rows: Iterable[Row], path: str | Path, thumbnails: int = 128, maps: Maps | None = None) -> int:
    """Write the page.

    Args:
        rows: the table of a large run (``bulk.schema``).
        path: of the page. Links to images are relative to its folder.
        thumbnails: longest side in pixels of the small images in the page; 0 leaves them out. Images that are no files
            of their own, in tar shards and tables, have none.
        maps: to lie over thumbnails; None for a page without maps.

    Returns:
        the number of images.

    Raises:
        StorageError: the page cannot be written; there is nothing of it.
    """
    page, style, script = (_part(f"gallery.{kind}") for kind in ("html", "css", "js"))
    page = page.replace("%STYLE_HASH%", _hash(style)).replace("%SCRIPT_HASH%", _hash(script))
    head, tail = page.replace("%STYLE%", style).replace("%SCRIPT%", script).split("%DATA%")
    count = 0
    with readable_file_errors(path), replacing(path) as part, open(part, "w", encoding="utf-8") as file:
        about = f'"maps": {_json({"colours": COLOURS, "note": maps.note})}, ' if maps else ""
        file.write(head + f'{{"labels": {_json(LABELS)}, "faults": {_json(FAULTS)}, {about}"images": [')
        for image, size in _images(rows, Path(path).absolute().parent, thumbnails):
            if maps and count in maps.places and (found := maps.find(image["name"])) and size:
                image["map"] = _map(found, size)
            file.write(("," if count else "") + "\n" + _json({**image, "place": count}))
            count += 1
        file.write("\n]}" + tail)
    return count


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a content security policy names an inline script or style by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: object) -> str:
    """JSON that cannot end the script element which it stands in."""
    return json.dumps(value).replace("<", "\\u003c")


def _images(rows: Iterable[Row], folder: Path, side: int) -> Iterator[tuple[dict[str, Any], Size | None]]:
    """What the page shows of each row, and the size of its thumbnail; a chunk in memory at a time."""
    chunk: list[Row] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for row in rows:
            chunk.append(row)
            if len(chunk) == CHUNK:
                yield from pool.map(partial(_image, folder=folder, side=side), chunk)
                chunk = []
        yield from pool.map(partial(_image, folder=folder, side=side), chunk)


def _image(row: Row, folder: Path, side: int) -> tuple[dict[str, Any], Size | None]:
    image: dict[str, Any] = {"name": row["image"]}
    size = None
    if row["error"] is not None:
        image["error"] = row["error"]
    else:
        image |= {"width": row["width"], "height": row["height"]}
    if row.get("score") is not None:
        image |= {key: round(row[key], 2) for key in ("score", "low", "high")}
        image["confidence"] = round(row["score_confidence"], 4)
    if row.get("labels") is not None:
        image["labels"] = row["labels"]
    if row.get("faults") is not None:
        image["faults"] = row["faults"]
    if os.path.isfile(row["image"]):
        image["href"] = _link(row["image"], folder)
        if side and row["error"] is None:
            with suppress(Exception):  # gone or changed since it was judged: no preview
                small = _thumbnail(Path(row["image"]), side)
                image["thumbnail"], size = _data(small, "JPEG", quality=70), small.size
    return image, size


def _map(found: QualityMap, size: Size) -> dict[str, Any]:
    """A map as large as its thumbnail, with the lowest and the highest score of its tiles."""
    low, high = (round(float(score), 1) for score in (found.tiles.min(), found.tiles.max()))
    return {"overlay": _data(overlay(found, size), "PNG", optimize=True), "low": low, "high": high}


def _link(path: str, folder: Path) -> str:
    """A link to a file, relative to the folder of the page; "./" keeps a name from being read as a protocol."""
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # another drive of Windows
        return Path(path).absolute().as_uri()
    return "./" + quote(relative.replace(os.sep, "/"))


def _thumbnail(path: Path, side: int) -> Image.Image:
    with path.open("rb") as stream:
        image = open_image(stream)
        image.draft("RGB", (2 * side, 2 * side))  # JPEG is decoded at a fraction of its size
        image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2)
        return ImageOps.exif_transpose(image).convert("RGB")


def _data(image: Image.Image, kind: str, **options: Any) -> str:
    """An image as an address that holds all of it."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(data.getvalue()).decode()
