"""Temperatures of brief questions, fitted on validation records."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, logsumexp
from tqdm import tqdm

from depictqa_core import tasks
from depictqa_core.calibration import Calibration
from depictqa_core.errors import TaskError
from depictqa_core.judge import Judge
from depictqa_core.prompts import REFERENCE, A, B
from depictqa_core.tasks import IDENTIFICATION, SCORE

from .metrics import calibration_error
from .sets import TestSet

CHUNK = 64
MINIMUM = 100
"""Fewer answers than this do not fix a temperature."""
BOUNDS = (0.1, 10.0)
OFFSET = 5.0
"""Largest offset of the answer of clean images."""
LARGEST_HEAD_WEIGHT = 4.0
"""Largest weight of the logits of heads."""
CLEAN_SHARE = 0.5
"""Share of clean images that probabilities of distortions and scores hold for, unless another one is asked for."""


@dataclass(frozen=True)
class Fit:
    """What calibration did for one question and setting.

    Attributes:
        temperature: the fitted one; None where there were too few records.
        offset: added to the log-probability of "None" (``Calibration.with_prior``); None where it was not fitted.
        heads: weight of the logits of heads (``Calibration.with_heads``); None where there are none.
        count: records that it was fitted on.
        nll_before, nll_after: mean negative log-likelihood of the true answer, at temperature 1 and the fitted one.
        ece_before, ece_after: expected calibration error of the most probable answer.
    """

    temperature: float | None
    count: int
    nll_before: float
    nll_after: float | None
    ece_before: float
    ece_after: float | None
    offset: float | None = None
    heads: float | None = None


def fit_temperature(log_probabilities: np.ndarray, truths: np.ndarray, same: np.ndarray | None = None) -> float:
    """The temperature under which the true answers are most likely (Guo et al. 2017).

    The likelihood of single answers is concave in 1 / temperature, so the one-dimensional search finds the best value.

    Args:
        log_probabilities: float64 [N, K]; -inf where an answer was not on offer.
        truths: index of the true answer, int [N].
        same: bool [K, K], which answers say the same; None where each says something else.

    Returns:
        a temperature within ``BOUNDS``, to 1e-6.
    """
    low, high = (1 / bound for bound in reversed(BOUNDS))
    found = minimize_scalar(
        lambda inverse: negative_log_likelihood(log_probabilities, truths, 1 / inverse, same),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return round(1 / found.x, 6)


def fit_prior(
    log_probabilities: np.ndarray,
    truths: np.ndarray,
    none: int | None,
    clean_share: float,
    same: np.ndarray | None = None,
    heads: np.ndarray | None = None,
) -> tuple[float, float, float]:
    """The temperature, the offset of "None" and the weight of heads under which the true answers are most likely where
    a share of the images is clean: records are weighted so that clean ones have this share.

    The likelihood of single answers is concave in 1 / temperature, the offset and the weight, so the search finds the
    best values.

    Args:
        log_probabilities, truths, same: as in ``fit_temperature``.
        none: index of "None"; None where the records are taken as they are, without an offset.
        clean_share: above 0 and below 1.
        heads: logits of heads, [N, K]; None where there are none.

    Returns:
        (temperature within ``BOUNDS``, offset, weight 0 to ``LARGEST_HEAD_WEIGHT``), to 1e-6.
    """
    weights = _weights(truths, none, clean_share)

    def loss(found: np.ndarray) -> float:
        scaled = _scaled(log_probabilities, 1 / found[0], found[1], found[2], none, heads)
        return float(-(weights * _log_likelihoods(scaled, truths, same)).sum())

    low, high = (1 / bound for bound in reversed(BOUNDS))
    bounds = [(low, high), (-OFFSET, OFFSET) if none is not None else (0, 0)]
    bounds.append((0, LARGEST_HEAD_WEIGHT) if heads is not None else (0, 0))
    found = minimize(loss, [1.0, 0.0, 0.0], bounds=bounds, method="L-BFGS-B").x
    return round(float(1 / found[0]), 6), round(float(found[1]), 6), round(float(found[2]), 6)


def _scaled(
    log_probabilities: np.ndarray,
    temperature: float,
    offset: float,
    weight: float,
    none: int | None,
    heads: np.ndarray | None,
) -> np.ndarray:
    """The logits of answers under a calibration; arguments as in ``fit_prior``."""
    scaled = log_probabilities / temperature
    if heads is not None:
        scaled = scaled + weight * heads
    if none is not None:
        scaled[:, none] += offset
    return scaled


def _weights(truths: np.ndarray, none: int | None, clean_share: float) -> np.ndarray:
    """Weights of records, with sum 1: ``prior_weights``, or equal ones without a "None"."""
    return np.full(len(truths), 1 / len(truths)) if none is None else prior_weights(truths == none, clean_share)


def prior_weights(clean: np.ndarray, clean_share: float) -> np.ndarray:
    """Weights of records, with sum 1, of which the clean ones have ``clean_share``."""
    return np.where(clean, clean_share / max(clean.sum(), 1), (1 - clean_share) / max((~clean).sum(), 1))


def negative_log_likelihood(
    log_probabilities: np.ndarray, truths: np.ndarray, temperature: float = 1.0, same: np.ndarray | None = None
) -> float:
    """Mean of -log p(true answer) at a temperature; arguments as in ``fit_temperature``."""
    return float(-_log_likelihoods(log_probabilities / temperature, truths, same).mean())


def _log_likelihoods(scaled: np.ndarray, truths: np.ndarray, same: np.ndarray | None) -> np.ndarray:
    """log p(true answer), or of any answer that says the same, of each record [N]."""
    found = log_softmax(scaled, axis=1)
    if same is None:
        return found[np.arange(len(truths)), truths]
    return logsumexp(np.where(same[truths], found, -np.inf), axis=1)


def same_labels(options: Sequence[str]) -> np.ndarray:
    """Which answers name the same distortions, in whatever order: bool [K, K]."""
    named = [frozenset(tasks.parse_labels(option) or ()) for option in options]
    return np.array([[one == other for other in named] for one in named])


def calibrate(
    judge: Judge, sets: Iterable[TestSet], minimum: int = MINIMUM, clean_share: float | None = CLEAN_SHARE
) -> dict[str, Fit]:
    """Fit a temperature for every brief question and setting (``tasks.temperature_names``) that the records cover.

    Records must be ones that the checkpoint was not trained on, or it comes out overconfident. The judge's present
    temperatures play no part. Score questions are passed over: the probabilities of their levels say where between two
    levels an image lies, not how likely it is to be at either, and a temperature would move the scores; see
    ``calibrate_scores``.

    Args:
        judge: the judge to calibrate; it is not changed.
        sets: validation sets whose records carry ``answer``. Detailed questions and records whose image cannot be
            read are passed over.
        minimum: fewest records to fit on.
        clean_share: share of clean images among those that will be judged, above 0 and below 1, for identification
            questions whose records have ``minimum`` / 10 clean ones or more; None for that of the records.

    Raises:
        TaskError: no record has a short answer that the judge may give.
    """
    rows, heads, truths = defaultdict(list), defaultdict(list), defaultdict(list)
    with calibrated(judge, {}):
        for test_set in sets:
            for key, probabilities, logits, truth in _answers(judge, test_set):
                rows[key].append(np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)))
                heads[key].append(logits)
                truths[key].append(truth)
    if not rows:
        raise TaskError("calibrate: no record has a short answer; give test records with answer and a short question")
    return {
        key: _fit(
            _padded(rows[key], -np.inf), _padded(heads[key], 0.0), np.array(truths[key]), minimum, key, clean_share
        )
        for key in sorted(rows)
    }


def _fit(
    log_probabilities: np.ndarray,
    logits: np.ndarray,
    truths: np.ndarray,
    minimum: int,
    key: str,
    clean_share: float | None,
) -> Fit:
    heads = logits if logits.any() else None
    options = _options_of(key, log_probabilities.shape[1])
    none = options.index(tasks.answer_text(())) if options else None
    same = same_labels(options) if options else np.eye(log_probabilities.shape[1], dtype=bool)
    if none is None or clean_share is None or (truths == none).sum() * 10 < minimum:
        none, clean_share = None, CLEAN_SHARE
    weights = _weights(truths, none, clean_share)

    def measured(temperature: float, offset: float = 0.0, weight: float = 0.0) -> tuple[float, float]:
        scaled = _scaled(log_probabilities, temperature, offset, weight, none, heads)
        loss = -(weights * _log_likelihoods(scaled, truths, same)).sum()
        probabilities = np.exp(log_softmax(scaled, axis=1))
        best = probabilities.argmax(1)
        confidence = (probabilities * same[best]).sum(1)
        error = calibration_error(confidence, same[best, truths], weights=weights)
        return float(loss), error or 0.0  # None: no records

    before = measured(1.0)
    if len(truths) < minimum:
        return Fit(None, len(truths), before[0], None, before[1], None)
    if none is None and heads is None:
        found = fit_temperature(log_probabilities, truths, same), 0.0, 0.0
    else:
        found = fit_prior(log_probabilities, truths, none, clean_share, same, heads)
    after = measured(*found)
    offset, weight = None if none is None else found[1], None if heads is None else found[2]
    return Fit(found[0], len(truths), before[0], after[0], before[1], after[1], offset, weight)


def _options_of(key: str, count: int) -> tuple[str, ...] | None:
    """The answers, ``count`` of them, of the identification question that a temperature is for; None for others."""
    if not key.startswith(IDENTIFICATION.name):
        return None
    return next(found for found in map(tasks.identification_answers, (1, 2, None)) if len(found) == count)


def _answers(judge: Judge, test_set: TestSet):
    """(key, probabilities of the allowed answers, logits of heads, index of the true one) of every record with a short
    answer."""
    chosen = [
        index
        for index, record in enumerate(test_set.records)
        if record.get("answer") is not None and tasks.is_short(record["query"])
    ]
    with tqdm(total=len(chosen), desc=f"calibrate {test_set.name}", mininterval=5) as bar:
        for task_type, query, members in test_set.groups(chosen):
            setting = tasks.setting(task_type)
            task = tasks.task_of(query, setting.pair)
            if task is SCORE or not task.brief or task.name not in judge.backend.capabilities.tasks:
                bar.update(len(members))
                continue
            options, shows = tasks.answers(task, query), (A, B) if setting.pair else (A,)
            place = {answer: index for index, answer in enumerate(options)}
            for start in range(0, len(members), CHUNK):
                kept, pictures, _ = test_set.readable(members[start : start + CHUNK])
                probabilities = judge.ask(pictures, task, query)[1] if kept else []
                shown: list[Any] = [(*(roles[role] for role in shows), roles.get(REFERENCE)) for roles in pictures]
                heads = judge.backend.head_logits(task, query, options, shown)
                for index, row, logits in zip(kept, probabilities, heads):
                    truth = place.get(test_set.records[index]["answer"].strip())
                    if truth is not None:
                        yield tasks.temperature_names(task, query, setting.reference)[0], row, logits, truth
                bar.update(len(members[start : start + CHUNK]))


def _padded(rows: list[np.ndarray], rest: float) -> np.ndarray:
    """float64 [N, K] of rows that may offer different numbers of answers; those not on offer get ``rest``."""
    padded = np.full((len(rows), max(map(len, rows))), rest)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


@contextmanager
def calibrated(judge: Judge, calibration: dict):
    """The judge with another calibration than its own."""
    stored = judge.backend.calibration
    judge.backend.calibration = Calibration(calibration)
    try:
        yield judge
    finally:
        judge.backend.calibration = stored
