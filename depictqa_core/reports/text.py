"""Answers as text for a terminal."""

from collections.abc import Sequence

from ..calibration import CALIBRATED
from ..confidence import reliable, uncovered
from ..ranking.pair_selection import BUDGET, TOP_DECIDED, default_budget
from ..ranking.quality_map import QualityMap
from ..results import Comparison, Description, Identification, Leaderboard, RankedImage, Ranking, Score, Standing
from ..tasks import NONE
from .text_table import common_folder, indented, printable, table, text_width

NOT_CALIBRATED = (
    "Certainty is the judge's self-consistency: this checkpoint is not calibrated for this question, or its answers "
    "have too little coverage."
)
UNCERTAIN, UNRELIABLE = "uncertain: ", "unreliable: "
"""Marks of answers below the requested confidence, and of answers with too little coverage; they are still shown."""


def _marked(
    text: str,
    confidence: float | None,
    minimum: float,
    coverage: float | None = None,
    typicality: float | None = None,
) -> str:
    if uncovered(coverage):
        return UNRELIABLE + text
    return text if reliable(confidence, minimum, typicality=typicality) else UNCERTAIN + text


def identification_table(results: Sequence[Identification], width: int | None = None, minimum: float = 0.0) -> str:
    """Return a table with one row per image: the distortions, the confidence, and the most probable alternative.

    ``minimum``, here and below, is the confidence below which answers are marked as uncertain.
    """
    rows = []
    for result in results:
        other = next(p for p in result.probabilities if p.label not in (result.labels or (NONE,)))
        labels = _marked(
            " and ".join(result.labels) or NONE, result.confidence, minimum, result.coverage, result.typicality
        )
        faults = ", ".join(f"{fault.label} {fault.probability:.2f}" for fault in result.probable_faults)
        otherwise = f"{other.label} {other.probability:.2f}"
        rows.append([result.picture, labels, f"{result.confidence:.2f}", otherwise, faults])
    heads, alignment = ["image", "distortion", _certainty(results), "otherwise", "faults"], "<<><<"
    if not any(row[-1] for row in rows):  # most images have none
        heads, alignment, rows = heads[:-1], alignment[:-1], [row[:-1] for row in rows]
    return table(heads, rows, alignment, width, shrink=0)


def score_table(results: Sequence[Score], width: int | None = None, minimum: float = 0.0) -> str:
    """Return a table with one row per image: the score with its interval, and the most probable level."""
    rows = []
    for result in results:
        level = max(result.levels, key=lambda item: item.probability).label
        level = _marked(level, result.confidence, minimum, result.coverage, result.typicality)
        interval = f"{result.low:.0f} .. {result.high:.0f}"
        rows.append([result.picture, f"{result.score:.1f}", interval, level, f"{result.confidence:.2f}"])
    return table(["image", "score", "interval", "level", _certainty(results)], rows, "<>><>", width, shrink=0)


def _certainty(results: Sequence[Identification | Score]) -> str:
    """Return the heading of the column of confidences: calibrated or not."""
    return "consistency" if not_calibrated(results) else "confidence"


def not_calibrated(results: Sequence) -> list[str]:
    """Return a line if a result is not calibrated on held-out images, else none."""
    return [NOT_CALIBRATED] * any(result.certainty != CALIBRATED for result in results)


def description_text(results: Sequence[Description], width: int | None = None, minimum: float = 0.0) -> str:
    """Return one paragraph per image."""
    parts = []
    for result in results:
        sure = "no confidence" if result.confidence is None else f"confidence {result.confidence:.2f}"
        sure = _marked(sure, result.confidence, minimum, result.coverage, result.typicality)
        parts.append(f"{printable(result.picture)} ({sure})\n{indented(result.text, width)}")
    return "\n\n".join(parts)


def comparison_text(result: Comparison, width: int | None = None, minimum: float = 0.0) -> str:
    """Return the two images with their probabilities, the verdict, and the explanation if there is one."""
    rows = [
        ["A", result.picture_a, f"{result.probability_a:.2f}"],
        ["B", result.picture_b, f"{1 - result.probability_a:.2f}"],
    ]
    verdict = "the two are tied" if result.verdict == "tie" else f"{result.verdict} is better"
    verdict = _marked(verdict, result.confidence, minimum, result.coverage, result.typicality)
    # the mean differs from the probability of each order by half of their difference
    contradict = abs(result.probability_a - 0.5) < result.disagreement / 2
    orders = "name different winners and differ" if contradict else "differ"
    lines = [
        table(["", "image", "better"], rows, "<<>", width, shrink=1),
        f"{verdict}; the two orders (A/B and B/A) {orders} by {result.disagreement:.2f}",
    ]
    if result.text is not None:
        lines += ["", indented(result.text, width)]
    return "\n".join(lines)


