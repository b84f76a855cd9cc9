"""What the judge answers: one frozen dataclass per verb, each of which turns itself into plain JSON values."""

import math
from dataclasses import asdict, dataclass

from .calibration import SELF_CONSISTENCY


class _Result:
    def to_dict(self) -> dict:
        """This answer as nested dicts, lists, strings and numbers: rounded to 6 digits, and None for NaN."""
        return _plain(asdict(self))


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)  # JSON knows no NaN
    return value


TIE = 0.05
"""Two images are tied when the probability that one is better lies within this of one half (``answers.comparison``)."""


@dataclass(frozen=True)
class LabelProbability(_Result):
    """One possible answer and how probable the model finds it (0..1)."""

    label: str
    probability: float


@dataclass(frozen=True)
class Identification(_Result):
    """The distortions of one picture.

    Attributes:
        picture: name of the picture.
        labels: lower-case distortion names, at most two; empty for a picture found pristine.
        text: the answer as the model words it, such as ``"Noise and insufficient brightness"`` or ``"None"``.
        probabilities: the 13 single labels by falling probability; they sum to 1.
        confidence: 0..1, the probability of ``text`` among all answers that the question allows: how probable it is
            that exactly these labels are right.
        severities: how severe each of ``labels`` is, 1 (slight) to 5 (catastrophic): the mean of the grades under their
            probabilities. None from a model that was never taught to grade, and where grades were not asked for.
        coverage: 0..1, how much of its probability the model gives to the allowed answers of the question at all,
            before any calibration. Below ``confidence.LOW_COVERAGE`` the answer is doubtful, below
            ``confidence.LEAST_COVERAGE`` it is unreliable whatever its confidence. None if unknown.
        severity_coverage: the same for the question about each of ``severities``.
        faults: the 15 faults of generation and delivery (``tasks.FAULTS``) by falling probability. Each is asked for
            alone: several can be true, and they need not sum to 1. None where they were not asked for, and from a model
            that was never taught them.
        certainty: ``"calibrated"`` where the checkpoint has a temperature for the question, fitted on held-out images:
            then such a confidence is right as often as it says on images like those. Otherwise ``"self-consistency"``.
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

    @property
    def probable_faults(self) -> tuple[LabelProbability, ...]:
        """The faults that are more probable than not."""
        return tuple(fault for fault in self.faults or () if fault.probability > 0.5)


@dataclass(frozen=True)
class Description(_Result):
    """Words about one picture.

    Attributes:
        picture: name of the picture.
        text: the answer.
        confidence: 0..1, or None for an empty answer. It is not calibrated: it ranks answers, it is not the share of
            right ones.
        confidence_method: how it was computed.
        coverage: as in ``Identification``, where the answer contains one of a closed set: the lowest of these. None for
            free text.
    """

    picture: str
    text: str
    confidence: float | None
    confidence_method: str
    coverage: float | None = None


@dataclass(frozen=True)
class Score(_Result):
    """How good one picture is.

    Attributes:
        picture: name of the picture.
        score: 0 (worst) to 100 (flawless), the mean of a distribution.
        spread: standard deviation of that distribution, in points; it is no error bar, see ``low`` and ``high``.
        confidence: 0..1, the probability that the true quality is within 10 points of ``score``.
        levels: the five rating levels, best first, with their probabilities.
        low, high: in points; the true quality is between them with a probability of 95 %.
        method: ``"levels"``, when the model named a level and the distribution is that over the five levels; or
            ``"anchors"``, when it compared the picture with anchors (``anchors.place``), as models do that were never
            taught levels. Scores of the two methods are not on one scale.
        coverage: as in ``Identification``; with method "anchors" the lowest of all comparisons.
        certainty: ``"calibrated"`` where confidence and interval come from an error model that was fitted on held-out
            images (``calibration.ScoreCalibration``). The true quality is that of the records it was fitted on; for
            the included model, and any other that is calibrated on records of ``python -m training build``: 100 points
            for an undistorted image and 18 less per step of severity, moved a little by what full-reference metrics
            see. It is not the opinion of people. Otherwise ``"self-consistency"``: both come from the judge's answers
            alone and tell how much it wavers between levels, not how often it is wrong.
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


