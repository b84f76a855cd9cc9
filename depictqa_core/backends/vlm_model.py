"""Calls of a vision-language model of transformers and of its processor, with a cache of vision features."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from ..engine.exact_logits import embedding_weight, keywords
from ..images.image import RGBImage
from ..runtime.byte_cache import ByteCache
from .vlm_cache import joined, nbytes, pieces, to_device
from .vlm_inputs import PromptInputs


class ModelCalls(PromptInputs):
    """One model with its processor.

    Args:
        model: of ``AutoModelForImageTextToText``, in evaluation mode.
        processor: its processor.
        image_token: the text that stands for an image.
        max_pixels: larger images are shrunk to this area first.
        cache_bytes: memory budget for vision features and prepared images.

    Attributes:
        encoded: number of images that went through the vision tower.
    """

    def __init__(
        self, model: PreTrainedModel, processor: Any, image_token: str, max_pixels: int, cache_bytes: int
    ) -> None:
        super().__init__(processor, image_token, max_pixels, keywords(type(model).forward))
        self.model = model
        self.features, self.prepared = ByteCache(cache_bytes // 2), ByteCache(cache_bytes // 2)
        self.encoded = 0
        self._current: list[str] | None = None
        self._prompts = 1  # that run together
        self._rope = _method(model, "get_rope_index")
        self._cache_features()

    @property
    def device(self) -> torch.device:
        """Where the input of the model goes."""
        return embedding_weight(self.model).device

    def rope_positions(self, ids: torch.Tensor, grids: torch.Tensor) -> torch.Tensor:
        """Positions int64 [3, B, L] of models that count images in three dimensions."""
        one = ids[:1]  # continuations are text: their positions are the same in all rows
        known = {}
        if "mm_token_type_ids" in keywords(self._rope):
            known["mm_token_type_ids"] = (one == self.processor.image_token_id).long()
        positions, _ = self._rope(input_ids=one, image_grid_thw=grids, **known)
        return positions.expand(-1, len(ids), -1)

    def inputs(self, texts: Sequence[str], images: Sequence[RGBImage]) -> dict[str, torch.Tensor]:
        """``prepare``, from the cache where it is known."""
        self._current, self._prompts = [image.key for image in images], 1
        if not images:
            return self.prepare(texts, images)
        key = (texts, tuple(self._current))
        if (known := self.prepared.get(key)) is None:
            known = self.prepare(texts, images)
            self.prepared.put(key, known, nbytes(known))
        return dict(known)

    def forward(self, inputs: dict, keep: int, columns: Sequence[int] | None) -> torch.Tensor:
        """Log-probabilities float32 [B, keep, columns] behind the last tokens."""
        return chosen(self.forward_with_cache(inputs, keep, use_cache=False)[0], columns)

    def forward_with_cache(self, inputs: dict, keep: int = 1, use_cache: bool = True) -> tuple[torch.Tensor, Any]:
        """Log-probabilities float32 [B, keep, vocabulary] behind the last tokens, and the KV cache of the model."""
        with torch.autocast(self.device.type, enabled=False):
            inputs = {name: self._placed(value) for name, value in inputs.items()}
            known = {"logits_to_keep": keep} if "logits_to_keep" in self.keywords else {}
            out = self.model(**inputs, **known, use_cache=use_cache, return_dict=True)
        logits = out.logits[:, -keep:].float().log_softmax(-1)
        return logits, (out.past_key_values if use_cache else None)

    def _placed(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self.device, self.model.dtype if value.is_floating_point() else None)

    def _cache_features(self) -> None:
        """Have the model take vision features of an image that it has seen before from the cache."""
        owner = _owner(self.model, "get_image_features")
        if owner is None:
            return
        original = owner.get_image_features

        def get_image_features(*args: Any, **kwargs: Any) -> Any:
            keys = self._current
            if keys is None or len(keys) != self._prompts:  # some cut images in another way if there are several
                self.encoded += len(keys or ())
                return original(*args, **kwargs)
            each = zip(keys, pieces(args, len(keys)), pieces(kwargs, len(keys)), strict=True)
            found = [of_one(*one) for one in each]
            return joined(found) if len(found) > 1 else found[0]

        def of_one(key: str, args: tuple, kwargs: dict) -> Any:
            shapes = tuple(tuple(value.shape) for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
            if (known := self.features.get((key, shapes))) is not None:
                return to_device(known, self.device)
            self.encoded += 1
            found = original(*args, **kwargs)
            stored = to_device(found, "cpu")
            self.features.put((key, shapes), stored, nbytes(stored))
            return found

        owner.get_image_features = get_image_features


def chosen(table: torch.Tensor, columns: Sequence[int] | None) -> torch.Tensor:
    return table if columns is None else table[..., torch.tensor(list(columns), device=table.device)]


def _owner(model: PreTrainedModel, name: str) -> Any:
    """The module that has a method of its own which its forward calls: the base model, or the model itself."""
    for module in (getattr(model, "model", None), model):
        if module is not None and hasattr(module, name):
            return module
    return None


def _method(model: PreTrainedModel, name: str) -> Any:
    owner = _owner(model, name)
    return None if owner is None else getattr(owner, name)
