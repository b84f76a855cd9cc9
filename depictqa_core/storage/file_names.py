"""Names of files: paths below a folder, labels as parts of a name, patterns."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Mapping

from ..errors import StorageError

_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{i}" for name in ("com", "lpt") for i in range(1, 10))}
LONGEST_PART = 80
"""Characters of a label that a file name takes over."""
LONGEST_NAME = 255
"""Bytes of UTF-8 that a file or folder name may have on the usual file systems."""
COUNTER_ROOM = len("_1234567890_.webp")
"""Bytes of a file name for what ``save_image`` adds to its stem."""
_UNSAFE = r'[<>:"/\\|?*%\x00-\x1f\x7f]'
_UNSAFE_LITERAL = r'[<>:"|?*\x00-\x1f\x7f]'  # of a pattern: its folders and the words that ComfyUI fills in stay
_JOINER = "\N{ZERO WIDTH JOINER}"
_MODIFIERS = re.compile("[\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")  # skin tones, tags of flags
_FLAG_LETTERS = re.compile("[\U0001f1e6-\U0001f1ff]+$")


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
    name in the result is short enough for a file system, including the counter of ``save_image``: first the values are
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
