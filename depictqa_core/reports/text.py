"""What the command line shows and writes: aligned tables, JSON, CSV rows and a progress bar."""

import json
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence

from ..calibration import CALIBRATED
from ..confidence import reliable, uncovered
from ..ranking.bradley_terry import BUDGET, TOP_DECIDED, default_budget
from ..results import (
    Comparison,
    Description,
    Failure,
    Identification,
    Leaderboard,
    RankedPicture,
    Ranking,
    Score,
    Standing,
)
from ..storage.files import csv_line
from ..tasks import FAULTS, LABELS, LEVELS, NONE

# ---------------------------------------------------------------------- JSON and CSV


def json_text(task: str, checkpoint: str, results: list[dict], failures: Sequence[Failure] = (), **facts) -> str:
    """One JSON document, the same layout for every verb; equal answers give equal bytes.

    Args:
        task: the verb.
        checkpoint: name of the checkpoint that answered.
        results: the answers as dicts.
        failures: pictures that could not be judged.
        facts: what else is worth knowing about the whole; None values are left out.
    """
    facts = {key: value for key, value in facts.items() if value is not None}
    content = {"task": task, "checkpoint": checkpoint, **facts, "results": results}
    content["failures"] = [failure.to_dict() for failure in failures]
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def csv_text(results: list[dict], failures: Sequence[Failure] = (), left_out: Sequence[dict] = ()) -> str:
    """One row per answer, then one per failure, which fills the columns ``picture`` and ``error`` alone (the first is
    added where the answers are not about single pictures).

    Probabilities get a column per label; several labels, and their severities, are joined by " and "; a picture without
    distortions has the label "none". None is an empty cell, and text that would be a formula is marked as text
    (``storing.csv_cell``). Without answers, those ``left_out`` say the columns.
    """
    rows = [_row(result) for result in results] + [_row(failure.to_dict()) for failure in failures]
    columns = next((list(_row(answer)) for answer in (*results, *left_out)), [])
    if "picture" not in columns and (failures or not columns):
        columns.append("picture")
    columns = [*columns, "error"]
    return csv_line(columns) + "".join(csv_line(row.get(column) for column in columns) for row in rows)


def _row(result: dict) -> dict:
    row = {}
    for key, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            probability = {item["label"]: item["probability"] for item in value}
            row |= {label: probability[label] for label in (*LABELS, *LEVELS, *FAULTS) if label in probability}
        elif isinstance(value, list):
            row[key] = " and ".join(map(str, value)) or (NONE if key == "labels" else None)
        else:
            row[key] = value
    return row


# ---------------------------------------------------------------------- tables


NOT_CALIBRATED = "Certainty is the judge's self-consistency: this checkpoint is not calibrated for this question."
UNCERTAIN, UNRELIABLE = "uncertain: ", "unreliable: "
"""Stand before what has less confidence than asked for, and before what has too little coverage at any confidence; such
answers are shown all the same."""


def _marked(text: str, confidence: float | None, minimum: float, coverage: float | None = None) -> str:
    if uncovered(coverage):
        return UNRELIABLE + text
    return text if reliable(confidence, minimum) else UNCERTAIN + text


def identification_table(results: Sequence[Identification], width: int | None = None, minimum: float = 0.0) -> str:
    """One line per picture: the distortions, how sure that is, and the likeliest other one.

    ``minimum``, here and below, is the confidence under which answers are marked as uncertain.
    """
    rows = []
    for result in results:
        other = next(p for p in result.probabilities if p.label not in (result.labels or (NONE,)))
        labels = _marked(" and ".join(result.labels) or NONE, result.confidence, minimum, result.coverage)
        faults = ", ".join(f"{fault.label} {fault.probability:.2f}" for fault in result.probable_faults)
        otherwise = f"{other.label} {other.probability:.2f}"
        rows.append([result.picture, labels, f"{result.confidence:.2f}", otherwise, faults])
    heads, alignment = ["picture", "distortion", _certainty(results), "otherwise", "faults"], "<<><<"
    if not any(row[-1] for row in rows):  # most images have none
        heads, alignment, rows = heads[:-1], alignment[:-1], [row[:-1] for row in rows]
    return table(heads, rows, alignment, width, shrink=0)


