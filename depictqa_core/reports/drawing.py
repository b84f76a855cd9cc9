"""Drawing with Pillow: colors, fonts, fitted text, and shapes with smooth edges."""

import functools
import math
import re
from bisect import bisect_right

from PIL import Image, ImageColor, ImageDraw

from ..errors import ImageError
from ..images.image import RGBImage
from ..images.pillow import instance
from .fonts import font
from .text_table import printable

PAPER, CARD, EDGE, WELL = "#f2f4f7", "#ffffff", "#dadee5", "#e8ebf0"
INK, SOFT, TRACK = "#18202b", "#5d6876", "#e3e7ed"
SCORE, SPREAD, STRENGTH = "#2f6fd6", "#12305f", "#7747c9"
FAULT, FAULT_PAPER, CLEAN, CLEAN_PAPER = "#a3341f", "#fbe9e4", "#1d6b43", "#e2f3e9"
TITLE, NAME, TEXT, SMALL = 28, 17, 15, 14  # font sizes in pixels
MARGIN = 32  # round a page
FINE = 4  # shapes are drawn this much larger and scaled down, because Pillow's own edges are jagged
# Words with the spaces before them; between characters of scripts without spaces, a line may break
_UNSPACED = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef"
_WORDS = re.compile(rf"(\s*)([{_UNSPACED}]|[^\s{_UNSPACED}]+)")


class Paragraphs:
    """Wrapped lines of text, ``height`` pixels in total."""

    def __init__(self, width: int):
        self.width, self.height = width, 0
        self.lines: list[tuple[int, str, int, str]] = []

    def add(self, text: str, size: int, colour: str) -> None:
        for line in wrapped(text, size, self.width, None):
            self.lines.append((self.height, line, size, colour))
            self.height += round(size * 1.4)

    def draw(self, sheet: Image.Image, x: int, y: int) -> None:
        for height, line, size, colour in self.lines:
            write(sheet, (x, y + height), line, size, colour, "la")


