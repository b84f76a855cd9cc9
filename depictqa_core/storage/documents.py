"""Read JSON from disk with limits; every error is one line with the file, the cause and the remedy.

Every JSON file of the project is read here. Rejected are: files above the size limit, nesting so deep that later code
would exceed the stack, duplicate keys in an object, NaN and Inf, text that is not UTF-8, and text that UTF-8 cannot
encode. A byte order mark is accepted.
"""

import json
import math
import os
import re
import reprlib
import stat
from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from ..errors import DepictQAError, DocumentError

MAX_BYTES = 16 * 2**20
"""Default size limit of a file: enough for configurations and lists, not for records."""
MAX_DEPTH = 64
"""Maximum nesting depth of lists and objects."""
MAX_DIGITS = 300
"""Maximum digits of a whole number; more do not fit into a float."""
REMEDY = "repair it, or replace it by a good copy"
KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}
LONGEST_VALUE = 120
"""Maximum characters of a value in a message."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(
    path: str | Path,
    kind: type | None = dict,
    *,
    where: str | None = None,
    limit: int = MAX_BYTES,
    remedy: str = REMEDY,
    error: type[DepictQAError] = DocumentError,
) -> Any:
    """Read a JSON file.

    Args:
        path: the file; it must be a regular one.
        kind: required type of the content, dict, list or str; None for any.
        where: name of the file in messages, instead of its path.
        limit: maximum number of bytes.
        remedy: advice in messages.
        error: class of the exception.

    Raises:
        error: the file cannot be read or has invalid contents; the message has file, cause and remedy.
    """
    where = where or named(path)
    text = read_text(path, where=where, limit=limit, remedy=remedy, error=error)
    return parse_json(text, where, kind, remedy=remedy, error=error)


def read_text(
    path: str | Path,
    *,
    where: str | None = None,
    limit: int = MAX_BYTES,
    remedy: str = REMEDY,
    error: type[DepictQAError] = DocumentError,
) -> str:
    """Read a text file in UTF-8, with or without a byte order mark; arguments and errors as in ``read_json``."""
    where = where or named(path)
    try:
        # Opening a pipe would block, so the type of the file is checked first.
        regular = stat.S_ISREG(os.stat(path).st_mode)
        content = Path(path).read_bytes() if regular and os.stat(path).st_size <= limit else None
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the path
        reason = getattr(cause, "strerror", None) or cause
        raise error(f"{where} cannot be read ({reason}); check the path and the permissions") from cause
    if not regular:
        raise error(f"{where} cannot be read (it is not a regular file); name a file")
    if content is None:
        raise error(f"{where} is larger than the limit of {limit / 2**20:g} MiB for such a file; {remedy}")
    return _decoded(content, where, error)


def _decoded(content: bytes, where: str, error: type[DepictQAError]) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        wrong = content[cause.start]
        raise error(f"{where} is not UTF-8 text (byte 0x{wrong:02x} at {cause.start}); save it as UTF-8") from cause


def parse_json(
    text: str | bytes,
    where: str,
    kind: type | None = dict,
    *,
    remedy: str = REMEDY,
    error: type[DepictQAError] = DocumentError,
) -> Any:
    """Parse JSON text, such as one line of a JSON lines file; arguments and errors as in ``read_json``."""
    if isinstance(text, bytes):
        text = _decoded(text, where, error)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_float, parse_int=_whole
        )
        check_depth(value)
        if _ESCAPED_SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise error(f"{where} is nested more than {MAX_DEPTH} levels deep; {remedy}") from None
    except UnicodeEncodeError:
        raise error(f"{where} has an unpaired surrogate, which is not a character; {remedy}") from None
    except ValueError as cause:
        raise error(f"{where} is not valid JSON ({cause}); {remedy}") from cause
    if kind is not None and not isinstance(value, kind):
        raise error(f"{where} must hold {KINDS[kind]}, not {describe(value)}; {remedy}")
    return value


def check_depth(value: object, limit: int = MAX_DEPTH) -> None:
    """Raise RecursionError if lists and dicts are nested more than ``limit`` levels deep; iterative."""
    level, depth = [value], 0
    while level:
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, (dict, list))
        ]
        depth += 1
        if depth > limit:
            raise RecursionError(f"more than {limit} levels")


def describe(value: object) -> str:
    """Format a value for a message: its repr, shortened, without characters that UTF-8 cannot encode."""
    text = _SHORT.repr(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def holds_text(text: str) -> bool:
    """Return whether UTF-8 can encode a text; one with an unpaired surrogate cannot be printed or written."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def named(path: str | Path) -> str:
    """Format a path for a message, without characters that UTF-8 cannot encode."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")


def nearest(name: str, known: Iterable[object]) -> str:
    """Return `` (did you mean 'x'?)`` with the known name closest to ``name``, or an empty text if there is none."""
    found = get_close_matches(str(name), [str(one) for one in known], 1)
    return f" (did you mean {found[0]}?)" if found else ""


# ---------------------------------------------------------------------- callbacks of json.loads


def _object(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        count = Counter(key for key, _ in pairs)
        twice = next(key for key in count if count[key] > 1)
        raise ValueError(f"the key {describe(twice)} occurs twice in one object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a finite number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a whole number of {len(text)} digits is too large")
    return int(text)
