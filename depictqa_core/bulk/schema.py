"""The table that a large run writes: its columns, by verb, and how a result becomes a row.

``docs/scale.md`` has the same table. A change that a reader of old results would notice raises ``SCHEMA``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..images.image import RGBImage
from ..results import Identification, Score
from ..tasks import LABELS, LEVELS

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
class Verb:
    """A question that a large run asks about every image.

    Attributes:
        ask: gives one result for each image.
        columns: what it adds to the table.
        row: the values of these columns.
    """

    ask: Callable[["Judge", list[RGBImage]], Sequence[Any]]
    columns: tuple[Column, ...]
    row: Callable[[Any], Row]


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
    return {
        "labels": list(found.labels),
        "severities": None if found.severities is None else list(found.severities),
        "label_confidence": found.confidence,
        "label_coverage": found.coverage,
        "label_certainty": found.certainty,
        "label_probabilities": [probability[label] for label in LABELS],
    }


VERBS = {
    "score": Verb(
        lambda judge, images: judge.score(images),
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
        lambda judge, images: judge.identify(images),
        (
            Column("labels", "texts", "the most critical distortion; empty for an undistorted image"),
            Column("severities", "numbers", "1 to 5 for each label; null where the checkpoint does not support it"),
            Column("label_confidence", "number", "0 to 1: probability that the labels are right"),
            Column("label_coverage", "number", "0 to 1: share of its probability that the model gives to the labels"),
            Column("label_certainty", "text", "`calibrated` or `self-consistency`"),
            Column("label_probabilities", "numbers", f"probabilities of {', '.join(LABELS)}"),
        ),
        _identify_row,
    ),
}
"""What a large run can ask."""


def columns_of(verbs: Sequence[str]) -> tuple[Column, ...]:
    """The columns of a run that asks these questions, in order."""
    return (*ALWAYS, *(column for verb in verbs for column in VERBS[verb].columns))
