"""The table that a large run writes: its columns, by verb, and how a result becomes a row.

``docs/scale.md`` has the same table. A change that a reader of old results would notice raises ``SCHEMA``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import TaskError
from ..images.image import RGBImage
from ..results import Check, Identification, Score
from ..tasks import FAULTS, LABELS, LEVELS

if TYPE_CHECKING:  # the command line reads the columns without loading the judge
    from ..judge import Judge

SCHEMA = 1
"""Version of the table."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: unique in the table.
        kind: "text", "integer", "number", "flag", "texts" or "numbers".
        text: what it holds.
    """

    name: str
    kind: str
    text: str


@dataclass(frozen=True)
class OwnQuestion:
    """The user's own question of the verb "check".

    Attributes:
        text: the question.
        answers: what to choose from, as in ``Judge.check``.
    """

    text: str
    answers: tuple[str, ...] = ("yes", "no")

    def to_dict(self) -> dict[str, Any]:
        """The question as values that JSON has."""
        return {"question": self.text, "answers": list(self.answers)}


@dataclass(frozen=True)
class Verb:
    """A question that a large run asks about every image.

    Attributes:
        ask: gives one result for each image; takes the user's own question as well, which only "check" asks.
        columns: what it adds to the table.
        row: the values of these columns.
        require: raises TaskError if a judge does not support it.
    """

    ask: Callable[["Judge", list[RGBImage], OwnQuestion | None], Sequence[Any]]
    columns: tuple[Column, ...]
    row: Callable[[Any], Row]
    require: Callable[["Judge", OwnQuestion | None], None] = lambda judge, own: None


ALWAYS = (
    Column("image", "text", "the image: its path, `shard.tar/member`, or `table.parquet#row`"),
    Column("error", "text", "why it could not be judged; all other columns are then null"),
    Column("width", "integer", "pixels"),
    Column("height", "integer", "pixels"),
    Column("content", "text", "hash of the pixels, 32 hex digits: equal for equal images"),
    Column("hash", "text", "perceptual hash (dHash), 32 hex digits: near duplicates differ in few bits"),
    Column("blank", "flag", "nearly all of it has one colour"),
    Column("cut", "flag", "its lower end has one colour, as in a file that broke off and was saved again"),
)
"""The columns of every run."""


def _score_row(found: Score) -> Row:
    return {
        "score": found.score,
        "low": found.low,
        "high": found.high,
        "spread": found.spread,
        "score_confidence": found.confidence,
        "score_coverage": found.coverage,
        "score_certainty": found.certainty,
        "levels": [level.probability for level in found.levels],
    }


def _identify_row(found: Identification) -> Row:
    probability = {one.label: one.probability for one in found.probabilities}
    faults = None if found.faults is None else {one.label: one.probability for one in found.faults}
    return {
        "labels": list(found.labels),
        "severities": None if found.severities is None else list(found.severities),
        "label_confidence": found.confidence,
        "label_coverage": found.coverage,
        "label_certainty": found.certainty,
        "label_probabilities": [probability[label] for label in LABELS],
        "faults": None if faults is None else [one.label for one in found.probable_faults],
        "fault_probabilities": None if faults is None else [faults[fault] for fault in FAULTS],
    }


def _check_row(found: Check) -> Row:
    return {
        "answer": found.answer,
        "answer_confidence": found.confidence,
        "answer_coverage": found.coverage,
        "answer_certainty": found.certainty,
        "answer_probabilities": [one.probability for one in found.probabilities],
    }


def _check(judge: "Judge", images: list[RGBImage], own: OwnQuestion | None) -> Sequence[Check]:
    question = _given(own)
    return judge.check(images, question.text, question.answers)


def _require_check(judge: "Judge", own: OwnQuestion | None) -> None:
    from ..verbs.check import check_answers, require_checks

    check_answers(_given(own).answers)
    require_checks(judge.backend)


def _given(own: OwnQuestion | None) -> OwnQuestion:
    if own is None or not own.text.strip():
        raise TaskError("check: there is no question; give one that its answers answer")
    return own


VERBS = {
    "score": Verb(
        lambda judge, images, own: judge.score(images),
        (
            Column("score", "number", "0 (worst) to 100 (flawless)"),
            Column("low", "number", "lower end of the 95 % interval of the score, in points"),
            Column("high", "number", "its upper end"),
            Column("spread", "number", "standard deviation over the rating levels, in points"),
            Column("score_confidence", "number", "0 to 1: probability that the true quality is within 10 points"),
            Column("score_coverage", "number", "0 to 1: share of its probability that the model gives to the levels"),
            Column("score_certainty", "text", "`calibrated` or `self-consistency`"),
            Column("levels", "numbers", f"probabilities of {', '.join(LEVELS)}"),
        ),
        _score_row,
    ),
    "identify": Verb(
        lambda judge, images, own: judge.identify(images),
        (
            Column("labels", "texts", "the most critical distortion; empty for an undistorted image"),
            Column("severities", "numbers", "1 to 5 for each label; null where the checkpoint does not support it"),
            Column("label_confidence", "number", "0 to 1: probability that the labels are right"),
            Column("label_coverage", "number", "0 to 1: share of its probability that the model gives to the labels"),
            Column("label_certainty", "text", "`calibrated` or `self-consistency`"),
            Column("label_probabilities", "numbers", f"probabilities of {', '.join(LABELS)}"),
            Column("faults", "texts", "those more probable than not; null where not supported, and in older rows"),
            Column("fault_probabilities", "numbers", f"probabilities of {', '.join(FAULTS)}"),
        ),
        _identify_row,
    ),
    "check": Verb(
        _check,
        (
            Column("answer", "text", "the most probable answer to your own question"),
            Column("answer_confidence", "number", "0 to 1: its probability; it is not calibrated"),
            Column("answer_coverage", "number", "0 to 1: share of its probability that the model gives to the answers"),
            Column("answer_certainty", "text", "`self-consistency`"),
            Column("answer_probabilities", "numbers", "probabilities of the answers, in the order of `--answers`"),
        ),
        _check_row,
        _require_check,
    ),
}
"""What a large run can ask."""
DEFAULT_VERBS = ("score", "identify")
"""What it asks unless told otherwise; "check" needs a question."""


def columns_of(verbs: Sequence[str]) -> tuple[Column, ...]:
    """The columns of a run that asks these questions, in order."""
    return (*ALWAYS, *(column for verb in verbs for column in VERBS[verb].columns))
