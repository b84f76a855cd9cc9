"""Calibration of orders and scores: measured on held-out images of known quality, stored in the configuration.

Temperatures make the probabilities of one brief answer right. ``OrderCalibration`` and ``ScoreCalibration`` do so for
what is computed from answers: the order of images, and the points of a score. ``Calibration`` holds all of them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from .tasks import LEVEL_SCORES, Task, clean_answer, temperature_names

_Part = TypeVar("_Part")

CALIBRATED, SELF_CONSISTENCY = "calibrated", "self-consistency"
"""Kinds of certainty: measured on held-out images, or only the agreement of the judge's answers with each other, which
does not show whether they are right."""
WITHIN = 10.0
"""The confidence of a score is the probability that its error is at most this many points."""
LEVEL = 0.95
"""Share of the true qualities that the interval of a score contains."""
NONE = "none_"
"""Prefix of settings that are added to the log-probability of ``tasks.clean_answer``."""
HEADS = "heads_"
"""Prefix of the weights of the heads' logits."""
_EDGES = np.array([0.0, 12.5, 37.5, 62.5, 87.5, 100.0])
"""Boundaries in points between which each rating level is the nearest one, worst level first."""


@dataclass(frozen=True)
class OrderCalibration:
    """The relation of the strengths of two images to their true order, estimated on held-out pairs of known order.

    Attributes:
        weight: number of independent votes that one answer is worth as evidence of the judge's strengths, above 0.
        slope: log odds of the true order per logit of strength difference, above 0. It is below 1 if the judge has
            systematic errors, which more comparisons of the same images do not reduce.
        lapse: 0 to below 0.5, the share of pairs for which the strengths have no information: no probability of an
            order exceeds ``1 - lapse``.

    Raises:
        ValueError: a value is out of range.
    """

    weight: float
    slope: float
    lapse: float

    def __post_init__(self) -> None:
        _check(0 < self.weight <= 1e4 and 0 < self.slope <= 1e3 and 0 <= self.lapse < 0.5, self)

    def probability(self, gap: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Compute the probability that the first of two items is better in truth, elementwise.

        The mean of ``sigmoid(slope * gap)`` over a normal posterior of the gap (MacKay 1992), with lapses.

        Args:
            gap: difference of their strengths in logits.
            variance: of the gap under the posterior of the strengths, squared logits.
        """
        scale = np.sqrt(1 + math.pi / 8 * self.slope**2 * np.maximum(variance, 0))
        return self.lapse + (1 - 2 * self.lapse) * sigmoid(self.slope * gap / scale)

    @property
    def variance(self) -> float:
        """Variance, in squared logits, of the systematic error of one strength."""
        return math.pi**2 / (6 * self.slope**2)


FEATURES = 4


def features(levels: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """Compute the predictors of the error from level probabilities [N, 5], best level first, and scores [N] in points.

    Returns:
        float64 [N, FEATURES]: 1; the standard deviation of the level probabilities in units of 25 points; place and its
        square, where place is the score over 100.
    """
    levels, scores = np.asarray(levels, np.float64), np.asarray(scores, np.float64)
    points = np.asarray(LEVEL_SCORES)
    variance = levels @ points**2 - (levels @ points) ** 2
    spread, place = np.sqrt(np.maximum(variance, 0)) / 25, scores / 100
    return np.stack([np.ones_like(place), spread, place, place**2], -1)


def expected_points(levels: Iterable[float]) -> float:
    """Compute the mean points (``LEVEL_SCORES``) of level probabilities, best level first."""
    return sum(float(p) * points for p, points in zip(levels, LEVEL_SCORES))


def with_offset(probabilities: np.ndarray, place: int, offset: ArrayLike) -> np.ndarray:
    """Add an offset, or one for each row, to the log-probability of one of the answers: float64 [N, K]."""
    shifted = np.array(probabilities, np.float64)
    shifted[:, place] *= np.exp(offset)
    return shifted / shifted.sum(1, keepdims=True)


def with_logits(probabilities: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Add logits to the log-probabilities of all answers: float64 [N, K]."""
    shifted = np.asarray(probabilities, np.float64) * np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Compute the logistic function elementwise."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def _check(fits: bool, found: object) -> None:
    if not fits:
        raise ValueError(f"{found} is out of range")


@dataclass(frozen=True)
class ScoreCalibration:
    """The error model of scores, estimated on held-out images of known quality.

    Everything is linear in the ``features`` of the level probabilities: the log odds of an error of at most ``WITHIN``
    points, and the centre and the logarithm of the scale of the error (true quality - score).

    Attributes:
        method: of the scores (``results.Score.method``); scores of another method have other errors.
        within, centre, log_scale: coefficients, one per feature.
        ends: (error - centre) / scale lies between these two numbers with probability ``LEVEL``, and is beyond each
            equally often.

    Raises:
        ValueError: a value is out of range.
    """

    method: str
    within: tuple[float, ...]
    centre: tuple[float, ...]
    log_scale: tuple[float, ...]
    ends: tuple[float, float]

    def __post_init__(self) -> None:
        lines = (self.within, self.centre, self.log_scale)
        _check(all(len(line) == FEATURES for line in lines) and len(self.ends) == 2, self)
        numbers = [number for line in (*lines, self.ends) for number in line]
        _check(all(isinstance(x, (int, float)) and abs(x) < 1e6 for x in numbers), self)  # false for NaN
        _check(self.ends[0] <= self.ends[1] and self.method in ("levels", "anchors"), self)

    def judged(self, levels: ArrayLike, score: float) -> tuple[float, float, float]:
        """Compute (confidence, low, high) of a score (0..100 points) and its level probabilities, best level first.

        Returns:
            the probability 0..1 that the true quality is within ``WITHIN`` points of the score, and the ends of the
            interval that contains it with probability ``LEVEL``, in points.
        """
        found = features(np.asarray(levels)[None], [score])
        (confidence,) = sigmoid(found @ np.asarray(self.within))
        (centre,), (scale,) = self.error(found)
        low, high = (float(np.clip(score + centre + scale * end, 0, 100)) for end in self.ends)
        return float(confidence), min(low, score), max(high, score)

    def error(self, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute centre and scale of the error from ``features`` [N, FEATURES]: both [N], in points."""
        scale = np.exp(np.clip(found @ np.asarray(self.log_scale), -20, 20))  # no point is beyond 100
        return found @ np.asarray(self.centre), scale


def judged_by_itself(levels: ArrayLike, score: float) -> tuple[float, float, float]:
    """Compute confidence and interval without a calibration, from the level probabilities alone.

    Every level covers the points that it is nearest to. This is the judge's self-consistency: the spread of its
    probability, not how often it is wrong.
    """
    cumulated = np.concatenate([[0.0], np.cumsum(np.asarray(levels, np.float64)[::-1])])
    cumulated /= cumulated[-1]
    below, above = np.interp((score - WITHIN, score + WITHIN), _EDGES, cumulated)
    steps = np.maximum.accumulate(cumulated + np.arange(len(cumulated)) * 1e-12)
    low, high = np.interp(((1 - LEVEL) / 2, (1 + LEVEL) / 2), steps, _EDGES)
    return float(above - below), float(min(low, score)), float(max(high, score))


@dataclass(frozen=True)
class Calibration:
    """Everything that is known of a judge's errors.

    Attributes:
        settings: temperatures by the names of ``tasks.temperature_names``; under such a name after ``NONE``, what is
            added to the log-probability of the answer of clean images, after ``HEADS`` the weight of what the heads of
            the network find; the settings of an ``OrderCalibration``
            (``order_fr`` with a reference, ``order_nr`` without) and of a ``ScoreCalibration`` (``score_error_fr``,
            ``score_error_nr``). Empty where nothing was measured.

    Raises:
        ValueError: a setting is out of range.
    """

    settings: dict

    def __post_init__(self) -> None:
        for reference in (False, True):  # find a damaged one now
            self.order(reference), self.score(reference)

    def temperature(self, names: Sequence[str]) -> float:
        """What the log-probabilities of a brief question's answers are divided by.

        Args:
            names: of ``tasks.temperature_names``; the first that is known counts, and 1 if none is.
        """
        return float(next((self.settings[name] for name in names if name in self.settings), 1.0))

    def with_prior(
        self, task: Task, question: str, options: Sequence[str], references: Sequence[bool], probabilities: np.ndarray
    ) -> np.ndarray:
        """Apply the prior of clean images that the calibration was fitted for.

        Args:
            task, question, options: what was asked, and the allowed answers.
            references: whether each set of images has a reference, [N].
            probabilities: of the answers under the ``temperature``, [N, K].

        Returns:
            [N, K]; unchanged for questions whose calibration has no such prior.
        """
        offsets = self._of_question(NONE, task, question, references)
        clean = clean_answer(task)
        if clean not in options or not any(offsets):
            return probabilities
        return with_offset(probabilities, options.index(clean), offsets)

    def with_heads(
        self, task: Task, question: str, references: Sequence[bool], probabilities: np.ndarray, logits: np.ndarray
    ) -> np.ndarray:
        """Add what the heads of the network find to the log-probabilities of answers, with the weight of the question.

        Args:
            task, question, references, probabilities: as in ``with_prior``.
            logits: of the heads, [N, K].

        Returns:
            [N, K]; unchanged for questions without a weight.
        """
        weights = np.array(self._of_question(HEADS, task, question, references))
        return with_logits(probabilities, weights[:, None] * logits) if weights.any() else probabilities

    def _of_question(self, prefix: str, task: Task, question: str, references: Sequence[bool]) -> list[float]:
        """The setting of a question for each set of images: that of the first of its names that is known, or 0."""
        names = {seen: [prefix + name for name in temperature_names(task, question, seen)] for seen in (False, True)}
        known = {seen: [self.settings[name] for name in some if name in self.settings] for seen, some in names.items()}
        return [known[seen][0] if known[seen] else 0.0 for seen in references]

    def has_temperature(self, names: Sequence[str]) -> bool:
        """Whether the ``temperature`` of these names was fitted."""
        return any(name in self.settings for name in names)

    def order(self, reference: bool) -> OrderCalibration | None:
        """Return the calibration of orders with or without a reference; None if there is none."""
        return self._part(OrderCalibration, "order", reference)

    def score(self, reference: bool) -> ScoreCalibration | None:
        """Return the calibration of scores with or without a reference; None if there is none."""
        return self._part(ScoreCalibration, "score_error", reference)

    def _part(self, kind: type[_Part], name: str, reference: bool) -> _Part | None:
        settings = self.settings.get(f"{name}_{'fr' if reference else 'nr'}")
        if settings is None:
            return None
        try:
            return kind(**settings)
        except TypeError as error:
            raise ValueError(f"calibration of {name}: {error}") from error
