"""Whole files and folders that nobody sees half written, and locks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from ..errors import StorageError
from .documents import read_json

_Value = TypeVar("_Value")

REWRITTEN_BYTES = 2**29
"""Largest file that ``rewriting`` takes."""


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
            part.write_bytes(encoded(content) if isinstance(content, str) else content)


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk, so that it survives a power failure."""
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


@contextmanager
def rewriting(path: str | Path, default: _Value) -> Iterator[_Value]:
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


def _read_json(path: Path, default: _Value) -> _Value:
    if not path.exists():
        return default
    found: _Value = read_json(
        path, type(default), limit=REWRITTEN_BYTES, remedy="repair it or move it", error=StorageError
    )
    return found


@contextmanager
def locked(path: str | Path, wait: bool = True) -> Iterator[None]:
    """Lock a file for this process and thread; waits for the current owner, and is released if this process dies.

    The lock is a separate file next to it, because the file itself may be replaced.

    Args:
        path: the file.
        wait: whether to wait for another process that holds it.

    Raises:
        OSError: the lock cannot be made.
        StorageError: another process holds the file, and ``wait`` is false.
    """
    path = Path(path)
    lock = FileLock(str(path.with_name(f".{path.name}.lock")))
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        raise StorageError(f"{path}: another process writes there now; wait for it or stop it") from None
    except NotImplementedError as error:
        raise OSError("this disk has no file locks") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def readable_file_errors(path: str | Path) -> Iterator[None]:
    """Turn an OSError into a StorageError that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{path}: cannot be written ({reason}); check the disk and the permissions") from None
