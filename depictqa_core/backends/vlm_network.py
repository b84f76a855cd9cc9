"""Runs a vision-language model of transformers: prompts in, log-probabilities of the next tokens out.

Two ways give the same numbers. The *plain* path calls the model as its documentation does: one prompt with all its
images, no cache. It is always right, and slow. The *shared* path computes what prompts have in common once: vision
features are cached by the content of the image, and the KV cache behind the images is shared by all questions and
answers about them. Not every architecture allows that (some let image tokens attend to later ones, some cut images in
another way when there are several), so ``Network`` compares both paths once, and uses the widest sharing that agrees.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..engine.batching import prefix_budget
from ..images.image import Picture
from ..runtime.byte_cache import ByteCache
from .vlm_cache import branch, nbytes, to_device
from .vlm_prompts import Prompt

IMAGES, SETS, NOTHING = "images", "sets", "nothing"
"""What prompts share: the KV cache behind every image, that behind all images of a question, or nothing."""
TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.06}
"""Largest difference in probability between the two paths that is rounding."""
Check = Callable[[], None]


@dataclass
class State:
    """The model behind a prefix of a prompt.

    Attributes:
        ids: the tokens so far.
        extra: per-image inputs from which positions follow, by name, as the processor gave them.
        cache: the model's own KV cache.
        log_probabilities: float32 [vocabulary], of the next token.
    """

    ids: torch.Tensor
    extra: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    cache: Any = None
    log_probabilities: torch.Tensor | None = None


class Network:
    """One model with its processor.

    Args:
        model: of ``AutoModelForImageTextToText``, in evaluation mode.
        processor: its processor.
        image_token: the text that stands for an image.
        layout: texts of a question about two images, with which the two paths are compared.
        max_pixels: larger images are shrunk to this area first.
        cache_bytes: memory budget for vision features and prepared images.

    Attributes:
        encoded: number of images that went through the vision tower.
    """

    def __init__(self, model, processor, image_token: str, layout: tuple[str, ...], max_pixels: int, cache_bytes: int):
        self.model, self.processor = model, processor
        self.image_token, self.layout, self.max_pixels = image_token, layout, max_pixels
        self.features, self.prepared = ByteCache(cache_bytes // 2), ByteCache(cache_bytes // 2)
        self.states = ByteCache(0)
        self.encoded = 0
        self._sharing: str | None = None
        self._current: list[str] | None = None
        self._rope = _method(model, "get_rope_index")
        self._keywords = _keywords(model)
        self._cache_features()

    @property
    def device(self) -> torch.device:
        """Where the input of the model goes."""
        return self.model.get_input_embeddings().weight.device

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

    def open_states(self) -> None:
        """Begin to store the KV caches of prefixes."""
        self.states = ByteCache(prefix_budget(self.device))

    def close_states(self) -> None:
        """Drop the stored KV caches: they live on the device of the model."""
        self.states = ByteCache(0)

    # ------------------------------------------------------------------ the two paths

    @torch.inference_mode()
    def plain(self, prompt: Prompt, rows: Sequence[Sequence[int]], check: Check) -> list[torch.Tensor]:
        """Compute log-probabilities behind a prompt and each token of some continuations, without any sharing.

        Args:
            prompt: the prompt without the tokens that continue it.
            rows: token ids of continuations; an empty one asks for what follows the prompt.

        Returns:
            for each row float32 [len(row) + 1, vocabulary].
        """
        inputs = self._inputs(prompt.texts, prompt.images)
        found = []
        for row in rows:
            check()
            found.append(self._forward(_continued(inputs, row), keep=len(row) + 1)[0])
        return found

    @torch.inference_mode()
    def shared(self, prompt: Prompt, rows: Sequence[Sequence[int]], check: Check, size: int) -> list[torch.Tensor]:
        """Compute what ``plain`` does, with everything shared that ``sharing`` allows.

        Args:
            size: maximum number of rows that run together.
        """
        if len(rows) == 1:
            state, last = self._before_last(prompt, check), self._last_segment(prompt)
            inputs = _continued(self._inputs(*last), rows[0])
            check()
            return [self._forward(self._behind(state, inputs), keep=len(rows[0]) + 1)[0]]
        state = self.state(prompt, check)
        found: list[torch.Tensor] = []
        for start in range(0, len(rows), size):
            check()
            found += self._rows(state, rows[start : start + size])
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
        logits, cache = self._forward_with_cache(self._behind(state, inputs, copy=False))
        return State(torch.cat([state.ids, inputs["input_ids"][0]]), state.extra, cache, logits[0][-1])

    def ids(self, text: str) -> list[int]:
        """Tokens of a text that follows an image: some tokenizers begin a text of its own with a blank."""
        tokenizer = self.processor.tokenizer
        before = len(tokenizer(self.image_token, add_special_tokens=False)["input_ids"])
        return list(tokenizer(self.image_token + text, add_special_tokens=False)["input_ids"])[before:]

    # ------------------------------------------------------------------ segments

    def _segments(self, prompt: Prompt) -> list[tuple[tuple[str, ...], tuple[Picture, ...]]]:
        """The pieces of a prompt whose KV caches may be shared, each with its texts and images; the last is text."""
        if self.sharing == SETS:
            return [(prompt.texts[:-1] + ("",), prompt.images), (prompt.texts[-1:], ())]
        each = [((text, ""), (image,)) for text, image in zip(prompt.texts, prompt.images)]
        return [*each, (prompt.texts[-1:], ())]

    def _last_segment(self, prompt: Prompt) -> tuple[tuple[str, ...], tuple[Picture, ...]]:
        """What of a prompt no other prompt shares: the question, for pairs with the last image in front of it."""
        if prompt.pair and self.sharing == IMAGES:
            return (prompt.texts[-2], prompt.texts[-1]), prompt.images[-1:]
        return prompt.texts[-1:], ()

    def _before_last(self, prompt: Prompt, check: Check) -> State:
        """The model behind all but the last segment, from stored states as far as there are any."""
        segments = self._segments(prompt)[: -2 if prompt.pair and self.sharing == IMAGES else -1]
        keys = [(texts, tuple(image.key for image in images)) for texts, images in segments]
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

    def _extended(self, state: State, texts: tuple[str, ...], images: tuple[Picture, ...]) -> State:
        inputs = self._inputs(texts, images)
        logits, cache = self._forward_with_cache(self._behind(state, inputs))
        extra = {name: [*state.extra.get(name, ()), *inputs[name]] for name in ("image_grid_thw",) if name in inputs}
        return State(torch.cat([state.ids, inputs["input_ids"][0]]), {**state.extra, **extra}, cache, logits[0][-1])

    def _rows(self, state: State, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Continuations of one state in one batch: shorter ones are padded behind, where nothing attends to it."""
        longest = max(len(row) for row in rows)
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=torch.int64)
        first = state.log_probabilities[None]
        if not longest:
            return [first for _ in rows]
        logits, _ = self._forward_with_cache(self._behind(state, {"input_ids": ids}), keep=longest)
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
            grids = [*state.extra.get("image_grid_thw", ()), *inputs.get("image_grid_thw", ())]
            positions = self._rope_positions(whole, torch.stack(grids))[..., start:]
        known = {"position_ids": positions} if "position_ids" in self._keywords else {}
        cache = branch(state.cache, count) if copy else state.cache
        return {
            **inputs,
            **known,
            "past_key_values": cache,
            "attention_mask": torch.ones(count, start + size, dtype=torch.int64),
        }

    def _rope_positions(self, ids: torch.Tensor, grids: torch.Tensor) -> torch.Tensor:
        """Positions int64 [3, B, L] of models that count images in three dimensions."""
        one = ids[:1]  # continuations are text: their positions are the same in all rows
        known = {}
        if "mm_token_type_ids" in _parameters(self._rope):
            known["mm_token_type_ids"] = (one == self.processor.image_token_id).long()
        positions, _ = self._rope(input_ids=one, image_grid_thw=grids, **known)
        return positions.expand(-1, len(ids), -1)

    # ------------------------------------------------------------------ calls of processor and model

    def _inputs(self, texts: Sequence[str], images: Sequence[Picture]) -> dict[str, torch.Tensor]:
        """What the processor makes of a piece of a prompt."""
        self._current = [image.key for image in images]
        if not images:
            return {"input_ids": torch.tensor([self.ids(texts[0])])}
        key = (texts, tuple(self._current))
        if (known := self.prepared.get(key)) is None:
            text, shown = self.image_token.join(texts), [self._pixels(image) for image in images]
            made = self.processor(text=[text], images=shown, return_tensors="pt", add_special_tokens=False)
            known = {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}
            self.prepared.put(key, known, nbytes(known))
        return dict(known)

    def _pixels(self, image: Picture) -> Image.Image:
        """The image, no larger than ``max_pixels``."""
        rgb = Image.fromarray(image.rgb)
        area = rgb.width * rgb.height
        if area <= self.max_pixels:
            return rgb
        scale = (self.max_pixels / area) ** 0.5
        size = max(1, int(rgb.width * scale)), max(1, int(rgb.height * scale))
        return rgb.resize(size, Image.Resampling.BICUBIC)

    def _forward(self, inputs: dict, keep: int = 1) -> torch.Tensor:
        """Log-probabilities float32 [B, keep, vocabulary] behind the last tokens."""
        return self._forward_with_cache(inputs, keep, use_cache=False)[0]

    def _forward_with_cache(self, inputs: dict, keep: int = 1, use_cache: bool = True):
        with torch.autocast(self.device.type, enabled=False):
            inputs = {name: self._placed(value) for name, value in inputs.items()}
            known = {"logits_to_keep": keep} if "logits_to_keep" in self._keywords else {}
            out = self.model(**inputs, **known, use_cache=use_cache, return_dict=True)
        logits = out.logits[:, -keep:].float().log_softmax(-1)
        return logits, (out.past_key_values if use_cache else None)

    def _placed(self, value):
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self.device, self.model.dtype if value.is_floating_point() else None)

    def _cache_features(self) -> None:
        """Have the model take vision features of an image that it has seen before from the cache."""
        owner = _owner(self.model, "get_image_features")
        if owner is None:
            return
        original = owner.get_image_features

        def get_image_features(*args, **kwargs):
            keys = self._current
            if keys is None or len(keys) != 1:
                self.encoded += len(keys or ())
                return original(*args, **kwargs)
            shapes = tuple(tuple(value.shape) for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
            if (known := self.features.get((keys[0], shapes))) is not None:
                return to_device(known, self.device)
            self.encoded += 1
            found = original(*args, **kwargs)
            stored = to_device(found, "cpu")
            self.features.put((keys[0], shapes), stored, nbytes(stored))
            return found

        owner.get_image_features = get_image_features

    # ------------------------------------------------------------------ agreement

    def _widest(self) -> str:
        """Compare both paths on small random images, two in a prompt."""
        generator = np.random.default_rng(0)
        images = tuple(Picture(generator.integers(0, 256, (64, 64 + 32 * i, 3), np.uint8), f"{i}") for i in range(2))
        prompt = Prompt(self.layout, images, pair=True)
        rows = [self.ids("yes"), self.ids("no better")]
        tolerance = TOLERANCE.get(self.model.dtype, 0.06)
        wanted = self.plain(prompt, rows, lambda: None)
        for sharing in (IMAGES, SETS):
            self._sharing = sharing  # what ``shared`` tries
            try:
                found = self.shared(prompt, rows, lambda: None, len(rows))
            except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError):
                continue  # the architecture does not take its inputs in pieces
            if all((a.exp() - b.exp()).abs().max() < tolerance for a, b in zip(found, wanted)):
                return sharing
        return NOTHING


def _continued(inputs: dict, row: Sequence[int]) -> dict:
    """Inputs of the processor with more tokens behind them."""
    if not row:
        return inputs
    new = torch.tensor([row], dtype=torch.int64)
    more = {"input_ids": new, "attention_mask": torch.ones_like(new)}
    more |= dict.fromkeys(("token_type_ids", "mm_token_type_ids"), torch.zeros_like(new))
    return {n: torch.cat([value, more[n].to(value)], 1) if n in more else value for n, value in inputs.items()}


def _owner(model, name: str):
    """The module that has a method of its own which its forward calls: the base model, or the model itself."""
    for module in (getattr(model, "model", None), model):
        if module is not None and hasattr(module, name):
            return module
    return None


def _method(model, name: str):
    owner = _owner(model, name)
    return None if owner is None else getattr(owner, name)


def _parameters(function) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def _keywords(model) -> frozenset[str]:
    return _parameters(type(model).forward)
