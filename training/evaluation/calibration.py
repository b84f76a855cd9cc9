"""Calibration: all that a checkpoint knows of its own errors, fitted on validation records and stored in its folder."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from depictqa_core.backends.vlm_loading import calibration_file
from depictqa_core.calibration import HEADS, NONE
from depictqa_core.errors import CheckpointError, TaskError
from depictqa_core.judge import Judge
from depictqa_core.storage.documents import read_json
from depictqa_core.tasks import RATING, SCORE

from ..output_files import write_text
from .order_calibration import OrderFit, calibrate_order
from .score_calibration import ScoreFit, calibrate_scores
from .sets import TestSet
from .temperatures import CLEAN_SHARE, MINIMUM, Fit, calibrate, calibrated

Fits = dict[str, Fit | OrderFit | ScoreFit]


TEMPERATURES, ORDERS, SCORES = PARTS = ("temperatures", "orders", "scores")
"""What can be fitted."""


def calibrate_all(
    judge: Judge,
    sets: Sequence[TestSet],
    minimum: int = MINIMUM,
    parts: Sequence[str] = PARTS,
    clean_share: float | None = CLEAN_SHARE,
) -> Fits:
    """Fit all that the records cover: temperatures first, then orders and scores under these temperatures.

    Args:
        judge, sets, minimum, clean_share: as in ``calibrate``.
        parts: of ``PARTS``; what is not named stays as it is.

    Raises:
        TaskError: the records cover none of it.
    """
    fits: Fits = {}
    known = judge.backend.capabilities.tasks
    if TEMPERATURES in parts:
        try:
            fits |= calibrate(judge, sets, minimum, clean_share)
        except TaskError:
            if parts == (TEMPERATURES,):
                raise
    with calibrated(judge, {**judge.backend.calibration.settings, **fitted(fits)}):
        if ORDERS in parts and RATING.name in known:
            fits |= calibrate_order(judge, sets, minimum)
        if SCORES in parts and (SCORE.name in known or RATING.name in known):
            fits |= calibrate_scores(judge, sets, minimum, clean_share)
    if not fits:
        raise TaskError(
            f"calibrate: no record is usable for {', '.join(parts)}; give test records with answer and a short "
            "question, for scores with quality"
        )
    return fits


def fitted(fits: Fits) -> dict:
    """What of the fits goes into a checkpoint's ``calibration``."""
    values = {key: fit.temperature if isinstance(fit, Fit) else fit.calibration for key, fit in fits.items()}
    singles = {_question(key): fit for key, fit in fits.items() if not isinstance(fit, OrderFit)}
    values |= {NONE + key: fit.offset for key, fit in singles.items()}
    values |= {HEADS + key: fit.heads for key, fit in singles.items()}
    return {
        key: value
        if isinstance(value, float)
        else {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(value).items()}
        for key, value in values.items()
        if value is not None
    }


def store(folder: str | Path, fits: Fits) -> dict:
    """Write what was fitted into a checkpoint folder; returns all of its calibration then.

    A checkpoint of ours holds it in ``config.json``, a vision-language model in ``depictqa_calibration.json``.

    What was not fitted stays, except that a new temperature of pairs drops the order that was fitted under the old one,
    and a new temperature of distortions, or error of scores, the offset of clean images and the weight of heads.
    The card of the folder stays valid: it vouches for the weights, which do not change.
    """
    path = calibration_file(Path(folder))
    config = read_json(path, error=CheckpointError) if path.is_file() else {}
    new, old = fitted(fits), config.get("calibration", {})
    stale = {key.replace(RATING.name, "order") for key in new if key.startswith(RATING.name)}
    stale |= {prefix + _question(key) for key in new for prefix in (NONE, HEADS)}
    config["calibration"] = dict(sorted({**{k: v for k, v in old.items() if k not in stale}, **new}.items()))
    write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")
    return config["calibration"]


def _question(key: str) -> str:
    """The question whose offset of clean images and weight of heads belong to a fit."""
    return key.replace("score_error", SCORE.name)


def table(fits: Fits) -> str:
    """The fits as aligned text: temperatures, then orders, then scores."""
    lines = []
    some = {key: fit for key, fit in fits.items() if isinstance(fit, Fit)}
    if some:
        fitted_to = f"{'records':>8}{'temperature':>13}{'None':>8}{'heads':>8}"
        columns = f"{fitted_to}{'NLL before':>12}{'after':>9}{'ECE before':>12}{'after':>9}"
        lines.append(f"{'question':<22}{columns}")
    for key, fit in some.items():
        head = f"{key:<22}{fit.count:>8}{_number(fit.temperature, 13)}{_number(fit.offset, 8)}{_number(fit.heads, 8)}"
        after = _number(fit.nll_after), _number(fit.ece_after)
        lines.append(f"{head}{fit.nll_before:12.4f}{after[0]}{fit.ece_before:12.4f}{after[1]}")
    orders = {key: fit for key, fit in fits.items() if isinstance(fit, OrderFit)}
    if orders:
        columns = f"{'pairs':>8}{'weight':>9}{'slope':>9}{'lapse':>9}{'NLL before':>12}{'after':>9}"
        lines += ["", f"{'order':<22}{columns}{'of 95 % on':>12}{'right':>9}"]
    for key, order in orders.items():
        found = [getattr(order.calibration, name, None) for name in ("weight", "slope", "lapse")]
        before = f"{key:<22}{order.count:>8}{''.join(map(_number, found))}{order.nll_before:12.4f}"
        lines.append(f"{before}{_number(order.nll_after)}{_number(order.claimed, 12)}{_number(order.right)}")
    scores = {key: fit for key, fit in fits.items() if isinstance(fit, ScoreFit)}
    if scores:
        fitted_to = f"{'images':>8}{'Excellent':>11}{'heads':>8}"
        lines += ["", f"{'score':<22}{fitted_to}{'within 10':>11}{'confidence':>12}{'in interval':>13}"]
    for key, score in scores.items():
        known = f"{_number(score.confidence, 12)}{_number(score.inside, 13)}"
        lines.append(
            f"{key:<22}{score.count:>8}{_number(score.offset, 11)}{_number(score.heads, 8)}{score.within:11.4f}{known}"
        )
    return "\n".join(lines)


def _number(value: float | None, width: int = 9) -> str:
    return f"{value:{width}.4f}" if value is not None else f"{'too few' if width > 9 else '-':>{width}}"
