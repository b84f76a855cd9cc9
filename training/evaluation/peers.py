"""Classical metrics as peers of the judge: they decide ratings by the difference of their values, and score images."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from depictqa_core import tasks
from depictqa_core.errors import DepictQAError
from depictqa_core.metrics.measuring import measure
from depictqa_core.metrics.registry import Metric
from depictqa_core.tasks import RATING, SCORE

from ..dataset.records.image_paths import read_image
from .answer_files import AnswerFile, Keep
from .correlation import correlations, mean_correlations
from .metrics import mean
from .scoring import opinion_of
from .sets import TestSet, kind_of, seal

ImageAndReference = tuple[str, str | None]
"""An image's path and its reference's, or None."""
Values = dict[ImageAndReference, dict[str, float | None]]
"""Each metric's value for each image, None if there is none."""


def values_of(
    shown: Iterable[ImageAndReference], root: str | Path, path: str | Path, peers: Sequence[Metric]
) -> Values:
    """Compute every peer's value for every image, None if there is none (another aspect ratio than the reference, too
    small ...). An image and a reference of different sizes are compared at their common size (``measure``).

    The values are stored in the JSON lines ``path``, or the reasons if there is none; interrupted work is resumed, and
    images that have changed are measured again.
    """
    wanted = list(dict.fromkeys(shown))
    ids = [repr([(name, *seal(Path(root), name)) for name in pair if name]) for pair in wanted]

    def measured(index: int) -> dict:
        picture, reference = wanted[index]
        try:
            image = read_image(root, picture)
            original = None if reference is None else read_image(root, reference)
        except DepictQAError as error:
            return {"id": ids[index], "values": {}, "reasons": {}, "error": str(error)}
        values, reasons = measure(
            [peer for peer in peers if original is not None or not peer.reference], image, original
        )
        known = {name: round(value, 6) for name, value in values.items() if value is not None}
        return {"id": ids[index], "values": known, "reasons": reasons}

    def source(missing: list[int], keep: Keep) -> None:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for row in pool.map(measured, missing):
                keep([row])

    depends = {"root": str(Path(root).resolve()), "peers": [peer.name for peer in peers], "size": "common"}
    rows = AnswerFile(path, depends).fill(ids, source, "peers")
    return {pair: {peer.name: row["values"].get(peer.name) for peer in peers} for pair, row in zip(wanted, rows)}


def shown_in(test_set: TestSet) -> list[ImageAndReference]:
    """The images of the ratings and scores of a test set that peers can be compared on."""
    return [pair for *_, pairs in _scored(test_set) for pair in pairs]


def _scored(test_set: TestSet):
    """Yield (record, kind, its images with their reference) of the records with a true rating or an opinion."""
    for record, task_type in zip(test_set.records, test_set.task_types):
        setting = tasks.setting(task_type)
        kind = kind_of(record, task_type)
        if kind == RATING.name or (kind == SCORE.name and opinion_of(record) is not None):
            reference = record["image_ref"] if setting.reference else None
            yield record, kind, [(record[field], reference) for field in setting.fields if field != "image_ref"]


def compare(test_set: TestSet, values: Values, peers: Sequence[Metric]) -> dict:
    """Evaluate each peer on a test set: ``{peer: {"rating": {...}, "score": {...}}}``, without those that do not apply.

    Ratings: accuracy, count, failed (a value is missing) and ties (equal values, worth one half). Scores: srcc and plcc
    with the record's opinion, count and failed.
    """
    rows = list(_scored(test_set))
    results = {}
    for peer in peers:
        credits, opinions, failed = [], [], {RATING.name: 0, SCORE.name: 0}
        ties = 0
        for record, kind, pairs in rows:
            if peer.reference and pairs[0][1] is None:
                continue
            found = [value for value in (values[pair][peer.name] for pair in pairs) if value is not None]
            if len(found) < len(pairs):
                failed[kind] += 1
            elif kind == SCORE.name:
                opinions.append((peer.sign * found[0], opinion_of(record)))
            else:
                lead = peer.sign * (found[0] - found[1])
                ties += lead == 0
                right = tasks.parse_winner(record["answer"]) == ("A" if lead > 0 else "B")
                credits.append(0.5 if lead == 0 else float(right))
        result: dict[str, dict] = {}
        if credits or failed[RATING.name]:
            result["rating"] = {
                "accuracy": mean(credits),
                "count": len(credits),
                "failed": failed[RATING.name],
                "ties": ties,
            }
        if opinions or failed[SCORE.name]:
            fit = correlations(*zip(*opinions)) if opinions else None
            agreement = {key: None if fit is None else round(fit[key], 6) for key in ("srcc", "plcc")}
            result["score"] = {**agreement, "count": len(opinions), "failed": failed[SCORE.name]}
        if result:
            results[peer.name] = result
    return results


def follow_opinions(
    truth: dict[str, dict[str, float]],
    values: Values,
    peers: Sequence[Metric],
) -> dict:
    """SRCC and PLCC of each peer with the opinions of a voting file, per reference and on average."""
    results = {}
    for peer in peers:
        groups: dict[str, tuple[list[float], list[float]]] = {}
        for reference, opinions in truth.items():
            seen = {path: values[path, reference][peer.name] for path in opinions}
            known = [(peer.sign * value, opinions[path]) for path, value in seen.items() if value is not None]
            if known:
                groups[reference] = [value for value, _ in known], [opinion for _, opinion in known]
        results[peer.name] = mean_correlations(groups)
    return results
