"""Runs a vision-language model of transformers: prompts in, log-probabilities of the next tokens out.

Two ways give the same numbers. The *plain* path calls the model as its documentation does: one prompt with all its
images, no cache. It is always right, and slow. The *shared* path computes what prompts have in common once: vision
features are cached by the content of the image, and the KV cache behind the images is shared by all questions and
answers about them. Not every architecture allows that (some let image tokens attend to later ones, some cut images in
another way when there are several), so ``Network`` compares both paths once, and uses the widest sharing that agrees.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel

from ..engine.batching import prefix_budget
from ..images.image import RGBImage
from ..runtime.byte_cache import ByteCache
from .vlm_agreement import agree, attempt, no_check, sample_answers, sample_images, sample_prompts
from .vlm_cache import branch, nbytes
from .vlm_inputs import continued
from .vlm_model import ModelCalls, chosen
from .vlm_prompts import Prompt
from .vlm_runner import IMAGES, NOTHING, SETS, Check

TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.06}
"""Largest difference in probability that is rounding, by the format of the weights."""
Segment = tuple[tuple[str, ...], tuple[RGBImage, ...]]
"""Texts of a piece of a prompt, and the images between them."""


@dataclass
class State:
    """The model behind a prefix of a prompt.

    Attributes:
        ids: the tokens so far.
        extra: per-image inputs from which positions follow, by name, as the processor gave them.
        cache: the model's own KV cache.
        log_probabilities: float32 [vocabulary], of the next token; [prompts, vocabulary] for several; empty before the
            first one.
        prompts: number of prompts in the cache that have the same tokens.
    """

    ids: torch.Tensor
    extra: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    cache: Any = None
    log_probabilities: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    prompts: int = 1


class Network(ModelCalls):
    """One model with its processor.

    Args:
        model, processor, image_token, max_pixels, cache_bytes: as in ``ModelCalls``.
        layout: texts of a question about two images, with which the two paths are compared.

    Attributes:
        states: the stored KV caches of prefixes.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any,
        image_token: str,
        layout: tuple[str, ...],
        max_pixels: int,
        cache_bytes: int,
    ) -> None:
        super().__init__(model, processor, image_token, max_pixels, cache_bytes)
        self.layout, self.states = layout, ByteCache(0)
        self._sharing: str | None = None

    @property
    def sharing(self) -> str:
        """The widest sharing that agrees with the plain path: ``IMAGES``, ``SETS`` or ``NOTHING``."""
        if self._sharing is None:
            found = None
            try:
                found = self._widest()
            finally:  # Cancel leaves nothing behind that was not compared
                self._sharing = found
        return self._sharing

    @property
    def tolerance(self) -> float:
        """Largest difference in probability between two paths that is rounding: int8 rounds activations, too."""
        found = TOLERANCE.get(self.model.dtype, max(TOLERANCE.values()))
        return max(found, TOLERANCE[torch.float16]) if getattr(self.model, "is_loaded_in_8bit", False) else found

    def open_states(self) -> None:
        """Begin to store the KV caches of prefixes."""
        self.states = ByteCache(prefix_budget(self.device))

    def close_states(self) -> None:
        """Drop the stored KV caches: they live on the device of the model."""
        self.states = ByteCache(0)

    # ------------------------------------------------------------------ the two paths

    @torch.inference_mode()
    def plain(
        self, prompt: Prompt, rows: Sequence[Sequence[int]], check: Check, columns: Sequence[int] | None = None
    ) -> list[torch.Tensor]:
        """Call the model as its documentation does, once for every row; arguments and result as in ``Runner``."""
        inputs = self.inputs(prompt.texts, prompt.images)
        found = []
        for row in rows:
            check()
            found.append(self.forward(continued(inputs, row), len(row) + 1, columns)[0])
        return found

    @torch.inference_mode()
    def shared(
        self,
        prompt: Prompt,
        rows: Sequence[Sequence[int]],
        check: Check,
        size: int,
        columns: Sequence[int] | None = None,
    ) -> list[torch.Tensor]:
        """Compute what ``plain`` does, with everything shared that ``sharing`` allows.

        Args:
            size: maximum number of rows that run together.
        """
        if len(rows) == 1:
            state, last = self._before_last(prompt, check), self._last_segment(prompt)
            inputs = continued(self.inputs(*last), rows[0])
            check()
            return [self.forward(self._behind(state, inputs), len(rows[0]) + 1, columns)[0]]
        state = self.state(prompt, check)
        found: list[torch.Tensor] = []
        for start in range(0, len(rows), size):
            check()
            found += self._rows(state, rows[start : start + size], columns)
        return found

    @torch.inference_mode()
    def state(self, prompt: Prompt, check: Check) -> State:
        """The model behind a whole prompt; its cache may be used up."""
        state = self._before_last(prompt, check)
        check()
        return self._extended(state, *self._last_segment(prompt))

    @torch.inference_mode()
    def step(self, state: State, token: int) -> State:
        """Append one token to a state that nobody else uses."""
        inputs = {"input_ids": torch.tensor([[token]])}
        logits, cache = self.forward_with_cache(self._behind(state, inputs, copy=False))
        return State(torch.cat([state.ids, inputs["input_ids"][0]]), state.extra, cache, logits[0][-1])

    # ------------------------------------------------------------------ segments

    def _segments(self, prompt: Prompt) -> list[Segment]:
        """The pieces of a prompt whose KV caches may be shared, each with its texts and images; the last is text."""
        if self.sharing == SETS:
            return [(prompt.texts[:-1] + ("",), prompt.images), (prompt.texts[-1:], ())]
        each = [((text, ""), (image,)) for text, image in zip(prompt.texts, prompt.images)]
        return [*each, (prompt.texts[-1:], ())]

    def _last_segment(self, prompt: Prompt) -> Segment:
        """What of a prompt no other prompt shares: the question, for pairs with the last image in front of it."""
        if prompt.pair and self.sharing == IMAGES:
            return (prompt.texts[-2], prompt.texts[-1]), prompt.images[-1:]
        return prompt.texts[-1:], ()

    def _first_segments(self, prompt: Prompt) -> tuple[list[Segment], list[Hashable]]:
        """All but the last segment, and what tells each from others."""
        segments = self._segments(prompt)[: -2 if prompt.pair and self.sharing == IMAGES else -1]
        return segments, [(texts, tuple(image.key for image in images)) for texts, images in segments]

    def _before_last(self, prompt: Prompt, check: Check) -> State:
        """The model behind all but the last segment, from stored states as far as there are any."""
        segments, keys = self._first_segments(prompt)
        state, done = State(torch.empty(0, dtype=torch.int64)), 0
        for end in range(len(keys), 0, -1):
            if (stored := self.states.get(tuple(keys[:end]))) is not None:
                state, done = stored, end
                break
        for end in range(done, len(segments)):
            check()
            state = self._extended(state, *segments[end])
            self.states.put(tuple(keys[: end + 1]), state, nbytes(state.cache))
        return state

    def _extended(self, state: State, texts: tuple[str, ...], images: tuple[RGBImage, ...]) -> State:
        inputs = self.inputs(texts, images)
        logits, cache = self.forward_with_cache(self._behind(state, inputs))
        extra = {name: [*state.extra.get(name, ()), *inputs[name]] for name in ("image_grid_thw",) if name in inputs}
        return State(torch.cat([state.ids, inputs["input_ids"][0]]), {**state.extra, **extra}, cache, logits[0][-1])

    def _rows(self, state: State, rows: Sequence[Sequence[int]], columns: Sequence[int] | None) -> list[torch.Tensor]:
        """Continuations of one state in one batch: shorter ones are padded behind, where nothing attends to it."""
        longest = max(len(row) for row in rows)
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=torch.int64)
        first = chosen(state.log_probabilities[None], columns)
        if not longest:
            return [first for _ in rows]
        logits = self.forward(self._behind(state, {"input_ids": ids}), longest, columns)
        return [torch.cat([first, found[: len(row)].to(first)]) for row, found in zip(rows, logits)]

    def _behind(self, state: State, inputs: dict, copy: bool = True) -> dict:
        """Inputs that continue a state: its cache for every row, and positions that count on."""
        if state.cache is None:
            return inputs
        count, size = inputs["input_ids"].shape
        start = len(state.ids)
        positions = torch.arange(start, start + size).expand(count, size)
        if self._rope is not None:
            whole = torch.cat([state.ids.expand(count, -1), inputs["input_ids"]], 1)
            new = inputs.get("image_grid_thw", ())
            grids = [*state.extra.get("image_grid_thw", ()), *new[: len(new) // state.prompts]]
            positions = self.rope_positions(whole, torch.stack(grids))[..., start:]
        known = {"position_ids": positions} if "position_ids" in self.keywords else {}
        cache = branch(state.cache, count // state.prompts, state.prompts) if copy else state.cache
        return {
            **inputs,
            **known,
            "past_key_values": cache,
            "attention_mask": torch.ones(count, start + size, dtype=torch.int64),
        }

    # ------------------------------------------------------------------ agreement

    def _widest(self) -> str:
        """Compare both paths on small random images, two in a prompt."""
        (prompt,) = sample_prompts(self.layout, sample_images(2, wider=32))
        rows = sample_answers(self)
        wanted = self.plain(prompt, rows, no_check)
        for sharing in (IMAGES, SETS):
            self._sharing = sharing  # what ``shared`` tries
            found = attempt(lambda: self.shared(prompt, rows, no_check, len(rows)))
            if found is not None and agree(found, wanted, self.tolerance):
                return sharing
        return NOTHING
