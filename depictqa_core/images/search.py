"""Image files as a command line names them: files, folders and patterns, in natural order; and what was left out."""

import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError

EXTENSIONS = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx", ".mpo"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""Extensions that are searched for in folders; a file that is given by name may have any."""
PHOTOGRAPH_EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Extensions of single images, without animations and rare formats: what data sets consist of."""
OTHER_EXTENSIONS = (
    *(".avci", ".avcs", ".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl", ".jxr", ".wdp", ".hdp", ".jls", ".jxs"),
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf"),
    *(".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f", ".exr", ".hdr", ".pfm", ".psd", ".psb", ".xcf", ".kra"),
    *(".bpg", ".dds", ".fit", ".fits", ".flif", ".icns", ".ico", ".pcx", ".pic", ".pict", ".qoi", ".ras", ".sgi"),
    *(".svg", ".svgz", ".eps", ".wmf", ".emf", ".xbm", ".xpm", ".jpf", ".j2c", ".jpc", ".tiff64", ".cin", ".dpx"),
)
"""Extensions of images that are not searched for in folders."""
NAMED = 20
"""Maximum number of file names in a line about files that are left out."""


def without_suffix(name: str) -> str:
    """Return a name without the extension of an image file; other dots belong to the name.

    >>> without_suffix("a.b.JPG"), without_suffix("sd1.5"), without_suffix(".png")
    ('a.b', 'sd1.5', '.png')
    """
    stem, extension = os.path.splitext(name)
    return stem if extension.lower() in (*EXTENSIONS, *OTHER_EXTENSIONS) else name


def natural_key(text: str) -> list[tuple[int, str]]:
    """Return a sort key under which "x2" comes before "x10" and case does not matter."""
    parts = re.split(r"(\d+)", text)
    return [(int(p), "") if i % 2 else (0, p.casefold()) for i, p in enumerate(parts)] + [(0, text)]


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that was found and is not judged.

    Attributes:
        path: the path as the user would write it.
        reason: the reason as a predicate: "is hidden".
        expected: whether it is left out by the normal rules (hidden, not an image, in a subfolder).
    """

    path: str
    reason: str
    expected: bool = False

    def to_dict(self) -> dict[str, str]:
        """Return path and reason as JSON values."""
        return {"path": self.path, "reason": self.reason}


@dataclass(frozen=True)
class Found:
    """The result of a search: the image files to judge, in order, and everything that was left out."""

    names: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


class NoImages(ImageError):
    """A folder without image files; ``left_out`` has its other files."""

    def __init__(self, message: str, left_out: Sequence[LeftOut]):
        super().__init__(message)
        self.left_out = tuple(left_out)