@dataclass(frozen=True)
class Comparison(_Result):
    """Which of two pictures is better.

    Attributes:
        picture_a, picture_b: names of the pictures.
        probability_a: probability 0..1 that A is better, averaged over both orders of asking.
        disagreement: 0..1, how far the two orders lie apart.
        verdict: ``"A"``, ``"B"`` or ``"tie"``; a tie where the probability is within 0.05 of one half, and where the
            two orders of asking name different winners.
        confidence: 0.5..1, the probability of the more probable winner.
        text: the comparison in words, or None when no words were asked for. It agrees with ``verdict``.
        coverage: as in ``Identification``; the lower one of both orders.
        certainty: as in ``Identification``.
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


@dataclass(frozen=True)
class RankedPicture(_Result):
    """One place of a ranking.

    Attributes:
        rank: 1 is best: 1 + the number of pictures that are better with 95 % certainty (``Ranking.certainty``); with
            method "score", by a point and more. Pictures that share a rank cannot be told apart.
        index: position of the picture in the input, from 0.
        picture: name of the picture.
        strength, low, high: Bradley-Terry strength (log odds, mean 0) with its 95 % interval, which contains the
            judge's own error where the ranking is calibrated; with method "score" the score in points with its
            interval.
        score, spread: the picture's own score in points and its standard deviation, or None if it was not asked for.
        labels: distortions found in it; empty for a picture found pristine, None if it was not asked for.
        reason: one sentence on why it stands here.
        tied_with_next: True when the next picture cannot be told apart from this one.
        confidence: 0..1, that of ``labels``; None if they were not asked for.
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


@dataclass(frozen=True)
class Ranking(_Result):
    """Pictures from best to worst.

    Attributes:
        pictures: best first.
        method: ``"pairs"`` (Bradley-Terry over comparisons) or ``"score"``.
        comparisons: how many pairs were asked.
        disagreement: mean disagreement of the two orders over the asked pairs, 0..1.
        budget: most pairs that would have been asked; None with method "score".
        stopped: why no more were asked: ``"all pairs"``, ``"budget"`` or ``"top-k decided"``; ``"scores"`` with method
            "score".
        coverage: the lowest one of all answers that it was made of, as in ``Identification``.
        certainty: of ranks and intervals. ``"calibrated"``: of the orders that are certain by 95 %, so many are right,
            as measured on held-out pairs of known order (``calibration.OrderCalibration``). ``"self-consistency"``: the
            judge would give this order again, whether it is right or not; so from checkpoints without a calibration of
            the order. With method "score", that of the scores' intervals.
    """

    pictures: tuple[RankedPicture, ...]
    method: str
    comparisons: int
    disagreement: float
    budget: int | None
    stopped: str
    coverage: float | None = None
    certainty: str = SELF_CONSISTENCY

    @property
    def order(self) -> tuple[int, ...]:
        """Input indexes, best first."""
        return tuple(picture.index for picture in self.pictures)


@dataclass(frozen=True)
class Standing(_Result):
    """One place of a leaderboard.

    Attributes:
        rank: 1 is best: 1 + the number of labels that are better with 95 % certainty. Labels that share a rank cannot
            be told apart. None for a label that was compared with no other: it stands last.
        label: the model, sampler, LoRA or prompt.
        strength, low, high: Bradley-Terry strength (log odds, mean 0) with its 95 % interval; NaN if not compared.
        win_share: mean probability 0..1 that its picture is the better one of a pair; NaN if not compared.
        wins, ties, losses: verdicts over its pairs.
        pictures: how many pictures bear the label.
        tied_with_next: True when the next label cannot be told apart from this one.
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
        comparisons: how many pairs were asked.
        groups: how many prompts (and seeds) they came from.
        intervals: ``"posterior"`` of the fit, in which one pair of pictures is one vote about their labels; or
            ``"bootstrap"`` over the groups where these are not few, at least as wide as the posterior.
        disagreement: mean disagreement of the two orders over the asked pairs, 0..1.
        shares: mean probability that the label of a row beats the label of a column, in the order of the standings;
            None where the two never met.
        certainty: that of the comparisons (``Comparison.certainty``).
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
        """Labels that were compared with no other."""
        return tuple(standing.label for standing in self.standings if standing.rank is None)


@dataclass(frozen=True)
class Failure(_Result):
    """A picture that could not be judged, and why."""

    picture: str
    error: str