def ranking_table(ranking: Ranking, width: int | None = None, minimum: float = 0.0) -> str:
    """Return a table with one row per image, best first; "2=" marks images that share a rank.

    ``minimum`` applies to the distortions in the reasons; the intervals show the certainty of the order. An image
    is marked as unreliable if one of its answers has too little coverage.

    For a narrow terminal (``width`` in characters), names have no common folder, and if necessary intervals and spreads
    are left out.
    """
    places = ranking.pictures
    folder = common_folder([place.picture for place in places]) if width is not None else ""
    shown = {
        "rank": (">", rank_marks(places)),
        "score": (">", ["-" if place.score is None else f"{place.score:.1f}" for place in places]),
        "spread": (">", ["-" if place.spread is None else f"±{place.spread:.1f}" for place in places]),
        "strength": (">", [f"{place.strength:+.2f}" for place in places]),
        "95 % interval": (">", [_interval(place) if ranking.comparisons else "-" for place in places]),
        "image": ("<", [printable(place.picture[len(folder) :]) for place in places]),
        "why": ("<", [_marked(place.reason, _confidence(place), minimum, place.coverage) for place in places]),
    }
    if ranking.method == "score":
        del shown["strength"], shown["95 % interval"]
    for column in ("95 % interval", "spread"):
        needed = sum(max(map(text_width, [name, *cells])) + 2 for name, (_, cells) in shown.items()) - 2
        if width is not None and needed > width:
            shown.pop(column, None)
    align = "".join(side for side, _ in shown.values())
    rows = [list(row) for row in zip(*(cells for _, cells in shown.values()))]
    foot = f"{len(places)} image{'s' * (len(places) != 1)}" + (f" in {printable(folder)}" if folder else "")
    if ranking.comparisons:
        foot += (
            f", {pairs_asked(ranking)}; the two orders (A/B and B/A) differ by {ranking.disagreement:.2f} on average"
        )
        foot += "; ranks by self-consistency, not calibrated" * bool(not_calibrated([ranking]))
    return f"{table(list(shown), rows, align, width, list(shown).index('image'))}\n\n{foot}"


def pairs_asked(ranking: Ranking) -> str:
    """Describe the number of comparisons: "153 of 325 pairs compared, chosen automatically"."""
    count = len(ranking.pictures)
    full = count * (count - 1) // 2
    why = {
        BUDGET: "chosen automatically" if ranking.budget == default_budget(count) else "as many as the budget",
        TOP_DECIDED: "enough to decide the best",
    }
    if ranking.stopped in why:
        return f"{ranking.comparisons} of {full} pairs compared, {why[ranking.stopped]}"
    return f"all {full} pairs compared" if full > 1 else "1 pair compared"


def _interval(place: RankedImage | Standing) -> str:
    return f"{place.low:+.2f} .. {place.high:+.2f}"


def map_text(found: QualityMap) -> str:
    """Describe the worst and the best tile of one image, in pixels."""
    lines = [f"{printable(found.picture)}: {len(found.grid.boxes)} tiles of {found.grid.side} pixels"]
    for name, best in (("worst", False), ("best", True)):
        (left, top, right, bottom), score = found.tile(best)
        lines.append(f"{name}: {score:.1f} at x {left} to {right}, y {top} to {bottom}")
    return "\n".join(lines)


def leaderboard_table(board: Leaderboard, width: int | None = None) -> str:
    """Return a table with one row per label, best first, with notes; "2=" marks labels that share a rank.

    Labels that were not compared are last, with "-" as rank.
    """
    rows = [
        [mark, s.label, f"{s.win_share:.0%}", f"{s.wins}-{s.ties}-{s.losses}", f"{s.strength:+.2f}", _interval(s)]
        if s.rank is not None
        else [mark, s.label, "-", "not compared", "-", "-"]
        for s, mark in zip(board.standings, rank_marks(board.standings))
    ]
    columns = ["rank", "label", "win rate", "won-tied-lost", "strength", "95 % interval"]
    return f"{table(columns, rows, '><>>>>', width, shrink=1)}\n\n" + "\n".join(leaderboard_notes(board))


def leaderboard_notes(board: Leaderboard) -> list[str]:
    """Return notes about a leaderboard: its comparisons, its intervals, and its ties."""
    count, groups = board.comparisons, board.groups
    notes = [
        f"{count} comparison{'s' * (count != 1)} in {groups} group{'s' * (groups != 1)} (same prompt and seed); "
        f"the two orders (A/B and B/A) differ by {board.disagreement:.2f} on average.",
        {
            "bootstrap": "Intervals: 95 %, one vote per comparison, at least as wide as from a bootstrap over groups.",
            "posterior": "Intervals: 95 %, one vote per comparison; too few groups for a bootstrap.",
        }[board.intervals],
        *not_calibrated([board]),
    ]
    if any(standing.tied_with_next for standing in board.standings):
        notes.append('Labels with the same rank (such as "2=") are tied.')
    if board.uncompared:
        alone = ", ".join(board.uncompared)
        notes.append(f"Not compared, because no other label has an image of the same prompt and seed: {alone}.")
    return notes


def _confidence(place: RankedImage) -> float | None:
    """Return the confidence of its distortions; 1 if they were not requested, because then nothing is claimed."""
    return 1.0 if place.labels is None else place.confidence


def rank_marks(places: Sequence[RankedImage | Standing]) -> list[str]:
    """Format ranks: "2=" for a shared rank, "-" for none."""
    ranks = [place.rank for place in places]
    return ["-" if rank is None else f"{rank}=" if ranks.count(rank) > 1 else str(rank) for rank in ranks]
