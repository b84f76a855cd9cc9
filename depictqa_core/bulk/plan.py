"""What a large run judges, what it asks, and where its table goes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..images.image_files import AT_ONCE
from .schema import DEFAULT_VERBS, OwnQuestion
from .sources import Item, items

PART_ROWS = 1000
"""Rows of a part of the table."""


@dataclass(frozen=True)
class Plan:
    """What to judge, and where the table goes.

    Attributes:
        sources, recursive, column: as in ``sources.items``.
        folder: where the parts are written; made where there is none.
        verbs: names in ``schema.VERBS``.
        stored: "parquet" or "jsonl".
        part_rows: rows of a part, from 1.
        batch: maximum number of images that are judged together, from 1.
        own: what the verb "check" asks; None without it.
        grows: whether the inputs may change between runs: what is new comes behind the rows that are there, and the
            rows of what is gone stay.
    """

    sources: Sequence[str]
    folder: Path
    verbs: Sequence[str] = DEFAULT_VERBS
    recursive: bool = False
    column: str | None = None
    stored: str = "parquet"
    part_rows: int = PART_ROWS
    batch: int = AT_ONCE
    own: OwnQuestion | None = None
    grows: bool = False

    def items(self) -> Iterator[Item]:
        """List the inputs."""
        return items(self.sources, self.recursive, self.column)
