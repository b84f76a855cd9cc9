"""Read the published metadata files (JSON lists of records, method.md 3.4) and report problems and missing images.

Ids are unique within a file only: the version of a record with a reference and the one without have the same id in two
files. So a record is identified by its file and its id.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from depictqa_core import tasks
from depictqa_core.errors import ImageError
from training.dataset.records.image_paths import image_path
from training.dataset.records.record_models import read_record_list, record_problem, training_problem

from . import ReaderError

NAME = "depictqa"
LAYOUT = "<set>/metas/*.json, images relative to the folder"
FORMS = {"train": "training form (conversations)", "test": "test form (query)"}


@dataclass
class Published:
    """What one file holds.

    Attributes:
        file: its path relative to the data root.
        form: "train" or "test", the form that was asked for.
        records: the records that can be used, as they are in the file.
        left_out: why others cannot be used -> their number.
        missing: image paths of records for which there is no file.
    """

    file: str
    form: str
    records: list[dict] = field(default_factory=list)
    left_out: Counter = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)

    @property
    def weight(self) -> int:
        """How often the published training repeats the records of such a file in an epoch (method.md 6.6)."""
        if "pathway" in self.file.lower():
            return 2
        if "instruct" in self.file.lower() or not self.records or self.form == "test":
            return 1
        if self.records[0]["task_type"] == "description":
            return 4
        return 5 if _is_reasoning(self.records) else 1

    def joined(self) -> Iterator[dict]:
        """The records under ids that are unique over all files: ``<file without .json>#<id>``, then ``...#<id>#2``."""
        seen: Counter = Counter()
        for record in self.records:
            key = f"{self.file.removesuffix('.json')}#{record['id']}"
            seen[key] += 1
            yield {**record, "id": key if seen[key] == 1 else f"{key}#{seen[key]}"}


def _is_reasoning(records: list[dict]) -> bool:
    """Whether most answers are detailed: brief ones have at most 19 words, detailed ones 24 or more (method.md 3.3)."""
    detailed = sum(len(record["conversations"][1]["value"].split()) >= 22 for record in records)
    return 2 * detailed > len(records)


def read_published(
    folder: str | Path, pattern: str = "**/*.json", form: str = "train", without: Path | None = None
) -> Iterator[Published]:
    """Read every file of records below a folder; other JSON, such as splits and voting truths, is passed over.

    Args:
        folder: data root: image paths in the records are relative to it.
        pattern: which files, as a glob.
        form: "train" for records with conversations, "test" for records with queries; those of the other form are left
            out and counted.
        without: a file or folder that is not read, such as what an earlier run wrote.

    Raises:
        ReaderError: no file holds records, a file is not JSON, or the pattern is none.
    """
    root, found = Path(folder), False
    try:
        files = [path for path in sorted(root.glob(pattern)) if path.is_file()]
    except (ValueError, NotImplementedError) as error:
        raise ReaderError(f"{pattern!r} is no pattern of files below {folder} ({error})") from None
    for path in files:
        if without is not None and path.resolve().is_relative_to(without.resolve()):
            continue
        content = read_record_list(path, kind=None, error=ReaderError)
        if isinstance(content, list) and any(isinstance(record, dict) and "id" in record for record in content):
            found = True
            yield _checked(path.relative_to(root).as_posix(), content, root, form)
    if not found:
        raise ReaderError(f"{folder} has no files of records ({pattern}); they are read from {LAYOUT}")


def _checked(name: str, content: list, root: Path, form: str) -> Published:
    result, keys = Published(name, form), set()
    there: dict[str, str | None] = {}
    for record in content:
        reason = _problem(record, form)
        if reason is None:
            # answers to tests are joined by id; in training two different records may have the same one
            key = record["id"] if form == "test" else json.dumps(record, sort_keys=True)
            reason = "it was there before" if key in keys else None
            keys.add(key)
        if reason is None:
            for path in (record[key] for key in ("image_ref", "image_A", "image_B", "image") if record.get(key)):
                if path not in there:
                    there[path] = _missing(root, path)
                    result.missing += [path] if there[path] == GONE else []
                reason = reason or there[path]
        if reason is None:
            result.records.append(record)
        else:
            result.left_out[reason] += 1
    return result


GONE, OUTSIDE = "an image that is not there", "an image path that leads out of the folder"


def _missing(root: Path, path) -> str | None:
    try:
        return None if image_path(root, path).is_file() else GONE
    except ImageError:
        return OUTSIDE
    except OSError:  # a name that is longer than names can be
        return GONE


def _problem(record, form: str) -> str | None:
    """Why a record cannot be used, or None."""
    if not isinstance(record, dict):
        return "no record"
    if not isinstance(record.get("id"), str | int) or isinstance(record["id"], bool):
        return "no id"
    found = "train" if "conversations" in record else "test"
    if found != form:
        return f"{FORMS[found]}; --form {found} reads it"
    if form == "train":
        return training_problem(record)
    fields = {name for name in ("image_ref", "image_A", "image_B") if record.get(name)}
    if not all(isinstance(record[name], str) for name in ("query", *fields) if name in record):
        return "a query or an image path that is not text"
    if "query" not in record or not any(fields == set(s.fields) for s in tasks.SETTINGS.values()):
        return "no query or image"
    return _odd(record, form)


def _odd(record: dict, form: str) -> str | None:
    """The name of the first value that has another form than records have, or None."""
    wrong = record_problem(record, form)
    return wrong and f"an impossible value of {wrong.partition(':')[0]}"
