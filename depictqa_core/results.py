"""Results of the judge: one frozen dataclass per verb, with ``to_dict()`` for plain JSON values."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .calibration import SELF_CONSISTENCY


@dataclass(frozen=True)
class _Result:
    def to_dict(self) -> dict[str, Any]:
        """Return this result as nested dicts, lists, strings and numbers: rounded to 6 digits, and None for NaN.
        A typicality is left out where it is unknown."""
        known = {key: value for key, value in asdict(self).items() if value is not None or key != "typicality"}
        return {key: _plain(value) for key, value in known.items()}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)  # JSON has no NaN
    return value


TIE = 0.05
"""Two images are tied if the probability that one is better differs from 0.5 by at most this
(``answers.comparison``)."""


@dataclass(frozen=True)
class LabelProbability(_Result):
    """One possible answer and its probability (0..1)."""

    label: str
    probability: float


@dataclass(frozen=True)
class Identification(_Result):
    """The distortions of one image.

    Attributes:
        picture: name of the image.
        labels: lower-case distortion names, at most two; empty for a pristine image.
        text: the answer in the words of the model, such as ``"Noise and insufficient brightness"`` or ``"None"``.
        probabilities: the 13 single labels, most probable first; they sum to 1.
        confidence: 0..1, the probability of ``labels``, in whatever order, among all allowed answers: the probability
            that exactly these labels are right.
        severities: severity of each of ``labels``, 1 (slight) to 5 (catastrophic): the mean of the grades under their
            probabilities. None if the checkpoint does not support severities, or if they were not requested.
        coverage: 0..1, the share of its probability that the model gives to the allowed answers, before calibration.
            Below ``confidence.LOW_COVERAGE`` the answer is doubtful, below ``confidence.LEAST_COVERAGE`` it is
            unreliable, whatever its confidence. None if unknown.
        severity_coverage: the coverage of the question about each of ``severities``.
        certainty: ``"calibrated"`` if the checkpoint has a temperature for the question, fitted on held-out images: on
            images like those, answers are right as often as their confidence says. Otherwise ``"self-consistency"``.
        typicality: 0..1, the share of training images that are less typical than this image (``typicality``); it is no
            probability of being right. Below ``confidence.LEAST_TYPICALITY`` the confidence is not calibrated. None if
            the checkpoint does not support it, or if no network was needed.
    """

    picture: str
    labels: tuple[str, ...]
    text: str
    probabilities: tuple[LabelProbability, ...]
    confidence: float
    severities: tuple[float, ...] | None = None
    coverage: float | None = None
    severity_coverage: tuple[float, ...] | None = None
    certainty: str = SELF_CONSISTENCY
    faults: tuple[LabelProbability, ...] | None = None
    typicality: float | None = None

    @property
    def probable_faults(self) -> tuple[LabelProbability, ...]:
        """The faults that are more probable than not."""
        return tuple(fault for fault in self.faults or () if fault.probability > 0.5)


@dataclass(frozen=True)
class Description(_Result):
    """The description of one image.

    Attributes:
        picture: name of the image.
        text: the answer.
        confidence: 0..1, or None for an empty answer. It is not calibrated: use it to sort answers, not as a
            probability.
        confidence_method: how it was computed.
        coverage: as in ``Identification``, if the answer contains answers of closed sets: the lowest of theirs. None
            for free text.
        typicality: as in ``Identification``.
    """

    picture: str
    text: str
    confidence: float | None
    confidence_method: str
    coverage: float | None = None
    typicality: float | None = None


@dataclass(frozen=True)
class Score(_Result):
    """The quality score of one image.

    Attributes:
        picture: name of the image.
        score: 0 (worst) to 100 (flawless), the mean of a distribution.
        spread: standard deviation of that distribution, in points; it is not an error bar, see ``low`` and ``high``.
        confidence: 0..1, the probability that the true quality is within 10 points of ``score``.
        levels: the five rating levels, best first, with their probabilities.
        low, high: ends of the 95 % interval of the true quality, in points.
        method: ``"levels"`` if the distribution is that over the five rating levels; ``"anchors"`` if the image was
            compared with anchors (``anchors.place``), for checkpoints without levels. Scores of the two methods are not
            on the same scale.
        coverage: as in ``Identification``; with method "anchors" the lowest of all comparisons.
        certainty: ``"calibrated"`` if confidence and interval come from an error model that was fitted on held-out
            images (``calibration.ScoreCalibration``). The true quality is that of its records. For the bundled model,
            and any other that is calibrated on records of ``python -m training build``, it is 100 points for an
            undistorted image and 18 less per step of severity, slightly adjusted by full-reference metrics. It is not
            the opinion of people. Otherwise ``"self-consistency"``: both come from the judge's answers alone and show
            how much its probability is spread over the levels, not how often it is wrong.
        typicality: as in ``Identification``.
    """

    picture: str
    score: float
    spread: float
    confidence: float
    levels: tuple[LabelProbability, ...]
    low: float
    high: float
    method: str
    coverage: float | None = None
    certainty: str = SELF_CONSISTENCY
    typicality: float | None = None


@dataclass(frozen=True)
class Comparison(_Result):
    """The comparison of two images.

    Attributes:
        picture_a, picture_b: names of the images.
        probability_a: probability 0..1 that A is better, the mean over both orders (A/B and B/A).
        disagreement: 0..1, the position bias: the difference of the two orders.
        verdict: ``"A"``, ``"B"`` or ``"tie"``. It is a tie if the probability is within 0.05 of 0.5, or if the two
            orders have different winners.
        confidence: 0.5..1, the probability of the more probable winner.
        text: the explanation in words, or None if it was not requested. It agrees with ``verdict``.
        coverage: as in ``Identification``; the lower one of both orders.
        certainty: as in ``Identification``.
        typicality: as in ``Identification``; the lower one of both images.
    """

    picture_a: str
    picture_b: str
    probability_a: float
    disagreement: float
    verdict: str
    confidence: float
    text: str | None = None
    coverage: float | None = None
    certainty: str = SELF_CONSISTENCY
    typicality: float | None = None


@dataclass(frozen=True)
class Check(_Result):
    """The answer to a user's own question about one image, out of the user's own answers.

    Attributes:
        picture: name of the image.
        question: as the user worded it.
        answer: the most probable answer.
        probabilities: all answers in the order in which they were given; they sum to 1.
        confidence: 0..1, the probability of ``answer``. It is not calibrated: nothing was measured about own questions.
        coverage, certainty: as in ``Identification``.
        passed: whether the answer that was asked for has at least the probability that was asked for; None where no
            answer was.
    """

    picture: str
    question: str
    answer: str
    probabilities: tuple[LabelProbability, ...]
    confidence: float
    coverage: float | None = None
    certainty: str = SELF_CONSISTENCY
    passed: bool | None = None

    def probability(self, answer: str) -> float:
        """Return the probability of one of the answers."""
        return next(one.probability for one in self.probabilities if one.label == answer)


@dataclass(frozen=True)
class RankedImage(_Result):
    """One place of a ranking.

    Attributes:
        rank: 1 + the number of significantly better images: with 95 % certainty (``Ranking.certainty``), or with method
            "score" by at least one point. Images that share a rank are tied.
        index: position of the image in the input, from 0.
        picture: name of the image.
        strength, low, high: Bradley-Terry strength (log odds, mean 0) with its 95 % interval, which includes the
            judge's systematic error if the ranking is calibrated; with method "score" the score in points with its
            interval.
        score, spread: the score of the image in points and its standard deviation, or None if not requested.
        labels: its distortions; empty for a pristine image, None if not requested.
        reason: one sentence with the reason for its rank.
        tied_with_next: True if the next image is tied with this one.
        confidence: 0..1, that of ``labels``; None if they were not requested.
        coverage: the lowest coverage of all answers about it, as in ``Identification``.
    """

    rank: int
    index: int
    picture: str
    strength: float
    low: float
    high: float
    score: float | None
    spread: float | None
    labels: tuple[str, ...] | None
    reason: str
    tied_with_next: bool
    confidence: float | None = None
    coverage: float | None = None


@dataclass(frozen=True)
class Ranking(_Result):
    """Images from best to worst.

    Attributes:
        pictures: best first.
        method: ``"pairs"`` (Bradley-Terry over comparisons) or ``"score"``.
        comparisons: number of compared pairs.
        disagreement: mean difference of the two orders (A/B and B/A) over the asked pairs, 0..1.
        budget: maximum number of comparisons; None with method "score".
        stopped: why the comparisons ended: ``"all pairs"``, ``"budget"`` or ``"top-k decided"``; ``"scores"`` with
            method "score".
        coverage: the lowest one of all answers that it was made of, as in ``Identification``.
        certainty: of ranks and intervals. ``"calibrated"``: 95 % of the orders with 95 % certainty are right, as
            measured on held-out pairs of known order (``calibration.OrderCalibration``). ``"self-consistency"``: the
            judge would give this order again, whether it is right or not; for checkpoints without a calibration of
            orders. With method "score", that of the scores' intervals.
    """

    pictures: tuple[RankedImage, ...]
    method: str
    comparisons: int
    disagreement: float
    budget: int | None
    stopped: str
    coverage: float | None = None
    certainty: str = SELF_CONSISTENCY

    @property
    def order(self) -> tuple[int, ...]:
        """Indexes of the images in the input, best first."""
        return tuple(picture.index for picture in self.pictures)


@dataclass(frozen=True)
class Standing(_Result):
    """One place of a leaderboard.

    Attributes:
        rank: 1 + the number of significantly better labels (95 % certainty). Labels that share a rank are tied. None
            for a label that was not compared with any other; it is last.
        label: the model, sampler, LoRA or prompt.
        strength, low, high: Bradley-Terry strength (log odds, mean 0) with its 95 % interval; NaN if not compared.
        win_share: mean probability 0..1 that its image is the better one of a pair; NaN if not compared.
        wins, ties, losses: verdicts of its pairs.
        pictures: number of images with this label.
        tied_with_next: True if the next label is tied with this one.
    """

    rank: int | None
    label: str
    strength: float
    low: float
    high: float
    win_share: float
    wins: int
    ties: int
    losses: int
    pictures: int
    tied_with_next: bool


@dataclass(frozen=True)
class Leaderboard(_Result):
    """Labels from best to worst.

    Attributes:
        standings: best first.
        comparisons: number of compared pairs.
        groups: number of prompts (and seeds).
        intervals: ``"posterior"`` of the fit, in which one pair of images is one vote about their labels; or
            ``"bootstrap"`` over the groups if there are enough, at least as wide as the posterior.
        disagreement: mean difference of the two orders (A/B and B/A) over the asked pairs, 0..1.
        shares: mean probability that the label of a row beats the label of a column, in the order of the standings;
            None if the two were not compared.
        certainty: ``"calibrated"`` if each comparison counts with the probability that its first image is truly the
            better one, measured on held-out pairs (``calibration.OrderCalibration``), else ``"self-consistency"``.
    """

    standings: tuple[Standing, ...]
    comparisons: int
    groups: int
    intervals: str
    disagreement: float
    shares: tuple[tuple[float | None, ...], ...]
    certainty: str = SELF_CONSISTENCY

    @property
    def uncompared(self) -> tuple[str, ...]:
        """Labels that were not compared with any other."""
        return tuple(standing.label for standing in self.standings if standing.rank is None)


@dataclass(frozen=True)
class Failure(_Result):
    """An image that could not be judged, and why; ``error`` does not repeat the name."""

    picture: str
    error: str

    @classmethod
    def of(cls, name: str, error: Exception | str) -> "Failure":
        """The failure of an image from what was raised, whose text may begin with the name of the image or its path."""
        text, path = str(error), Path(name)
        for head in (f"{name} ({name})", f"{name} ({path})", f"image ({path})", name):
            text = text.removeprefix(f"{head}: ")
        return cls(name, text)


# the name until 0.5, for scripts
RankedPicture = RankedImage
