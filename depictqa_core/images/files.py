"""Picture files as a command line names them: files, folders, patterns, in natural order; which of them have the same
name; reading those that can be."""

import fnmatch
import glob
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ImageError
from ..results import Failure
from ..runtime.byte_cache import ByteCache
from .image import Picture, as_picture

EXTENSIONS = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx", ".mpo"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""What a folder is searched for; files that are named one by one may end in anything."""
OTHER_EXTENSIONS = (
    *(".avci", ".avcs", ".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl", ".jxr", ".wdp", ".hdp", ".jls", ".jxs"),
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf"),
    *(".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f", ".exr", ".hdr", ".pfm", ".psd", ".psb", ".xcf", ".kra"),
    *(".bpg", ".dds", ".fit", ".fits", ".flif", ".icns", ".ico", ".pcx", ".pic", ".pict", ".qoi", ".ras", ".sgi"),
    *(".svg", ".svgz", ".eps", ".wmf", ".emf", ".xbm", ".xpm", ".jpf", ".j2c", ".jpc", ".tiff64", ".cin", ".dpx"),
)
"""What images end in that a folder is not searched for."""
AT_ONCE = 32
"""Most files that are read before they are judged."""
NAMED = 20
"""Most files that one line about files that are left out names."""
PIXELS = ByteCache(192 * 2**20)
"""Pixels of picture files that were read lately."""


def natural_key(text: str) -> list:
    """Sort key under which "x2" comes before "x10" and capitals do not matter."""
    parts = re.split(r"(\d+)", text)
    return [(int(p), "") if i % 2 else (0, p.casefold()) for i, p in enumerate(parts)] + [(0, text)]


# ---------------------------------------------------------------------- what files, folders and patterns name


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that was found and is not judged.

    Attributes:
        path: as the user would write it.
        reason: why, as what is said of it: "is hidden".
        expected: whether that is the ordinary rule for such files (hidden, no image, in a folder inside the folder).
    """

    path: str
    reason: str
    expected: bool = False

    def to_dict(self) -> dict:
        """Both as JSON values."""
        return {"path": self.path, "reason": self.reason}


@dataclass(frozen=True)
class Found:
    """What a search found: the image files to judge, in order, and everything that was left out."""

    names: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


class NoPictures(ImageError):
    """A folder without picture files; ``left_out`` is what it has instead."""

    def __init__(self, message: str, left_out: Sequence[LeftOut]):
        super().__init__(message)
        self.left_out = tuple(left_out)


def left_out_lines(left_out: Iterable[LeftOut], expected: bool = False) -> list[str]:
    """One line for every reason and folder: "photos: left out: 2.heic, 3.heic (reason)".

    Args:
        left_out: what a search left out.
        expected: whether what the ordinary rule leaves out is listed as well.
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


def find_pictures(sources: list[str], recursive: bool = False, leave_out: Iterable[str] = ()) -> list[str]:
    """``search`` without what was left out."""
    return [*search(sources, recursive, leave_out).names]


