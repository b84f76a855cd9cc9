"""What a card says of the training data, composed of what the data root says of itself."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from depictqa_core import tasks
from depictqa_core.errors import DocumentError
from depictqa_core.storage.documents import parse_json, read_json

from ..dataset.records.record_models import DESCRIPTION, RECORD_BYTES
from .record_files import picture_paths

BUILDS = (("build.json", "scenes-*.jsonl", "scenes"), ("dataset.json", "samples/*.jsonl", "samples"))
"""Settings of a build, its shards, and what their lines are."""


def described(
    root: str | Path,
    parts: list[list[dict]],
    pair_scenes: str | Path | None = None,
    finding_scenes: str | Path | None = None,
) -> str:
    """Describe training records for a card: their number and tasks, their images, and how these were built.

    Args:
        root: data root of the records.
        parts: the records of every file.
        pair_scenes: another data root, from which the differences of two images were learned.
        finding_scenes: another data root, from which the heads learned what an image shows.
    """
    records = [record for part in parts for record in part]
    counts = Counter(_task(record) for record in records)
    images = {path for record in records for path in picture_paths(record, record["task_type"]).values()}
    listed = ", ".join(f"{count:,} {name}" for name, count in counts.most_common())
    folder = Path(root).resolve()
    about = f"{len(images):,} images of the data root '{folder.name}'{_built(folder)}"
    found = f"{len(records):,} records ({listed}) about {about}."
    for what, other in (("What an image shows", finding_scenes), ("Differences of two images", pair_scenes)):
        if other is not None:
            scenes = Path(other).resolve()
            found += f" {what}: the data root '{scenes.name}'{_built(scenes)}."
    return found


def _task(record: dict) -> str:
    if record["task_type"] == DESCRIPTION:
        return "image descriptions"
    return tasks.task_of(record["conversations"][0]["value"], tasks.setting(record["task_type"]).pair).name


def _built(root: Path) -> str:
    """How ``python -m training build`` made the images of a data root; nothing if it did not."""
    for name, lines, what in BUILDS:
        if not (root / name).is_file():
            continue
        try:
            settings = read_json(root / name, limit=RECORD_BYTES)
            made = [one for file in sorted(root.glob(lines)) for one in _parsed(file)]
        except DocumentError:
            return ""
        sources = len({str(one.get("source")) for one in made if not str(one.get("source")).startswith("drawn/")})
        split = f", split {settings['split']}" if "split" in settings else ""
        return f", built as {len(made):,} {what} from {sources:,} source images (seed {settings.get('seed')}{split})"
    return ""


def _parsed(file: Path) -> Iterator[dict]:
    """The lines of a shard."""
    with file.open("rb") as lines:
        for line in lines:
            yield parse_json(line, file.name)