def left_out_lines(left_out: Iterable[LeftOut], expected: bool = False) -> list[str]:
    """Format one line per reason and folder: "photos: left out: 2.heic, 3.heic (reason)".

    Args:
        left_out: the files that a search left out.
        expected: whether files that are left out by the normal rules are listed, too.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for one in left_out:
        if expected or not one.expected:
            folder, name = os.path.split(one.path)
            groups.setdefault((folder, one.reason), []).append(name or one.path)
    lines = []
    for (folder, reason), names in groups.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines.append(f"{folder}: " * bool(folder) + f"left out: {', '.join(names[:NAMED])}{more} ({reason})")
    return lines


def search(sources: list[str], recursive: bool = False, leave_out: Iterable[str] = ()) -> Found:
    """Search for image files; every file is found once, even if it is given several times.

    Args:
        sources: files with any extension, in this order; folders, with their image files (by extension, without hidden
            ones) in natural order; and patterns such as ``*.png``, which match files: ``**`` matches any number of
            folders (circular links are not followed). An existing name is never a pattern.
        recursive: whether subfolders are searched, including links; no folder is searched twice, so circular links are
            safe.
        leave_out: files that are not found in folders (the outputs of this run).

    Returns:
        The paths as the user would write them, and everything that was left out.

    Raises:
        ImageError: a folder has no images, or a pattern matches nothing.
        OSError: a given folder cannot be opened.
    """
    names: dict[str, str] = {}  # by real path
    left_out: list[LeftOut] = []
    outputs = {os.path.realpath(path) for path in leave_out}

    def take(path: str) -> None:
        first = names.setdefault(os.path.realpath(path), path)
        if first is not path:
            left_out.append(LeftOut(path, f"is the same file as {first}"))

    for source in sources:
        if os.path.isdir(source):
            inside, others = _search_folder(source, recursive)
            # Outputs of this run are not listed either: a repeated command must print the same.
            own = [
                LeftOut(path, "is an output of this command", True)
                for path in inside
                if os.path.realpath(path) in outputs
            ]
            inside = [path for path in inside if os.path.realpath(path) not in outputs]
            others = [one for one in others if os.path.realpath(one.path) not in outputs]
            if not inside:
                hint = "" if recursive else "; --recursive also searches subfolders"
                lines = "".join(f"; {line}" for line in left_out_lines(others + own))
                raise NoImages(
                    f"{source}: no images in this folder (looked for {' '.join(EXTENSIONS)}){hint}{lines}", others
                )
            left_out += others
        elif not os.path.lexists(source) and glob.has_magic(source):
            fitting = _expand(source)
            inside = [path for path in fitting if not os.path.isdir(path)]
            if not inside:
                raise ImageError(f"{source}: no file fits this pattern")
            folders = [path for path in fitting if os.path.isdir(path)]
            left_out += [LeftOut(path, "is a folder; patterns are for files", "**" in source) for path in folders]
        else:
            inside = [source]
        for path in inside:
            take(path)
    return Found(tuple(names.values()), tuple(left_out))


def _search_folder(top: str, recursive: bool) -> tuple[list[str], list[LeftOut]]:
    """Return the image files of a folder and its other contents.

    Links to folders are searched last, so that files are found under names without links if possible.
    """
    found: dict[str, list[str]] = {}
    left_out: list[LeftOut] = []
    searched: dict[str, str] = {}  # by real path
    waiting = [top]
    links: list[str] = []
    while waiting or links:
        folder = waiting.pop(0) if waiting else links.pop(0)
        real = os.path.realpath(folder)
        if real in searched:
            left_out.append(LeftOut(folder, f"is the same folder as {searched[real]}"))
            continue
        if folder is not top and leads_around(folder):
            left_out.append(LeftOut(folder, "is a circular link"))
            continue
        searched[real] = folder
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: natural_key(entry.name))
        except OSError as error:
            if folder is top:
                raise
            left_out.append(LeftOut(folder, f"cannot be opened: {error.strerror or error}"))
            continue
        for entry in entries:
            path, kind = os.path.join(folder, entry.name), entry.name.lower()
            if entry.name.startswith("."):
                left_out.append(LeftOut(path, "is hidden", True))
            elif os.path.isdir(path):
                if recursive:
                    (links if os.path.islink(path) else waiting).append(path)
                else:
                    left_out.append(LeftOut(path, "is a folder", True))
            elif kind.endswith(EXTENSIONS):
                found.setdefault(folder, []).append(path)
            elif kind.endswith(OTHER_EXTENSIONS):
                reason = "this format is not searched for in folders; save it as PNG or JPEG, or give the file itself"
                left_out.append(LeftOut(path, reason))
            else:
                left_out.append(LeftOut(path, "has no image extension", True))
    order = sorted(found, key=lambda folder: [natural_key(part) for part in Path(os.path.relpath(folder, top)).parts])
    return [path for folder in order for path in found[folder]], left_out


def leads_around(folder: str) -> bool:
    """Return whether a folder is a circular link: a link to a folder that contains it."""
    around = os.path.join(os.path.realpath(os.path.dirname(folder)), "")
    return os.path.islink(folder) and around.startswith(os.path.join(os.path.realpath(folder), ""))


def _expand(pattern: str) -> list[str]:
    """Return the matches of a pattern in natural order; a path component that exists literally is a name."""
    drive, rest = os.path.splitdrive(pattern)
    parts = re.split(r"[/\\]+" if os.altsep else "/+", rest)
    places = [drive + os.sep] if not parts[0] else [drive]
    for part in [*filter(None, parts), *["*"] * (parts[-1] == "**")]:
        places = [path for place in places for path in _fitting(place, part)]
    return places


def _fitting(place: str, part: str) -> list[str]:
    """Return the entries of a folder ("" is the working directory) that match one component of a pattern."""
    literal = os.path.join(place, part)
    if os.path.lexists(literal):
        return [literal]
    if part == "**":
        folders, searched = [place], set()
        for folder in folders:
            if (real := os.path.realpath(folder or ".")) not in searched:
                searched.add(real)
                inside = [path for path in _fitting(folder, "*") if os.path.isdir(path)]
                folders += [path for path in inside if not leads_around(path)]
        return list(dict.fromkeys(folders))
    try:
        names = sorted(os.listdir(place or "."), key=natural_key)
    except OSError:  # a file, or without permission
        return []
    hidden = part.startswith(".")
    return [os.path.join(place, name) for name in fnmatch.filter(names, part) if hidden or not name.startswith(".")]
