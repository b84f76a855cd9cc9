"""The report of an evaluation: one self-contained HTML file with tables and plots."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from .plots import panels
from .report_mistakes import mistakes
from .scoring import CLEAR_RATING

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2a37; background: #fff; max-width: 1180px; margin: 2rem auto;
  padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; } p { max-width: 75ch; margin: .3rem 0 .8rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e3e8ee; white-space: nowrap; }
th { font-weight: 600; color: #51606f; font-size: .85rem; } th.text, td.text { text-align: left; }
tr.own td { font-weight: 600; background: #eef4fb; } .soft { color: #6b7a89; }
svg { display: block; max-width: 100%; height: auto; margin-top: .6rem; }
figure { margin: 0; } figure img { border-radius: 4px; display: block; }
figcaption { color: #6b7a89; font-size: .8rem; }
.mistake { border-top: 1px solid #e3e8ee; padding: .8rem 0; } .mistake > div:first-child { display: flex; gap: .6rem;
  flex-wrap: wrap; margin-bottom: .4rem; } .mistake p { margin: .15rem 0; }
a { color: #2f6fb3; } code { font-size: .9em; } ul { margin: .2rem 0; }
"""
HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>{title}</title><style>{style}</style></head><body>\n"
)


def html(results: dict, root: Path | None = None) -> str:
    """The whole report.

    Args:
        results: the content of results.json (``evaluate.evaluate_sets``).
        root: folder of the images of mistakes; None shows their paths alone.
    """
    judge = results["judge"]
    name = f"{judge.get('name', 'judge')} {judge.get('version', '')}".strip()
    parts = [HEAD.format(title=escape(f"Evaluation of {name}"), style=STYLE)]
    where = ", ".join(filter(None, (results.get("checkpoint"), results.get("date"))))
    parts.append(f"<h1>Evaluation of {escape(name)}</h1>" + (f'<p class="soft">{escape(where)}</p>' if where else ""))
    parts.append(_temperatures(judge.get("calibration") or {}))
    parts.append(
        "<h2>Accuracy and calibration</h2>"
        "<p>Accuracy is the published metric of each kind: the exact answer; for two distortions the share of names in "
        "common. ECE is the mean gap between confidence and accuracy, AURC the area under the curve of mistakes while "
        "less confident answers are added; lower is better for both. An answer that failed counts as wrong. In "
        "brackets is the 95 % interval. Chance is the accuracy of answers drawn from the allowed ones. A pair counts "
        "in the order of its record; <em>both orders</em> is the accuracy of the mean of both, as compare answers.</p>"
    )
    parts.append(_summary(results["sets"]))
    parts.append(_order(results["sets"]))
    parts.append(_votes(results))
    parts.append(_graded(results))
    parts.append(_peers(results))
    for set_name, result in results["sets"].items():
        parts.append(_set(set_name, result) + mistakes(result.get("mistakes", ()), root))
    return "".join(filter(None, parts)) + "</body></html>\n"


def _temperatures(calibration: dict) -> str:
    numbers = {key: value for key, value in calibration.items() if isinstance(value, float)}
    if not numbers:
        return '<p class="soft">Not calibrated: all temperatures are 1.</p>'
    listed = ", ".join(f"{escape(key)} {value:.3f}" for key, value in numbers.items())
    return f'<p class="soft">Temperatures: {listed}.</p>'


def _summary(sets: dict) -> str:
    rows = []
    for set_name, result in sets.items():
        for kind, found in result["metrics"].items():
            agreement = [_number(found.get(key)) for key in ("srcc", "plcc")] if kind == "score" else ["", ""]
            swap = found.get("order_swap", {})
            accuracies = [_share(found), _share(swap, "accuracy_of_both"), _number(found.get("chance"))]
            numbers = [_number(found.get(key)) for key in ("ece", "ece_by_chance", "aurc")]
            rows.append([_link(set_name), escape(kind), str(found["count"]), *accuracies, *numbers, *agreement])
        if not result["metrics"]:
            rows.append([_link(set_name), "detailed answers", str(result["answered"]), *[""] * 8])
    columns = ["test set", "kind of question", "answers", "accuracy", "both orders", "chance"]
    columns += ["ECE", "ECE by chance", "AURC", "SRCC", "PLCC"]
    return _table(columns, rows, texts=2)


