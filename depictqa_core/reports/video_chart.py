"""The chart of a video: scores over time, the worst segment, and the brightness of every frame."""

from collections.abc import Callable, Sequence

from PIL import Image

from ..video.timeline import SEGMENT_SECONDS, Segment, VideoScores
from . import drawing
from .charts import round_ticks
from .drawing import FINE, INK, MARGIN, SOFT, Paragraphs, rounded, write

PLOT, SCORES, BRIGHTNESS, AXIS, GAP = 960, 260, 70, 44, 18
FRAME = (232, 132)
"""Size in pixels of the two frames next to the title."""
BAND, WORST, LIGHT = "#dbe6f8", "#fbe1da", "#8a6d1f"
Point = tuple[float, float]


def video_chart(judged: VideoScores, length: float = SEGMENT_SECONDS) -> Image.Image:
    """Draw the scores of a video over time.

    Args:
        judged: the answers.
        length: of the worst segment in seconds.

    Returns:
        An RGB image, about 1100 x 650 pixels.
    """
    segment = judged.worst_segment(length)
    head, foot = Paragraphs(PLOT - 2 * (FRAME[0] + GAP)), Paragraphs(PLOT)
    head.add(judged.name, drawing.TITLE, INK)
    for line in summary_lines(judged, segment):
        head.add(line, drawing.TEXT, SOFT)
    for note in NOTES:
        foot.add(note, drawing.SMALL, SOFT)
    top = MARGIN + max(head.height, FRAME[1] + 24) + GAP
    below = top + SCORES + GAP
    bottom = below + BRIGHTNESS
    width = AXIS + PLOT + 2 * MARGIN
    sheet = Image.new("RGB", (width, bottom + 50 + foot.height + MARGIN), drawing.PAPER)
    head.draw(sheet, MARGIN, MARGIN)
    _draw_frames(sheet, width - MARGIN, judged)
    foot.draw(sheet, MARGIN, bottom + 50)
    left = MARGIN + AXIS
    ticks = round_ticks(0, max(judged.duration, 0.01))
    scores = _Plot(sheet, (left, top), SCORES, judged.duration, ticks)
    scores.shade(segment.start, segment.end, WORST)
    scores.band([(f.seconds, f.score.low, f.score.high) for f in judged.frames], BAND)
    scores.grid((0, 25, 50, 75, 100), "score")
    scores.line(list(zip(judged.seconds, judged.scores)), drawing.SCORE, 3)
    if len(judged.frames) <= PLOT // 12:
        scores.dots(list(zip(judged.seconds, judged.scores)), drawing.SCORE)
    light = _Plot(sheet, (left, below), BRIGHTNESS, judged.duration, ticks)
    light.grid((0, 50, 100), "brightness")
    light.line(_brightness_points(judged), LIGHT, 1.5)
    for tick in ticks:
        if tick <= judged.duration:
            write(sheet, (light.x(tick), bottom + 12), f"{tick:g}", drawing.SMALL, SOFT, "mm")
    write(sheet, (left + PLOT / 2, bottom + 30), "seconds", drawing.SMALL, SOFT, "mm")
    return sheet


NOTES = (
    "Score: 0 (worst) to 100 (flawless), with its interval. Red: the worst segment. Brightness: mean of every frame, 0 "
    "to 100.",
    "Score change: mean difference of neighbouring judged frames. Brightness flicker: mean difference of a frame's "
    "brightness from the average of the frames before and after it.",
)


def summary_lines(judged: VideoScores, segment: Segment) -> list[str]:
    """Return what is known of the whole video, as lines of text."""
    count, best, worst = len(judged.frames), judged.best_frame, judged.worst_frame
    return [
        f"{count} of {len(judged.brightnesses)} frames judged, {judged.duration:.2f} s",
        f"mean score {judged.mean_score:.1f}; best {best.score.score:.1f} at {best.seconds:.2f} s, worst "
        f"{worst.score.score:.1f} at {worst.seconds:.2f} s",
        f"worst segment {segment.start:.2f} to {segment.end:.2f} s: {segment.score:.1f}",
        f"score change {judged.score_change:.1f} points; brightness flicker {judged.brightness_flicker:.2f} %",
    ]


