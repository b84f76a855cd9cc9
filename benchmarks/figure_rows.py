"""The tables of everyday images in the documents: rows of ``benchmarks.everyday`` and ``benchmarks.consistency``."""

from collections.abc import Mapping

from .figure_tables import NOTHING, number, table

_DIGITS = {"median score": 1, "points lost": 1, "mean change": 1, "mean error": 1, "images a second": 1}
_HEADS = {
    "none": 'called "none"',
    "wrong at 0.9": "another label at 0.9 or more",
    "right": "right label",
    "preferred": "clean preferred by compare",
    "preferred by score": "by score",
    "mean change": "mean absolute change",
    "named": "fault named",
    "false fault": "a fault named",
}
"""Key of a value -> head of its column, where they differ."""
CLEAN = ("none", "wrong at 0.9", "median score", "score below 50", "false fault")
PAIRS = ("preferred", "preferred by score", "points lost", "named")
SHORT_CLEAN, SHORT_PAIRS = CLEAN[:3], PAIRS[:2]


def rows(content: dict, *parts: str) -> dict[str, dict]:
    """All rows of some parts, by name."""
    return {name: row for part in parts for name, row in content["parts"].get(part, {}).items()}


def row_table(title: str, found: Mapping[str, dict], keys: tuple[str, ...]) -> list[str]:
    """A table of the rows that have the first of some keys; columns without any value are left out."""
    some = {name: row for name, row in found.items() if keys[0] in row}
    used = [key for key in keys if any(key in row for row in some.values())]
    cells = {name: [_cell(row, key) for key in used] for name, row in some.items()}
    head = [title, "images", *(_HEADS.get(key, key) for key in used)]
    return table(head, [[name, str(some[name]["images"]), *line] for name, line in cells.items()])


def _cell(row: dict, key: str) -> str:
    value = row.get(key)
    return number(value, 2 if isinstance(value, Mapping) else _DIGITS.get(key, 3)) if value is not None else NOTHING


def _without(found: dict[str, dict], words: str) -> dict[str, dict]:
    """The rows without some words in their names."""
    return {name: row for name, row in found.items() if words not in name}


def everyday(content: dict) -> list[str]:
    """All rows about everyday images."""
    clean = rows(content, "sizes", "looks", "drawings", "non-photographs")
    pairs = rows(content, "looks", "drawings", "non-photographs", "local damage", "faults")
    lines = row_table("clean images, no reference", clean, CLEAN)
    lines += row_table("one distortion", rows(content, "sizes"), ("right",))
    lines += row_table("clean image against its damaged copy", pairs, PAIRS)
    lines += faults_mean(content)
    borders = ("none", "named", "points lost", "at most 15 points lost")
    lines += row_table("no distortion, and a slight fault", rows(content, "borders and captions"), borders)
    saved = ("points lost", "mean change", "within 5 points")
    lines += row_table("the same image, saved again or scaled", rows(content, "saved again"), saved)
    return lines + agreement(content)


def faults_mean(content: dict) -> list[str]:
    """The mean over the faults of how often the clean image is preferred."""
    found = [row["preferred"]["share"] for row in rows(content, "faults").values()]
    if not found:
        return []
    least = min(rows(content, "faults").items(), key=lambda item: item[1]["preferred"]["share"])[0]
    mean = sum(found) / len(found)
    return [f"Mean of the {len(found)} faults by compare: {mean:.2f}; lowest: {least.removeprefix('fault: ')}.", ""]


def agreement(content: dict) -> list[str]:
    """Whether the judge agrees with itself, and its speed."""
    scale = ("SRCC", "mean error", "median score of clean images")
    lines = row_table("one scale (true quality: 100 - 18 x severity)", rows(content, "one scale"), scale)
    bias = ("equal images", "at most 0.05 on equal images", "different images")
    lines += row_table("mean difference of the two orders", rows(content, "position bias"), bias)
    lines += row_table("two verbs about the same images", rows(content, "contradictions"), ("contradictions",))
    return lines + row_table("speed", rows(content, "speed"), ("images a second",))


def everyday_short(content: dict) -> list[str]:
    """What README has of `everyday`: no rows of single styles and training kinds."""
    clean = rows(content, "sizes", "looks")
    for name, row in rows(content, "drawings", "non-photographs").items():
        if "training kind" in name or "all styles" in name or "of people" in name:
            clean[name] = row
    lines = row_table("clean images, no reference", _without(clean, "against"), SHORT_CLEAN)
    pairs = {name: row for name, row in clean.items() if "against" in name} | rows(content, "local damage")
    return lines + row_table("clean image against its damaged copy", pairs, SHORT_PAIRS) + faults_mean(content)


def commands(content: dict) -> list[str]:
    """The commands that made the file."""
    note = content.get("note")
    lines = ["```sh", *content["commands"], "```", ""]
    return [*lines, note, ""] if note else lines