def _order(sets: dict) -> str:
    rows = []
    for set_name, result in sets.items():
        for kind, found in result["metrics"].items():
            swap = found.get("order_swap")
            if swap and kind != CLEAR_RATING:
                keys = ("consistent", "difference", "first_chosen", "accuracy_of_one")
                numbers = [_number(swap.get(key)) for key in keys]
                rows.append([_link(set_name), str(swap["count"]), *numbers, _share(swap, "accuracy_of_both")])
    if not rows:
        return ""
    columns = ["test set", "pairs", "same winner", "mean difference", "first one chosen", "accuracy in one order"]
    columns.append("accuracy of both orders")
    return (
        "<h2>Order of the two images</h2><p>Every pair was asked twice, with the images swapped. A judge without bias "
        "chooses the first one in half of all answers.</p>" + _table(columns, rows)
    )


def _votes(results: dict) -> str:
    """Judge and peers on the voting files, one table for each."""
    tables: dict[str, list[tuple[str, dict, str]]] = {}
    for set_name, result in results["sets"].items():
        for file, found in result.get("voting", {}).items():
            tables.setdefault(file, []).append((f"judge, votes of {set_name}", found, "own"))
    for name, peer in results["peers"].items():
        if peer["kind"] == "model":
            for set_name, result in peer["sets"].items():
                for file, found in result.get("voting", {}).items():
                    tables.setdefault(file, []).append((f"{name}, votes of {set_name}", found, ""))
        else:
            for file, found in peer["voting"].items():
                if found["references"]:
                    tables.setdefault(file, []).append((name, found, ""))
    parts = []
    for file, entries in tables.items():
        rows = [
            [
                escape(label),
                _number(found["srcc"]),
                _number(found["plcc"]),
                str(len(found["references"])),
                str(found.get("votes", "")),
                str(found.get("without_vote", "")),
            ]
            for label, found, _ in entries
        ]
        columns = ["", "SRCC", "PLCC", "references", "votes", "answers without a vote"]
        parts.append(f"<h3>{escape(file)}</h3>" + _table(columns, rows, [mark for *_, mark in entries]))
    if not parts:
        return ""
    return (
        "<h2>Agreement with opinions</h2><p>Mean over the references, after the logistic fit of each. The judge's "
        "score of an image is the mean of its votes over pairs.</p>" + "".join(parts)
    )


def _graded(results: dict) -> str:
    rows = []
    everyone = [("judge", results["sets"])]
    everyone += [(name, peer["sets"]) for name, peer in results["peers"].items() if peer["kind"] == "model"]
    for who, sets in everyone:
        for set_name, result in sets.items():
            if found := result.get("judged"):
                rows.append([escape(who), _link(set_name), _number(found["score"]), str(found["count"])])
                rows[-1] += [str(found["failed"]), escape(f"{found['model']} ({found['version']})")]
    if not rows:
        return ""
    return (
        "<h2>Detailed answers</h2><p>Scores of a language model that compares each answer with the true one: 0 to 10 "
        "(v2), or the ratio to the score of the true answer, at most 1 (v1).</p>"
        + _table(["", "test set", "score", "scored", "not scored", "scored by"], rows, texts=2)
    )


