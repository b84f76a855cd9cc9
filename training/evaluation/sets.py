"""Test sets: record files in the published test form, the task type of each record, and its images (method.md 3.4)."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from depictqa_core import tasks
from depictqa_core.errors import DepictQAError, ImageError, TaskError
from depictqa_core.images.image import RGBImage
from depictqa_core.tasks import ASSESSMENT, COMPARISON, IDENTIFICATION, QUESTION, RATING, SCORE, SEVERITY

from ..dataset.records.image_paths import image_path, read_image
from ..dataset.records.record_models import record_problem
from ..trainer.record_files import picture_paths, read_records

DOUBLE = "two distortions"
OTHER = "other"
DETAILED = (ASSESSMENT, COMPARISON)
"""Tasks that are answered in sentences; all others are answered in a word or phrase."""


@dataclass(frozen=True)
class TestSet:
    """One record file.

    Attributes:
        name: file name without its ending.
        root: folder that image paths are relative to.
        records: the records, in file order; ids are unique.
        task_types: the published task type of each.
    """

    __test__ = False  # its name does not make it a test of pytest's

    name: str
    root: Path
    records: list[dict]
    task_types: list[str]

    def stamp(self) -> dict:
        """What answers to this set depend on, apart from who answers: records, root, and images as they are now."""
        names = {record.get(field) for record in self.records for field in ("image_ref", "image_A", "image_B")}
        pictures = [(name, seal(self.root, name)) for name in sorted(filter(None, names))]
        content = repr((self.records, self.task_types, pictures)).encode()
        return {"content": hashlib.sha256(content).hexdigest(), "root": str(self.root.resolve())}

    @property
    def ids(self) -> list:
        """The id of every record."""
        return [record["id"] for record in self.records]

    @property
    def tasks(self) -> set[str]:
        """Names of the tasks (``tasks.TASKS``) that its questions belong to."""
        asked = {(record["query"], task_type) for record, task_type in zip(self.records, self.task_types)}
        return {tasks.task_of(query, tasks.setting(task_type).pair).name for query, task_type in asked}

    def groups(self, indexes) -> Iterator[tuple[str, str, list[int]]]:
        """(task type, question, record indexes) of the given records: what can be asked in one call."""
        groups = defaultdict(list)
        for index in indexes:
            groups[self.task_types[index], self.records[index]["query"]].append(index)
        for (task_type, query), members in groups.items():
            yield task_type, query, members

    def readable(self, indexes) -> tuple[list[int], list[dict[str, RGBImage]], dict[int, str]]:
        """The records whose images can be read, those images by role, and why the others cannot be read."""
        kept, sets, failures = [], [], {}
        read = {}  # pairs of one reference share images
        for index in indexes:
            try:
                paths = picture_paths(self.records[index], self.task_types[index])
                for role, path in paths.items():
                    if path not in read:
                        read[path] = self._picture(path, role)
                sets.append({role: read[path] for role, path in paths.items()})
                kept.append(index)
            except KeyError as error:
                failures[index] = f"the record has no field {error}"
            except DepictQAError as error:
                failures[index] = str(error)
        return kept, sets, failures

    def _picture(self, path: str | None, role: str) -> RGBImage:
        if not path:
            raise TaskError(f"the record has no image for {role}")
        return read_image(self.root, path)


def read_set(path: str | Path, root: str | Path, task_type: str | None = None) -> TestSet:
    """Read a record file.

    Args:
        path: JSON list with id, image_ref, image_A, image_B, query and, for scored sets, answer.
        root: folder that image paths are relative to.
        task_type: one of the six published task types, for all records. None takes each record's own ``task_type``,
            and where it has none, what follows from the images that it has.

    Raises:
        TaskError: no list of records, an unknown task type, a record without one of its fields, two records of one id,
            training records, a question about a pair in a record of one image.
    """
    records = read_records(path, TaskError)
    types, seen = [], set()
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise TaskError(f"record {index} of {path} is not a JSON object")
        for key in ("id", "query"):
            if key not in record:
                hint = "; these are training records: build with --form test" if "conversations" in record else ""
                raise TaskError(f"record {index} of {path} has no {key}{hint}")
        if wrong := record_problem(record, "test"):
            raise TaskError(f"record {index} of {path}: {wrong}")
        if record["id"] in seen:
            raise TaskError(f"{path} has two records with the id {record['id']}: answers are matched by id")
        seen.add(record["id"])
        types.append(task_type or record.get("task_type") or task_type_of(record, path))
        if not tasks.setting(types[-1]).pair and _asks_for_two(record):
            raise TaskError(
                f"record {record['id']} of {path} asks about two images, but has one ({types[-1]}): give it both "
                "image_A and image_B"
            )
    return TestSet(Path(path).stem, Path(root), records, types)


def _asks_for_two(record: dict) -> bool:
    """Whether the question names both images, or one of them is the true answer to a short question."""
    if all(name.lower() in record["query"].lower() for name in tasks.WINNERS):
        return True
    return tasks.is_short(record["query"]) and tasks.parse_winner(str(record.get("answer"))) is not None


def seal(root: Path, name: str) -> tuple[int | None, int | None]:
    """Size and time of change of a record's image, by which one sees that it is still the same; None where none is."""
    try:
        facts = image_path(root, name).stat()
    except (OSError, ImageError):
        return None, None
    return facts.st_size, facts.st_mtime_ns


def task_type_of(record: dict, path) -> str:
    """The task type that shows exactly the images that a record has."""
    present = {field for field in ("image_ref", "image_A", "image_B") if record.get(field)}
    fitting = [name for name, setting in tasks.SETTINGS.items() if set(setting.fields) == present]
    if not fitting:
        raise TaskError(f"record {record['id']} of {path} has no images that make a task: name one with --task")
    return fitting[0]


def kind_of(record: dict, task_type: str) -> str | None:
    """How a record is scored, by its question and true answer.

    Returns:
        identification, "two distortions", rating, score, severity or "other" (another short answer); None for detailed
        answers and records without a true answer.
    """
    truth = record.get("answer")
    task = tasks.task_of(record["query"], tasks.setting(task_type).pair)
    if truth is None or task in DETAILED:
        return None
    if task.name == QUESTION.name:
        return OTHER
    if task is RATING and tasks.parse_winner(truth):
        return RATING.name
    if task is SCORE and truth.lower() in tasks.LEVELS:
        return SCORE.name
    if task is SEVERITY and truth.lower() in tasks.GRADES:
        return SEVERITY.name
    if task is not IDENTIFICATION or tasks.parse_labels(truth) is None:
        return OTHER
    return DOUBLE if tasks.issue_count(record["query"]) == 2 or " and " in truth else IDENTIFICATION.name
