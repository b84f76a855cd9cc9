"""Reads the published metadata files (JSON lists of records, facts 3.4) and says what is wrong or missing in them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from depictqa_core import tasks
from training.record_models import read_record_list

from .readers import ReaderError

NAME = "depictqa"
LAYOUT = "<set>/metas/*.json, pictures relative to the folder"


@dataclass
class Published:
    """Records of one file that can be used, why others cannot (reason -> number), and pictures that are not there."""

    file: str
    records: list[dict] = field(default_factory=list)
    left_out: Counter = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)


def read_published(folder: str | Path, pattern: str = "**/*.json") -> Iterator[Published]:
    """Every file of records below a folder; JSON of another form, such as splits and voting truths, is passed over.

    Args:
        folder: data root: picture paths in the records are relative to it.
        pattern: which files, as a glob.

    Raises:
        ReaderError: no file holds records, or a file is no JSON.
    """
    root, found = Path(folder), False
    for path in sorted(root.glob(pattern)):
        content = read_record_list(path, kind=None, error=ReaderError)
        if isinstance(content, list) and content and isinstance(content[0], dict) and "id" in content[0]:
            found = True
            yield _checked(path.relative_to(root).as_posix(), content, root)
    if not found:
        raise ReaderError(f"{folder} has no files of records ({pattern}); they are read from {LAYOUT}")


def _checked(name: str, content: list, root: Path) -> Published:
    result, ids = Published(name), set()
    there: dict[str, bool] = {}
    for record in content:
        reason = _problem(record) if isinstance(record, dict) else "no record"
        if reason is None and record["id"] in ids:
            reason = "an id that was there before"
        if reason is None:
            ids.add(record["id"])
            paths = [record[key] for key in ("image_ref", "image_A", "image_B", "image") if record.get(key)]
            for path in paths:
                if path not in there:
                    there[path] = (root / path).is_file()
                    result.missing += [] if there[path] else [path]
            reason = None if all(there[path] for path in paths) else "a picture that is not there"
        if reason is None:
            result.records.append(record)
        else:
            result.left_out[reason] += 1
    return result


def _problem(record: dict) -> str | None:
    """Why a record cannot be used, or None."""
    if "id" not in record:
        return "no id"
    if "conversations" not in record:  # test form: the task comes from the command line
        return None if "query" in record and (record.get("image_A") or record.get("image_B")) else "no query or picture"
    turns = record["conversations"]
    try:
        if [turn["from"] for turn in turns] != ["human", "gpt"] * (len(turns) // 2) or not turns:
            return "turns that do not alternate between human and gpt"
        if not all(isinstance(turn["value"], str) for turn in turns):
            return "a turn without text"
    except (TypeError, KeyError):
        return "no conversation"
    task_type = record.get("task_type")
    if task_type == "description":
        return None if record.get("image") else "no picture"
    if task_type not in tasks.SETTINGS:
        return f"an unknown task type ({task_type})"
    missing = [name for name in tasks.setting(task_type).fields if not record.get(name)]
    return f"no {missing[0]}" if missing else None