def _peers(results: dict) -> str:
    """Judge and peers side by side where they answer the same: accuracy of ratings, SRCC of scores."""
    columns = []
    for set_name, result in results["sets"].items():
        columns += [(set_name, kind) for kind in ("rating", "score") if kind in result["metrics"]]
    missing = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in results["unavailable"].items())
    missing = f"<p>Not computed:</p><ul>{missing}</ul>" if missing else ""
    if not columns or not results["peers"]:
        return missing
    rows = [["judge", *(_peer_cell(results["sets"][s]["metrics"].get(kind), kind) for s, kind in columns)]]
    for name, peer in results["peers"].items():
        found = peer["sets"]
        if peer["kind"] == "model":
            cells = [_peer_cell(found[s]["metrics"].get(kind), kind) for s, kind in columns]
        else:
            cells = [_peer_cell(found.get(s, {}).get(kind), kind) for s, kind in columns]
        rows.append([escape(name), *cells])
    used = [place for place in range(1, len(columns) + 1) if any(row[place] for row in rows[1:])]
    parts = []
    for kind, title in (("rating", "ratings: accuracy"), ("score", "scores: SRCC")):
        places = [place for place in used if columns[place - 1][1] == kind]
        if places:
            heads = [title, *(columns[place - 1][0] for place in places)]
            kept = [[row[0], *(row[place] for place in places)] for row in rows if any(row[p] for p in places)]
            parts.append(_table(heads, kept, ["own"]))
    return (
        "<h2>Comparison with peers</h2><p>A metric decides a rating by the difference of its two values; equal values "
        "count one half. NIQE was fitted to our pristine training images. The small number is how many were left out "
        "because the metric has no value for them.</p>" + "<br>".join(parts) + missing
    )


def _peer_cell(found: dict | None, kind: str) -> str:
    if not found:
        return ""
    text = _number(found.get("srcc" if kind == "score" else "accuracy"))
    failed = found.get("failed", 0)
    return text + (f' <small class="soft">−{failed}</small>' if failed else "")


def _set(name: str, result: dict) -> str:
    parts = [f'<h2 id="{escape(name, quote=True)}">{escape(name)}</h2>']
    lost = result["unmatched"]
    facts = [f"{result['records']} records, {result['answered']} answered"]
    facts += [f"{result['failed']} failed"] if result["failed"] else []
    for key, what in (("records", "records without an answer"), ("answers", "answers without a record")):
        if lost[key]["count"]:
            facts.append(f"{lost[key]['count']} {what} ({', '.join(map(str, lost[key]['ids']))})")
    parts.append(f'<p class="soft">{escape("; ".join(facts))}.</p>')
    if result["failures"]:
        listed = "".join(f"<li>{escape(str(f['id']))}: {escape(f['error'])}</li>" for f in result["failures"])
        more = result["failed"] - len(result["failures"])
        parts.append(f"<ul>{listed}{f'<li>and {more} more</li>' if more else ''}</ul>")
    for kind, found in result["metrics"].items():
        if kind == CLEAR_RATING:
            continue
        parts.append(f"<h3>{escape(kind)}</h3>{_bins(found)}")
        if "grade_error" in found:
            parts.append(f"<p>The mean severity is {found['grade_error']:.2f} grades off.</p>")
        if found.get("unparsed"):
            parts.append(f"<p>{found['unparsed']} answers are not allowed answers of their question.</p>")
        parts.append(panels(f"{name} {kind}", found) or "")
    return "".join(parts)


def _bins(found: dict) -> str:
    used = [b for b in found["bins"] if b["count"]]
    if not used:
        return ""
    heads = ["confidence", *(f"{b['low']:g}–{b['high']:g}" for b in used)]
    rows = [["answers", *(str(b["count"]) for b in used)], ["accuracy", *(_number(b["accuracy"]) for b in used)]]
    return _table(heads, rows)


def _link(set_name: str) -> str:
    return f'<a href="#{escape(set_name, quote=True)}">{escape(set_name)}</a>'


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _share(found: dict, key: str = "accuracy") -> str:
    """An accuracy with its interval."""
    if found.get(key) is None:
        return ""
    interval = f" ({found['low']:.3f}–{found['high']:.3f})" if "low" in found else ""
    return f"{found[key]:.3f}{interval}"


def _table(columns: list[str], rows: list[list[str]], classes: Sequence[str] = (), texts: int = 1) -> str:
    """Cells are HTML, headings are text. ``classes`` are of the first rows; the first ``texts`` columns are words."""
    kind = ['class="text"' if place < texts else "" for place in range(len(columns))]
    head = "".join(f"<th {k}>{escape(column)}</th>" for column, k in zip(columns, kind))
    body = ""
    for index, row in enumerate(rows):
        mark = f' class="{classes[index]}"' if index < len(classes) and classes[index] else ""
        body += f"<tr{mark}>" + "".join(f"<td {k}>{cell}</td>" for cell, k in zip(row, kind)) + "</tr>"
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