def _draw_frames(sheet: Image.Image, right: int, judged: VideoScores) -> None:
    """Draw the best and the worst frame with their times, in the upper right corner."""
    places = (("best", judged.best_frame, judged.best, 2), ("worst", judged.worst_frame, judged.worst, 1))
    for word, frame, image, place in places:
        x = right - place * FRAME[0] - (place - 1) * GAP
        drawing.framed(sheet, x, MARGIN, FRAME, image)
        text = f"{word}: {frame.score.score:.1f} at {frame.seconds:.2f} s"
        write(sheet, (x + FRAME[0] / 2, MARGIN + FRAME[1] + 14), text, drawing.SMALL, INK, "mm")


def _brightness_points(judged: VideoScores) -> list[Point]:
    """The brightness over time: of many frames, the darkest and the brightest of each step of the plot."""
    values = judged.brightnesses
    step = judged.duration / len(values)
    each = max(1, 2 * len(values) // PLOT)
    points: list[Point] = []
    for start in range(0, len(values), each):
        some = values[start : start + each]
        points += [(start * step, value) for value in ((min(some), max(some)) if each > 1 else some)]
    return points


class _Plot:
    """A plot on a sheet: time from left to right, 0 to 100 from bottom to top."""

    def __init__(
        self, sheet: Image.Image, corner: tuple[int, int], height: int, duration: float, ticks: Sequence[float]
    ):
        self.sheet, self.left, self.top, self.height = sheet, *corner, height
        self.duration, self.ticks = max(duration, 1e-6), ticks
        box = (self.left, self.top, self.left + PLOT, self.top + height)
        rounded(sheet, box, 6, drawing.CARD)

    def x(self, seconds: float) -> float:
        return self.left + PLOT * min(max(seconds / self.duration, 0), 1)

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - min(max(value / 100, 0), 1))

    def shade(self, start: float, end: float, colour: str) -> None:
        """Color a stretch of time."""
        box = (self.x(start), self.top, max(self.x(end), self.x(start) + 2), self.top + self.height)
        drawing.on(self.sheet).rectangle(box, colour)

    def band(self, rows: Sequence[tuple[float, float, float]], colour: str) -> None:
        """Color the range between two values of each time."""
        if len(rows) > 1:
            upper = [(time, high) for time, _, high in rows]
            lower = [(time, low) for time, low, _ in reversed(rows)]
            points = [(FINE * x, FINE * y) for x, y in self._inside(upper + lower)]
            self._paste(lambda mask: drawing.on(mask).polygon(points, 150), colour)

    def grid(self, values: Sequence[float], name: str) -> None:
        """Draw lines at values and ticks, and the values with the name of the plot."""
        draw = drawing.on(self.sheet)
        for value in values:
            draw.line((self.left, self.y(value), self.left + PLOT, self.y(value)), drawing.EDGE, 1)
            write(self.sheet, (self.left - 6, self.y(value)), f"{value:g}", drawing.SMALL, SOFT, "rm")
        for tick in self.ticks:
            if tick <= self.duration:
                draw.line((self.x(tick), self.top, self.x(tick), self.top + self.height), drawing.WELL, 1)
        write(self.sheet, (self.left + PLOT + 6 - GAP, self.top + 10), name, drawing.SMALL, SOFT, "rm")

    def line(self, points: Sequence[Point], colour: str, width: float) -> None:
        """Draw a line through (seconds, value)."""
        if len(points) > 1:
            fine = [(FINE * x, FINE * y) for x, y in self._inside(points)]
            self._paste(lambda mask: drawing.on(mask).line(fine, 255, round(FINE * width), joint="curve"), colour)

    def dots(self, points: Sequence[Point], colour: str) -> None:
        """Draw a dot at each (seconds, value)."""
        for time, value in points:
            x, y = self.x(time), self.y(value)
            rounded(self.sheet, (x - 4, y - 4, x + 4, y + 4), 4, colour)

    def _inside(self, points: Sequence[Point]) -> list[Point]:
        return [(self.x(time) - self.left, self.y(value) - self.top) for time, value in points]

    def _paste(self, draw: Callable[[Image.Image], object], colour: str) -> None:
        """Paste a color through what is drawn, with smooth edges."""
        mask = Image.new("L", (PLOT * FINE, self.height * FINE))
        draw(mask)
        self.sheet.paste(
            drawing.rgb(colour), (self.left, self.top), mask.resize((PLOT, self.height), Image.Resampling.BOX)
        )