def score_table(results: Sequence[Score], width: int | None = None, minimum: float = 0.0) -> str:
    """One line per picture: the score with its interval, and the most probable level."""
    rows = []
    for result in results:
        level = max(result.levels, key=lambda item: item.probability).label
        level = _marked(level, result.confidence, minimum, result.coverage)
        interval = f"{result.low:.0f} .. {result.high:.0f}"
        rows.append([result.picture, f"{result.score:.1f}", interval, level, f"{result.confidence:.2f}"])
    return table(["picture", "score", "interval", "level", _certainty(results)], rows, "<>><>", width, shrink=0)


def _certainty(results: Sequence[Identification | Score]) -> str:
    """What the confidences of a table are: the heading of their column."""
    return "consistency" if not_calibrated(results) else "confidence"


def not_calibrated(results: Sequence) -> list[str]:
    """A line that says so where the certainty of a result was not measured on held-out images; else none."""
    return [NOT_CALIBRATED] * any(result.certainty != CALIBRATED for result in results)


def description_text(results: Sequence[Description], width: int | None = None, minimum: float = 0.0) -> str:
    """One paragraph per picture."""
    parts = []
    for result in results:
        sure = "no confidence" if result.confidence is None else f"confidence {result.confidence:.2f}"
        sure = _marked(sure, result.confidence, minimum, result.coverage)
        parts.append(f"{printable(result.picture)} ({sure})\n{_indented(result.text, width)}")
    return "\n\n".join(parts)


def comparison_text(result: Comparison, width: int | None = None, minimum: float = 0.0) -> str:
    """The two pictures with their probabilities, the verdict, and the words if there are any."""
    rows = [
        ["A", result.picture_a, f"{result.probability_a:.2f}"],
        ["B", result.picture_b, f"{1 - result.probability_a:.2f}"],
    ]
    verdict = "the two are tied" if result.verdict == "tie" else f"{result.verdict} is better"
    verdict = _marked(verdict, result.confidence, minimum, result.coverage)
    # the averaged probability is apart from each order's own by half of what these differ by
    contradict = abs(result.probability_a - 0.5) < result.disagreement / 2
    orders = "name different winners and differ" if contradict else "differ"
    lines = [
        table(["", "picture", "better"], rows, "<<>", width, shrink=1),
        f"{verdict}; the two orders of asking {orders} by {result.disagreement:.2f}",
    ]
    if result.text is not None:
        lines += ["", _indented(result.text, width)]
    return "\n".join(lines)


def ranking_table(ranking: Ranking, width: int | None = None, minimum: float = 0.0) -> str:
    """One line per picture, best first; "2=" marks pictures that share a rank.

    ``minimum`` is about the distortions that are given as reasons; how sure the order is, the intervals say.

    A terminal that is too narrow (``width`` in characters) gets names without the folder that all share, and if need be
    no intervals and no spreads.
    """
    places = ranking.pictures
    folder = common_folder([place.picture for place in places]) if width is not None else ""
    shown = {
        "rank": (">", rank_marks(places)),
        "score": (">", ["-" if place.score is None else f"{place.score:.1f}" for place in places]),
        "spread": (">", ["-" if place.spread is None else f"±{place.spread:.1f}" for place in places]),
        "strength": (">", [f"{place.strength:+.2f}" for place in places]),
        "95 % interval": (">", [_interval(place) if ranking.comparisons else "-" for place in places]),
        "picture": ("<", [printable(place.picture[len(folder) :]) for place in places]),
        "why": ("<", [_marked(place.reason, _confidence(place), minimum) for place in places]),
    }
    if ranking.method == "score":
        del shown["strength"], shown["95 % interval"]
    for column in ("95 % interval", "spread"):
        needed = sum(max(map(_width, [name, *cells])) + 2 for name, (_, cells) in shown.items()) - 2
        if width is not None and needed > width:
            shown.pop(column, None)
    align = "".join(side for side, _ in shown.values())
    rows = list(zip(*(cells for _, cells in shown.values())))
    foot = f"{len(places)} picture{'s' * (len(places) != 1)}" + (f" in {printable(folder)}" if folder else "")
    if ranking.comparisons:
        foot += f", {pairs_asked(ranking)}; the two orders of asking differ by {ranking.disagreement:.2f} on average"
        foot += "; ranks by self-consistency, not calibrated" * bool(not_calibrated([ranking]))
    return f"{table(list(shown), rows, align, width, list(shown).index('picture'))}\n\n{foot}"


