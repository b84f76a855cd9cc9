"""Files that many runs may write at once: locks, rows appended whole, safe names below a folder, new PNG files."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, PngImagePlugin

from .errors import StorageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

_LOCKED_BYTE = 2**30  # beyond what is written: Windows keeps others from reading a locked byte
_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{i}" for name in ("com", "lpt") for i in range(1, 10))}
LONGEST_PART = 80
"""Characters of a label that a file name takes over."""
LONGEST_NAME = 255
"""Bytes of UTF-8 that a file or folder name may have on the usual file systems."""
COUNTER_ROOM = len("_1234567890_.png")
"""Bytes of a file name for what ``save_png`` adds to its stem."""
_UNSAFE = r'[<>:"/\\|?*%\x00-\x1f\x7f]'
_UNSAFE_LITERAL = r'[<>:"|?*\x00-\x1f\x7f]'  # of a pattern: its folders and the words that ComfyUI fills in stay
_JOINER = "\N{ZERO WIDTH JOINER}"
_MODIFIERS = re.compile("[\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")  # skin tones, tags of flags
_FLAG_LETTERS = re.compile("[\U0001f1e6-\U0001f1ff]+$")

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
    with readable_file_errors(path):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise StorageError(f"{path}: is damaged ({error}); repair it or move it away") from None
    if not isinstance(value, type(default)):
        raise StorageError(f"{path}: holds something else than expected; repair it or move it away")
    return value


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


def shortened(text: str, length: int, most: int | None = None) -> str:
    """Cut a text to at most ``length`` bytes of UTF-8, not inside what people see as one character.

    Args:
        text: what UTF-8 can hold.
        length: bytes.
        most: code points, None for any number.

    >>> shortened("e\u0301e\u0301", 5), shortened("abc", 2)
    ('e\u0301', 'ab')
    """
    cut = text.encode("utf-8")[:length].decode("utf-8", "ignore")[:most]
    while cut and len(cut) < len(text) and _joined(text, len(cut)):
        cut = cut[:-1]
    return cut


def _joined(text: str, place: int) -> bool:
    """Whether the code points before and behind a place are one character: accents, emoji of several parts, flags."""
    before, behind = text[place - 1], text[place]
    if _JOINER in (before, behind) or unicodedata.category(behind).startswith("M") or _MODIFIERS.match(behind):
        return True
    letters = _FLAG_LETTERS.search(text, 0, place)
    return bool(letters and len(letters[0]) % 2 and _FLAG_LETTERS.match(behind))


def file_part(text: str, length: int = LONGEST_NAME) -> str:
    """A label as a part of a file name that every system takes; it makes no folders.

    Args:
        text: the label; at most ``LONGEST_PART`` code points of it are used.
        length: bytes of UTF-8 that the part may have.

    >>> file_part('SDXL 1.0/"best"'), file_part("..")
    ('SDXL 1.0__best_', '__')
    """
    text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    part = shortened(re.sub(_UNSAFE, "_", text), length, LONGEST_PART).rstrip(" ")
    part = re.sub(r"^\.+|\.+$", lambda dots: "_" * len(dots[0]), part)
    return f"{part}_" if part.split(".")[0].lower() in _RESERVED else part


def fill(pattern: str, values: Mapping[str, str], now: time.struct_time) -> str:
    """Put values into a file-name pattern.

    ``%name%`` becomes the value of that name; ``%date%`` and ``%time%`` the local date and time, and
    ``%date:yyyy-MM-dd hh.mm.ss%`` the same in any order, as ComfyUI's own nodes write it. Unknown words stay. Every
    name in the result is short enough for a file system, also with the counter of ``save_png``: first the values are
    shortened, then what the pattern itself holds.
    """
    formats = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}
    values = {"date": time.strftime("%Y-%m-%d", now), "time": time.strftime("%H-%M-%S", now), **values}

    def filled(length: int) -> list[str]:
        def value(match: re.Match) -> str:
            word = match[1]
            if word.startswith("date:"):
                date = word[len("date:") :]
                date = re.sub("yyyy|yy|MM|dd|hh|mm|ss", lambda m: time.strftime(formats[m[0]], now), date)
                return file_part(date, length)
            return file_part(values[word], length) if word in values else match[0]

        text = re.sub("%([^%/\\\\]+)%", value, pattern.encode("utf-8", "replace").decode("utf-8"))
        return re.sub(_UNSAFE_LITERAL, "_", text).split("/")

    for length in range(LONGEST_NAME, 0, -1):
        names = filled(length)
        limits = [LONGEST_NAME] * (len(names) - 1) + [LONGEST_NAME - COUNTER_ROOM]
        if all(len(name.encode("utf-8")) <= limit for name, limit in zip(names, limits)):
            break
    return "/".join(shortened(name, limit) for name, limit in zip(names, limits))


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
    stem = shortened(stem, LONGEST_NAME - COUNTER_ROOM)
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
