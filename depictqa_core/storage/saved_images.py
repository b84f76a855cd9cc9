"""Images written under free names as PNG, JPEG or WebP, with texts in their metadata."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, PngImagePlugin

from .file_names import COUNTER_ROOM, LONGEST_NAME, shortened
from .files import readable_file_errors, write_file

SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
"""The kinds of files that ``save_image`` writes."""
MOST_EXIF = 65_000
"""Maximum number of bytes of metadata in a JPEG."""


def save_image(
    folder: str | Path,
    stem: str,
    counter: int,
    image: Image.Image,
    texts: Mapping[str, str],
    kind: str = "png",
    quality: int = 95,
) -> Path:
    """Write an image under the first free name ``<stem>_<counter>_.<suffix>``; a file is never written over.

    Args:
        counter: the first number to try.
        texts: what to write into the metadata: text chunks of a PNG, EXIF texts ``key:text`` of the other kinds, which
            ComfyUI reads back. A JPEG holds 64 KB of them: if they do not fit, the longest are left out.
        kind: a key of ``SUFFIXES``.
        quality: 1 (smallest file) to 100, of JPEG and WebP.

    Raises:
        StorageError: the file cannot be written; nothing of it is left.
    """
    stem = shortened(stem, LONGEST_NAME - COUNTER_ROOM)
    data = image_data(image, texts, kind, quality)
    while True:
        path = Path(folder) / f"{stem}_{counter:05}_{SUFFIXES[kind]}"
        with readable_file_errors(path):
            try:
                open(path, "xb").close()  # the name is ours from now on
            except FileExistsError:
                counter += 1
                continue
            try:
                write_file(path, data)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return path


def image_data(image: Image.Image, texts: Mapping[str, str], kind: str = "png", quality: int = 95) -> memoryview:
    """Return the content of an image file; arguments as in ``save_image``."""
    data = io.BytesIO()
    if kind == "png":
        image.save(data, "PNG", pnginfo=_chunks(texts), compress_level=4)
    else:
        image.save(data, kind.upper(), quality=quality, exif=_exif(texts, MOST_EXIF if kind == "jpeg" else None))
    return data.getbuffer()


def _chunks(texts: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        chunks.add_text(key, text)
    return chunks


def _exif(texts: Mapping[str, str], most: int | None) -> bytes:
    """EXIF data with the texts in the tags that ComfyUI uses, from Model (0x0110) downwards."""
    fitting = dict(texts)
    while True:
        exif = Image.Exif()
        for place, (key, text) in enumerate(fitting.items()):
            exif[0x0110 - place] = f"{key}:{text}"
        data = exif.tobytes()
        if most is None or len(data) <= most:
            return data
        del fitting[max(fitting, key=lambda key: len(fitting[key]))]
