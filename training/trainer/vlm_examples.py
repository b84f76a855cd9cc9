"""Records become prompts of a vision-language model, worded as its judge words them, and batches of its inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from depictqa_core import tasks
from depictqa_core.backends.vlm_answers import answer_tokens
from depictqa_core.backends.vlm_inputs import PromptInputs, continued, resized
from depictqa_core.backends.vlm_loading import LoadedVlm
from depictqa_core.backends.vlm_prompts import ChatTemplate, closed_wording, open_wording, plain
from depictqa_core.engine.exact_logits import keywords
from depictqa_core.errors import ImageError, quoted
from depictqa_core.images.image import RGBImage
from depictqa_core.images.references import common_size
from depictqa_core.images.size_policy import WHOLE
from depictqa_core.network.model import IGNORE
from depictqa_core.prompts import REFERENCE, without_placeholder
from depictqa_core.tasks import QUESTION, Task

from ..dataset.records.record_models import DESCRIPTION
from .image_features import ImageFiles
from .record_files import picture_paths

BLANK_SIDE = 64
"""Side in pixels of the image that takes the place of one that cannot be read."""


def single_answers(records: Sequence[dict]) -> list[dict]:
    """Split conversations: a record for each answer, with what was said before it."""
    return [
        {**record, "conversations": record["conversations"][:end]}
        for record in records
        for end in range(2, len(record["conversations"]) + 1, 2)
    ]


def task_of(record: dict) -> Task:
    """The task that a record is about."""
    question = record["conversations"][0]["value"]
    if record["task_type"] == DESCRIPTION:
        return QUESTION
    return tasks.task_of(question, tasks.setting(record["task_type"]).pair)


@dataclass(frozen=True)
class VlmExample:
    """One record, ready for the model but for its images.

    Attributes:
        texts: the prompt before each image and behind the last one.
        answer: tokens of the answer, with its end; only they carry loss.
        pictures: paths in the order of the prompt: the reference, if there is one, comes first.
        references: for each of ``pictures`` None: the images of a prompt are brought to common sizes together.
        words: length in tokens without the images.
        referenced: whether the first image is a reference.
    """

    texts: tuple[str, ...]
    answer: tuple[int, ...]
    pictures: tuple[str, ...]
    references: tuple[None, ...]
    words: int
    referenced: bool
    keep: tuple[float, float] = WHOLE

    @property
    def answer_tokens(self) -> int:
        """How many tokens carry loss."""
        return len(self.answer)


class VlmForm:
    """How records become examples and batches for a vision-language model: with the prompts of ``backends.vlm``.

    Args:
        loaded: the base model.
        max_tokens: as in ``recipe.Recipe``.

    Attributes:
        prompts: what the processor makes of prompts.
    """

    def __init__(self, loaded: LoadedVlm, max_tokens: int | None = None):
        self.profile, self.end, self.max_tokens = loaded.profile, loaded.ends[0], max_tokens
        self.template = ChatTemplate(loaded.processor, loaded.profile, loaded.card["name"])
        self.prompts = PromptInputs(
            loaded.processor, self.template.image_token, loaded.profile.max_pixels, keywords(type(loaded.model).forward)
        )
        tokenizer = loaded.processor.tokenizer
        self.pad = self.end if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def example(self, record: dict, rng: np.random.Generator) -> VlmExample:
        """Word and tokenise a record; ``rng`` draws the order in which the question lists its options.

        The last answer is the one to learn; what was said before it is part of the prompt (``single_answers``).
        """
        said = [turn["value"] for turn in record["conversations"]]
        question, stem, answer = self._worded(record, said[0], said[-1] if len(said) == 2 else None, rng)
        later = [plain(text, self.template.special) for text in said[1:-1]]
        paths = picture_paths(record, record["task_type"])
        *judged, reference = _sets(list(paths.values()), REFERENCE in paths)
        prompt = self.template.prompt(question, (*judged, reference), stem, later)
        spacing = " " if stem else self.template.spacing
        ids = self.prompts.ids
        (tokens,) = answer_tokens(prompt.texts[-1], [spacing + (answer or said[-1].strip())], ids, self.end)
        asked = sum(len(ids(text)) for text in prompt.texts)
        if self.max_tokens is not None:
            tokens = tokens[: max(1, self.max_tokens - asked - 1)]
        return VlmExample(
            prompt.texts,
            (*tokens, self.end),
            tuple(paths.values()),
            (None,) * len(paths),
            asked + len(tokens) + 1,
            REFERENCE in paths,
        )

    def _worded(self, record: dict, question: str, answer: str | None, rng) -> tuple[str, str, str | None]:
        """The first question in the words of the profile, the stem of its answer, and how the answer is spelled."""
        asked, task = plain(without_placeholder(question), self.template.special), task_of(record)
        listed = tasks.listed_answers(asked) if not task.brief and record["task_type"] != DESCRIPTION else {}
        if answer is None or not (task.brief or listed):
            return open_wording(self.profile, task, asked), "", answer
        options = tuple(listed) or tasks.answers(task, asked)
        wording = closed_wording(self.profile, task, asked, options, bool(listed), None)
        text = wording.texts[int(rng.integers(len(wording.texts)))]
        known = dict(zip(options, wording.answers))
        return text, wording.stem, known.get(answer.strip(), answer.strip())

    def collate(self, examples: Sequence[VlmExample], shown: Sequence[Sequence[RGBImage]]) -> dict:
        """One right-padded batch; ``logits_to_keep`` is how many of its last logits the loss needs."""
        rows, starts = [], []
        for example, pictures in zip(examples, shown):
            inputs = self.prompts.prepare(example.texts, _at_common_size(list(pictures), example.referenced))
            starts.append(inputs["input_ids"].shape[1])
            rows.append(continued(inputs, example.answer))
        batch = merged(rows, self.pad)
        labels = torch.full_like(batch["input_ids"], IGNORE)
        for row, (start, example) in enumerate(zip(starts, examples)):
            labels[row, start : start + len(example.answer)] = torch.tensor(example.answer)
        return {**batch, "labels": labels, "logits_to_keep": labels.shape[1] - min(starts) + 1}


def _sets(images: list, referenced: bool) -> tuple:
    """Images in the order of records, the reference first, as a set of the judge: the reference last, or None."""
    return (*images[1:], images[0]) if referenced else (*images, None)


def _at_common_size(images: list[RGBImage], referenced: bool) -> list[RGBImage]:
    """Bring the images of a prompt to common sizes, as the judge does."""
    if not referenced:
        return images
    judged, reference = common_size(tuple(images[1:]), images[0])
    return [reference, *judged]


def merged(rows: Sequence[dict[str, torch.Tensor]], pad: int) -> dict[str, torch.Tensor]:
    """Join the inputs of single prompts to one batch, as the processors of transformers do.

    Tokens are padded on the right. Inputs about images are joined along their first axis; where they have different
    shapes (tiles of images that were cut), zeros are added behind.
    """
    batch = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        sizes = [max(sizes) for sizes in zip(*(value.shape[1:] for value in values))]
        filling = pad if name == "input_ids" else 0
        padded = [value.new_full((len(value), *sizes), filling) for value in values]
        for whole, value in zip(padded, values):
            whole[tuple(slice(0, size) for size in value.shape)] = value
        batch[name] = torch.cat(padded)
    return batch


class VlmImages(ImageFiles):
    """Images as a vision-language model takes them: at native resolution, within the bounds of its profile.

    Args:
        prompts: what the processor makes of prompts.
        root, also: as in ``ImageFiles``.
    """

    def __init__(self, prompts: PromptInputs, root: str | Path, also: str | Path | None = None):
        super().__init__(root, also)
        self.prompts = prompts

        @cache
        def count(height: int, width: int) -> int:
            blank = RGBImage(np.zeros((height, width, 3), np.uint8), "blank")
            return prompts.prepare(("", ""), (blank,))["input_ids"].shape[1]

        self.count = count
        """Tokens of an image of some height and width."""

    def tokens(self, path: str, keep: tuple[float, float] = WHOLE) -> int:
        """Return the number of tokens of an image from its header; 0 for one that cannot be read."""
        try:
            return self.count(*resized(*self.size(path), self.prompts.max_pixels))
        except Exception:  # whatever Pillow makes of a damaged file, or the processor of its size; show() says it
            return 0

    def show(self, path: str, keep: tuple[float, float] = WHOLE, reference: str | None = None) -> RGBImage:
        """Decode one image; raise ImageError for one that cannot be read, or that the processor does not take."""
        picture = self.read(path)
        try:
            self.count(*resized(picture.height, picture.width, self.prompts.max_pixels))
        except Exception as error:  # processors raise what they like about sizes
            raise ImageError(f"{path}: the processor of the model does not take it ({quoted(error)})") from error
        return picture

    def blank(self) -> RGBImage:
        """Return a placeholder for an image that cannot be read, in a record whose loss does not count."""
        return RGBImage(np.full((BLANK_SIDE, BLANK_SIDE, 3), 127, np.uint8), "blank")
