"""Choice of the font of a text: Pillow's built-in one, or a system font for characters that it lacks."""

import functools
import os

from PIL import ImageFont

from ..images.pillow import instance

# Sans-serif fonts that cover many scripts, by their file names on common systems; DEPICTQA_FONT has priority.
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
_NOWHERE = "\U0010ffff"  # no font has it: its glyph is that of all missing characters


def font(size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """Return the font for a text, at a size in pixels.

    It is Pillow's built-in one (Latin) if that has all characters; else the system font that lacks the fewest. The file
    in the environment variable ``DEPICTQA_FONT`` is tried first. Without a font for a script, its characters are boxes.
    """
    wanted = frozenset(char for char in text if not char.isascii())
    return _face(_best(wanted) if wanted else "", size) or _built_in(size)


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


def _built_in(size: int) -> ImageFont.FreeTypeFont:
    return instance().ImageFont.load_default(size)


@functools.lru_cache(maxsize=64)
def _face(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    """Return the built-in font for "", else the font of a file or system name; None if there is none."""
    if not name:
        return _built_in(size)
    try:
        return instance().ImageFont.truetype(name, size)
    except OSError:
        return None
