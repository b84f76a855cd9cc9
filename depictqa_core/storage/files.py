"""Write files safely: replace whole files, append rows to shared files, check names, save new PNGs."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import stat
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from PIL import Image, PngImagePlugin

from ..errors import StorageError
from .documents import read_json

_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{i}" for name in ("com", "lpt") for i in range(1, 10))}
REWRITTEN_BYTES = 2**29
"""Largest file that ``rewriting`` takes."""
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
FORMULA = ("=", "+", "-", "@", "\t", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}")
FORMULA += ("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")
"""First characters of a formula in a spreadsheet."""

# ---------------------------------------------------------------------- whole files


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Replace a whole file atomically: others see the old or the new one, and a failure leaves the old one.

    Two processes may write the same file at the same time. Links are followed. An existing file keeps its permissions;
    a new one gets those of the umask, whatever library writes it. A pipe or device is written to directly.

    Args:
        path: the file; its folder exists.

    Yields:
        the path to write to.

    Raises:
        OSError: the file cannot be written; nothing of the new one remains.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    part = path.with_name(f".{uuid.uuid4().hex}.part")  # without the name, which may already have the maximum length
    try:
        yield part
        flush(part)
        if path.exists():
            shutil.copymode(path, part)
        else:
            use_umask(path.parent, [part])
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # Windows cannot open folders
        flush(path.parent)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Create a whole folder atomically: others see all of it or nothing, and a failure leaves nothing.

    Args:
        path: the folder; it does not exist or is empty. Missing parent folders are created.

    Yields:
        The temporary folder to write to, next to it; a leftover of a killed process is removed.

    Raises:
        OSError: the folder cannot be created, or ``path`` is not empty any more.
    """
    path = Path(path).absolute()
    part = path.with_name(path.name + ".partial")
    made = [parent for parent in path.parents if not parent.exists()]
    try:
        if part.exists():
            shutil.rmtree(part)
        part.mkdir(parents=True)
        yield part
        settle(part)
        if path.exists():
            path.rmdir()
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process has written there
            for parent in made:
                parent.rmdir()
        raise
    with contextlib.suppress(OSError):  # Windows cannot open folders
        flush(path.parent)


def settle(folder: Path) -> None:
    """Give all files of a finished folder the permissions of the umask, and flush them to the disk."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    use_umask(folder, files)
    for file in files:
        flush(file)


def use_umask(folder: Path, files: Iterable[Path]) -> None:
    """Give files the permissions of a new file: safetensors, for example, creates files that only their owner can
    read."""
    probe = folder / f".{uuid.uuid4().hex}.part"  # reading the umask itself would change it for other threads
    try:
        probe.touch(exist_ok=False)
        mode = stat.S_IMODE(probe.stat().st_mode)
        for file in files:
            if stat.S_IMODE(file.stat().st_mode) != mode:
                with contextlib.suppress(PermissionError):  # file systems without permissions
                    file.chmod(mode)
    finally:
        probe.unlink(missing_ok=True)


def refuse_full_disk(path: str | Path, size: int) -> None:
    """Raise StorageError unless the disk of a new file or folder has ``size`` bytes of free space."""
    path = Path(path).absolute()
    free = shutil.disk_usage(next(parent for parent in path.parents if parent.is_dir())).free
    if free < size:
        raise StorageError(
            f"{path}: needs {size / 2**30:.2f} GiB, but the disk has {free / 2**30:.2f} GiB free; free some space or "
            "choose another disk"
        )


def write_file(path: str | Path, content: str | bytes | memoryview | Callable[[Path], object]) -> None:
    """Write a whole file as ``replacing`` does.

    Args:
        path: the file; its folder exists.
        content: text (lone surrogates are written as escapes), bytes, or what is called with the path to write to.

    Raises:
        OSError: the file cannot be written; nothing of the new one remains.
    """
    with replacing(path) as part:
        if callable(content):
            content(part)
        else:
            part.write_bytes(_encoded(content) if isinstance(content, str) else content)


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk, so that it survives a power failure."""
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


