"""A ranking as one picture: a contact sheet in rank order with scores, intervals, distortions and reasons."""

import functools
import math
import statistics
from collections.abc import Sequence

from PIL import Image, ImageColor, ImageDraw, ImageFont

from .errors import TaskError
from .images import Picture
from .reports import common_folder, printable, rank_marks
from .results import RankedPicture, Ranking

MOST_SHOWN = 200
"""Pictures on one sheet; of a longer ranking the best are shown, and the sheet says so."""

PAPER, CARD, EDGE, WELL = "#f2f4f7", "#ffffff", "#dadee5", "#e8ebf0"
INK, SOFT, TRACK = "#18202b", "#5d6876", "#e3e7ed"
SCORE, SPREAD, STRENGTH = "#2f6fd6", "#12305f", "#7747c9"
FAULT, FAULT_PAPER, CLEAN, CLEAN_PAPER = "#a3341f", "#fbe9e4", "#1d6b43", "#e2f3e9"
TITLE, NAME, TEXT, SMALL = 28, 17, 15, 14  # font sizes in pixels
MARGIN, GAP, PAD = 32, 20, 12  # round the sheet, between cards, inside a card
LABEL, VALUE = 68, 74  # widths beside a bar: what it is, how much it is
ROW, LINE = 26, 19  # heights of a bar's row and of a line of small text
REASON_LINES = 3
FINE = 4  # shapes are drawn this much larger and scaled down, because Pillow's own edges are jagged


def ranking_sheet(ranking: Ranking, pictures: Sequence[Picture]) -> Image.Image:
    """Draw a ranking.

    Args:
        ranking: what ``Judge.rank`` answered.
        pictures: all pictures that were ranked, in the order in which they were given to it.

    Returns:
        An RGB image, one card per picture, best first, read line by line.

    Raises:
        TaskError: the pictures are not as many as the ranking has.
    """
    places = ranking.pictures[:MOST_SHOWN]
    if len(pictures) != len(ranking.pictures) or not places:
        raise TaskError(f"a sheet of {len(ranking.pictures)} ranked pictures cannot be made from {len(pictures)}")
    columns = _columns(len(places))
    card_width = 360 if len(places) == 1 else 320
    cards = _Cards(ranking, places, card_width, [pictures[place.index] for place in places])
    inner = columns * card_width + (columns - 1) * GAP
    head, foot = _Paragraphs(inner), _Paragraphs(inner)
    head.add(_title(ranking), TITLE, INK)
    head.add(_subtitle(ranking), TEXT, SOFT)
    for text in _legend(ranking, places):
        foot.add(text, SMALL, SOFT)

    rows = math.ceil(len(places) / columns)
    top = MARGIN + head.height + GAP
    bottom = top + rows * (cards.height + GAP)
    sheet = Image.new("RGB", (inner + 2 * MARGIN, bottom + foot.height + MARGIN), PAPER)
    head.draw(sheet, MARGIN, MARGIN)
    for number, (place, mark) in enumerate(zip(places, rank_marks(ranking))):
        row, column = divmod(number, columns)
        cards.draw(sheet, MARGIN + column * (card_width + GAP), top + row * (cards.height + GAP), place, mark)
    foot.draw(sheet, MARGIN, bottom)
    return sheet