def pairs_asked(ranking: Ranking) -> str:
    """How many pairs a ranking compared and why no more: "153 of 325 pairs compared, chosen automatically"."""
    count = len(ranking.pictures)
    full = count * (count - 1) // 2
    why = {
        BUDGET: "chosen automatically" if ranking.budget == default_budget(count) else "as many as the budget",
        TOP_DECIDED: "enough to decide the best",
    }
    if ranking.stopped in why:
        return f"{ranking.comparisons} of {full} pairs compared, {why[ranking.stopped]}"
    return f"all {full} pairs compared" if full > 1 else "1 pair compared"


def _interval(place: RankedPicture | Standing) -> str:
    return f"{place.low:+.2f} .. {place.high:+.2f}"


def map_text(found) -> str:
    """Where one picture is worst and where it is best, in pixels."""
    lines = [f"{printable(found.picture)}: {len(found.grid.boxes)} tiles of {found.grid.side} pixels"]
    for name, best in (("worst", False), ("best", True)):
        (left, top, right, bottom), score = found.tile(best)
        lines.append(f"{name}: {score:.1f} at x {left} to {right}, y {top} to {bottom}")
    return "\n".join(lines)


def leaderboard_table(board: Leaderboard, width: int | None = None) -> str:
    """One line per label, best first; "2=" marks labels that share a rank, and the foot says how sure all that is.

    Labels that were compared with no other stand last, with "-" for a rank.
    """
    rows = [
        [mark, s.label, f"{s.win_share:.0%}", f"{s.wins}-{s.ties}-{s.losses}", f"{s.strength:+.2f}", _interval(s)]
        if s.rank is not None
        else [mark, s.label, "-", "not compared", "-", "-"]
        for s, mark in zip(board.standings, rank_marks(board.standings))
    ]
    columns = ["rank", "label", "wins by", "won-tied-lost", "strength", "95 % interval"]
    return f"{table(columns, rows, '><>>>>', width, shrink=1)}\n\n" + "\n".join(leaderboard_notes(board))


def leaderboard_notes(board: Leaderboard) -> list[str]:
    """What a reader of a leaderboard must know: its base, its intervals, and which labels cannot be told apart."""
    count, groups = board.comparisons, board.groups
    notes = [
        f"{count} comparison{'s' * (count != 1)} in {groups} group{'s' * (groups != 1)} (same prompt and seed); "
        f"the two orders of asking differ by {board.disagreement:.2f} on average.",
        {
            "bootstrap": "Intervals: 95 %, one vote per comparison, at least as wide as resampled groups make them.",
            "posterior": "Intervals: 95 %, one vote per comparison; too few groups to resample them.",
        }[board.intervals],
        *not_calibrated([board]),
    ]
    if any(standing.tied_with_next for standing in board.standings):
        notes.append('Labels with the same rank (such as "2=") cannot be told apart.')
    if board.uncompared:
        alone = ", ".join(board.uncompared)
        notes.append(f"Not compared, as no picture has a partner of the same prompt and seed: {alone}.")
    return notes


