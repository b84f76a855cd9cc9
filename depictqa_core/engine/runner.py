"""Runs many questions of one layout: images encoded once, prompts of about equal length together, memory watched."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import DepictQAError, OutOfMemory
from ..images.image import RGBImage
from ..images.references import ImageSet
from ..images.size_policy import SizePolicy
from ..prompts import Slot
from ..runtime.prefix_cache import PrefixCache
from ..runtime.progress import ProgressCounter
from ..runtime.threads import parallel
from .batching import not_finite, out_of_memory, prefill_budget, prefix_budget, run_in_batches
from .feature_keys import FeatureKey, Roles, by_role, distinct_feature_keys, feature_keys

if TYPE_CHECKING:
    import torch

    from ..network.model import DepictQAModel
    from ..typicality import TypicalityModel
    from .prefill import PrefixPrefiller, Prompt

BATCH = 32
"""Maximum number of questions that go through the language model together."""
PIECE, SMALL = 16, 50_000_000
"""Questions that one core answers while others answer more, and the most parameters of a language model for that: its
matrix products are too small for several threads."""
Answer: TypeAlias = "Callable[[PrefixPrefiller, list[Prompt], list[int]], Sequence[Any]]"
"""(the prefiller, prompts, their indexes) -> for each prompt an answer, or None for one that is not finite."""
Parts: TypeAlias = list[list[int] | Slot]
"""A layout, ``prompts.encode``d."""


class PromptRunner:
    """The network with its vision features, and what of them a prompt needs.

    Args:
        model: a DepictQAModel.
        name: of the checkpoint, for messages.
        cache_bytes: memory budget for the vision features of images; None takes ``features.default_budget``.
        typicality: the distribution of the features of training images, where it is known.

    Attributes:
        features: the vision tower with its cache.
    """

    def __init__(
        self,
        model: DepictQAModel,
        name: str,
        cache_bytes: int | None = None,
        typicality: TypicalityModel | None = None,
    ) -> None:
        from .exact_logits import compute_logits_in_float32
        from .features import VisionFeatures, default_budget

        self.model, self.name = model, name
        self._chosen = cache_bytes is not None
        budget = default_budget(model) if cache_bytes is None else cache_bytes
        self.features = VisionFeatures(model, budget, typicality)
        compute_logits_in_float32(model.language)
        self._small = sum(weight.numel() for weight in model.language.parameters()) <= SMALL

    @property
    def device(self) -> torch.device:
        """Where the network is now."""
        return next(self.model.parameters()).device

    @property
    def answers_on_single_cores(self) -> bool:
        """Whether the network is on a CPU and too small for several threads, so that each core answers alone."""
        return self._small and self.device.type == "cpu"

    def prefix_cache(self, questions: Sequence[str]) -> PrefixCache:
        """Make an empty cache for the KV caches of prefixes, on the device of the network."""
        return PrefixCache(prefix_budget(self.device), questions)

    def limit_caches(self, images: int) -> None:
        """Store features of this many images at most unless the budget was chosen; typicalities and findings of heads
        each take at most as much again."""
        from .features import bytes_per_image

        budget = images * bytes_per_image(self.model)
        if not self._chosen:
            self.features.cache.limit(budget)
        self.features.typicality.limit(budget)
        self.features.findings.limit(budget)

    def encode(self, image_sets: Sequence[ImageSet], counter: ProgressCounter) -> None:
        """Compute the vision features of sets of images ahead."""

        def run(batch: list[Roles]) -> None:
            self.features.encode(batch, counter.check)
            counter.add(len(batch))

        with self._own_precision():
            failures = run_in_batches([by_role(images) for images in image_sets], BATCH, run, self._out_of_memory)
        if failures:
            raise failures[0]

    def typicality(self, images: Sequence[RGBImage], counter: ProgressCounter) -> list[float | None]:
        """Return the typicality of images, 0..1; None where the distribution of training images is unknown."""
        if not images or self.features.typicality_model is None:
            return [None] * len(images)
        known = self.features.typicality
        self.encode([(image, None) for image in images if known.get(image.key) is None], counter)
        return [known.get(image.key) for image in images]

    def findings(self, images: Sequence[RGBImage], counter: ProgressCounter) -> torch.Tensor | None:
        """Return what the heads find in images, float32 [N, NUMBERS]; None for a network without heads."""
        import torch

        heads = self.features.heads
        if not images or heads is None:
            return None
        found = {image.key: self.features.findings.get(image.key) for image in images}
        missing = list({image.key: image for image in images if found[image.key] is None}.values())
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            with self._own_precision():
                rows = self.features.encode([by_role((image, None)) for image in batch], counter.check)
                found |= {image.key: self.features.find(heads, image.key, rows[image.key]) for image in batch}
        return torch.stack([found[image.key] for image in images])

    def run(
        self,
        parts: Parts,
        shown: dict[int, Roles],
        answer: Answer,
        store: Callable[[int, object], None],
        counter: ProgressCounter,
        ahead: int = 0,
        prefixes: PrefixCache | None = None,
    ) -> list[DepictQAError]:
        """Answer the questions of one layout.

        Args:
            parts: the layout, ``prompts.encode``d.
            shown: the images of each question by role, by the index of the question.
            answer: gives the answers of a batch.
            store: gets every answer with its index as soon as it is known.
            counter: asked for Cancel.
            ahead: maximum number of tokens that an answer adds to its prompt.
            prefixes: from ``prefix_cache()``, the same one for all calls that belong together.

        Returns:
            the errors of batches that failed.
        """
        from .prefill import MIN_LEVEL_TOKENS, PrefixPrefiller, level_ends

        # Neighbours share the longest prefixes, and are of about equal length.
        members = sorted(shown, key=lambda index: [(self._area(image), image.key) for image in shown[index].values()])
        keys = [self._keys(parts, shown[index]) for index in members]
        lengths = [MIN_LEVEL_TOKENS if isinstance(part, Slot) else len(part) for part in parts]
        questions = prefixes is not None and bool(prefixes.questions)
        ends = level_ends(keys, lengths, combined=prefixes is not None and not questions, questions=questions)
        cores = 1 if ahead else self._cores()  # written answers are shown, in the thread of the caller
        check = counter.check if cores == 1 else lambda: None
        common = PrefixPrefiller(self.model.language, ends, check, prefixes)

        def run(batch: list[int]) -> None:
            prompts = self._prompts(parts, [shown[index] for index in batch], counter, prefixes)
            damaged = []

            def ask(piece: tuple[list[int], list[Prompt]]) -> tuple[list[int], Sequence[Any]]:
                prefiller = common if cores == 1 else PrefixPrefiller(self.model.language, ends, check, prefixes)
                with self._own_precision():
                    return piece[0], answer(prefiller, piece[1], piece[0])

            def take(answered: tuple[list[int], Sequence[Any]]) -> None:
                for index, found in zip(*answered):
                    if found is None:
                        damaged.append(shown[index])
                    else:
                        store(index, found)

            parallel(ask, list(self._fitting(batch, prompts, ahead, cores)), take, cores)
            if damaged:
                raise not_finite(damaged[0].values(), self.name, "float32")

        def release() -> None:
            if prefixes is not None:
                prefixes.clear()

        size = BATCH if cores == 1 else max(BATCH, PIECE * cores)
        with self._own_precision():
            return run_in_batches(members, size, run, lambda index: self._out_of_memory(shown[index]), release)

    def begin(self, prompts: list[Prompt], openings: list[list[int]]) -> list[Prompt]:
        """Append to prompts the first tokens of their answers."""
        from .exact_logits import token_embeddings
        from .prefill import Segment

        rows = (token_embeddings(self.model.language, ids) for ids in openings)
        begun = zip(prompts, openings, rows)
        return [[*prompt, Segment(tuple(ids), row)] if ids else prompt for prompt, ids, row in begun]

    def _own_precision(self) -> torch.autocast:
        """Run the network in its own number format where another package has left autocast on in this thread."""
        import torch

        return torch.autocast(self.device.type, enabled=False)

    def _area(self, image: RGBImage) -> int:
        """Pixels that the network sees, a measure of how long a prompt becomes."""
        return math.prod(SizePolicy(**self.model.config.size).padded(image.height, image.width))

    def _cores(self) -> int:
        """Cores that answer questions next to one another, each alone."""
        import torch

        return torch.get_num_threads() if self.answers_on_single_cores else 1

    def _fitting(
        self, batch: list[int], prompts: list[Prompt], ahead: int, cores: int
    ) -> Iterator[tuple[list[int], list[Prompt]]]:
        """Cut a batch so that the keys and values of all cores stay within ``prefill_budget``: yields (indexes,
        prompts)."""
        from .kv_cache import bytes_per_token

        longest = max(sum(len(segment.embeds) for segment in prompt) for prompt in prompts) + ahead
        size = max(1, prefill_budget(self.device) // cores // (longest * bytes_per_token(self.model.language)))
        if cores > 1:
            size = min(size, PIECE)
        for start in range(0, len(batch), size):
            yield batch[start : start + size], prompts[start : start + size]

    def _out_of_memory(self, images: Roles) -> OutOfMemory:
        smaller = "the model as float16, on another device, or a smaller checkpoint"
        return out_of_memory(images.values(), self.device, smaller)

    def _prompts(
        self, parts: Parts, shown: list[Roles], counter: ProgressCounter, prefixes: PrefixCache | None
    ) -> list[Prompt]:
        """The segments of a prompt for each set of images."""
        import torch

        from .exact_logits import token_embeddings
        from .prefill import Segment

        embeddings = self._embeddings(shown, counter, prefixes)
        with torch.inference_mode():
            words = [None if isinstance(part, Slot) else token_embeddings(self.model.language, part) for part in parts]
            like = next(row for row in words if row is not None)
            # the dtype and device of the text embeddings
            rows: dict[Hashable, torch.Tensor] = {key: row.to(like) for key, row in embeddings.items()}
        return [
            [Segment(key, rows[key] if word is None else word) for key, word in zip(self._keys(parts, images), words)]
            for images in shown
        ]

    def _embeddings(
        self, shown: list[Roles], counter: ProgressCounter, prefixes: PrefixCache | None
    ) -> dict[FeatureKey, torch.Tensor]:
        """The embeddings of every image, those of an earlier question where they are stored."""
        if prefixes is None:
            return self.features.embeddings(shown, counter.check)
        keys = distinct_feature_keys(shown, self.features.pairs)
        stored = {key: prefixes.embeddings.get(key) for key in keys}
        known = {key: row for key, row in stored.items() if row is not None}
        if len(known) < len(keys):
            fresh = self.features.embeddings(shown, counter.check, known)
            for key, row in fresh.items():
                if key.other is None:  # no other pair needs those of Image B
                    prefixes.embeddings.put(key, row, row.nbytes)
            known |= fresh
        return known

    def _keys(self, parts: Parts, images: Roles) -> list[Hashable]:
        """What tells each segment of a prompt from others: the feature key of its image, or the ids of its words."""
        by_slot = feature_keys(images, self.features.pairs)
        return [by_slot[part.role] if isinstance(part, Slot) else tuple(part) for part in parts]
