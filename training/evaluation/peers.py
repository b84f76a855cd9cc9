"""Classical metrics as peers of the judge: they decide ratings by the difference of their values, and score images."""

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
from .answer_files import AnswerFile, Keep
from .correlation import correlations, mean_correlations
from .metrics import mean
from .scoring import opinion_of
from .sets import TestSet, kind_of, seal


@dataclass(frozen=True)
class Peer:
    """A metric.

    Attributes:
        name: name in tables.
        reference: whether it needs the reference.
        sign: 1 if higher is better, -1 if lower is better.
        measure: (image, reference or None), uint8 RGB [H, W, 3] each -> value.
    """

    name: str
    reference: bool
    sign: int
    measure: Callable[[np.ndarray, np.ndarray | None], float]


def _piq(metric: Callable, picture: np.ndarray, reference: np.ndarray) -> float:
    if picture.shape != reference.shape:
        raise ValueError(f"the image has {picture.shape[:2]} px, its reference {reference.shape[:2]}")
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
    """Return the peers that can be computed here, and the reasons for the others."""
    try:
        naturalness.brisque_parameters()
    except DepictQAError as error:
        return [peer for peer in PEERS if peer.name != "BRISQUE"], {"BRISQUE": str(error)}
    return list(PEERS), {}


ImageAndReference = tuple[str, str | None]
"""An image's path and its reference's, or None."""


def values_of(
    shown: Iterable[ImageAndReference], root: str | Path, path: str | Path, peers: Sequence[Peer]
) -> dict[ImageAndReference, dict[str, float | None]]:
    """Compute every peer's value for every image, None if there is none (another size than the reference, too small
    ...).

    The values are stored in the JSON lines ``path``, or the reasons if there is none; interrupted work is resumed, and
    images that have changed are measured again.
    """
    wanted = list(dict.fromkeys(shown))
    ids = [repr([(name, *seal(Path(root), name)) for name in pair if name]) for pair in wanted]

    def measured(index: int) -> dict:
        picture, reference = wanted[index]
        values: dict[str, float] = {}
        reasons: dict[str, str] = {}
        row = {"id": ids[index], "values": values, "reasons": reasons}
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
                    raise ValueError("the value is NaN or Inf")
                values[peer.name] = round(value, 6)
            except (ValueError, AssertionError, RuntimeError, DepictQAError) as error:
                reasons[peer.name] = str(error)
        return row

    def source(missing: list[int], keep: Keep) -> None:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for row in pool.map(measured, missing):
                keep([row])

    depends = {"root": str(Path(root).resolve()), "peers": [peer.name for peer in peers]}
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


def compare(test_set: TestSet, values: dict[ImageAndReference, dict[str, float | None]], peers: Sequence[Peer]) -> dict:
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
        result = {}
        if credits or failed[RATING.name]:
            result["rating"] = {
                "accuracy": mean(credits),
                "count": len(credits),
                "failed": failed[RATING.name],
                "ties": ties,
            }
        if opinions or failed[SCORE.name]:
            fit = correlations(*zip(*opinions)) if opinions else None
            agreement = {key: fit and round(fit[key], 6) for key in ("srcc", "plcc")}
            result["score"] = {**agreement, "count": len(opinions), "failed": failed[SCORE.name]}
        if result:
            results[peer.name] = result
    return results


def follow_opinions(
    truth: dict[str, dict[str, float]], values: dict[ImageAndReference, dict[str, float | None]], peers: Sequence[Peer]
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
