"""Data models of records (method.md 3.4): what training and evaluation read of them, checked when a file is read.

Records hold more than that; what a model does not name is left as it is.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import NotRequired, TypedDict  # pydantic brings it; typing has these from Python 3.12

from depictqa_core import tasks
from depictqa_core.errors import StorageError
from depictqa_core.storage.documents import describe, read_json
from depictqa_core.storage.file_names import below

DESCRIPTION = "description"
"""Task type of records about what an image shows; they are for training only and name their image ``image``."""
RECORD_BYTES = 2**33
"""Largest file of records: 1.4 million of them take 1 GiB."""

Identity = Annotated[str, Field(max_length=1000)] | int
Words = Annotated[str, Field(max_length=100_000)]
ImagePath = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]*$")] | None
Label = Annotated[str, Field(max_length=100)] | None
Grade = Annotated[int, Field(ge=0, le=5)] | Annotated[float, Field(ge=0, le=5)] | None

_STRICT = ConfigDict(strict=True)
Turn = TypedDict("Turn", {"from": NotRequired[Literal["human", "gpt"]], "value": Words})
with_config(_STRICT)(Turn)


@with_config(_STRICT)
class Images(TypedDict):
    """The images of a record, relative to the data root, and what is known of their distortions."""

    image_ref: NotRequired[ImagePath]
    image_A: NotRequired[ImagePath]
    image_B: NotRequired[ImagePath]
    image: NotRequired[ImagePath]
    distortion_class: NotRequired[Label]
    distortion_classes: NotRequired[list[Label] | None]
    severity: NotRequired[Grade]
    severities: NotRequired[list[Grade] | Literal[0] | None]  # 0 for a pristine image


@with_config(_STRICT)
class TrainingRecord(Images):
    """A record in training form."""

    id: NotRequired[Identity | None]
    task_type: Annotated[str, Field(max_length=100)]
    conversations: Annotated[list[Turn], Field(min_length=2, max_length=1000)]


@with_config(_STRICT)
class QuestionRecord(Images):
    """A record in test form."""

    id: Identity
    task_type: NotRequired[Annotated[str, Field(max_length=100)] | None]
    query: Words
    answer: NotRequired[Words | None]


MODELS: dict[str, TypeAdapter] = {"train": TypeAdapter(TrainingRecord), "test": TypeAdapter(QuestionRecord)}


def read_record_list(path, kind=list, **options):
    """The content of a file of records, each record unchecked; arguments as of ``documents.read_json``."""
    return read_json(path, kind, limit=RECORD_BYTES, **options)


def record_problem(record, form: str) -> str | None:
    """What is wrong with a record of form "train" or "test", in words, or None."""
    try:
        MODELS[form].validate_python(record)
        return None
    except ValidationError as failed:
        found = failed.errors(include_url=False)[0]
        names = [str(part) for part in found["loc"] if isinstance(part, int) or part.isidentifier()]
        value = "" if found["type"] == "missing" else f"{describe(found['input'])}: "
        return f"{'.'.join(names) or 'it'}: {value}{found['msg'][0].lower()}{found['msg'][1:]}"


def training_problem(record) -> str | None:
    """Why a record cannot be learned from, or None; whether its images are there is not looked at."""
    if not isinstance(record, dict):
        return f"a record must be a JSON object, not {type(record).__name__}"
    turns, task_type = record.get("conversations"), record.get("task_type")
    if turns is None and "query" in record:
        return "it is in test form (query, no conversations): evaluate reads it; name the files for training only"
    malformed = "conversations must be a list of turns with from and value"
    if not isinstance(turns, list):
        return malformed
    try:
        speakers, said = [turn["from"] for turn in turns], [turn["value"] for turn in turns]
    except (TypeError, KeyError):
        return malformed
    if not turns or speakers != ["human", "gpt"] * (len(turns) // 2):
        return "conversations must alternate between human and gpt, and end with gpt"
    if not all(isinstance(text, str) for text in said):
        return "a turn has no text"
    if not isinstance(task_type, str) or task_type != DESCRIPTION and task_type not in tasks.SETTINGS:
        return f"an unknown task type ({task_type})"
    for field in ("image",) if task_type == DESCRIPTION else tasks.setting(task_type).fields:
        if not record.get(field):
            return f"no {field}"
        try:
            below(record[field], field)
        except (StorageError, TypeError):
            return f"{field} is not a path in the data root"
    return record_problem(record, "train")
