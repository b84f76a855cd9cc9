"""From records and pictures to training batches: tokenised prompts with answers, and what the vision tower saw."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from depictqa_core.errors import ImageError
from depictqa_core.images import as_picture
from depictqa_core.model import IGNORE, IMAGE_TOKEN, DepictQAModel
from depictqa_core.prompts import REFERENCE, A, B, Slot, answer_ids, encode, layout
from depictqa_core.tasks import setting
from depictqa_core.vision import prepare

CHUNK = 64
"""Pictures that are read and encoded side by side on all cores."""


@dataclass(frozen=True)
class Example:
    """One record, ready for the model: ids of the prompt (with Slots) and of the answer, pictures in slot order."""

    parts: tuple
    answer: tuple[int, ...]
    pictures: tuple[str, ...]

    @property
    def words(self) -> int:
        """Length in tokens without the pictures."""
        return len(self.answer) + sum(len(part) for part in self.parts if not isinstance(part, Slot))


def read_records(path: str | Path) -> list[dict]:
    """Read one file of records (a JSON list, facts 3.4)."""
    records = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(records, list):
        raise ValueError(f"{path} holds no JSON list of records")
    return records


def picture_paths(record: dict, task_type: str) -> dict[str, str]:
    """The picture path behind each prompt role of a record; single tasks show their picture in role A."""
    known = setting(task_type)
    roles = ([REFERENCE] if known.reference else []) + ([A, B] if known.pair else [A])
    return dict(zip(roles, (record[field] for field in known.fields)))


def make_example(record: dict, tokenizer) -> Example:
    """Tokenise one training record (first human turn and its answer)."""
    known = setting(record["task_type"])
    question, answer = (turn["value"] for turn in record["conversations"][:2])
    parts = encode(layout(question, known.pair, known.reference), tokenizer)
    paths = picture_paths(record, record["task_type"])
    return Example(
        tuple(parts), tuple(answer_ids(answer, tokenizer)), tuple(paths[p.role] for p in parts if isinstance(p, Slot))
    )


class FeatureStore:
    """What a frozen vision tower saw in every picture of a data set, computed once and kept in one file.

    Only for connectors whose pooled features are one vector per picture. Interrupted work goes on where it stopped.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.index: dict[str, int] = {}
        self.rows: np.ndarray | None = None

    def fill(self, model: DepictQAModel, root: str | Path, paths: list[str]) -> "FeatureStore":
        """Make sure that every path (relative to root) has its features; unreadable pictures raise ImageError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names, data = self.folder / "paths.txt", self.folder / "features.f32"
        known = names.read_text(encoding="utf-8").splitlines() if names.exists() else []
        width = model.connector.mean.numel()
        complete = data.stat().st_size // (4 * width) if data.exists() else 0
        known = known[:complete]
        self.index = {path: row for row, path in enumerate(known)}
        missing = [path for path in paths if path not in self.index]
        names.write_text("".join(f"{path}\n" for path in known), encoding="utf-8")
        with open(data, "r+b" if data.exists() else "w+b") as values, open(names, "a", encoding="utf-8") as listed:
            values.truncate(len(known) * 4 * width)
            values.seek(0, 2)
            with ThreadPoolExecutor(os.cpu_count() or 1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                live = LiveFeatures(model, root)
                for chunk in tqdm(
                    range(0, len(missing), CHUNK), desc="vision features", unit_scale=CHUNK, mininterval=10
                ):
                    paths = missing[chunk : chunk + CHUNK]
                    for path, row in zip(paths, pool.map(live.__getitem__, paths)):
                        values.write(row.detach().float().cpu().numpy().tobytes())
                        listed.write(f"{path}\n")
                        self.index[path] = len(self.index)
        self.rows = np.memmap(data, dtype=np.float32, mode="r", shape=(len(self.index), width))
        return self

    def __getitem__(self, path: str) -> torch.Tensor:
        return torch.from_numpy(self.rows[self.index[path]].copy())


class LiveFeatures:
    """The same interface as FeatureStore, with every picture run through the tower when it is asked for."""

    def __init__(self, model: DepictQAModel, root: str | Path):
        self.model, self.root = model, Path(root)

    def __getitem__(self, path: str) -> torch.Tensor:
        try:
            picture = as_picture(self.root / path, path)
        except ImageError as error:
            raise ImageError(f"{error} (picture of a training record)") from error
        trains = any(parameter.requires_grad for parameter in self.model.vision.parameters())
        with torch.set_grad_enabled(trains):
            return self.model.encode([prepare(picture, self.model.config)])[0]


def collate(
    examples: list[Example], features, model: DepictQAModel, pad_id: int, hide_separators: bool = False
) -> dict:
    """One right-padded batch for ``DepictQAModel.forward``; only answer tokens carry loss.

    ``hide_separators`` masks every ``</s>`` of the question and the answer, as the training of the published
    checkpoints did (facts 1.6); answering never hides them.
    """
    rows, pooled, references = [], [], []
    for example in examples:
        ids, slots, reference = [], iter(example.pictures), None
        for part in example.parts:
            if isinstance(part, Slot):
                seen = features[next(slots)]
                references.append(reference)
                if part.role == REFERENCE:  # it comes first
                    reference = len(pooled)
                pooled.append(seen)
                ids += [IMAGE_TOKEN] * model.connector.token_count(seen)
            else:
                ids += part
        rows.append((ids, list(example.answer)))
    length = max(len(ids) + len(answer) for ids, answer in rows)
    input_ids = torch.full((len(rows), length), pad_id)
    labels = torch.full((len(rows), length), IGNORE)
    mask = torch.zeros((len(rows), length), dtype=torch.int64)
    for row, (ids, answer) in enumerate(rows):
        end = len(ids) + len(answer)
        input_ids[row, :end] = torch.tensor(ids + answer)
        labels[row, len(ids) : end] = torch.tensor(answer)
        mask[row, :end] = 1
        if hide_separators:
            question = examples[row].parts[-1]
            start = len(ids) - len(question)
            mask[row, start:end] = torch.tensor([int(i != answer[-1]) for i in (*question, *answer)])
    batch = {"input_ids": input_ids, "attention_mask": mask, "labels": labels}
    return {**batch, "pooled": pooled, "references": references}
