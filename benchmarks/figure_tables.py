"""The tables of the documents, in Markdown, from what ``benchmarks.quality`` has measured.

Every function of `BLOCKS` takes the content of the file and returns lines; what was not measured is left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

NOTHING = "–"
"""A cell without a value."""
_DISTORTIONS = "identification"
_PAIR, _FAR = "rating", "rating, severities at least 2 apart"
_KINDS = {"single": _DISTORTIONS, "double": "two distortions"}
METRICS = {"haarpsi": "HaarPSI", "ssim": "SSIM", "gmsd": "GMSD", "mdsi": "MDSI", "psnr": "PSNR", "vsi": "VSI"}

# ---------------------------------------------------------------------- Markdown


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, with an empty line behind it; nothing without rows. Rows without any value are left out."""
    lines = [f"| {' | '.join(row)} |" for row in rows if any(cell != NOTHING for cell in row[1:])]
    return [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |", *lines, ""] if lines else []


def number(value: object, digits: int = 3) -> str:
    """A number with a fixed number of digits; a share with its interval."""
    if isinstance(value, Mapping):
        ends = f" ({value['low']:.{digits}f}–{value['high']:.{digits}f})" if "low" in value else ""
        return number(value.get("share", value.get("accuracy")), digits) + ends
    return NOTHING if value is None else f"{value:.{digits}f}"


def at(content: object, *keys: str) -> object:
    """The value under nested keys, or None."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


# ---------------------------------------------------------------------- the published task


def roots(content: dict, part: str) -> list[str]:
    """The data roots for which a part was measured."""
    return [name.removesuffix(f"/{part}") for name in content["parts"] if name.endswith(f"/{part}")]


def _columns(content: dict) -> list[str]:
    found = []
    for root in roots(content, "as made"):
        images = at(content["parts"], f"{root}/data", "images")
        found += [f"`{root}`: {images} images, no reference", "with reference"]
    return found


def _line(content: dict, name: str, cell: Callable[[dict, str], str]) -> list[str]:
    """A row with the cells of each root, without and with a reference."""
    parts = content["parts"]
    cells = []
    for root in roots(content, "as made"):
        measured = {key.removeprefix(f"{root}/"): value for key, value in parts.items() if key.startswith(f"{root}/")}
        cells += [cell(measured, setting) for setting in ("nr", "fr")]
    return [name, *cells]


def _accuracy(part: str, task: str, kind: str, interval: bool = True) -> Callable[[dict, str], str]:
    def cell(measured: dict, setting: str) -> str:
        found = at(measured, part, task.format(setting), kind)
        return number(found if interval or found is None else at(found, "accuracy"))

    return cell


def _error(task: str) -> Callable[[dict, str], str]:
    def cell(measured: dict, setting: str) -> str:
        found = at(measured, "as made", task.format(setting))
        return f"{number(at(found, 'ece'))} ({number(at(found, 'ece by chance'))})" if found else NOTHING

    return cell


def _changed(task: str, kind: str) -> Callable[[dict, str], str]:
    def cell(measured: dict, setting: str) -> str:
        names = ("JPEG 95", "scaled to 90 %", "as made")
        after, scaled, before = (_accuracy(name, task, kind, False)(measured, setting) for name in names)
        return NOTHING if after == NOTHING else f"{after} / {scaled} ({before})"

    return cell


def _order(measured: dict, setting: str, together: str = "") -> str:
    words = {"nr": "without reference", "fr": "with reference"}[setting] + together
    return number(at(measured, "order of scores (SRCC)", words))


def _without_reference(part: str, key: str, digits: int = 3) -> Callable[[dict, str], str]:
    return lambda measured, setting: NOTHING if setting == "fr" else number(at(measured, part, key), digits)


_SINGLE, _DOUBLE = ("identification_{}_single", _KINDS["single"]), ("identification_{}_double", _KINDS["double"])
_SAME, _CROSS = "rating_{}_single", "rating_cross_{}_single"


def published_task(content: dict) -> list[str]:
    """Accuracies, calibration errors and agreement on the data roots."""
    rows = [
        ("one distortion out of 13 labels, exact", _accuracy("as made", *_SINGLE)),
        ("two distortions, partial credit", _accuracy("as made", *_DOUBLE)),
        ("better of two versions of one image, severities 2 or more apart", _accuracy("as made", _SAME, _FAR)),
        ("better of two versions of one image, all decided pairs", _accuracy("as made", _SAME, _PAIR)),
        ("better of two different images, all decided pairs", _accuracy("as made", _CROSS, _PAIR)),
        ("order of scores among the versions of an image, SRCC", _order),
        ("order of scores of all images together, SRCC", lambda m, s: _order(m, s, ", all images together")),
        ("calibration error (ECE) of single labels (by chance)", _error(_SINGLE[0])),
        ("calibration error of two labels (by chance)", _error(_DOUBLE[0])),
        ("calibration error of pairs of one image (by chance)", _error(_SAME)),
        (
            "mean error of the severity (1 to 5) of a correctly identified distortion",
            _without_reference("severity of single distortions", "mean error", 2),
        ),
        (
            "descriptions that name exactly the true distortions",
            _without_reference("descriptions", "names exactly the true distortions"),
        ),
        (
            "descriptions that name exactly what identify names",
            _without_reference("descriptions", "names what identify names"),
        ),
        ("one distortion, after JPEG 95 / 90 % (before)", _changed(*_SINGLE)),
        ("two distortions, after JPEG 95 / 90 % (before)", _changed(*_DOUBLE)),
        ("versions of one image, after JPEG 95 / 90 % (before)", _changed(_SAME, _PAIR)),
        ("two different images, after JPEG 95 / 90 % (before)", _changed(_CROSS, _PAIR)),
    ]
    return table(
        ["measured on unseen sources", *_columns(content)], [_line(content, name, cell) for name, cell in rows]
    )


def published_task_short(content: dict) -> list[str]:
    """What README has of `published_task`."""
    rows = [
        ("one distortion out of 13 labels, exact", _accuracy("as made", *_SINGLE, False)),
        ("two distortions, partial credit", _accuracy("as made", *_DOUBLE, False)),
        ("better of two versions of one image, all decided pairs", _accuracy("as made", _SAME, _PAIR, False)),
        ("better of two different images, all decided pairs", _accuracy("as made", _CROSS, _PAIR, False)),
        ("calibration error (ECE) of single labels (by chance)", _error(_SINGLE[0])),
        ("one distortion, after JPEG 95 / 90 % (before)", _changed(*_SINGLE)),
    ]
    return table(["unseen sources", *_columns(content)], [_line(content, name, cell) for name, cell in rows])


def ladders(content: dict) -> list[str]:
    """How scores and rankings follow severity."""
    lines, parts = [], content["parts"]
    if found := parts.get("score ladders"):
        each = found["each"]
        least = min(each, key=each.__getitem__)
        lines += [
            "Scores without a reference follow the severity of one distortion with an SRCC of "
            f"{found['mean']:.3f} (mean over {len(each)} distortions and {found['images']} photographs; lowest "
            f"`{least}` with {each[least]:.3f})."
        ]
    if found := parts.get("ladders of unseen distortions"):
        lines += [
            f"Of {found['ladders']} rankings of one image and five increasingly damaged copies, with twelve "
            f"distortions that no training image has, {number(found['completely in order'], 2)} are completely in "
            f"order; {found['wrong pairs']} of {found['pairs']} pairs are wrong."
        ]
    return lines


def reference_baseline(content: dict) -> list[str]:
    """Pairs with a reference: the judge against the metrics that made the labels."""
    lines = []
    for root in roots(content, "pairs with a reference"):
        found = content["parts"][f"{root}/pairs with a reference"]
        if not (measured := found.get("measured")):
            continue
        every = measured["each metric"]
        best = max(every, key=every.__getitem__)
        rows = []
        for key, name in (
            ("measured", "all decided"),
            ("measured, decided by severity", "decided by severity"),
            ("measured, decided by vote of metrics", "decided by the vote of the metrics, which made the label"),
        ):
            if values := found.get(key):
                cells = (values["judge"], values["mean of six metrics"], values["each metric"][best])
                rows.append([name, str(values["count"]), *map(number, cells)])
        head = ["pairs of one image with a reference", "count", "this model", "plain mean of the six metrics"]
        undecided, pairs = found["undecided, left out"], found["pairs of one scene"]
        lines += table([*head, f"best single metric ({METRICS.get(best, best)})"], rows)
        share = f"{undecided} of {pairs} pairs ({100 * undecided / pairs:.0f} %)"
        lines += [f"Measured on `{root}`. Left out are {share} that neither severities nor metrics decide.", ""]
    return lines


# ---------------------------------------------------------------------- certainty


def orders(content: dict) -> list[str]:
    """How often orders of a stated certainty are right."""
    return _of_certainty(content, _orders)


def scores(content: dict) -> list[str]:
    """Errors, confidences and intervals of scores."""
    return _of_certainty(content, _scores)


def _of_certainty(content: dict, rows: Callable[[dict], list[str]]) -> list[str]:
    lines = []
    for root in roots(content, "certainty"):
        data, found = content["parts"].get(f"{root}/data", {}), content["parts"][f"{root}/certainty"]
        method = f" ({found['method']})" if "method" in found else ""
        if made := rows(found):
            counts = ", ".join(f"{data[key]} {key}" for key in ("images", "scenes", "versions") if key in data)
            lines += [f"`{root}`: {counts}{method}.", "", *made]
    return lines


def _orders(found: dict) -> list[str]:
    settings = [at(found, name, "by stated certainty") or {} for name in ("order_nr", "order_fr")]
    rows = []
    for bounds in dict.fromkeys(key for setting in settings for key in setting):
        cells = []
        for setting in settings:
            values = setting.get(bounds, {})
            cells += [str(values.get("count", 0)), number(values.get("stated")), number(values.get("right"))]
        rows.append([bounds, *cells])
    return table(
        [
            "order of two images in a ranking of all, by stated certainty",
            *("no reference: pairs", "stated", "right", "with reference: pairs", "stated", "right"),
        ],
        rows,
    )


def _scores(found: dict) -> list[str]:
    settings = [at(found, name) for name in ("score_error_nr", "score_error_fr")]

    def row(name: str, cell: Callable[[dict], str]) -> list[str]:
        return [name, *(cell(setting) if isinstance(setting, dict) else NOTHING for setting in settings)]

    rows = [
        row("images", lambda x: str(x["count"])),
        row("mean error, points", lambda x: number(x["mean error"], 1)),
        row("true quality within 10 points of the score", lambda x: number(x["within 10 points"])),
        row(
            "mean confidence (calibration error, by chance)",
            lambda x: f"{number(x['mean confidence'])} ({number(x['ece'])}, {number(x['ece by chance'])})",
        ),
        row(
            "true quality in the 95 % interval (mean width, points)",
            lambda x: f"{number(x['in the 95 % interval'])} ({number(x['mean width'], 1)})",
        ),
        row("SRCC of confidence and error", lambda x: number(x["confidence and error (SRCC)"], 2)),
        *(
            row(f"confidence of {least} and more: {_DROPPED}", lambda x, least=least: _dropped(x, least))
            for least in _minimums(settings)
        ),
    ]
    return table(["score", "no reference", "with reference"], rows)


_DROPPED = "dropped / within 10 points / mean error"


def _minimums(settings: Sequence[object]) -> list[str]:
    return list(dict.fromkeys(key for setting in settings for key in at(setting, "minimum confidence") or ()))


def _dropped(found: dict, least: str) -> str:
    values = found["minimum confidence"].get(least, {})
    left = f"{number(values.get('right'))} / {number(values.get('mean error'), 1)}"
    return f"{100 * values.get('dropped', 0):.0f} % / {left}"


def dropped_scores(content: dict) -> list[str]:
    """What minimum confidences drop of the scores, and the quality of the rest."""

    def rows(found: dict) -> list[str]:
        settings = {"no reference": at(found, "score_error_nr"), "with reference": at(found, "score_error_fr")}
        least = _minimums(list(settings.values()))
        made = [
            [f"score, {name}: {_DROPPED}", *(_dropped(values, one) for one in least)]
            for name, values in settings.items()
            if isinstance(values, dict)
        ]
        return table(["minimum confidence, held-out images", *least], made)

    return _of_certainty(content, rows)