class _Cards:
    """The cards of one sheet: all of one size, all strengths on one scale."""

    def __init__(self, ranking: Ranking, places: Sequence[RankedPicture], width: int, pictures: list[Picture]):
        self.width, self.inner = width, width - 2 * PAD
        self.pictures = {place.index: picture for place, picture in zip(places, pictures)}
        prefix = len(common_folder([place.picture for place in places]))
        self.names = {place.index: _name_lines(printable(place.picture[prefix:]), self.inner) for place in places}
        self.name_height = 24 * max(map(len, self.names.values())) + 4
        aspect = statistics.median(picture.width / picture.height for picture in pictures)
        self.thumbnail = (self.inner, round(self.inner / min(max(aspect, 0.8), 1.7)))
        self.scored = places[0].score is not None
        self.compared = ranking.method == "pairs"
        self.low, self.high = min(place.low for place in places), max(place.high for place in places)
        self.explained = any(place.reason for place in places)
        reasons = [_wrapped(place.reason, _font(SMALL), self.inner, REASON_LINES) for place in places]
        self.reasons = {place.index: lines for place, lines in zip(places, reasons)}
        self.height = PAD + self.thumbnail[1] + 10 + self.name_height + ROW * (self.scored + self.compared) + PAD
        if self.explained:
            self.height += 32 + LINE * max(map(len, reasons))

    def draw(self, sheet: Image.Image, x: int, y: int, place: RankedPicture, mark: str) -> None:
        _rounded(sheet, (x, y, x + self.width, y + self.height), 10, EDGE)
        _rounded(sheet, (x + 1, y + 1, x + self.width - 1, y + self.height - 1), 9, CARD)
        x, y = x + PAD, y + PAD
        self._draw_thumbnail(sheet, x, y, self.pictures[place.index])
        self._draw_rank(sheet, x, y, mark, best=place.rank == 1)
        draw = ImageDraw.Draw(sheet)
        y += self.thumbnail[1] + 10
        for number, line in enumerate(self.names[place.index]):
            draw.text((x, y + 12 + 24 * number), line, INK, _font(NAME), "lm")
        y += self.name_height
        if self.scored:
            self._draw_score(sheet, x, y, place)
            y += ROW
        if self.compared:
            self._draw_strength(sheet, x, y, place)
            y += ROW
        if place.reason and place.labels is not None:
            ink, paper = (FAULT, FAULT_PAPER) if place.labels else (CLEAN, CLEAN_PAPER)
            _chip(sheet, x, y + 4, " and ".join(place.labels) or "no distortion", ink, paper, self.inner)
        for number, line in enumerate(self.reasons[place.index]):
            draw.text((x, y + 32 + LINE * number), line, SOFT, _font(SMALL), "la")

    def _draw_thumbnail(self, sheet, x, y, picture: Picture) -> None:
        width, height = self.thumbnail
        _rounded(sheet, (x, y, x + width, y + height), 4, WELL)
        image = _thumbnail(picture, self.thumbnail)
        sheet.paste(image, (x + (width - image.width) // 2, y + (height - image.height) // 2))

    def _draw_rank(self, sheet, x, y, mark: str, best: bool) -> None:
        size = max(36, math.ceil(_font(20).getlength(mark)) + 20)
        _rounded(sheet, (x + 8, y + 8, x + 8 + size, y + 44), 18, "#ffffff")
        _rounded(sheet, (x + 10, y + 10, x + 6 + size, y + 42), 16, SCORE if best else INK)
        ImageDraw.Draw(sheet).text((x + 8 + size / 2, y + 26), mark, "#ffffff", _font(20), "mm")

    def _draw_score(self, sheet, x, y, place: RankedPicture) -> None:
        left, right, middle = self._row(sheet, x, y, "score", f"{place.score:.0f} ±{place.spread:.0f}")

        def at(points: float) -> float:
            return left + (right - left) * min(max(points / 100, 0), 1)

        _rounded(sheet, (left, middle - 5, right, middle + 5), 5, TRACK)
        if at(place.score) - left >= 1:
            _rounded(sheet, (left, middle - 5, at(place.score), middle + 5), 5, SCORE)
        _interval(sheet, at(place.score - place.spread), at(place.score + place.spread), middle, SPREAD)

    def _draw_strength(self, sheet, x, y, place: RankedPicture) -> None:
        left, right, middle = self._row(sheet, x, y, "strength", f"{place.strength:+.2f}")

        def at(value: float) -> float:
            share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
            return left + 6 + (right - left - 12) * share

        _rounded(sheet, (left, middle - 1, right, middle + 1), 1, TRACK)
        _interval(sheet, at(place.low), at(place.high), middle, STRENGTH)
        dot = at(place.strength)
        _rounded(sheet, (dot - 6, middle - 6, dot + 6, middle + 6), 6, STRENGTH)

    def _row(self, sheet, x, y, label: str, value: str) -> tuple[int, int, int]:
        """Write what stands left and right of a bar; returns the bar's left, right and middle height."""
        draw, middle = ImageDraw.Draw(sheet), y + ROW // 2
        draw.text((x, middle), label, SOFT, _font(SMALL), "lm")
        draw.text((x + self.inner, middle), value, INK, _font(TEXT), "rm")
        return x + LABEL, x + self.inner - VALUE, middle


class _Paragraphs:
    """Wrapped lines of text below each other."""

    def __init__(self, width: int):
        self.width, self.lines, self.height = width, [], 0

    def add(self, text: str, size: int, colour: str) -> None:
        for line in _wrapped(text, _font(size), self.width, None):
            self.lines.append((self.height, line, size, colour))
            self.height += round(size * 1.4)

    def draw(self, sheet: Image.Image, x: int, y: int) -> None:
        for height, line, size, colour in self.lines:
            ImageDraw.Draw(sheet).text((x, y + height), line, colour, _font(size), "la")


# ---------------------------------------------------------------------- words


def _title(ranking: Ranking) -> str:
    count = len(ranking.pictures)
    return f"{count} pictures, best first" if count > 1 else "1 picture"


def _subtitle(ranking: Ranking) -> str:
    count = len(ranking.pictures)
    parts = []
    if count > MOST_SHOWN:
        parts.append(f"the best {MOST_SHOWN} are shown")
    if ranking.method == "score":
        parts.append("ordered by score")
    elif ranking.comparisons:
        parts.append(f"ordered by {ranking.comparisons} comparison{'s' * (ranking.comparisons != 1)} of two pictures")
        parts.append(f"the two orders of asking differ by {ranking.disagreement:.2f} on average")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _legend(ranking: Ranking, places: Sequence[RankedPicture]) -> list[str]:
    lines = []
    if places[0].score is not None:
        lines.append("score: 0 (worst) to 100 (flawless); the line is the standard deviation.")
    if ranking.method == "pairs":
        lines.append("strength: Bradley-Terry, in log odds, on one scale for all; the line is the 95 % interval.")
    if any(place.tied_with_next for place in places):
        lines.append('Pictures with the same rank (such as "2=") cannot be told apart.')
    return lines


def _wrapped(text: str, font, width: int, most: int | None) -> list[str]:
    """Lines that fit a width in pixels; what does not fit ``most`` lines ends in an ellipsis."""
    lines = []
    for word in printable(text).split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    if most is not None and len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
        while font.getlength(lines[-1] + "…") > width:
            lines[-1] = lines[-1][:-1]
        lines[-1] += "…"
    return [_shortened(line, font, width) for line in lines]


def _name_lines(name: str, width: int) -> list[str]:
    """A file name on one line, or broken anywhere into two; generated names often differ in their middle only."""
    font, end = _font(NAME), len(name)
    while font.getlength(name[:end]) > width:
        end -= 1
    return [name] if end == len(name) else [name[:end], _shortened(name[end:], font, width)]


def _shortened(text: str, font, width: int) -> str:
    """Takes from the middle what is too long: the end of a file name tells more than its middle."""
    if font.getlength(text) <= width:
        return text
    keep = len(text) - 1
    while keep > 2 and font.getlength(f"{text[: keep // 2]}…{text[-(keep - keep // 2) :]}") > width:
        keep -= 1
    return f"{text[: keep // 2]}…{text[-(keep - keep // 2) :]}"


# ---------------------------------------------------------------------- shapes


def _columns(count: int) -> int:
    return count if count <= 4 else 3 if count <= 6 else 4 if count <= 8 else 5 if count <= 20 else 6


def _thumbnail(picture: Picture, box: tuple[int, int]) -> Image.Image:
    """The picture as large as it fits; small ones are enlarged by whole factors, so that nothing is smoothed."""
    image = Image.fromarray(picture.rgb)
    share = min(box[0] / image.width, box[1] / image.height)
    if share >= 1:
        return image.resize((image.width * int(share), image.height * int(share)), Image.Resampling.NEAREST)
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def _interval(sheet: Image.Image, left: float, right: float, middle: float, colour: str) -> None:
    """A horizontal line with end caps."""
    _rounded(sheet, (left, middle - 1, right, middle + 1), 1, colour)
    for end in (left, right):
        _rounded(sheet, (end - 1, middle - 5, end + 1, middle + 5), 1, colour)


def _chip(sheet: Image.Image, x: int, y: int, text: str, ink: str, paper: str, most: int) -> None:
    font = _font(SMALL)
    text = _shortened(text, font, most - 18)
    _rounded(sheet, (x, y, x + font.getlength(text) + 18, y + 24), 12, paper)
    ImageDraw.Draw(sheet).text((x + 9, y + 12), text, ink, font, "lm")


def _rounded(sheet: Image.Image, box: tuple[float, float, float, float], radius: float, colour: str) -> None:
    """A filled rounded rectangle with smooth edges, at quarter pixels."""
    left, top = math.floor(box[0]), math.floor(box[1])
    inside = tuple(round(FINE * (side - start)) for side, start in zip(box, (left, top, left, top)))
    sheet.paste(ImageColor.getrgb(colour), (left, top), _mask(inside, round(FINE * radius)))


@functools.lru_cache(maxsize=256)
def _mask(inside: tuple[int, int, int, int], radius: int) -> Image.Image:
    size = (max(1, math.ceil(inside[2] / FINE)), max(1, math.ceil(inside[3] / FINE)))  # an interval can have no length
    mask = Image.new("L", (size[0] * FINE, size[1] * FINE))
    box = (inside[0], inside[1], max(inside[2] - 1, inside[0]), max(inside[3] - 1, inside[1]))
    ImageDraw.Draw(mask).rounded_rectangle(box, radius, 255)
    return mask.resize(size, Image.Resampling.BOX)


@functools.lru_cache(maxsize=8)
def _font(size: int):
    return ImageFont.load_default(size)
