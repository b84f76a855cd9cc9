"""The native backend: our own network (vision tower, connector, language model), run by the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tasks
from ..calibration import Calibration
from ..engine.feature_keys import by_role
from ..engine.runner import Answer, PromptRunner
from ..errors import DepictQAError
from ..images.image import RGBImage
from ..images.size_policy import SizePolicy
from ..loading.checkpoint import Checkpoint
from ..loading.checkpoint_folder import self_test_notices
from ..prompts import answer_ids, encode_question, text_ids
from ..runtime.byte_cache import ByteCache
from ..runtime.prefix_cache import PrefixCache
from ..runtime.progress import OnText, ProgressCounter
from ..tasks import Task
from .base import (
    ANSWER_BYTES,
    AnswerProbabilities,
    Backend,
    Capabilities,
    Criterion,
    ImageSet,
    Opening,
    WrittenAnswer,
    aligned,
    content_key,
)
from .stored_answers import Store, answer_all

if TYPE_CHECKING:
    import torch

    from ..engine.prefill import PrefixPrefiller, Prompt


class NativeBackend(Backend):
    """A checkpoint of ours: bundled, trained or imported.

    Args:
        checkpoint: the network with its tokenizer and card.
        cache_bytes: memory budget for the vision features of images; None takes ``features.default_budget``.
        answers: where answers are stored, for callers that outlive the network; it must hold those of this checkpoint,
            dtype and device alone. None makes one.

    Attributes:
        model, tokenizer: the network, which may be moved between devices from outside, and its tokenizer.
        runner: runs prompts through the network.
    """

    def __init__(self, checkpoint: Checkpoint, cache_bytes: int | None = None, answers: ByteCache | None = None):
        self.model, self.tokenizer, self.info = checkpoint.model, checkpoint.tokenizer, checkpoint.card
        self.notices = self_test_notices(self.info)
        self.runner = PromptRunner(self.model, self.name, cache_bytes, checkpoint.typicality)
        self.answers = ByteCache(ANSWER_BYTES) if answers is None else answers

    @property
    def capabilities(self) -> Capabilities:
        config = self.model.config
        return Capabilities(
            tasks=tuple(config.tasks),
            free_questions=config.free_questions,
            names_first=config.names_first,
            personal=config.personal,
        )

    @property
    def calibration(self) -> Calibration:
        return Calibration(self.model.config.calibration)

    @calibration.setter
    def calibration(self, calibration: Calibration) -> None:
        self.model.config.calibration = calibration.settings

    @property
    def size_policy(self) -> SizePolicy:
        return SizePolicy(**self.model.config.size)

    @property
    def device(self) -> torch.device:
        return self.runner.device

    @property
    def network(self) -> torch.nn.Module:
        return self.model

    def identity(self) -> dict[str, Any]:
        weight = next(self.model.parameters())
        known = self.runner.features.typicality_model
        typicality = {"typicality": known.digest} if known else {}
        config = self.model.config.to_dict()
        return {"judge": self.info, "config": config, "dtype": str(weight.dtype), **typicality}

    def limit_caches(self, images: int) -> None:
        super().limit_caches(images)
        self.runner.limit_caches(images)

    def encode_images(self, image_sets: Sequence[ImageSet], counter: ProgressCounter) -> None:
        self.runner.encode(image_sets, counter)

    def typicality(self, images: Sequence[RGBImage], counter: ProgressCounter) -> list[float | None]:
        return self.runner.typicality(images, counter)

    def prefix_cache(self, questions: Sequence[str] = ()) -> PrefixCache:
        return self.runner.prefix_cache(questions)

    def choose(
        self,
        task: Task,
        question: str | None,
        image_sets: Sequence[ImageSet],
        counter: ProgressCounter,
        prefixes: PrefixCache | None = None,
        options: Sequence[str] | None = None,
        about: Criterion | None = None,
    ) -> AnswerProbabilities:
        from ..engine.decoding import answer_probabilities, forced_prefix
        from ..engine.exact_logits import token_embeddings

        self.require(task)
        self.require_criterion(about)
        options = tasks.answers(task, question or task.question) if options is None else options
        ids = [answer_ids(option, self.tokenizer) for option in options]
        forced = token_embeddings(self.model.language, forced_prefix(ids))
        temperatures, asked = self.temperatures(task, question, own=False), question or task.question

        def answer(prefiller: PrefixPrefiller, prompts: list[Prompt], indexes: list[int]) -> list[np.ndarray | None]:
            some = [image_sets[index] for index in indexes]
            reference = some[0][-1] is not None  # all of a batch have a reference, or none has
            found = answer_probabilities(prefiller.prefill(prompts, forced), ids, temperatures[reference])
            heads = self.head_logits(task, asked, options, some)
            rows = np.column_stack([found.probabilities.numpy(), found.coverage.numpy(), heads])
            return [row if np.isfinite(row).all() else None for row in rows]

        kinds = [("choose", tuple(options), *temperatures.values())] * len(image_sets)
        found = self._ask(task, task.ask(question), kinds, image_sets, answer, counter, prefixes=prefixes)
        table = np.array(found).reshape(len(image_sets), 2 * len(options) + 1)
        table, heads = np.split(table, [len(options) + 1], axis=1)
        references = [images[-1] is not None for images in image_sets]
        table[:, :-1] = self.calibration.with_heads(task, asked, references, table[:, :-1], heads)
        return self.calibrated(task, question, options, image_sets, table, own=False)

    def head_logits(
        self, task: Task, question: str, options: Sequence[str], image_sets: Sequence[ImageSet]
    ) -> np.ndarray:
        from ..network.head_answers import answer_logits
        from ..network.heads import Findings

        logits = super().head_logits(task, question, options, image_sets)
        alone = [index for index, images in enumerate(image_sets) if images[-1] is None]
        roles = list(zip(*(image_sets[index][:-1] for index in alone)))
        rows = [self.runner.findings([image for image in role if image], ProgressCounter(None, 0)) for role in roles]
        found = [Findings.of_numbers(row) for row in rows if row is not None]
        answered = answer_logits(task, question, options, found) if found else None
        if answered is not None:
            logits[alone] = answered.numpy()
        return logits

    def write(
        self,
        task: Task,
        question: str | None,
        image_sets: Sequence[ImageSet],
        max_new_tokens: int,
        counter: ProgressCounter,
        on_text: OnText | None = None,
        openings: Sequence[Opening] | None = None,
    ) -> list[WrittenAnswer]:
        from ..engine.decoding import greedy

        self.require(task)
        end = answer_ids("", self.tokenizer)
        openings = openings or [Opening()] * len(image_sets)
        begun = [self.tokens(opening.text, opening.probability, opening.written) for opening in openings]
        banned = sorted(
            {text_ids(f"{o.text} and", self.tokenizer)[len(b.ids)] for o, b in zip(openings, begun) if o.whole}
        )

        def answer(prefiller: PrefixPrefiller, prompts: list[Prompt], indexes: list[int]) -> list[WrittenAnswer | None]:
            def show(written: dict[int, list[int]]) -> None:
                for row, ids in written.items():
                    if on_text is not None:
                        on_text(indexes[row], self.text(begun[indexes[row]].ids + without_end(ids, end)))

            prompts = self.runner.begin(prompts, [begun[index].ids for index in indexes])
            answers: list[WrittenAnswer | None] = []
            written = greedy(prefiller.prefill(prompts), end, max_new_tokens, show if on_text else None, banned)
            for index, generated in zip(indexes, written):
                if not np.isfinite(generated.probabilities).all():
                    answers.append(None)
                    continue
                ids = without_end(generated.ids, end)
                chances = generated.probabilities[: len(ids)]
                ids, chances = begun[index].ids + ids, begun[index].probabilities + chances
                answers.append(WrittenAnswer(self.text(ids), ids, chances))
            return answers

        kinds = [("write", max_new_tokens, o.text, o.probability, o.whole) for o in openings]
        found = self._ask(task, task.ask(question), kinds, image_sets, answer, counter, max_new_tokens)
        if on_text:
            for index, written in enumerate(found):
                on_text(index, written.text)
        return found

    def tokens(self, text: str, probability: float, written: WrittenAnswer | None = None) -> WrittenAnswer:
        return aligned(text, text_ids(text, self.tokenizer) if text else [], probability, written)

    def decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _ask(
        self,
        task: Task,
        question: str,
        kinds: list[tuple],
        image_sets: Sequence[ImageSet],
        answer: Answer,
        counter: ProgressCounter,
        ahead: int = 0,
        prefixes: PrefixCache | None = None,
    ) -> list:
        """One answer for each set of images, stored or new; ``kinds`` tells apart answers to the same question."""
        keys = [
            (task.name, question, kind, content_key(images)) for kind, images in zip(kinds, image_sets, strict=True)
        ]

        def ask(missing: list[int], store: Store) -> list[DepictQAError]:
            failures: list[DepictQAError] = []
            for reference in (False, True):
                others = prefixes.questions if prefixes is not None else ()
                parts = encode_question(question, task.pair, reference, self.tokenizer, others)
                shown = {
                    index: by_role(image_sets[index])
                    for index in missing
                    if (image_sets[index][-1] is not None) == reference
                }
                failures += self.runner.run(parts, shown, answer, store, counter, ahead, prefixes)
            return failures

        return answer_all(self.answers, keys, counter, ask)


def without_end(ids: list[int], end: list[int]) -> list[int]:
    """Return the written words only: an answer that was cut off has no end, or only a part of it."""
    for size in range(len(end), 0, -1):
        if ids[-size:] == end[-size:]:
            return ids[:-size]
    return ids
