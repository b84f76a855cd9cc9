"""Records become tokenised examples, and examples become batches for the network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from depictqa_core.images.size_policy import WHOLE
from depictqa_core.network.model import IGNORE, IMAGE_TOKEN
from depictqa_core.network.vision import Prepared
from depictqa_core.prompts import (
    REFERENCE,
    A,
    B,
    Slot,
    answer_ids,
    description_layout,
    encode,
    layout,
    next_turn,
    text_ids,
)
from depictqa_core.tasks import setting

from ..dataset.records.record_models import DESCRIPTION
from .image_features import ImageFeatures
from .record_files import picture_paths


@dataclass(frozen=True)
class Example:
    """One record, ready for the model.

    Attributes:
        parts: ids of the prompt up to the first answer, with Slots for images.
        turns: ids of the first answer, then of further questions and answers in turn.
        pictures: paths in the order of the slots.
        references: for each of ``pictures``, the path of its reference, or None.
        keep: shares of height and width that are kept of every image.
    """

    parts: tuple
    turns: tuple[tuple[int, ...], ...]
    pictures: tuple[str, ...]
    references: tuple[str | None, ...]
    keep: tuple[float, float] = WHOLE

    @property
    def reference(self) -> str | None:
        """Path of the reference, which comes first, if there is one."""
        return self.pictures[0] if Slot(REFERENCE) in self.parts else None

    @property
    def words(self) -> int:
        """Length in tokens without the images."""
        return sum(len(part) for part in (*self.parts, *self.turns) if not isinstance(part, Slot))

    @property
    def answer_tokens(self) -> int:
        """How many tokens carry loss."""
        return sum(len(answer) for answer in self.turns[::2])


class NativeForm:
    """How records become examples and batches for our own network.

    Args:
        recipe: a ``training.trainer.recipe.Recipe``.
    """

    def __init__(self, recipe, tokenizer):
        self.recipe, self.tokenizer = recipe, tokenizer

    def example(self, record: dict, rng: np.random.Generator) -> Example:
        """Tokenise a record; ``rng`` draws its crop."""
        keep, crop = WHOLE, self.recipe.crop
        if crop:
            height, width = rng.uniform(crop[0], crop[1], 2).tolist()
            keep = (height, width)
        return make_example(record, self.tokenizer, self.recipe.max_tokens, keep)

    def collate(self, examples: list[Example], shown: Sequence[Sequence[ImageFeatures]]) -> dict:
        """``collate`` with the settings of the recipe."""
        return collate(examples, shown, self.tokenizer.pad_token_id, self.recipe.hide_separators)


def make_example(record: dict, tokenizer, max_tokens: int | None = None, keep: tuple[float, float] = WHOLE) -> Example:
    """Tokenise one training record, each turn on its own.

    Args:
        record: a quality record, or a ``description`` one; further turns are laid out as method.md 1.6 say.
        max_tokens: bound for questions and answers together; what is longer is cut off at its end.
    """
    said = [turn["value"] for turn in record["conversations"]]
    if record["task_type"] == DESCRIPTION:
        prompt = description_layout(said[0])
    else:
        known = setting(record["task_type"])
        prompt = layout(said[0], known.pair, known.reference)
    parts = encode(prompt, tokenizer)
    turns = []
    for question, answer in zip([None, *said[2::2]], said[1::2]):
        turns += [] if question is None else [text_ids(next_turn(question), tokenizer)]
        turns.append(answer_ids(answer, tokenizer))
    if max_tokens is not None:
        last = parts[-1]
        left = max(1, max_tokens - (0 if isinstance(last, Slot) else len(last)))
        kept = []
        for turn in turns:
            kept.append(turn[:left])
            left -= len(kept[-1])
        turns = [turn for turn in kept if turn]
    paths = picture_paths(record, record["task_type"])
    roles = [part.role for part in parts if isinstance(part, Slot)]
    references = tuple(None if role == REFERENCE else paths.get(REFERENCE) for role in roles)
    return Example(tuple(parts), tuple(map(tuple, turns)), tuple(paths[role] for role in roles), references, keep)


def collate(
    examples: list[Example], shown: Sequence[Sequence[ImageFeatures]], pad_id: int, hide_separators: bool = False
) -> dict:
    """One right-padded batch for ``DepictQAModel.forward``; only answer tokens carry loss.

    Args:
        shown: for each example, the features of its images, in the order of its slots.
        hide_separators: mask every ``</s>`` of questions and answers, as the training of the published checkpoints did
            (method.md 1.6); answering never hides them.
    """
    rows = []
    contents: list[Prepared | torch.Tensor] = []
    references: list[int | None] = []
    comparisons: list[torch.Tensor | None] = []
    others: list[int | None] = []
    for example, pictures in zip(examples, shown):
        ids, slots, reference, first = [], iter(pictures), None, None
        for part in example.parts:
            if isinstance(part, Slot):
                seen = next(slots)
                references.append(reference)
                others.append(first if part.role == B and reference is None else None)
                if part.role == REFERENCE:  # it comes first
                    reference = len(contents)
                elif part.role == A:
                    first = len(contents)
                contents.append(seen.content)
                comparisons.append(seen.comparison)
                ids += [IMAGE_TOKEN] * seen.tokens
            else:
                ids += part
        rows.append((ids, example.turns))
    length = max(len(ids) + sum(map(len, turns)) for ids, turns in rows)
    input_ids = torch.full((len(rows), length), pad_id)
    labels = torch.full((len(rows), length), IGNORE)
    mask = torch.zeros((len(rows), length), dtype=torch.int64)
    for row, (ids, turns) in enumerate(rows):
        place = len(ids)
        mask[row, : place + sum(map(len, turns))] = 1
        input_ids[row, :place] = torch.tensor(ids)
        for number, turn in enumerate(turns):
            input_ids[row, place : place + len(turn)] = torch.tensor(turn)
            if number % 2 == 0:
                labels[row, place : place + len(turn)] = torch.tensor(turn)
            place += len(turn)
        if hide_separators:
            start = len(ids) - len(examples[row].parts[-1])
            mask[row, start:place] &= input_ids[row, start:place] != pad_id
    kind = "pictures" if isinstance(contents[0], Prepared) else "pooled"
    beside = {"references": references, "comparisons": comparisons, "others": others}
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels, kind: contents, **beside}