@contextmanager
def rewriting(path: str | Path, default) -> Iterator:
    """Modify a JSON file in place: the body changes the yielded value, which is written unless the body raises.

    One process at a time; readers see the old file or the new one.

    Args:
        path: the file; if it does not exist, the body gets ``default``.

    Raises:
        StorageError: the file cannot be read or written, or its value has another type than ``default``.
    """
    path = Path(path)
    with contextlib.ExitStack() as lock:
        with readable_file_errors(path):
            lock.enter_context(locked(path))
        value = _read_json(path, default)
        yield value
        with readable_file_errors(path):
            write_file(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def _read_json(path: Path, default):
    if not path.exists():
        return default
    return read_json(path, type(default), limit=REWRITTEN_BYTES, remedy="repair it or move it", error=StorageError)


# ---------------------------------------------------------------------- locks and appending


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Lock a file for this process and thread; waits for the current owner, and is released if this process dies.

    The lock is a separate file next to it, because the file itself may be replaced.

    Raises:
        OSError: the lock cannot be made.
    """
    path = Path(path)
    lock = FileLock(str(path.with_name(f".{path.name}.lock")))
    try:
        lock.acquire()
    except NotImplementedError as error:
        raise OSError("this disk has no file locks") from error
    try:
        yield
    finally:
        lock.release()


def append_text(path: str | Path, text: str, closing: Callable[[bytes], str] | None = None) -> None:
    """Append whole lines to a file: all of them or none, never mixed with those of another run.

    Args:
        path: the file; created if it does not exist.
        text: lines, each with its line end.
        closing: maps the content of the file to the text to add first; by default the line end that the last line lacks
            if its writer was killed.

    Raises:
        OSError: the file cannot be written; it is as it was.
    """
    with locked(path), open(path, "a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if closing is None:
            file.seek(max(0, end - 1))
            text = ("\n" if end and file.read(1) != b"\n" else "") + text
        else:
            file.seek(0)
            text = closing(file.read()) + text
        try:
            rest = memoryview(_encoded(text))
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise


def append_jsonl(path: str | Path, row: Mapping) -> None:
    """Append one line of JSON to a file as ``append_text`` does.

    Raises:
        StorageError: the file cannot be written; it is as it was.
    """
    with readable_file_errors(path):
        append_text(path, json.dumps(row, ensure_ascii=False) + "\n")


def append_csv(path: str | Path, row: Mapping) -> None:
    """Append one row to a CSV file as ``append_text`` does, with the header before the first.

    Args:
        path: the file; created if it does not exist.
        row: column -> value; None is an empty cell.

    Raises:
        StorageError: the file cannot be written, or has other columns; it is unchanged.
    """
    header = csv_line(row)

    def closing(content: bytes) -> str:
        if not content:
            return header
        first = content.split(b"\n", 1)[0].decode("utf-8-sig", "replace").rstrip("\r") + "\n"
        if first != header:
            raise StorageError(f"{path}: has other columns than this version writes; move it or choose another name")
        return _closing_csv(content)

    with readable_file_errors(path):
        append_text(path, csv_line(row.values()), closing)


def _closing_csv(content: bytes) -> str:
    """Return the text that completes the last row of a CSV file: nothing, a line end, or the missing quotes too."""
    if content.endswith(b"\n") and content.count(b'"') % 2 == 0:
        return ""
    for end in ("", "\n", '"\n'):
        text = io.StringIO(content.decode("utf-8", "replace") + end + "x\n", newline="")
        with contextlib.suppress(csv.Error):
            *_, last = csv.reader(text)
            if last == ["x"]:
                return end
    return "\n"


def csv_line(values: Iterable) -> str:
    """Format one row of a CSV file, with its line end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(csv_cell, values))
    return text.getvalue()


def csv_cell(value):
    """Format a value for a CSV file: None is empty, and text that a spreadsheet would run as a formula starts with an
    apostrophe, which marks text in spreadsheets.

    >>> csv_cell("=1+1"), csv_cell("a-b"), csv_cell(-1.5), csv_cell(None)
    ("'=1+1", 'a-b', -1.5, '')
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    # the csv module of older Pythons cannot write a NUL, and does not quote a CR
    value = value.replace("\0", "\N{REPLACEMENT CHARACTER}").replace("\r", "\n")
    return f"'{value}" if value.startswith(FORMULA) else value


@contextmanager
def readable_file_errors(path: str | Path):
    """Turn an OSError into a StorageError that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{path}: cannot be written ({reason}); check the disk and the permissions") from None


