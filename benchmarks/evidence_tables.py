"""The tables of docs/evidence.md, README and card from ``sensitivity``, ``bias`` and ``reliability``, in Markdown."""

from collections.abc import Iterable

from .figure_tables import NOTHING, number, table

_KINDS = {"distortion": "distortion", "fault": "fault (held-out implementation)", "change": "everyday change"}
_SRCC = ("score and severity (SRCC)", "probability and severity (SRCC)")
_LEVELS = ("just noticeable by compare", "just noticeable by score", "label found")
LEAST = 100
"""Fewest answers of a row about reliability in README: with fewer the error is mostly chance."""
FEW = 10
"""Of fewer images no interval is printed: a bootstrap of them would be too narrow."""


def _mean(value: dict | None, digits: int, images: int) -> str:
    if value is None or value["mean"] is None:
        return NOTHING
    if images < FEW or value.get("low") is None:
        return number(value["mean"], digits)
    return f"{value['mean']:.{digits}f} ({value['low']:.{digits}f} to {value['high']:.{digits}f})"


def _signed(value: dict, digits: int, images: int) -> str:
    text = _mean(value, digits, images)
    return text if text.startswith(("-", NOTHING)) else f"+{text}"


# ---------------------------------------------------------------------- sensitivity


def _ladders(content: dict, kind: str) -> dict[str, dict]:
    parts = content["sensitivity"]["parts"]
    return {name: part for name, part in parts.items() if part.get("kind") == kind}


def sensitivity(content: dict) -> list[str]:
    """All ladders, a table for each kind."""
    lines = []
    for kind, head in _KINDS.items():
        rows = [
            [
                f"`{name}`" if kind == "distortion" else name,
                part["label"] if kind != "fault" else f"`{_fault(name)}`",
                *(_mean(part[key], 2, part["images"]) for key in _SRCC),
                _mean(part["steps in order"], 2, part["images"]),
                *(_level(part[key]) for key in _LEVELS),
                _mean(part["probability at the end"], 2, part["images"]),
                _mean(part["points lost"], 1, part["images"]),
            ]
            for name, part in _ladders(content, kind).items()
        ]
        what = {"fault": "made by", "change": "label asked for"}.get(kind, "label")
        columns = ["SRCC of the score", "of the label", "steps in order", *_LEVELS, "label at the end", "points lost"]
        lines += table([head, what, *columns], rows)
    return lines


def _fault(name: str) -> str:
    from .severity_levels import FAULT_CURVES

    return FAULT_CURVES.get(name, NOTHING)


def _level(found: dict) -> str:
    return f"{found['level']:g}" if found["level"] is not None else "never"


def sensitivity_short(content: dict) -> list[str]:
    """What the ladders have in common."""
    lines = []
    for kind in _KINDS:
        parts = _ladders(content, kind)
        if not parts or kind == "change":
            continue
        count = len(parts)
        mean = {key: sum(part[key]["mean"] for part in parts.values()) / count for key in (*_SRCC, "steps in order")}
        worst = sorted(parts, key=lambda name: parts[name][_SRCC[0]]["mean"])[:3]
        never = [name for name, part in parts.items() if part["just noticeable by compare"]["level"] is None]
        unnamed = [name for name, part in parts.items() if part["label found"]["level"] is None]
        lines += [
            f"{count} ladders of {kind}s: mean SRCC of score and severity {mean[_SRCC[0]]:.2f}, of the label "
            f"{mean[_SRCC[1]]:.2f}; {100 * mean['steps in order']:.0f} % of the steps in order. Lowest SRCC of the "
            f"score: {_listed(worst)}. The clean image is not preferred at any two levels in a row (median): "
            f"{_listed(never)}. The label never becomes more probable than not: {_listed(unnamed)}.",
            "",
        ]
    return lines


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def false_alarms(content: dict) -> list[str]:
    """What is named in clean photographs."""
    found = next((part for part in content["sensitivity"]["parts"].values() if "labels" in part), None)
    if found is None:
        return []
    rows = [['called "none"', number(found["none"], 2), NOTHING]]
    for name, part in [*found["labels"].items(), *found.get("faults", {}).items()]:
        if part["named"]["share"] or part["probability"]["mean"] >= 0.02:
            rows.append([name, number(part["named"], 2), _mean(part["probability"], 3, found["images"])])
    lines = table([f"named in {found['images']} clean photographs", "share", "mean probability"], rows)
    return [*lines, "Labels and faults that are never named, with a mean probability below 0.02, are left out.", ""]


# ---------------------------------------------------------------------- bias


def bias(content: dict) -> list[str]:
    """All effects."""
    rows = []
    for part, found in content["bias"]["parts"].items():
        for name, row in found.items():
            digits = 1 if row["unit"].startswith("points") else 3
            rows.append(
                [
                    f"{part}: {name}",
                    str(row["images"]),
                    f"{_signed(row['effect'], digits, FEW)} {row['unit']}",
                    number(row["mean absolute"], digits),
                    number(row["largest"], digits),
                ]
            )
    return table(["effect", "photographs", "mean (95 % interval)", "mean absolute", "largest"], rows)


# ---------------------------------------------------------------------- reliability


def _parts(content: dict, least: int = 1) -> list[tuple[str, str, dict]]:
    """(data root, name with its setting, part) of the parts with enough answers."""
    return [
        (key.partition("/")[0], f"{name}, {key.rpartition(', ')[2]}", part)
        for key, parts in content["reliability"]["parts"].items()
        for name, part in parts.items()
        if part["count"] >= least
    ]


def _reliability_rows(content: dict, least: int) -> list[list[str]]:
    rows = []
    for root, name, part in _parts(content, least):
        before, after = part["before"], part["after"]
        rows.append(
            [
                f"`{root}`: {name}",
                str(part["count"]),
                number(after["right"], 2),
                f"{before['mean stated']:.3f} → {after['mean stated']:.3f}",
                number(after["true"]),
                f"{before['ece']:.3f} → {after['ece']:.3f} ({after['ece by chance']:.3f})",
                f"{before['aurc']:.3f} → {after['aurc']:.3f}",
            ]
        )
    return rows


def reliability(content: dict) -> list[str]:
    """Every printed probability and confidence, before and after calibration."""
    head = ["printed", "answers", "right", "mean stated", "true", "ECE (by chance)", "AURC"]
    lines = table(head, _reliability_rows(content, 1))
    inside = [
        [f"`{root}`: {name}", *_interval(part["before"]), *_interval(part["after"])]
        for root, name, part in _parts(content)
        if "mean width" in part["after"]
    ]
    head = ["95 % interval of scores", "contains, before", "mean width", "contains, after", "mean width"]
    return lines + table(head, inside)


def _interval(part: dict) -> list[str]:
    return [number(part.get("in the 95 % interval"), 2), number(part.get("mean width"), 1)]


def reliability_short(content: dict) -> list[str]:
    """What README and card have of `reliability`."""
    rows = [[row[0], row[1], row[2], row[5]] for row in _reliability_rows(content, LEAST)]
    return table(["printed probability or confidence", "answers", "right", "ECE before → after (by chance)"], rows)


def commands(name: str, content: dict) -> list[str]:
    """The commands that made a file."""
    found = content[name].get("commands") or []
    note = content[name].get("note")
    return ["```sh", *found, "```", "", *([note, ""] if note else [])] if found else []