def extended(page: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Extend a page to the right and below to a size of (width, height)."""
    if page.size == size:
        return page
    sheet = Image.new("RGB", size, PAPER)
    sheet.paste(page, (0, 0))
    return sheet


def on(image: Image.Image) -> ImageDraw.ImageDraw:
    """Return Pillow's ``ImageDraw`` for an image, with the limits of ``pillow.instance`` instead of the process-wide
    ones."""
    draw: ImageDraw.ImageDraw = instance().ImageDraw.Draw(image)
    return draw


# ---------------------------------------------------------------------- words


def write(sheet: Image.Image, at: tuple[float, float], text: str, size: int, colour: str, anchor: str) -> None:
    """Draw one line of text, at a size in pixels, with its ``anchor`` (Pillow's two letters) at ``at``."""
    on(sheet).text(at, text, colour, font(size, text), anchor)


def width(text: str, size: int) -> float:
    """Return the width of one line of text in pixels."""
    return font(size, text).getlength(text)


def wrapped(text: str, size: int, most_wide: int, most: int | None) -> list[str]:
    """Wrap a text to lines of at most ``most_wide`` pixels, and cut it to ``most`` lines with an ellipsis."""
    lines: list[str] = []
    for gap, word in _WORDS.findall(printable(text)):
        longer = f"{lines[-1]}{gap and ' '}{word}" if lines else ""
        if lines and (len(lines) == most or width(longer, size) <= most_wide):
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) == most and width(lines[-1], size) > most_wide:
        while width(lines[-1] + "…", size) > most_wide:
            lines[-1] = lines[-1][:-1]
        lines[-1] += "…"
    return [shortened(line, size, most_wide) for line in lines]


def name_lines(name: str, size: int, most_wide: int) -> list[str]:
    """Fit a file name to one line, or break it anywhere into two; generated names often differ only in the middle."""
    end = bisect_right(range(1, len(name) + 1), float(most_wide), key=lambda end: width(name[:end], size))
    return [name] if end == len(name) else [name[:end], shortened(name[end:], size, most_wide)]


def shortened(text: str, size: int, most_wide: int) -> str:
    """Shorten a text in the middle: the end of a file name has more information."""
    if width(text, size) <= most_wide:
        return text

    def cut(keep: int) -> str:
        return f"{text[: keep // 2]}…{text[-(keep - keep // 2) :]}"

    least = min(2, len(text) - 1)
    fitting = bisect_right(range(least + 1, len(text)), float(most_wide), key=lambda keep: width(cut(keep), size))
    return cut(least + fitting)


# ---------------------------------------------------------------------- shapes


def thumbnail(picture: RGBImage, box: tuple[int, int]) -> Image.Image:
    """Resize an image to a box; small ones are enlarged by integer factors without smoothing."""
    image = Image.fromarray(picture.rgb)
    share = min(box[0] / image.width, box[1] / image.height)
    if share >= 1:
        return image.resize((image.width * int(share), image.height * int(share)), Image.Resampling.NEAREST)
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def framed(sheet: Image.Image, x: int, y: int, box: tuple[int, int], picture: RGBImage) -> None:
    """Draw the thumbnail of an image in the middle of a box of (width, height) pixels."""
    rounded(sheet, (x, y, x + box[0], y + box[1]), 4, WELL)
    try:
        image = thumbnail(picture, box)
    except ImageError:  # a file that was removed after it was judged: the others are still shown
        write(
            sheet,
            (x + box[0] / 2, y + box[1] / 2),
            shortened("the image cannot be read any more", SMALL, box[0]),
            SMALL,
            SOFT,
            "mm",
        )
        return
    sheet.paste(image, (x + (box[0] - image.width) // 2, y + (box[1] - image.height) // 2))


def interval(sheet: Image.Image, left: float, right: float, middle: float, colour: str) -> None:
    """Draw a horizontal line with end caps."""
    rounded(sheet, (left, middle - 1, right, middle + 1), 1, colour)
    for end in (left, right):
        rounded(sheet, (end - 1, middle - 5, end + 1, middle + 5), 1, colour)


def chip(sheet: Image.Image, x: int, y: int, text: str, ink: str, paper: str, most: int, size: int = SMALL) -> None:
    """Draw a short text on a colored pill, ``size + 10`` pixels high and at most ``most`` wide."""
    text, height = shortened(text, size, most - 18), size + 10
    rounded(sheet, (x, y, x + width(text, size) + 18, y + height), height / 2, paper)
    write(sheet, (x + 9, y + height / 2), text, size, ink, "lm")


def rounded(sheet: Image.Image, box: tuple[float, float, float, float], radius: float, colour: str) -> None:
    """Draw a filled rounded rectangle with smooth edges, at quarter pixels."""
    left, top = math.floor(box[0]), math.floor(box[1])
    inside = tuple(round(FINE * (side - start)) for side, start in zip(box, (left, top, left, top)))
    sheet.paste(rgb(colour), (left, top), _mask(inside, round(FINE * radius)))


def rgb(colour: str) -> tuple[int, int, int]:
    """Parse a color such as "#2f6fd6" to red, green and blue, 0..255."""
    red, green, blue, *_ = ImageColor.getrgb(colour)
    return red, green, blue


@functools.lru_cache(maxsize=256)
def _mask(inside: tuple[int, int, int, int], radius: int) -> Image.Image:
    size = (max(1, math.ceil(inside[2] / FINE)), max(1, math.ceil(inside[3] / FINE)))  # an interval can have no length
    mask = Image.new("L", (size[0] * FINE, size[1] * FINE))
    box = (inside[0], inside[1], max(inside[2] - 1, inside[0]), max(inside[3] - 1, inside[1]))
    on(mask).rounded_rectangle(box, radius, 255)
    return mask.resize(size, Image.Resampling.BOX)
