"""Files that many runs may write at once: locks, rows appended whole, safe names below a folder, new PNG files."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, PngImagePlugin

from .documents import read_json
from .errors import StorageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

_LOCKED_BYTE = 2**30  # beyond what is written: Windows keeps others from reading a locked byte
_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{i}" for name in ("com", "lpt") for i in range(1, 10))}
REWRITTEN_BYTES = 2**29
"""Largest file that ``rewriting`` takes."""
LONGEST_PART = 80
"""Characters of a label that a file name takes over."""
LONGEST_NAME = 200
"""Bytes of a file name before its counter and ending; file systems take 255 in all."""

# ---------------------------------------------------------------------- locks and appending


@contextmanager
def locked(file) -> Iterator[None]:
    """Hold an open binary file for this process alone; waits for whoever has it, and lets go if this process dies."""
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX)
    else:
        file.seek(_LOCKED_BYTE)
        while True:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                break
            except OSError:
                time.sleep(0.05)
    try:
        yield
    finally:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_UN)
        else:
            file.flush()
            file.seek(_LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)


def append_csv(path: str | Path, row: Mapping) -> None:
    """Append one row to a CSV file, with the header before the first; never mixed with the row of another run.

    Args:
        path: the file; made where there is none.
        row: column -> value; None is an empty cell.

    Raises:
        StorageError: the file cannot be written, or has other columns.
    """
    text = io.StringIO()
    header = _csv_line(row)
    csv.writer(text, lineterminator="\n").writerow(["" if value is None else _cell(value) for value in row.values()])
    with _appending(path) as file:
        file.seek(0)
        first = file.readline().decode("utf-8", "replace").rstrip("\r\n")
        if first and first != header:
            raise StorageError(
                f"{path}: has other columns than this version writes; move it away or choose another name"
            )
        _add(file, text.getvalue() if first else f"{header}\n{text.getvalue()}")


def append_jsonl(path: str | Path, row: Mapping) -> None:
    """Append one line of JSON to a file; never mixed with the line of another run.

    Raises:
        StorageError: the file cannot be written.
    """
    with _appending(path) as file:
        _add(file, json.dumps(row, ensure_ascii=False) + "\n")


@contextmanager
def rewriting(path: str | Path, default) -> Iterator:
    """Change a JSON file: what the body does to the value that it gets is written, unless it raises.

    One process at a time; readers see the old file or the new one, never a part.

    Args:
        path: the file; where there is none, the body gets ``default``.

    Raises:
        StorageError: the file cannot be read or written, or does not hold a value of the kind of ``default``.
    """
    path = Path(path)
    with _appending(path.with_name(path.name + ".lock")):  # the file itself is replaced, so it cannot be the lock
        value = _read_json(path, default)
        yield value
        part = path.with_name(path.name + ".part")
        with readable_file_errors(path):
            part.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="\n")
            os.replace(part, path)


def _read_json(path: Path, default):
    if not path.exists():
        return default
    return read_json(path, type(default), limit=REWRITTEN_BYTES, remedy="repair it or move it away", error=StorageError)


@contextmanager
def _appending(path: str | Path):
    with readable_file_errors(path):
        with open(path, "a+b") as file, locked(file):
            yield file


def _add(file, text: str) -> None:
    """Write at the end, on a line of its own even where an earlier write broke off."""
    file.seek(0, os.SEEK_END)
    if file.tell():
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            text = "\n" + text
    file.write(text.encode("utf-8", "backslashreplace"))
    file.flush()


def _csv_line(columns) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(columns)
    return text.getvalue()


def _cell(value):
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}").replace("\r", "\n") if isinstance(value, str) else value


@contextmanager
def readable_file_errors(path: str | Path):
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{path}: cannot be written ({reason}); check the disk and the permissions") from None


# ---------------------------------------------------------------------- names


def below(name: str, what: str, root: str = "ComfyUI's output folder") -> str:
    """A path that came with a graph, if it stays below the folder that it is relative to.

    Args:
        name: folders and a name, parted by / or \\.
        what: which input it came from.
        root: the folder, as messages call it.

    Raises:
        StorageError: it is absolute or leads upwards.
    """
    parts = re.split(r"[/\\]", name)
    if not parts[0] and len(parts) > 1 or re.match(r"[A-Za-z]:", name) or name.startswith("~"):
        raise StorageError(f"{what}: {name!r} is an absolute path; give one below {root}")
    if ".." in parts:
        raise StorageError(f"{what}: {name!r} leads upwards; give a path below {root}, without '..'")
    if "\0" in name:
        raise StorageError(f"{what}: {name!r} holds a character that no file name can hold")
    return "/".join(part for part in parts if part not in ("", "."))


def file_part(text: str) -> str:
    """A label as a part of a file name that every system takes; it makes no folders.

    >>> file_part('SDXL 1.0/"best"'), file_part("..")
    ('SDXL 1.0__best_', '__')
    """
    part = re.sub(r'[<>:"/\\|?*%\x00-\x1f\x7f\ud800-\udfff]', "_", " ".join(text.split()))[:LONGEST_PART].rstrip(" ")
    part = re.sub(r"^\.+|\.+$", lambda dots: "_" * len(dots[0]), part)
    return f"{part}_" if part.split(".")[0].lower() in _RESERVED else part


def fill(pattern: str, values: Mapping[str, str], now: time.struct_time) -> str:
    """Put values into a file-name pattern.

    ``%name%`` becomes the value of that name; ``%date%`` and ``%time%`` the local date and time, and
    ``%date:yyyy-MM-dd hh.mm.ss%`` the same in any order, as ComfyUI's own nodes write it. Unknown words stay. Names of
    files and folders that become too long are cut to ``LONGEST_NAME`` bytes.
    """
    formats = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}
    values = {"date": time.strftime("%Y-%m-%d", now), "time": time.strftime("%H-%M-%S", now), **values}

    def value(match: re.Match) -> str:
        word = match[1]
        if word.startswith("date:"):
            shown = re.sub("yyyy|yy|MM|dd|hh|mm|ss", lambda m: time.strftime(formats[m[0]], now), word[len("date:") :])
            return file_part(shown)
        return file_part(values[word]) if word in values else match[0]

    filled = re.sub("%([^%/\\\\]+)%", value, pattern)
    return re.sub(r"[^/\\]+", lambda part: _shortened(part[0]), filled)


def _shortened(name: str) -> str:
    """A file name cut to ``LONGEST_NAME`` bytes of UTF-8, between two characters."""
    if len(encoded := name.encode("utf-8", "replace")) <= LONGEST_NAME:
        return name
    return encoded[:LONGEST_NAME].decode("utf-8", "ignore").rstrip(" .")


# ---------------------------------------------------------------------- pictures


def save_png(folder: str | Path, stem: str, counter: int, image: Image.Image, texts: Mapping[str, str]) -> Path:
    """Write a PNG under the first free name ``<stem>_<counter>_.png``; an existing file is never written over.

    Args:
        counter: the first number to try.
        texts: what to write into the file's text chunks.

    Raises:
        StorageError: the file cannot be written; nothing of it is left.
    """
    chunks = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        chunks.add_text(key, text)
    data = io.BytesIO()
    image.save(data, "PNG", pnginfo=chunks, compress_level=4)
    while True:
        path = Path(folder) / f"{stem}_{counter:05}_.png"
        with readable_file_errors(path):
            try:
                file = open(path, "xb")
            except FileExistsError:
                counter += 1
                continue
            try:
                with file:
                    file.write(data.getbuffer())
            except OSError:
                path.unlink(missing_ok=True)
                raise
        return path
