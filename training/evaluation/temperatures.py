"""Temperatures of brief questions, fitted on validation records."""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from tqdm import tqdm

from depictqa_core import tasks
from depictqa_core.calibration import Calibration
from depictqa_core.errors import TaskError
from depictqa_core.judge import Judge
from depictqa_core.tasks import SCORE

from .metrics import calibration_error
from .sets import TestSet

CHUNK = 64
MINIMUM = 100
"""Fewer answers than this do not fix a temperature."""
BOUNDS = (0.1, 10.0)


@dataclass(frozen=True)
class Fit:
    """What calibration did for one question and setting.

    Attributes:
        temperature: the fitted one; None where there were too few records.
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


def fit_temperature(log_probabilities: np.ndarray, truths: np.ndarray) -> float:
    """The temperature under which the true answers are most likely (Guo et al. 2017).

    The likelihood is concave in 1 / temperature, so the one-dimensional search finds the best value.

    Args:
        log_probabilities: float64 [N, K]; -inf where an answer was not on offer.
        truths: index of the true answer, int [N].

    Returns:
        a temperature within ``BOUNDS``, to 1e-6.
    """
    low, high = (1 / bound for bound in reversed(BOUNDS))
    found = minimize_scalar(
        lambda inverse: negative_log_likelihood(log_probabilities, truths, 1 / inverse),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return round(1 / found.x, 6)


def negative_log_likelihood(log_probabilities: np.ndarray, truths: np.ndarray, temperature: float = 1.0) -> float:
    """Mean of -log p(true answer) at a temperature."""
    scaled = log_softmax(log_probabilities / temperature, axis=1)
    return float(-scaled[np.arange(len(truths)), truths].mean())


def calibrate(judge: Judge, sets: Iterable[TestSet], minimum: int = MINIMUM) -> dict[str, Fit]:
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

    Raises:
        TaskError: no record has a short answer that the judge may give.
    """
    rows, truths = defaultdict(list), defaultdict(list)
    with calibrated(judge, {}):
        for test_set in sets:
            for key, probabilities, truth in _answers(judge, test_set):
                rows[key].append(probabilities)
                truths[key].append(truth)
    if not rows:
        raise TaskError("calibrate: no record has a short answer; give test records with answer and a short question")
    return {key: _fit(_padded(rows[key]), np.array(truths[key]), minimum) for key in sorted(rows)}


def _fit(log_probabilities: np.ndarray, truths: np.ndarray, minimum: int) -> Fit:
    def error(temperature: float) -> float:
        probabilities = np.exp(log_softmax(log_probabilities / temperature, axis=1))
        return calibration_error(probabilities.max(1), probabilities.argmax(1) == truths) or 0.0  # None: no records

    before = negative_log_likelihood(log_probabilities, truths), error(1.0)
    if len(truths) < minimum:
        return Fit(None, len(truths), before[0], None, before[1], None)
    temperature = fit_temperature(log_probabilities, truths)
    after = negative_log_likelihood(log_probabilities, truths, temperature), error(temperature)
    return Fit(temperature, len(truths), before[0], after[0], before[1], after[1])


def _answers(judge: Judge, test_set: TestSet):
    """(key, probabilities of the allowed answers, index of the true one) of every record with a short answer."""
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
            place = {answer: index for index, answer in enumerate(tasks.answers(task, query))}
            for start in range(0, len(members), CHUNK):
                kept, pictures, _ = test_set.readable(members[start : start + CHUNK])
                _, probabilities = judge.ask(pictures, task, query) if kept else (None, [])
                for index, row in zip(kept, probabilities):
                    truth = place.get(test_set.records[index]["answer"].strip())
                    if truth is not None:
                        yield tasks.temperature_names(task, query, setting.reference)[0], row, truth
                bar.update(len(members[start : start + CHUNK]))


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    """Log-probabilities float64 [N, K] of rows that may offer different numbers of answers."""
    padded = np.full((len(rows), max(map(len, rows))), -np.inf)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = np.log(np.maximum(row, np.finfo(np.float32).tiny))
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