def common_folder(names: Sequence[str]) -> str:
    """The folder part (with its last slash) that all names begin with."""
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    return first[: max(first.rfind("/", 0, same), first.rfind("\\", 0, same)) + 1]


def _confidence(place: RankedPicture) -> float | None:
    """That of its distortions; certain where none were asked for, as then nothing is claimed."""
    return 1.0 if place.labels is None else place.confidence


def rank_marks(places: Sequence[RankedPicture | Standing]) -> list[str]:
    """The ranks as text, "2=" where a rank is shared, "-" for what has none."""
    ranks = [place.rank for place in places]
    return ["-" if rank is None else f"{rank}=" if ranks.count(rank) > 1 else str(rank) for rank in ranks]


def table(columns: list[str], rows: list[list[str]], align: str, width: int | None = None, shrink: int = 0) -> str:
    """Aligned text.

    Args:
        columns: headings.
        rows: cells, as many as columns in each row.
        align: "<" or ">" for each column.
        width: of the terminal in characters; None never shortens anything.
        shrink: the column that is shortened, in the middle, when a line would be wider than that.
    """
    lines = [list(columns), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*lines)]
    if width is not None and (over := sum(widths) + 2 * (len(widths) - 1) - width) > 0:
        widths[shrink] = max(min(widths[shrink], 16), widths[shrink] - over)
        for line in lines:
            line[shrink] = _shortened(line[shrink], widths[shrink])
    lines.insert(1, ["-" * size for size in widths])
    return "\n".join("  ".join(map(_padded, line, widths, align)).rstrip() for line in lines)


def printable(text: str) -> str:
    """``text`` on one line and without control characters, which a file name may hold."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _width(text: str) -> int:
    """Columns that a terminal needs: East Asian wide characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _padded(text: str, width: int, align: str) -> str:
    space = " " * (width - _width(text))
    return text + space if align == "<" else space + text


def _shortened(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    head, tail = text[: len(text) // 3], text[len(text) // 3 :]
    while _width(head) > (width - 1) // 3:
        head = head[:-1]
    while _width(tail) > width - 1 - _width(head):
        tail = tail[1:]
    return f"{head}…{tail}"


def _indented(text: str, width: int | None) -> str:
    lines = [printable(line) for line in text.splitlines()]
    if width is not None:
        lines = [part for line in lines for part in textwrap.wrap(line, max(20, min(width, 110) - 2)) or [""]]
    return "\n".join(f"  {line}".rstrip() for line in lines)


def terminal_width() -> int | None:
    """Width of the terminal that stdout is; None when stdout is a file or a pipe, where nothing is shortened."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


# ---------------------------------------------------------------------- progress


class ProgressBar:
    """A bar on stderr, drawn on a terminal only; usable as a ``progress`` callback and as a context manager.

    Args:
        label: what is being done.
        unit: what is counted.
        quiet: draw nothing at all.

    Attributes:
        offset, total: set these to show calls that count only a part of the work as a part of it.
    """

    def __init__(self, label: str, unit: str, quiet: bool = False):
        self.label, self.unit = label, unit
        self.shown = not quiet and sys.stderr.isatty()
        self.offset, self.total = 0, None
        self._line = ""

    def note(self, text: str) -> None:
        """Show a text in place of the bar."""
        self._draw(text)

    def __call__(self, done: int, total: int) -> None:
        done, total = self.offset + done, self.total or total
        share = done / total if total else 1.0
        filled = round(24 * share)
        self._draw(f"{self.label} [{'#' * filled}{'-' * (24 - filled)}] {done}/{total} {self.unit}")

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *error) -> None:
        self._draw("")

    def _draw(self, line: str) -> None:
        if self.shown and line != self._line:
            line = line[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write("\r" + line.ljust(len(self._line)) + ("" if line else "\r"))
            sys.stderr.flush()
            self._line = line
