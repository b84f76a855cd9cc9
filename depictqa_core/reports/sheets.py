"""Contact sheets of judged images: a ranking on one page, or any number of images on several pages."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ..calibration import CALIBRATED
from ..checks import check
from ..errors import TaskError
from ..images.image import RGBImage
from ..results import Identification, RankedImage, Ranking, Score
from . import drawing
from .drawing import INK, MARGIN, SOFT, Paragraphs, rounded, write
from .text import pairs_asked, rank_marks
from .text_table import common_folder, printable

MOST_SHOWN = 200
"""Maximum number of images on a sheet; of a longer ranking the best are shown, with a note."""


@dataclass(frozen=True)
class Judged:
    """One image of a quality sheet with its caption and its results; ``score`` and ``found`` may be None."""

    picture: RGBImage
    name: str
    score: Score | None = None
    found: Identification | None = None


def ranking_sheet(ranking: Ranking, pictures: Sequence[RGBImage]) -> Image.Image:
    """Draw a ranking.

    Args:
        ranking: the result of ``Judge.rank``.
        pictures: all ranked images, in their input order.

    Returns:
        An RGB image with one card per image, best first, row by row.

    Raises:
        TaskError: the number of images differs from the ranking.
    """
    places = ranking.pictures[:MOST_SHOWN]
    if len(pictures) != len(ranking.pictures) or not places:
        raise TaskError(f"a sheet of {len(ranking.pictures)} ranked images cannot be made from {len(pictures)}")
    low, high = min(place.low for place in places), max(place.high for place in places)
    cards = [
        _ranked_card(pictures[place.index], place, mark, low, high, ranking.method)
        for place, mark in zip(places, rank_marks(ranking.pictures))
    ]
    title = f"{len(pictures)} images, best first" if len(pictures) > 1 else "1 image"
    return _page(cards, _LARGE, _columns(len(cards), _LARGE), title, _subtitle(ranking), _legend(ranking, places))


def quality_sheets(entries: Sequence[Judged], per_page: int = 40, order: str = "") -> list[Image.Image]:
    """Draw contact sheets of judged images, in the given order; the more images on a page, the smaller the cards.

    Args:
        entries: the images with their answers.
        per_page: maximum number of images per page, 1 to ``MOST_SHOWN``.
        order: the order in the header, such as "best first".

    Returns:
        RGB images of one size, one per page.

    Raises:
        TaskError: nothing to show, or an impossible ``per_page``.
    """
    if not entries:
        raise TaskError("there are no images to put on a sheet")
    check(per_page=per_page)
    if not 1 <= per_page <= MOST_SHOWN:
        raise TaskError(f"{per_page} images on a page is not possible: choose 1 to {MOST_SHOWN}")
    cards = [_judged_card(entry, number) for number, entry in enumerate(entries, start=1)]
    pages = [cards[start : start + per_page] for start in range(0, len(cards), per_page)]
    size = _LARGE if len(pages[0]) <= 12 else _MEDIUM if len(pages[0]) <= 40 else _SMALL
    columns = _columns(len(pages[0]), size)
    title = f"{len(cards)} images" if len(cards) > 1 else "1 image"
    scores = [entry.score.score for entry in entries if entry.score is not None]
    legend = ["score: 0 (worst) to 100 (flawless), with its standard deviation."] if scores else []
    if any(entry.found is not None for entry in entries):
        legend.append("The distortions found, with the probability of that answer.")
    drawn = []
    for number, page in enumerate(pages, start=1):
        facts = [f"page {number} of {len(pages)}"] * (len(pages) > 1) + [order] * bool(order)
        if len(scores) > 1:
            facts.append(f"scores {min(scores):.0f} to {max(scores):.0f}, median {statistics.median(scores):.0f}")
        drawn.append(_page(page, size, columns, title, _sentence(facts), legend))
    return [drawing.extended(page, (page.width, max(page.height for page in drawn))) for page in drawn]


# ---------------------------------------------------------------------- cards


@dataclass(frozen=True)
class _Size:
    """Sizes of a card in pixels; bars have names if ``label`` has space, reasons have up to ``notes`` lines."""

    width: int
    name: int
    text: int
    small: int
    row: int
    label: int
    value: int
    pad: int
    gap: int
    notes: int
    columns: int  # at most


_LARGE = _Size(320, drawing.NAME, drawing.TEXT, drawing.SMALL, 26, 68, 74, 12, 20, 3, 6)
_MEDIUM = _Size(216, 13, 13, 12, 22, 0, 58, 9, 14, 0, 9)
_SMALL = _Size(160, 12, 12, 11, 20, 0, 52, 7, 10, 0, 15)


@dataclass(frozen=True)
class _Bar:
    """A value on a scale, all in shares 0..1 of it: a filled bar or a dot, with its interval."""

    label: str
    value: str
    at: float
    low: float
    high: float
    filled: bool


@dataclass(frozen=True)
class _Card:
    """One image with a mark over it (its rank) and the texts below it; ``chip`` is (text, whether it is good)."""

    picture: RGBImage
    name: str
    mark: str
    best: bool
    bars: tuple[_Bar, ...]
    chip: tuple[str, bool] | None
    note: str = ""


def _ranked_card(picture: RGBImage, place: RankedImage, mark: str, low: float, high: float, method: str) -> _Card:
    bars = []
    if place.score is not None and place.spread is not None:
        bars.append(_score_bar(place.score, place.spread))
    if method == "pairs" and place.low < place.high:  # a single image was not compared
        at, start, end = ((value - low) / (high - low) for value in _bounds(place))
        bars.append(_Bar("strength", f"{place.strength:+.2f}", at, start, end, filled=False))
    chip = None
    if place.reason and place.labels is not None:
        chip = (" and ".join(place.labels) or "no distortion", not place.labels)
    return _Card(picture, place.picture, mark, place.rank == 1, tuple(bars), chip, place.reason)


def _bounds(place: RankedImage) -> tuple[float, float, float]:
    return place.strength, place.low, place.high


def _judged_card(entry: Judged, number: int) -> _Card:
    bars = () if entry.score is None else (_score_bar(entry.score.score, entry.score.spread),)
    chip = None
    if entry.found is not None:
        words = f"{' and '.join(entry.found.labels) or 'no distortion'} {entry.found.confidence:.0%}"
        chip = (words, not entry.found.labels)
    return _Card(entry.picture, entry.name, str(number), False, bars, chip)


def _score_bar(score: float, spread: float) -> _Bar:
    at, low, high = (min(max(points / 100, 0), 1) for points in (score, score - spread, score + spread))
    return _Bar("score", f"{score:.0f} ±{spread:.0f}", at, low, high, filled=True)


class _Cards:
    """The cards of one page, all of one size."""

    def __init__(self, cards: Sequence[_Card], size: _Size, width: int):
        self.size, self.width, self.inner = size, width, width - 2 * size.pad
        prefix = len(common_folder([card.name for card in cards]))
        self.names = {
            id(card): drawing.name_lines(printable(card.name[prefix:]), size.name, self.inner) for card in cards
        }
        self.name_line = round(size.name * 1.4)
        aspect = statistics.median(card.picture.width / card.picture.height for card in cards)
        self.thumbnail = (self.inner, round(self.inner / min(max(aspect, 0.8), 1.7)))
        self.notes = {
            id(card): drawing.wrapped(card.note, size.small, self.inner, size.notes) if size.notes else []
            for card in cards
        }
        self.note_line = round(size.small * 1.36)
        chips = any(card.chip for card in cards) or any(self.notes.values())
        self.height = 2 * size.pad + self.thumbnail[1] + 10 + self.name_line * max(map(len, self.names.values())) + 4
        self.name_height = self.height - 2 * size.pad - self.thumbnail[1] - 10
        self.height += size.row * max(len(card.bars) for card in cards)
        self.height += (size.small + 18) * chips + self.note_line * max(map(len, self.notes.values()))

    def draw(self, sheet: Image.Image, x: int, y: int, card: _Card) -> None:
        size = self.size
        rounded(sheet, (x, y, x + self.width, y + self.height), 10, drawing.EDGE)
        rounded(sheet, (x + 1, y + 1, x + self.width - 1, y + self.height - 1), 9, drawing.CARD)
        x, y = x + size.pad, y + size.pad
        drawing.framed(sheet, x, y, self.thumbnail, card.picture)
        self._draw_mark(sheet, x, y, card)
        y += self.thumbnail[1] + 10
        for number, line in enumerate(self.names[id(card)]):
            write(sheet, (x, y + self.name_line * (number + 0.5)), line, size.name, INK, "lm")
        y += self.name_height
        for bar in card.bars:
            self._draw_bar(sheet, x, y, bar)
            y += size.row
        if card.chip:
            text, good = card.chip
            colours = (drawing.CLEAN, drawing.CLEAN_PAPER) if good else (drawing.FAULT, drawing.FAULT_PAPER)
            drawing.chip(sheet, x, y + 4, text, *colours, self.inner, size.small)
        for number, line in enumerate(self.notes[id(card)]):
            write(sheet, (x, y + size.small + 18 + self.note_line * number), line, size.small, SOFT, "la")

    def _draw_mark(self, sheet: Image.Image, x: float, y: float, card: _Card) -> None:
        size, height = self.size.name + 3, 2 * self.size.name + 2
        width = max(height, math.ceil(drawing.width(card.mark, size)) + 20)
        rounded(sheet, (x + 8, y + 8, x + 8 + width, y + 8 + height), height / 2, "#ffffff")
        inside = (x + 10, y + 10, x + 6 + width, y + 6 + height)
        rounded(sheet, inside, height / 2 - 2, drawing.SCORE if card.best else INK)
        write(sheet, (x + 8 + width / 2, y + 8 + height / 2), card.mark, size, "#ffffff", "mm")

    def _draw_bar(self, sheet: Image.Image, x: float, y: float, bar: _Bar) -> None:
        size, middle = self.size, y + self.size.row // 2
        if size.label:
            write(sheet, (x, middle), bar.label, size.small, SOFT, "lm")
        write(sheet, (x + self.inner, middle), bar.value, size.text, INK, "rm")
        left, right, half = x + size.label, x + self.inner - size.value, size.row // 5
        if bar.filled:
            at, low, high = (left + (right - left) * share for share in (bar.at, bar.low, bar.high))
            rounded(sheet, (left, middle - half, right, middle + half), half, drawing.TRACK)
            if at - left >= 1:
                rounded(sheet, (left, middle - half, at, middle + half), half, drawing.SCORE)
            drawing.interval(sheet, low, high, middle, drawing.SPREAD)
        else:
            at, low, high = (left + 6 + (right - left - 12) * share for share in (bar.at, bar.low, bar.high))
            rounded(sheet, (left, middle - 1, right, middle + 1), 1, drawing.TRACK)
            drawing.interval(sheet, low, high, middle, drawing.STRENGTH)
            rounded(sheet, (at - 6, middle - 6, at + 6, middle + 6), 6, drawing.STRENGTH)


# ---------------------------------------------------------------------- pages


def _page(
    cards: Sequence[_Card], size: _Size, columns: int, title: str, subtitle: str, legend: Sequence[str]
) -> Image.Image:
    width = size.width + 40 if columns == 1 else size.width
    drawn = _Cards(cards, size, width)
    inner = columns * width + (columns - 1) * size.gap
    head, foot = Paragraphs(inner), Paragraphs(inner)
    head.add(title, drawing.TITLE, INK)
    head.add(subtitle, drawing.TEXT, SOFT)
    for text in legend:
        foot.add(text, drawing.SMALL, SOFT)
    top = MARGIN + head.height + _LARGE.gap
    bottom = top + math.ceil(len(cards) / columns) * (drawn.height + size.gap)
    sheet = Image.new("RGB", (inner + 2 * MARGIN, bottom + foot.height + MARGIN), drawing.PAPER)
    head.draw(sheet, MARGIN, MARGIN)
    for number, card in enumerate(cards):
        row, column = divmod(number, columns)
        drawn.draw(sheet, MARGIN + column * (width + size.gap), top + row * (drawn.height + size.gap), card)
    foot.draw(sheet, MARGIN, bottom)
    return sheet


def _columns(count: int, size: _Size) -> int:
    """Return the number of columns: a page is slightly wider than high; up to four cards are in one row."""
    return count if count <= 4 else min(size.columns, math.ceil(math.sqrt(1.4 * count)))


def _subtitle(ranking: Ranking) -> str:
    count = len(ranking.pictures)
    parts = []
    if count > MOST_SHOWN:
        parts.append(f"the best {MOST_SHOWN} are shown")
    if ranking.method == "score":
        parts.append("ordered by score")
    elif ranking.comparisons:
        parts.append(pairs_asked(ranking))
        parts.append(f"the two orders (A/B and B/A) differ by {ranking.disagreement:.2f} on average")
    return _sentence(parts)


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _legend(ranking: Ranking, places: Sequence[RankedImage]) -> list[str]:
    lines = []
    if places[0].score is not None:
        lines.append("score: 0 (worst) to 100 (flawless); the line is the standard deviation of its levels.")
    if ranking.comparisons:
        lines.append("strength: Bradley-Terry, in log odds, on one scale for all; the line is the 95 % interval.")
    if any(place.tied_with_next for place in places):
        certainty = "certainty" if ranking.certainty == CALIBRATED else "self-consistency of the judge"
        lines.append(f"rank: 1 + the number of images that are better with 95 % {certainty}.")
        lines.append('Images with the same rank (such as "2=") are tied.')
    return lines
