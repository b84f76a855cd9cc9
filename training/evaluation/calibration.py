"""Calibration: what a checkpoint knows of its own errors, fitted on validation records, stored in its folder.

Temperatures for brief questions, and how orders and scores relate to the truth (``error_models``), each with a
reference and without.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from tqdm import tqdm

from depictqa_core import tasks
from depictqa_core.calibration import WITHIN, OrderCalibration, ScoreCalibration
from depictqa_core.errors import CheckpointError, TaskError
from depictqa_core.judge import Judge
from depictqa_core.prompts import REFERENCE, A, B
from depictqa_core.ranking import bradley_terry as ranking
from depictqa_core.storage.documents import read_json
from depictqa_core.tasks import RATING, SCORE

from ..files import write_text
from .error_models import Ranked, fit_order, fit_score, gaps, order_likelihood, rankings
from .metrics import calibration_error
from .sets import TestSet

CHUNK = 64
MINIMUM = 100
"""Fewer answers than this do not fix a temperature."""
BOUNDS = (0.1, 10.0)
LARGEST, RANKINGS = 12, 150
"""Images in a ranking that the order is calibrated on (so many are compared in full), and most rankings a setting."""


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
    levels a picture lies, not how likely it is to be at either, and a temperature would move the scores; see
    ``calibrate_scores``.

    Args:
        judge: the judge to calibrate; it is not changed.
        sets: validation sets whose records carry ``answer``. Detailed questions and records whose picture cannot be
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


# ---------------------------------------------------------------------- the order of images


@dataclass(frozen=True)
class OrderFit:
    """What calibration did for the order of images in one setting.

    Attributes:
        calibration: the fitted one; None where there were too few pairs.
        count: pairs of known order.
        nll_before, nll_after: mean negative log-likelihood of the true order, by the judge's self-consistency (all
            answers of a ranking) and calibrated.
        claimed, right: of the pairs to whose order the calibrated ranking of all answers gives 95 % and more: mean
            probability, and share that is right. None if there are none.
    """

    calibration: OrderCalibration | None
    count: int
    nll_before: float
    nll_after: float | None
    claimed: float | None
    right: float | None


def calibrate_order(judge: Judge, sets: Sequence[TestSet], minimum: int = MINIMUM) -> dict[str, OrderFit]:
    """Fit ``order_fr`` and ``order_nr`` on the pairs of known order that the records cover.

    Images that are connected by pairs are ranked as the judge ranks them, under its present temperatures (so fit these
    first); the truth of a pair is its record's answer.

    Returns:
        name -> what was fitted, for the settings that any record covers; empty if there are none.
    """
    return {key: _fit_order(some, minimum) for key, some in ranked_sets(judge, sets).items()}


def ranked_sets(judge: Judge, sets: Sequence[TestSet]) -> dict[str, list[Ranked]]:
    """All answers to all pairs in rankings of the records' images, by ``order_fr`` and ``order_nr``."""
    # setting -> reference, or file of pairs without one -> {(better, worse): None}; images by their keys
    decided = defaultdict(dict)
    shown: dict = {}
    for test_set in sets:
        chosen = [
            i for i, r in enumerate(test_set.records) if _winner(r) and tasks.setting(test_set.task_types[i]).pair
        ]
        kept, pictures, _ = test_set.shown(chosen)
        for index, roles in zip(kept, pictures):
            better, worse = (A, B) if _winner(test_set.records[index]) == "A" else (B, A)
            shown |= {picture.key: picture for picture in roles.values()}
            if roles[A].key == roles[B].key:
                continue
            seen = REFERENCE in roles
            kind = roles[REFERENCE].key if seen else test_set.name
            pairs = decided["order_fr" if seen else "order_nr"].setdefault(kind, {})
            pairs[roles[better].key, roles[worse].key] = None
    found = {}
    for name, by_reference in sorted(decided.items()):
        asked = [
            (reference, members, pairs)
            for reference, pairs in by_reference.items()
            for members in rankings(list(pairs), LARGEST)
        ]
        asked = asked[:: max(1, -(-len(asked) // RANKINGS))]
        with tqdm(total=len(asked), desc=f"calibrate {name}", mininterval=5) as bar:
            found[name] = []
            for reference, members, pairs in asked:
                place = {key: number for number, key in enumerate(members)}
                known = [(place[a], place[b]) for a, b in pairs if a in place and b in place]
                compared = ranking.all_pairs(len(members))
                answers = judge.compare_many(
                    [(shown[members[i]], shown[members[j]]) for i, j in compared],
                    [shown.get(reference)] * len(compared),
                )
                wins = [answer.probability_a for answer in answers]
                found[name].append(Ranked(len(members), compared, wins, known))
                bar.update()
    return found


def _winner(record: dict) -> str | None:
    return tasks.parse_winner(str(record.get("answer"))) if tasks.is_short(record["query"]) else None


def _fit_order(some: list[Ranked], minimum: int) -> OrderFit:
    count = sum(len(ranked.decided) for ranked in some)
    before = []
    for ranked in some:
        weight = ranking.estimate_weight(ranked.count, ranked.pairs, ranked.wins)
        fit = ranking.bradley_terry(ranked.count, ranked.pairs, ranked.wins, weight)
        before += [-np.log(max(fit.probability(i, j), 1e-12)) for i, j in ranked.decided]
    if count < minimum:
        return OrderFit(None, count, float(np.mean(before)), None, None, None)
    calibration = fit_order(some)
    gap, variance = gaps(some, calibration.weight)
    probability = calibration.probability(gap, variance)
    claims = np.maximum(probability, 1 - probability) >= 0.95
    return OrderFit(
        calibration,
        count,
        float(np.mean(before)),
        order_likelihood(calibration, gap, variance),
        float(np.maximum(probability, 1 - probability)[claims].mean()) if claims.any() else None,
        float((probability > 0.5)[claims].mean()) if claims.any() else None,
    )


# ---------------------------------------------------------------------- scores


@dataclass(frozen=True)
class ScoreFit:
    """What calibration did for scores in one setting.

    Attributes:
        calibration: the fitted one; None where there were too few records.
        count: images that it was fitted on.
        within: share of them whose true quality is within ``calibration.WITHIN`` points of their score.
        confidence: their mean calibrated confidence.
        inside: share whose true quality is in the calibrated interval.
    """

    calibration: ScoreCalibration | None
    count: int
    within: float
    confidence: float | None
    inside: float | None


def calibrate_scores(judge: Judge, sets: Sequence[TestSet], minimum: int = MINIMUM) -> dict[str, ScoreFit]:
    """Fit ``score_error_fr`` and ``score_error_nr`` on the records with ``quality`` (0..1, as ``build`` writes it)."""
    return {key: _fit_score(some, minimum) for key, some in scored_sets(judge, sets).items()}


def scored_sets(judge: Judge, sets: Sequence[TestSet]) -> dict[str, list[tuple]]:
    """(Score, true quality in points) of every image of known quality, by ``score_error_fr`` and ``score_error_nr``."""
    found = defaultdict(list)
    for test_set in sets:
        chosen = [
            i
            for i, record in enumerate(test_set.records)
            if isinstance(record.get("quality"), (int, float)) and not tasks.setting(test_set.task_types[i]).pair
        ]
        with tqdm(total=len(chosen), desc=f"scores of {test_set.name}", mininterval=5) as bar:
            for start in range(0, len(chosen), CHUNK):
                some = chosen[start : start + CHUNK]
                kept, pictures, _ = test_set.shown(some)
                for seen in (False, True):
                    asked = [(i, roles) for i, roles in zip(kept, pictures) if (REFERENCE in roles) == seen]
                    references = [roles[REFERENCE] for _, roles in asked] if seen else None
                    scores = judge.score([roles[A] for _, roles in asked], references) if asked else []
                    found["score_error_fr" if seen else "score_error_nr"] += [
                        (score, 100 * float(test_set.records[i]["quality"])) for (i, _), score in zip(asked, scores)
                    ]
                bar.update(len(some))
    return {key: some for key, some in sorted(found.items()) if some}


def _fit_score(some: list[tuple], minimum: int) -> ScoreFit:
    levels = np.array([[level.probability for level in score.levels] for score, _ in some])
    scores, truths = np.array([(score.score, truth) for score, truth in some]).T
    within = float(np.mean(np.abs(truths - scores) <= WITHIN))
    if len(some) < minimum:
        return ScoreFit(None, len(some), within, None, None)
    calibration = fit_score(levels, scores, truths, some[0][0].method)
    confidence, low, high = np.array([calibration.judged(*one) for one in zip(levels, scores)]).T
    inside = float(np.mean((low <= truths) & (truths <= high)))
    return ScoreFit(calibration, len(some), within, float(confidence.mean()), inside)


# ---------------------------------------------------------------------- temperatures


def _fit(log_probabilities: np.ndarray, truths: np.ndarray, minimum: int) -> Fit:
    def error(temperature: float) -> float:
        probabilities = np.exp(log_softmax(log_probabilities / temperature, axis=1))
        return calibration_error(probabilities.max(1), probabilities.argmax(1) == truths)

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
            if task is SCORE or not task.brief or task.name not in judge.model.config.tasks:
                bar.update(len(members))
                continue
            place = {answer: index for index, answer in enumerate(tasks.answers(task, query))}
            for start in range(0, len(members), CHUNK):
                kept, pictures, _ = test_set.shown(members[start : start + CHUNK])
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
    stored = judge.model.config.calibration
    judge.model.config.calibration = calibration
    try:
        yield judge
    finally:
        judge.model.config.calibration = stored


Fits = dict[str, Fit | OrderFit | ScoreFit]


TEMPERATURES, ORDERS, SCORES = PARTS = ("temperatures", "orders", "scores")
"""What can be fitted."""


def calibrate_all(judge: Judge, sets: Sequence[TestSet], minimum: int = MINIMUM, parts: Sequence[str] = PARTS) -> Fits:
    """Fit all that the records cover: temperatures first, then orders and scores under these temperatures.

    Args:
        judge, sets, minimum: as in ``calibrate``.
        parts: of ``PARTS``; what is not named stays as it is.

    Raises:
        TaskError: the records cover none of it.
    """
    fits: Fits = {}
    known = judge.model.config.tasks
    if TEMPERATURES in parts:
        try:
            fits |= calibrate(judge, sets, minimum)
        except TaskError:
            if parts == (TEMPERATURES,):
                raise
    with calibrated(judge, {**judge.model.config.calibration, **fitted(fits)}):
        if ORDERS in parts and RATING.name in known:
            fits |= calibrate_order(judge, sets, minimum)
        if SCORES in parts and (SCORE.name in known or RATING.name in known):
            fits |= calibrate_scores(judge, sets, minimum)
    if not fits:
        raise TaskError(
            f"calibrate: no record is of use for {', '.join(parts)}; give test records with answer and a short "
            "question, for scores with quality"
        )
    return fits


def fitted(fits: Fits) -> dict:
    """What of the fits goes into a checkpoint's ``calibration``."""
    values = {key: fit.temperature if isinstance(fit, Fit) else fit.calibration for key, fit in fits.items()}
    return {
        key: value
        if isinstance(value, float)
        else {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(value).items()}
        for key, value in values.items()
        if value is not None
    }


def store(folder: str | Path, fits: Fits) -> dict:
    """Write what was fitted into a checkpoint folder's config.json; returns all of its calibration then.

    What was not fitted stays, except that a new temperature of pairs drops the order that was fitted under the old one.
    The card of the folder stays valid: it vouches for the weights, which do not change.
    """
    path = Path(folder) / "config.json"
    config = read_json(path, error=CheckpointError)
    new, old = fitted(fits), config.get("calibration", {})
    stale = {key.replace(RATING.name, "order") for key in new if key.startswith(RATING.name)}
    config["calibration"] = dict(sorted({**{k: v for k, v in old.items() if k not in stale}, **new}.items()))
    write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")
    return config["calibration"]


def table(fits: Fits) -> str:
    """The fits as aligned text: temperatures, then orders, then scores."""
    lines = []
    some = {key: fit for key, fit in fits.items() if isinstance(fit, Fit)}
    if some:
        columns = f"{'records':>8}{'temperature':>13}{'NLL before':>12}{'after':>9}{'ECE before':>12}{'after':>9}"
        lines.append(f"{'question':<22}{columns}")
    for key, fit in some.items():
        head = f"{key:<22}{fit.count:>8}{_number(fit.temperature, 13)}"
        after = _number(fit.nll_after), _number(fit.ece_after)
        lines.append(f"{head}{fit.nll_before:12.4f}{after[0]}{fit.ece_before:12.4f}{after[1]}")
    some = {key: fit for key, fit in fits.items() if isinstance(fit, OrderFit)}
    if some:
        columns = f"{'pairs':>8}{'weight':>9}{'slope':>9}{'lapse':>9}{'NLL before':>12}{'after':>9}"
        lines += ["", f"{'order':<22}{columns}{'of 95 % on':>12}{'right':>9}"]
    for key, fit in some.items():
        found = [getattr(fit.calibration, name, None) for name in ("weight", "slope", "lapse")]
        head = f"{key:<22}{fit.count:>8}{''.join(map(_number, found))}{fit.nll_before:12.4f}{_number(fit.nll_after)}"
        lines.append(f"{head}{_number(fit.claimed, 12)}{_number(fit.right)}")
    some = {key: fit for key, fit in fits.items() if isinstance(fit, ScoreFit)}
    if some:
        lines += ["", f"{'score':<22}{'images':>8}{'within 10':>11}{'confidence':>12}{'in interval':>13}"]
    for key, fit in some.items():
        lines.append(f"{key:<22}{fit.count:>8}{fit.within:11.4f}{_number(fit.confidence, 12)}{_number(fit.inside, 13)}")
    return "\n".join(lines)


def _number(value: float | None, width: int = 9) -> str:
    return f"{value:{width}.4f}" if value is not None else f"{'too few' if width > 9 else '-':>{width}}"
