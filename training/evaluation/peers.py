"""Classical metrics as peers of the judge: they decide ratings by the difference of values, and score pictures."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import piq
import torch

from depictqa_core import tasks
from depictqa_core.errors import DepictQAError
from depictqa_core.tasks import RATING, SCORE

from ..dataset.records.image_paths import read_image
from . import naturalness
from .answers import AnswerFile, Keep
from .correlation import correlations, mean_correlations
from .metrics import mean
from .scoring import opinion_of
from .sets import TestSet, kind_of, seal


@dataclass(frozen=True)
class Peer:
    """A metric.

    Attributes:
        name: as tables show it.
        reference: whether it compares with the reference.
        sign: 1 where more is better, -1 where less is.
        measure: (picture, reference or None), uint8 RGB [H, W, 3] each -> value.
    """

    name: str
    reference: bool
    sign: int
    measure: Callable[[np.ndarray, np.ndarray | None], float]


def _piq(metric: Callable, picture: np.ndarray, reference: np.ndarray) -> float:
    if picture.shape != reference.shape:
        raise ValueError(f"the picture has {picture.shape[:2]} px, its reference {reference.shape[:2]}")
    pair = [torch.from_numpy(x.astype(np.float32) / 255).permute(2, 0, 1)[None] for x in (picture, reference)]
    with torch.inference_mode():
        return float(metric(*pair, data_range=1.0))


PEERS = (
    *(
        Peer(name, True, sign, partial(_piq, metric))
        for name, sign, metric in (
            ("PSNR", 1, piq.psnr),
            ("SSIM", 1, piq.ssim),
            ("MS-SSIM", 1, piq.multi_scale_ssim),
            ("GMSD", -1, piq.gmsd),
            ("HaarPSI", 1, piq.haarpsi),
        )
    ),
    Peer("BRISQUE", False, -1, lambda picture, _: naturalness.brisque(picture)),
    Peer("NIQE", False, -1, lambda picture, _: naturalness.niqe(picture)),
)
"""The metrics of piq 0.8 on RGB; BRISQUE and NIQE on luma."""


def usable() -> tuple[list[Peer], dict[str, str]]:
    """The peers that can be computed here, and why the others cannot."""
    try:
        naturalness.brisque_parameters()
    except DepictQAError as error:
        return [peer for peer in PEERS if peer.name != "BRISQUE"], {"BRISQUE": str(error)}
    return list(PEERS), {}


Shown = tuple[str, str | None]
"""A picture's path and its reference's, or None."""


def values_of(
    shown: Iterable[Shown], root: str | Path, path: str | Path, peers: Sequence[Peer]
) -> dict[Shown, dict[str, float | None]]:
    """Every peer's value for every picture, None where it has none (another size than the reference, too small ...).

    The values are kept in the JSON lines ``path`` with the reasons where there is none; interrupted work goes on, and
    pictures that have changed are measured again.
    """
    wanted = list(dict.fromkeys(shown))
    ids = [repr([(name, *seal(Path(root), name)) for name in pair if name]) for pair in wanted]

    def measured(index: int) -> dict:
        picture, reference = wanted[index]
        row = {"id": ids[index], "values": {}, "reasons": {}}
        try:
            pixels = read_image(root, picture).rgb
            beside = None if reference is None else read_image(root, reference).rgb
        except DepictQAError as error:
            return {**row, "error": str(error)}
        for peer in peers:
            if peer.reference and beside is None:
                continue
            try:
                value = peer.measure(pixels, beside)
                if not np.isfinite(value):
                    raise ValueError("the value is not finite")
                row["values"][peer.name] = round(value, 6)
            except (ValueError, AssertionError, RuntimeError, DepictQAError) as error:
                row["reasons"][peer.name] = str(error)
        return row

    def source(missing: list[int], keep: Keep) -> None:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for row in pool.map(measured, missing):
                keep([row])

    depends = {"root": str(Path(root).resolve()), "peers": [peer.name for peer in peers]}
    rows = AnswerFile(path, depends).fill(ids, source, "peers")
    return {pair: {peer.name: row["values"].get(peer.name) for peer in peers} for pair, row in zip(wanted, rows)}


def shown_in(test_set: TestSet) -> list[Shown]:
    """The pictures of the ratings and scores of a test set that peers can be compared on."""
    return [pair for *_, pairs in _scored(test_set) for pair in pairs]


def _scored(test_set: TestSet):
    """(record, kind, its pictures beside their reference) of the records with a true rating or an opinion."""
    for record, task_type in zip(test_set.records, test_set.task_types):
        setting = tasks.setting(task_type)
        kind = kind_of(record, task_type)
        if kind == RATING.name or (kind == SCORE.name and opinion_of(record) is not None):
            reference = record["image_ref"] if setting.reference else None
            yield record, kind, [(record[field], reference) for field in setting.fields if field != "image_ref"]


def compare(test_set: TestSet, values: dict[Shown, dict[str, float | None]], peers: Sequence[Peer]) -> dict:
    """How each peer does on a test set: ``{peer: {"rating": {...}, "score": {...}}}``, without those that do not apply.

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
            found = [values[pair][peer.name] for pair in pairs]
            if None in found:
                failed[kind] += 1
            elif kind == SCORE.name:
                opinions.append((peer.sign * found[0], opinion_of(record)))
            else:
                lead = peer.sign * (found[0] - found[1])
                ties += lead == 0
                right = tasks.parse_winner(record["answer"]) == ("A" if lead > 0 else "B")
                credits.append(0.5 if lead == 0 else float(right))
        result = {}
        if credits or failed[RATING.name]:
            result["rating"] = {
                "accuracy": mean(credits),
                "count": len(credits),
                "failed": failed[RATING.name],
                "ties": ties,
            }
        if opinions or failed[SCORE.name]:
            found = correlations(*zip(*opinions)) if opinions else None
            agreement = {key: found and round(found[key], 6) for key in ("srcc", "plcc")}
            result["score"] = {**agreement, "count": len(opinions), "failed": failed[SCORE.name]}
        if result:
            results[peer.name] = result
    return results


def follow_opinions(
    truth: dict[str, dict[str, float]], values: dict[Shown, dict[str, float | None]], peers: Sequence[Peer]
) -> dict:
    """SRCC and PLCC of each peer with the opinions of a voting file, per reference and on average."""
    results = {}
    for peer in peers:
        groups = {}
        for reference, opinions in truth.items():
            known = [
                (peer.sign * values[path, reference][peer.name], opinion)
                for path, opinion in opinions.items()
                if values[path, reference][peer.name] is not None
            ]
            if known:
                groups[reference] = tuple(map(list, zip(*known)))
        results[peer.name] = mean_correlations(groups)
    return results
