"""One large run: every image of the inputs is judged once, in order, whatever interrupts it in between.

The place of an image in the inputs decides its part of the table. A part that is there says which images are done, so a
run needs no other record: it compares the names in the parts with the inputs, skips them, and judges the rest.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DocumentError
from ..images.image_files import AT_ONCE
from ..storage.documents import named, read_json
from ..storage.files import locked, readable_file_errors, write_file
from .engines import Engine, LocalEngine
from .parts import FORMATS, RUN, Parts
from .plan import Plan
from .schema import SCHEMA, Row, columns_of
from .sources import Item

if TYPE_CHECKING:
    from ..judge import Judge

STORE_SECONDS = 60
"""After so long a part that is not full is stored as well: no kill costs more work than this."""
ADDED_LATER = {"check": None, "batch": AT_ONCE}
"""What runs of the first versions of schema 1 were like, which did not note it."""
CHANGED = "the inputs are not those of this run any more; restore them, or write to another folder"


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        done: images in the table, those that could not be judged included.
        failed: how many of these could not be judged.
        resumed: how many were in the table before this run began.
        failures: the (name, error) of images that could not be judged since the last report.
    """

    done: int = 0
    failed: int = 0
    resumed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)

    def add(self, rows: Sequence[Row]) -> None:
        """Count rows, and list what could not be judged."""
        self.failures = [(row["image"], row["error"]) for row in rows if row["error"] is not None]
        self.done += len(rows)
        self.failed += len(self.failures)


def run(judge: "Judge", plan: Plan, report: Callable[[Progress], None]) -> Progress:
    """Judge all inputs in this process; see ``run_on``.

    Raises:
        TaskError: the judge does not support one of the questions.
    """
    return run_on(LocalEngine(judge, plan), report)


def run_on(engine: Engine, report: Callable[[Progress], None]) -> Progress:
    """Judge all inputs, and resume what an earlier run in the same folder left, whatever engine that had.

    Args:
        engine: judges the images of its plan.
        report: called after every group of images.

    Returns:
        how it ended: everything is in the table.

    Raises:
        DocumentError: the folder belongs to another run, or the inputs are not those of its parts.
        StorageError: the folder cannot be written, or another process writes to it now.
        ImageError, PackageError: the inputs cannot be listed.
        what ``report`` or the engine raises; what was judged until then is stored.
    """
    plan = engine.plan
    with readable_file_errors(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
    with locked(plan.folder / RUN, wait=False):
        parts = Parts(plan.folder, FORMATS[plan.stored](columns_of(plan.verbs)))
        parts.remove_unfinished()
        _claim(plan, engine.info)
        return _run(engine, parts, report)


def _run(engine: Engine, parts: Parts, report: Callable[[Progress], None]) -> Progress:
    plan = engine.plan
    listing, progress = plan.items(), Progress()
    if plan.grows:
        listing = _known_first(parts, listing)
    number, rows = _resume(parts, listing, plan.part_rows, progress)
    stored, last = len(rows), time.monotonic()
    report(progress)
    try:
        with closing(engine.rows(listing, progress.done)) as groups:
            for new in groups:
                rows += new
                progress.add(new)
                full = len(rows) == plan.part_rows
                if full or time.monotonic() - last > STORE_SECONDS:
                    parts.write(number, rows)
                    stored, last = len(rows), time.monotonic()
                if full:
                    number, rows, stored = number + 1, [], 0
                report(progress)
    finally:
        if len(rows) > stored:
            parts.write(number, rows)
    return progress


def _known_first(parts: Parts, listing: Iterator[Item]) -> Iterator[Item]:
    """The images that are in the table, in its order, then those of the inputs that are not."""
    known: dict[str, None] = {}
    number = 0
    while rows := parts.read(number, ("image",)):
        known.update((row["image"], None) for row in rows)
        number += 1
    yield from (Item(name, partial(Path, name)) for name in known)
    yield from (item for item in listing if named(item.name) not in known)


def _resume(parts: Parts, listing: Iterator[Item], part_rows: int, progress: Progress) -> tuple[int, list[Row]]:
    """Skip the images that are in the table.

    Returns:
        the number of the first part that is not full, and its rows.

    Raises:
        DocumentError: a part has other images than the inputs.
    """
    number = 0
    while rows := parts.read(number, ("image", "error")):
        for row in rows:
            item = next(listing, None)
            if item is None or named(item.name) != row["image"]:
                found = "they end here" if item is None else f"now it is {named(item.name)}"
                raise DocumentError(f"{parts.path(number)}: has {row['image']}, {found}: {CHANGED}")
        progress.add(rows)
        if len(rows) < part_rows:
            break
        number += 1
    if parts.path(number + 1).exists():
        raise DocumentError(f"{parts.path(number)}: is missing or too short; write to another folder")
    progress.resumed, progress.failures = progress.done, []
    return number, parts.read(number)


def _claim(plan: Plan, card: dict[str, Any]) -> None:
    """Write what the run is, or check that the folder belongs to one like it."""
    facts = {
        "schema": SCHEMA,
        "format": plan.stored,
        "part_rows": plan.part_rows,
        "verbs": list(plan.verbs),
        "judge": {key: card.get(key) for key in ("name", "version", "files")},
        "check": plan.own and plan.own.to_dict(),
        "batch": plan.batch,
    }
    path = plan.folder / RUN
    if path.exists():
        before = read_json(path, remedy="write to another folder")
        for key, value in facts.items():
            if before.get(key, ADDED_LATER.get(key)) != value:
                raise DocumentError(f"{path}: this folder has a run with another {key}; write to another folder")
    elif any(plan.folder.glob("part-*")):
        raise DocumentError(f"{plan.folder}: has parts of a table but no {RUN}; write to another folder")
    columns = {column.name: column.text for column in columns_of(plan.verbs)}
    facts |= {"sources": [named(source) for source in plan.sources], "columns": columns}
    with readable_file_errors(path):
        write_file(path, json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
