"""Files moved and copied with a way back: every step is in a list on the disk before it is taken."""

import filecmp
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import StorageError
from ..storage.appending import append_jsonl
from ..storage.documents import parse_json
from ..storage.files import encoded, replacing, write_file
from .edits import edit_file, hashes, inverse, unpacked
from .embedded import rating_edits

MOVE, COPY, WRITE, RATE = "move", "copy", "write", "rate"


@dataclass(frozen=True)
class Step:
    """One change to the disk.

    Attributes:
        action: "move" and "copy" take ``source`` to ``target``, which is not there yet; "write" writes a text file;
            "rate" writes a rating into an image file.
        source: absolute path; "" for "write" and "rate".
        target: absolute path.
        before: the text that was there, None where there was no file; for "rate" the SHA-256 of the file before it.
        after: the text that is written; for "rate" the SHA-256 of the file after it.
        rating: 0 to 5, for "rate".
        edits: for "rate" the bytes that are replaced, as ``Edit.packed`` gives them. Like both hashes they are found
            out when the step is taken: an undo list needs them, a plan does not.
    """

    action: str
    source: str
    target: str
    before: str | None = None
    after: str | None = None
    rating: int | None = None
    edits: list | None = None


def steps_to(
    images: Iterable[str], folder: str | Path, action: str = MOVE, written: Iterable[str] = ()
) -> tuple[list[Step], list[str]]:
    """Plan to move or copy image files, with their sidecars, into a folder.

    Args:
        images: their paths.
        folder: where to; the folders below the one that all images share are kept.
        action: "move" or "copy".
        written: absolute paths of sidecars that earlier steps write.

    Returns:
        the steps, and the images that are no files of their own (in a tar shard or a table, or gone).
    """
    here: list[str] = []
    missing: list[str] = []
    for image in dict.fromkeys(images):
        (here if os.path.isfile(image) else missing).append(image)
    sources = [os.path.abspath(image) for image in here]
    top = os.path.commonpath([os.path.dirname(source) for source in sources]) if sources else ""
    taken: set[str] = set()
    expected = set(written)
    steps = []
    for source in sources:
        target = _free(os.path.join(os.path.abspath(folder), os.path.relpath(source, top)), taken)
        steps.append(Step(action, source, target))
        if os.path.isfile(f"{source}.xmp") or f"{source}.xmp" in expected:
            steps.append(Step(action, f"{source}.xmp", f"{target}.xmp"))
    return steps, missing


def _free(path: str, taken: set[str]) -> str:
    stem, extension = os.path.splitext(path)
    number, free = 1, path
    while free in taken or os.path.lexists(free) or os.path.lexists(f"{free}.xmp"):
        number += 1
        free = f"{stem} ({number}){extension}"
    taken.add(free)
    return free


def apply(steps: Iterable[Step], journal: str | Path) -> Iterator[tuple[Step, str | None]]:
    """Take steps, each listed in ``journal`` first.

    Yields:
        each step with None, or with why it could not be taken.

    Raises:
        StorageError: the journal cannot be written; the step was not taken.
    """
    for step in steps:
        error = None
        if step.action == RATE:
            step, error = _tried(_with_edits, step)
        if error is None:
            append_jsonl(journal, asdict(step))
            _, error = _tried(_take, step)
        yield step, error


def undo(journal: str | Path) -> Iterator[tuple[Step, str | None]]:
    """Take the steps of a journal back, the last one first; those that were never taken need nothing.

    Yields:
        each step with None, or with why it could not be taken back: a file was changed since, or another is in its way.
    """
    lines = Path(journal).read_bytes().split(b"\n")[:-1]  # a line without an end was never taken
    for number, line in reversed(list(enumerate(lines, 1))):
        try:
            step = Step(**parse_json(line, f"{journal}, line {number}", error=StorageError))
        except TypeError:
            raise StorageError(
                f"{journal}, line {number}: is not a step of depictqa cull; name its undo list"
            ) from None
        _, error = _tried(_take_back, step)
        yield step, error


def _tried(change: Callable[[Step], Step | None], step: Step) -> tuple[Step, str | None]:
    """Call ``change``; return the step or what became of it, and why it failed."""
    try:
        return change(step) or step, None
    except StorageError as error:
        return step, str(error)
    except OSError as error:
        return step, f"{error.filename or step.target}: {error.strerror or error}"


def _with_edits(step: Step) -> Step:
    edits = rating_edits(step.target, step.rating or 0)
    before, after = hashes(step.target, edits)
    return replace(step, before=before, after=after, edits=[edit.packed() for edit in edits])


def _take(step: Step) -> None:
    if step.action == WRITE:
        write_file(step.target, step.after or "")
        return
    if step.action == RATE:
        if step.before != step.after:
            edit_file(step.target, unpacked(step.edits), step.before or "", step.after or "")
        return
    if os.path.lexists(step.target):
        raise StorageError(f"{step.target}: is there already; nothing was replaced")
    os.makedirs(os.path.dirname(step.target), exist_ok=True)
    if step.action == MOVE:
        _move(step.source, step.target)
    else:
        _copy(step.source, step.target)


def _take_back(step: Step) -> None:
    if step.action == RATE:
        found, _ = hashes(step.target)
        if found != step.before:
            edit_file(step.target, inverse(unpacked(step.edits)), step.after or "", step.before or "")
        return
    if not os.path.lexists(step.target):
        return
    if step.action == WRITE:
        content = Path(step.target).read_bytes()
        if step.before is not None and content == encoded(step.before):
            return
        if content != encoded(step.after or ""):
            raise StorageError(f"{step.target}: was changed since; it stays as it is")
        if step.before is None:
            os.remove(step.target)
        else:
            write_file(step.target, step.before)
    elif not os.path.lexists(step.source):
        if step.action == MOVE:
            os.makedirs(os.path.dirname(step.source), exist_ok=True)
            _move(step.target, step.source)
    elif filecmp.cmp(step.source, step.target, shallow=False):  # a copy, or a move that was killed half way
        os.remove(step.target)
    else:
        raise StorageError(f"{step.target}: stays there, as another file is at {step.source}")


def _move(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except OSError:  # another disk
        _copy(source, target)
        os.remove(source)


def _copy(source: str, target: str) -> None:
    with replacing(target) as part:
        shutil.copy2(source, part)
