"""Which typeface draws a text: Pillow's own, or for characters that it lacks one that the system has."""

import functools
import os

from PIL import ImageFont

from ..images.pillow import instance

# Sans-serif faces that cover many scripts, by the names under which systems keep them; DEPICTQA_FONT goes before them.
WIDE = (
    "NotoSansCJK-Regular.ttc",  # most Linux distributions
    "NotoSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "PingFang.ttc",  # macOS
    "Hiragino Sans GB.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",  # Windows: Chinese, Japanese, Korean
    "YuGothM.ttc",
    "malgun.ttf",
    "segoeui.ttf",  # Windows and Linux: Greek, Cyrillic, Arabic, Hebrew
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
)
_PROBE = 16  # size at which glyphs are compared
_NOWHERE = "\U0010ffff"  # no typeface has it: what is drawn for it stands for everything that is missing


def font(size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """The face that draws a text, at a size in pixels.

    Pillow's built-in one (Latin) if it has all characters; else the system's face that lacks the fewest. The file that
    the environment variable ``DEPICTQA_FONT`` names is asked first. On a system without a face for a script, its
    characters stay boxes.
    """
    wanted = frozenset(char for char in text if not char.isascii())
    return _face(_best(wanted) if wanted else "", size)


@functools.lru_cache(maxsize=1024)
def _best(wanted: frozenset[str]) -> str:
    best, fewest = "", len(wanted) + 1
    for name in ("", os.environ.get("DEPICTQA_FONT", ""), *WIDE):
        missing = sum(not _has(name, char) for char in wanted)
        if missing < fewest:
            best, fewest = name, missing
        if not fewest:
            break
    return best


@functools.lru_cache(maxsize=8192)
def _has(name: str, char: str) -> bool:
    face = _face(name, _PROBE)
    return face is not None and _glyph(face, char) != _glyph(face, _NOWHERE)


def _glyph(face: ImageFont.FreeTypeFont, char: str) -> tuple:
    mask = face.getmask(char)
    return mask.size, bytes(mask)


@functools.lru_cache(maxsize=64)
def _face(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    """The built-in face for "", else the one of a file or a name that the system knows; None where it has none."""
    if not name:
        return instance().ImageFont.load_default(size)
    try:
        return instance().ImageFont.truetype(name, size)
    except OSError:
        return None
