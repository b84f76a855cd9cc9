"""Files written safely: whole files by replacement, rows at the end of shared files, names below a folder, new PNGs."""

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
"""What begins a formula in a spreadsheet."""

# ---------------------------------------------------------------------- whole files


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a whole file: others see the old one or the new one, never a part, and a failure leaves the old one.

    Two processes may write the same file at the same time. A link is followed, the permissions of an existing file are
    kept (a new one gets those that the umask gives, whatever library writes it), and what is not a regular file (a
    pipe, a device) is written to directly.

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
    part = path.with_name(f".{uuid.uuid4().hex}.part")  # not made of the name, which may be as long as names can be
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
    """Write a whole folder that is not there yet: others see all of it or nothing, and a failure leaves nothing.

    Args:
        path: the folder; it does not exist or is empty. Parent folders that are missing are made.

    Yields:
        the folder to write to, next to it; one that a killed process left there is removed.

    Raises:
        OSError: the folder cannot be made, or ``path`` holds something by now.
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
        with contextlib.suppress(OSError):  # somebody else has put something there
            for parent in made:
                parent.rmdir()
        raise
    with contextlib.suppress(OSError):  # Windows cannot open folders
        flush(path.parent)


def settle(folder: Path) -> None:
    """Give all files below a folder that is ready the permissions of the umask, and have them written to the disk."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    use_umask(folder, files)
    for file in files:
        flush(file)


def use_umask(folder: Path, files: Iterable[Path]) -> None:
    """Give files the permissions of a new file: safetensors, for one, makes files that only their owner can read."""
    probe = folder / f".{uuid.uuid4().hex}.part"  # asking for the umask itself would change it for other threads
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
    """Raise StorageError unless the disk that a new file or folder will lie on has room for ``size`` bytes."""
    path = Path(path).absolute()
    free = shutil.disk_usage(next(parent for parent in path.parents if parent.is_dir())).free
    if free < size:
        raise StorageError(
            f"{path}: needs {size / 2**30:.2f} GiB, but the disk has {free / 2**30:.2f} GiB free; make room or choose"
            " another disk"
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
    """Have the system write a file or the names in a folder to the disk, where a power failure cannot undo it."""
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


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
    return read_json(path, type(default), limit=REWRITTEN_BYTES, remedy="repair it or move it away", error=StorageError)


# ---------------------------------------------------------------------- locks and appending


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold a file for this process and thread alone; waits for whoever has it, and lets go if this process dies.

    The lock is a file of its own next to it, because the file itself may be replaced.

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
    """Add whole lines at the end of a file; never mixed with those of another run, all of them or none.

    Args:
        path: the file; made where there is none.
        text: lines, each with its end.
        closing: given what the file holds, what must be added before; by default the end of a last line that lacks it
            (its writer was killed).

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
        path: the file; made where there is none.
        row: column -> value; None is an empty cell.

    Raises:
        StorageError: the file cannot be written, or has other columns; it is as it was.
    """
    header = csv_line(row)

    def closing(content: bytes) -> str:
        if not content:
            return header
        first = content.split(b"\n", 1)[0].decode("utf-8-sig", "replace").rstrip("\r") + "\n"
        if first != header:
            raise StorageError(
                f"{path}: has other columns than this version writes; move it away or choose another name"
            )
        return _closing_csv(content)

    with readable_file_errors(path):
        append_text(path, csv_line(row.values()), closing)


def _closing_csv(content: bytes) -> str:
    """What ends the last row of a CSV file: nothing, a line's end, or also the quotes of a row that broke off."""
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
    """One row of a CSV file, with its end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(csv_cell, values))
    return text.getvalue()


def csv_cell(value):
    """What stands for a value in a CSV file: None is empty, and text that a spreadsheet would run as a formula gets an
    apostrophe in front, which spreadsheets take for "this is text".

    >>> csv_cell("=1+1"), csv_cell("a-b"), csv_cell(-1.5), csv_cell(None)
    ("'=1+1", 'a-b', -1.5, '')
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    # the csv module of older Pythons cannot write a NUL, and writes CR without the quotes that it needs
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
                open(path, "xb").close()  # the name is ours from now on
            except FileExistsError:
                counter += 1
                continue
            try:
                write_file(path, data.getbuffer())
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return path