def search(sources: list[str], recursive: bool = False, leave_out: Iterable[str] = ()) -> Found:
    """Paths of pictures, as the user would write them. Every file is taken once, however often it is named.

    Args:
        sources: files, taken in this order whatever they are; folders, which give their picture files (by extension,
            hidden ones left out) in natural order; and patterns such as ``*.png``, where the shell does not expand
            them, for files: ``**`` stands for any number of folders (links to a folder around them are not followed),
            and a name that exists is never a pattern.
        recursive: whether folders inside folders count, those that are links too; none is searched twice, so links may
            go in circles.
        leave_out: files that are not taken from folders (this run's own outputs).

    Raises:
        ImageError: a folder without pictures, or a pattern that fits nothing.
        OSError: a folder that is named cannot be opened.
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
            # What this run writes is not listed either: the same command must say the same when it is repeated.
            own = [LeftOut(path, "is written now", True) for path in inside if os.path.realpath(path) in outputs]
            inside = [path for path in inside if os.path.realpath(path) not in outputs]
            others = [one for one in others if os.path.realpath(one.path) not in outputs]
            if not inside:
                hint = "" if recursive else "; --recursive looks into its folders as well"
                lines = "".join(f"; {line}" for line in left_out_lines(others + own))
                raise NoPictures(
                    f"{source}: no pictures in this folder (looked for {' '.join(EXTENSIONS)}){hint}{lines}", others
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
    """The picture files of a folder, and what else is in it. Folders that are links come last, so that files are found
    under the names without links where they have one."""
    found: dict[str, list[str]] = {}
    left_out: list[LeftOut] = []
    searched: dict[str, str] = {}  # by real path
    waiting, links = [top], []
    while waiting or links:
        folder = waiting.pop(0) if waiting else links.pop(0)
        real = os.path.realpath(folder)
        if real in searched:
            left_out.append(LeftOut(folder, f"is the same folder as {searched[real]}"))
            continue
        if folder is not top and leads_around(folder):
            left_out.append(LeftOut(folder, "is a link to a folder around it"))
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
                reason = "folders are not searched for this format; save it as PNG or JPEG, or name the file itself"
                left_out.append(LeftOut(path, reason))
            else:
                left_out.append(LeftOut(path, "is no image by its name", True))
    order = sorted(found, key=lambda folder: [natural_key(part) for part in Path(os.path.relpath(folder, top)).parts])
    return [path for folder in order for path in found[folder]], left_out


def leads_around(folder: str) -> bool:
    """Whether a folder is a link to one that it is in itself, so that following it would go in a circle."""
    around = os.path.join(os.path.realpath(os.path.dirname(folder)), "")
    return os.path.islink(folder) and around.startswith(os.path.join(os.path.realpath(folder), ""))


def _expand(pattern: str) -> list[str]:
    """What a pattern fits, in natural order; a part of it that exists as it stands is a name."""
    drive, rest = os.path.splitdrive(pattern)
    parts = re.split(r"[/\\]+" if os.altsep else "/+", rest)
    places = [drive + os.sep] if not parts[0] else [drive]
    for part in [*filter(None, parts), *["*"] * (parts[-1] == "**")]:
        places = [path for place in places for path in _fitting(place, part)]
    return places


def _fitting(place: str, part: str) -> list[str]:
    """What of a folder ("" is the working directory) fits one part of a pattern."""
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
    except OSError:  # a file, or not ours to open
        return []
    hidden = part.startswith(".")
    return [os.path.join(place, name) for name in fnmatch.filter(names, part) if hidden or not name.startswith(".")]


# ---------------------------------------------------------------------- equal names


def equal_names(folders: Sequence[str], names: Sequence[str]) -> tuple[list[str | None], list[LeftOut]]:
    """Which files of different folders have the same name, so that their pictures are compared.

    Names are the same without their extensions, whatever their capitals and Unicode normal form. Where a folder then
    has two files of one name, extensions count for that name; if these are the same too, capitals count; if there are
    still two, both are left out.

    Args:
        folders: of each file.
        names: of each file, without folder.

    Returns:
        for each file what it shares with those of the same name (the name as the first of them writes it), or None if
        it is left out; and what is left out.

    >>> equal_names(["m1", "m1", "m2"], ["a.png", "b.png", "A.jpg"])[0]
    ['a', 'b', 'a']
    """
    shared: list[str | None] = [None] * len(names)
    left_out: list[LeftOut] = []
    taken: set[str] = set()

    def split(members: list[int], rules: Sequence[Callable[[str], str]]) -> None:
        groups: dict[str, list[int]] = {}
        for index in members:
            groups.setdefault(rules[0](names[index]), []).append(index)
        for group in groups.values():
            counts = Counter(folders[index] for index in group)
            if max(counts.values()) > 1 and rules[1:]:
                split(group, rules[1:])
                continue
            normal = unicodedata.normalize("NFC", names[group[0]])
            name = os.path.splitext(normal)[0] if rules is RULES else normal
            while name in taken:
                name += "'"
            taken.add(name)
            for index in group:
                if counts[folders[index]] == 1:
                    shared[index] = name
                else:
                    path = os.path.join(folders[index], names[index])
                    left_out.append(LeftOut(path, "has the same name as another file of this folder; rename one"))

    split(list(range(len(names))), RULES)
    return shared, left_out


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


RULES = (
    lambda name: _folded(os.path.splitext(name)[0]),
    _folded,
    lambda name: unicodedata.normalize("NFC", name),
)
"""What must be equal for two names to be the same, from the loosest rule to the strictest."""


# ---------------------------------------------------------------------- reading


class FilePicture(Picture):
    """A picture file that was read and checked once. Its pixels are read again when they are needed and gone: all
    pictures of a run share ``PIXELS``, so a folder of any size fits into memory.

    Attributes:
        name: the path, as the user wrote it.

    Raises:
        ImageError: by ``rgb`` as well, when the file was changed or removed in the meantime.
    """

    def __init__(self, name: str):
        picture = as_picture(name)
        facts = {"name": name, "key": picture.key, "notices": picture.notices, "_shape": picture.rgb.shape}
        self.__dict__.update(facts)
        PIXELS.put(self.key, picture.rgb, picture.rgb.nbytes)

    @property
    def rgb(self) -> np.ndarray:
        rgb = PIXELS.get(self.key)
        if rgb is None:
            picture = as_picture(self.name)
            if picture.key != self.key:
                raise ImageError(f"{self.name}: was changed while it was judged; judge it again")
            rgb = picture.rgb
            PIXELS.put(self.key, rgb, rgb.nbytes)
        return rgb

    @property
    def height(self) -> int:
        return self._shape[0]

    @property
    def width(self) -> int:
        return self._shape[1]


def lost(pictures: Iterable[Picture]) -> list[Failure]:
    """Which of some pictures that were read once cannot be read again, and why."""
    failures = []
    for picture in pictures:
        try:
            picture.rgb  # noqa: B018
        except ImageError as error:
            failures.append(Failure(picture.name, str(error)))
    return failures


def load_pictures(names: Iterable[str]) -> Iterator[tuple[list[Picture], list[Failure]]]:
    """Read picture files, a few at a time: yields the pictures that can be read, and why the others cannot.

    No group has more than ``AT_ONCE`` files or (but for one large picture) half of the pixels that are kept.
    """
    pictures, failures, size = [], [], 0
    for name in names:
        try:
            pictures.append(FilePicture(name))
            size += math.prod(pictures[-1]._shape)
        except ImageError as error:
            failures.append(Failure(name, str(error).removeprefix(f"picture ({Path(name)}): ")))
        if len(pictures) + len(failures) == AT_ONCE or size >= PIXELS.budget / 2:
            yield pictures, failures
            pictures, failures, size = [], [], 0
    if pictures or failures:
        yield pictures, failures