# ---------------------------------------------------------------------- names


def below(name: str, what: str, root: str = "ComfyUI's output folder") -> str:
    """Check a relative path from a graph: it must stay in its folder.

    Args:
        name: folders and a name, separated by / or \\.
        what: the name of the input.
        root: the name of the folder in messages.

    Raises:
        StorageError: the path is absolute or leads out of the folder.
    """
    parts = re.split(r"[/\\]", name)
    if not parts[0] and len(parts) > 1 or re.match(r"[A-Za-z]:", name) or name.startswith("~"):
        raise StorageError(f"{what}: {name!r} is an absolute path; give one below {root}")
    if ".." in parts:
        raise StorageError(f"{what}: {name!r} leads out of the folder; give a path below {root}, without '..'")
    if "\0" in name:
        raise StorageError(f"{what}: {name!r} has a character that is not allowed in file names")
    return "/".join(part for part in parts if part not in ("", "."))


def shortened(text: str, length: int, most: int | None = None) -> str:
    """Cut a text to at most ``length`` bytes of UTF-8, not inside a grapheme.

    Args:
        text: a text that UTF-8 can encode.
        length: maximum number of bytes.
        most: maximum number of code points, None for no limit.

    >>> shortened("e\u0301e\u0301", 5), shortened("abc", 2)
    ('e\u0301', 'ab')
    """
    cut = text.encode("utf-8")[:length].decode("utf-8", "ignore")[:most]
    while cut and len(cut) < len(text) and _joined(text, len(cut)):
        cut = cut[:-1]
    return cut


def _joined(text: str, place: int) -> bool:
    """Return whether the code points around a position form one grapheme: accents, composed emoji, flags."""
    before, behind = text[place - 1], text[place]
    if _JOINER in (before, behind) or unicodedata.category(behind).startswith("M") or _MODIFIERS.match(behind):
        return True
    letters = _FLAG_LETTERS.search(text, 0, place)
    return bool(letters and len(letters[0]) % 2 and _FLAG_LETTERS.match(behind))


def file_part(text: str, length: int = LONGEST_NAME) -> str:
    """Convert a label to a part of a file name that is valid on every system; it makes no folders.

    Args:
        text: the label; at most ``LONGEST_PART`` code points of it are used.
        length: maximum number of bytes of UTF-8.

    >>> file_part('SDXL 1.0/"best"'), file_part("..")
    ('SDXL 1.0__best_', '__')
    """
    text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    part = shortened(re.sub(_UNSAFE, "_", text), length, LONGEST_PART).rstrip(" ")
    part = re.sub(r"^\.+|\.+$", lambda dots: "_" * len(dots[0]), part)
    return f"{part}_" if part.split(".")[0].lower() in _RESERVED else part


def fill(pattern: str, values: Mapping[str, str], now: time.struct_time) -> str:
    """Fill in the placeholders of a file-name pattern.

    ``%name%`` becomes the value of that name; ``%date%`` and ``%time%`` the local date and time, and
    ``%date:yyyy-MM-dd hh.mm.ss%`` the same in any format, as in ComfyUI's own nodes. Unknown placeholders stay. Every
    name in the result is short enough for a file system, including the counter of ``save_png``: first the values are
    shortened, then the text of the pattern.
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


# ---------------------------------------------------------------------- images


def save_png(folder: str | Path, stem: str, counter: int, image: Image.Image, texts: Mapping[str, str]) -> Path:
    """Write a PNG under the first free name ``<stem>_<counter>_.png``; existing files are never overwritten.

    Args:
        counter: the first number to try.
        texts: the text chunks of the file.

    Raises:
        StorageError: the file cannot be written; nothing of it remains.
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
                open(path, "xb").close()  # reserves the name
            except FileExistsError:
                counter += 1
                continue
            try:
                write_file(path, data.getbuffer())
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return path
