"""Charts drawn with Pillow: one row per image or label on a common axis, and a win rate matrix."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from ..errors import TaskError
from ..images.image import RGBImage
from ..results import Leaderboard, Standing
from . import drawing
from .drawing import INK, MARGIN, SOFT, Paragraphs, rounded, shortened, write
from .sheets import Judged
from .text import leaderboard_notes, rank_marks
from .text_table import printable

ROW, PLOT, NAME_WIDTH, THUMBNAIL, MARK, GAP, CELL = 44, 460, 260, 60, 48, 18, 74
MOST_MATRIX = 12
"""Maximum number of labels for which a leaderboard has a win rate matrix."""
# of a share from 0 over one half to 1; readable with color blindness
WEAK, EVEN, STRONG = "#d9622b", "#eef0f4", "#2f6fd6"


@dataclass(frozen=True)
class Row:
    """One row of a chart: ``at`` with its interval ``low`` to ``high`` on the axis, and text next to it."""

    name: str
    at: float | None
    low: float
    high: float
    words: tuple[str, ...]
    mark: str = ""
    best: bool = False
    picture: RGBImage | None = None


@dataclass(frozen=True)
class Axis:
    """The scale of a chart, with a line at every tick; bars start at ``base``, or dots are drawn if it is None."""

    name: str
    low: float
    high: float
    ticks: tuple[float, ...]
    base: float | None = None


def row_chart(
    title: str, subtitle: str, rows: Sequence[Row], axis: Axis, columns: Sequence[str], notes: Sequence[str]
) -> Image.Image:
    """Draw a chart: rows on one axis; ``columns`` are the headings of their texts."""
    names = min(NAME_WIDTH, max(math.ceil(_width(row.name, drawing.NAME)) for row in rows) + 4)
    pictured = any(row.picture is not None for row in rows)
    widths = [
        math.ceil(max(_width(heading, drawing.SMALL), *(_width(row.words[i], drawing.TEXT) for row in rows)))
        for i, heading in enumerate(columns)
    ]
    plot = MARGIN + MARK + (THUMBNAIL + GAP) * pictured + names + GAP
    inner = plot + PLOT + sum(width + GAP for width in widths) - MARGIN
    head, foot = Paragraphs(inner), Paragraphs(inner)
    head.add(title, drawing.TITLE, INK)
    head.add(subtitle, drawing.TEXT, SOFT)
    for note in notes:
        foot.add(note, drawing.SMALL, SOFT)
    top = MARGIN + head.height + 2 * GAP + 24
    height = ROW + 12 * pictured
    bottom = top + height * len(rows)
    sheet = Image.new("RGB", (inner + 2 * MARGIN, bottom + 2 * GAP + 12 + foot.height + MARGIN), drawing.PAPER)
    draw = drawing.on(sheet)
    head.draw(sheet, MARGIN, MARGIN)
    foot.draw(sheet, MARGIN, bottom + 2 * GAP + 12)
    rounded(sheet, (MARGIN - 12, top - 2, MARGIN + inner + 12, bottom + 2), 10, drawing.EDGE)
    rounded(sheet, (MARGIN - 11, top - 1, MARGIN + inner + 11, bottom + 1), 9, drawing.CARD)

    def x_of(value: float) -> float:
        return plot + 8 + (PLOT - 16) * min(max((value - axis.low) / (axis.high - axis.low), 0), 1)

    write(sheet, (plot + PLOT / 2, top - 20), axis.name, drawing.SMALL, SOFT, "mm")
    for tick in axis.ticks:
        draw.line((x_of(tick), top + 2, x_of(tick), bottom - 3), drawing.EDGE if tick else "#b9c0ca", 1)
        write(sheet, (x_of(tick), bottom + 14), f"{tick:g}", drawing.SMALL, SOFT, "mm")
    ends = [plot + PLOT + sum(width + GAP for width in widths[: i + 1]) for i in range(len(widths))]
    for heading, end in zip(columns, ends):
        write(sheet, (end, top - 20), heading, drawing.SMALL, SOFT, "rm")
    for number, row in enumerate(rows):
        middle = top + height * number + height // 2
        if number:
            draw.line((MARGIN, top + height * number, MARGIN + inner, top + height * number), drawing.WELL, 1)
        _draw_mark(sheet, MARGIN + MARK // 2 - 6, middle, row)
        left = MARGIN + MARK
        if pictured:
            if row.picture is not None:
                drawing.framed(sheet, left, middle - height // 2 + 4, (THUMBNAIL, height - 8), row.picture)
            left += THUMBNAIL + GAP
        write(sheet, (left, middle), shortened(printable(row.name), drawing.NAME, names), 17, INK, "lm")
        if row.at is not None:
            _draw_value(sheet, x_of, middle, row.at, row, axis)
        for word, end in zip(row.words, ends):
            write(sheet, (end, middle), word, drawing.TEXT, INK, "rm")
    return sheet


def leaderboard_chart(board: Leaderboard) -> Image.Image:
    """Draw a leaderboard: strengths with their intervals, and (for few labels) the win rate matrix."""
    rows = [_standing_row(s, mark) for s, mark in zip(board.standings, rank_marks(board.standings))]
    compared = [row for row in rows if row.at is not None]
    low, high = min(row.low for row in compared), max(row.high for row in compared)
    ticks = round_ticks(low, high)
    axis = Axis("strength (log odds) with its 95 % interval", min(low, ticks[0]), max(high, ticks[-1]), ticks)
    title = f"{len(compared)} compared, best first"
    subtitle = " ".join(leaderboard_notes(board)[:1])
    chart = row_chart(title, subtitle, rows, axis, ("win rate", "won-tied-lost"), leaderboard_notes(board)[1:])
    if len(rows) > MOST_MATRIX:
        return chart
    matrix = _matrix(board, chart.width)
    page = Image.new("RGB", (chart.width, chart.height + matrix.height), drawing.PAPER)
    page.paste(chart, (0, 0))
    page.paste(matrix, (0, chart.height))
    return page


def quality_charts(entries: Sequence[Judged], per_page: int = 40, order: str = "") -> list[Image.Image]:
    """Draw bar charts: one row per image with its score, distortion and confidence.

    Args:
        entries: the images with their answers.
        per_page: maximum number of rows per page.
        order: the order in the header, such as "best first".

    Returns:
        RGB images of one size, one per page.

    Raises:
        TaskError: nothing to show.
    """
    if not entries:
        raise TaskError("there are no images to put on a chart")
    rows = [_judged_row(entry, number) for number, entry in enumerate(entries, start=1)]
    pages = [rows[start : start + per_page] for start in range(0, len(rows), per_page)]
    axis = Axis("score; the line is the standard deviation of its levels", 0, 100, (0, 25, 50, 75, 100), base=0)
    title = f"{len(rows)} image{'s' * (len(rows) != 1)}"
    drawn = []
    for number, page in enumerate(pages, start=1):
        subtitle = "; ".join([f"Page {number} of {len(pages)}"] * (len(pages) > 1) + [order] * bool(order))
        notes = ["Score: 0 (worst) to 100 (flawless). The distortions found, with the probability of that answer."]
        drawn.append(row_chart(title, subtitle, page, axis, ("score", "distortion", "confidence"), notes))
    size = max(page.width for page in drawn), max(page.height for page in drawn)
    return [drawing.extended(page, size) for page in drawn]


def _standing_row(standing: Standing, mark: str) -> Row:
    s = standing
    if s.rank is None:
        return Row(s.label, None, 0.0, 0.0, ("-", "not compared"), mark)
    return Row(s.label, s.strength, s.low, s.high, (f"{s.win_share:.0%}", _record(s)), mark, s.rank == 1)


def _record(standing: Standing) -> str:
    return f"{standing.wins}-{standing.ties}-{standing.losses}"


def _judged_row(entry: Judged, number: int) -> Row:
    score, found = entry.score, entry.found
    if score is None:
        at, low, high, words = None, 0.0, 0.0, ["-"]
    else:
        at, low, high = score.score, score.score - score.spread, score.score + score.spread
        words = [f"{at:.1f} ±{score.spread:.0f}"]
    words += ["-", "-"] if found is None else [" and ".join(found.labels) or "none", f"{found.confidence:.0%}"]
    return Row(entry.name, at, low, high, tuple(words), str(number), False, entry.picture)


def _draw_mark(sheet: Image.Image, middle_x: float, middle: float, row: Row) -> None:
    width = max(32, math.ceil(_width(row.mark, 17)) + 16)
    box = (middle_x - width / 2, middle - 16, middle_x + width / 2, middle + 16)
    rounded(sheet, box, 16, drawing.SCORE if row.best else INK)
    write(sheet, (middle_x, middle), row.mark, 17, "#ffffff", "mm")


def _draw_value(
    sheet: Image.Image, x_of: Callable[[float], float], middle: float, value: float, row: Row, axis: Axis
) -> None:
    at = x_of(value)
    if axis.base is None:
        drawing.interval(sheet, x_of(row.low), x_of(row.high), middle, drawing.STRENGTH)
        rounded(sheet, (at - 7, middle - 7, at + 7, middle + 7), 7, drawing.STRENGTH)
    else:
        if at - x_of(axis.base) >= 1:
            rounded(sheet, (x_of(axis.base), middle - 8, at, middle + 8), 4, drawing.SCORE)
        drawing.interval(sheet, x_of(row.low), x_of(row.high), middle, drawing.SPREAD)


def _matrix(board: Leaderboard, width: int) -> Image.Image:
    """Draw the win rate matrix: the win rate of the label of a row against the label of a column."""
    names = [printable(standing.label) for standing in board.standings]
    marks = rank_marks(board.standings)
    left = min(NAME_WIDTH, max(math.ceil(_width(name, drawing.TEXT)) for name in names)) + MARK + GAP
    cell = min(CELL, (width - 2 * MARGIN - left) // len(names))
    high = 34
    sheet = Image.new("RGB", (width, 66 + high * len(names) + MARGIN), drawing.PAPER)
    write(
        sheet, (MARGIN, 12), "Win rate of the label in the row against the label in the column", drawing.NAME, INK, "lm"
    )
    for i, name in enumerate(names):
        middle = 58 + high * i + high // 2
        write(sheet, (MARGIN + MARK - 14, middle), marks[i], drawing.TEXT, SOFT, "rm")
        write(sheet, (MARGIN + MARK, middle), shortened(name, drawing.TEXT, NAME_WIDTH), 15, INK, "lm")
        write(sheet, (MARGIN + left + cell * (i + 0.5), 44), marks[i], drawing.TEXT, SOFT, "mm")
        for j, share in enumerate(board.shares[i]):
            x = MARGIN + left + cell * j
            box = (x + 1, middle - high // 2 + 1, x + cell - 1, middle + high // 2 - 1)
            rounded(sheet, box, 4, drawing.CARD if share is None else _blend(share))
            text = "" if i == j else "-" if share is None else f"{share:.0%}"
            write(sheet, (x + cell / 2, middle), text, drawing.SMALL, INK, "mm")
    return sheet


def _blend(share: float) -> str:
    """Return the color of a share 0..1."""
    end = drawing.rgb(STRONG if share > 0.5 else WEAK)
    part = min(1, 1.4 * abs(share - 0.5))  # never the full color: the number on it must stay readable
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(drawing.rgb(EVEN), end))


def round_ticks(low: float, high: float) -> tuple[float, ...]:
    """Return about five round numbers from at most ``low`` to at least ``high``."""
    raw = max(high - low, 1e-6) / 5
    step = next(s for s in (m * 10.0**e for e in range(-7, 7) for m in (1, 2, 5)) if s >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return tuple(round(step * i, 9) for i in range(first, last + 1))


def _width(text: str, size: int) -> float:
    return drawing.width(printable(text), size)
