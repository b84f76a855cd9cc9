"""The record files that a recipe names, and the images of their records."""

from pathlib import Path

from depictqa_core import tasks
from depictqa_core.errors import DepictQAError, DocumentError
from depictqa_core.prompts import REFERENCE, A, B
from depictqa_core.storage.documents import named

from ..dataset.records.record_models import DESCRIPTION, read_record_list, training_problem


def read_records(path: str | Path, error: type[DepictQAError] = DocumentError) -> list[dict]:
    """Read one file of records (a JSON list, method.md 3.4); raises ``error`` as ``documents.read_json`` does."""
    return read_record_list(path, where=f"the record file {named(path)}", error=error)


def read_parts(root: str | Path, parts: dict[str, float]) -> tuple[list[list[dict]], list[float]]:
    """Read the training records that a recipe names.

    Args:
        root: data root: the files are looked for in its folder ``records``, then relative to the root itself, as in the
            layout of the published data set (``<set>/metas/*.json``).
        parts: file name or pattern -> weight; each file of a pattern has that weight.

    Returns:
        (the records of each file, the weight of each file)

    Raises:
        FileNotFoundError: nothing fits a name; says which files there are.
        DocumentError: a record that cannot be learned from, named by file and id.
    """
    root, read, weights = Path(root), [], []
    for name, weight in parts.items():
        for file in _record_files(root, name):
            records = read_records(file)
            for index, record in enumerate(records):
                if problem := training_problem(record):
                    key = f" (id {record.get('id')})" if isinstance(record, dict) else ""
                    raise DocumentError(f"{file}, record {index}{key}: {problem}")
            if records:
                read.append(records)
                weights.append(weight)
    if not read:
        raise DocumentError(f"the files of records in {root} are empty")
    return read, weights


def _record_files(root: Path, name: str) -> list[Path]:
    """The files that a name or pattern of a recipe stands for."""
    if not root.is_dir():
        raise FileNotFoundError(f"there is no data root {root}: build it first, or name another with --data")
    for folder in (root / "records", root):
        try:
            found = [folder / name] if (folder / name).is_file() else sorted(folder.glob(name))
        except (ValueError, NotImplementedError) as error:
            raise DocumentError(f"parts: {name!r} is not a file name or pattern in {root} ({error})") from None
        if files := [file for file in found if file.is_file()]:
            return files
    there = ", ".join(sorted(path.relative_to(root).as_posix() for path in root.glob("**/*.json"))[:20])
    raise FileNotFoundError(
        f"no records '{name}' in {root} or its folder records; it holds {there or 'no record files'}"
    )


def picture_paths(record: dict, task_type: str) -> dict[str, str]:
    """The image path behind each prompt role of a record; single tasks show their image in role A."""
    if task_type == DESCRIPTION:
        return {A: record["image"]}
    known = tasks.setting(task_type)
    roles = ([REFERENCE] if known.reference else []) + ([A, B] if known.pair else [A])
    return dict(zip(roles, (record[field] for field in known.fields)))
