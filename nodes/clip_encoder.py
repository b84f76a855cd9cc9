"""A text encoder of ComfyUI as a vision-language model: checked, loaded by ComfyUI, run on tokens and images."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..depictqa_core.backends.vlm_cache import nbytes, to_device
from ..depictqa_core.backends.vlm_inputs import shrunk
from ..depictqa_core.errors import CheckpointError
from ..depictqa_core.images.image import RGBImage
from ..depictqa_core.runtime.byte_cache import ByteCache
from .clip_chat import ChatFormat, ChatTokenizer, chat_format

INSTEAD = "link a CLIP of Qwen3-VL, Qwen3.5 or Gemma 3 with vision, or load a judge with Load DepictQA Model"


Cache = list[tuple[Any, ...]]
"""What ComfyUI's models remember of the tokens so far, by layer."""


class ImageFeatures(NamedTuple):
    """Vision features [1, N, D] of an image, and what the positions of their tokens follow from."""

    features: torch.Tensor
    extra: Any


Piece = list[int] | ImageFeatures
"""Of a prompt: tokens of text, or an image."""


class TextEncoder:
    """ComfyUI's CLIP object, whose weights stay where ComfyUI has them.

    Args:
        clip: the CLIP object.
        max_pixels: larger images are shrunk to this area first.
        cache_bytes: memory budget for vision features.

    Attributes:
        model: ComfyUI's language model, a ``torch.nn.Module``.
        chat: the format of its chats.
        tokenizer: for the chat template.
        ends: tokens that end an answer; the first ends a turn.
        start: tokens that begin every prompt.
        name: the kind of text encoder, such as "qwen3vl_4b".
        encoded: number of images that went through the vision tower.

    Raises:
        CheckpointError: it does not take images, has no language head, or its chats are in an unknown format.
    """

    def __init__(self, clip: Any, max_pixels: int, cache_bytes: int):
        self.clip, self.max_pixels = clip, max_pixels
        self.name = str(getattr(getattr(clip, "tokenizer", None), "clip", type(clip).__name__))
        self.model = _vision_language(clip, self.name)
        _require_head(self.model, self.name)
        self.chat = _chat(self.model, self.name)
        inner = getattr(clip.tokenizer, self.name)
        self._pad = inner.pad_token
        self.start = [] if inner.start_token is None else [int(inner.start_token)]
        self.tokenizer = ChatTokenizer(clip, self.chat, inner.tokenizer.get_vocab())
        self._before = len(self._tokens(self.chat.marker))
        stops = [int(token) for token in self.model.model.config.stop_tokens]
        self.ends = list(dict.fromkeys([*self.ids(self.chat.end), *stops]))
        self.features, self.encoded = ByteCache(cache_bytes), 0

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.clip.patcher.load_device

    def load(self) -> None:
        """Have ComfyUI's memory management load the weights."""
        self.clip.load_model(self.clip.tokenize(self.chat.marker))

    # ------------------------------------------------------------------ tokens and images

    def ids(self, text: str) -> list[int]:
        """Tokens of a text without images that follows a control token."""
        return self._tokens(self.chat.marker + text)[self._before :]

    def _tokens(self, text: str, **images: torch.Tensor) -> list[Any]:
        """What ComfyUI's tokenizer makes of a text, without padding."""
        (row,) = next(iter(self.clip.tokenize(text, **images).values()))
        tokens = [entry[0] for entry in row]
        kept = [place for place, token in enumerate(tokens) if isinstance(token, dict) or token != self._pad]
        return tokens[kept[0] : kept[-1] + 1] if kept else []

    def encode(self, image: RGBImage) -> ImageFeatures:
        """Encode an image, or take it from the cache."""
        if (known := self.features.get(image.key)) is None:
            found = self._encode(np.asarray(self._pixels(image), np.float32) / 255)
            known = ImageFeatures(*to_device(found, "cpu"))
            self.features.put(image.key, known, nbytes(tuple(known)))
        return ImageFeatures(*to_device(tuple(known), self.device))

    def _pixels(self, image: RGBImage) -> Image.Image:
        """The image as it is handed over: models of one fixed size get it whole, because ComfyUI would crop it."""
        pixels, side = shrunk(image, self.max_pixels), getattr(self.model, "image_size", None)
        return pixels if side is None else pixels.resize((side, side))

    def _encode(self, pixels: np.ndarray) -> tuple[torch.Tensor, Any]:
        tokens = self._tokens(self.chat.marker + self.chat.image_token, image=torch.from_numpy(pixels)[None])
        placed = [token for token in tokens if isinstance(token, dict)]
        if not placed:
            raise CheckpointError(
                f"clip: the tokenizer of the text encoder {self.name} does not place images; {INSTEAD}"
            )
        self.encoded += 1
        features, extra = self.model.preprocess_embed(placed[0], device=self.device)
        return features.reshape(1, -1, features.shape[-1]).float(), extra

    # ------------------------------------------------------------------ the language model

    def whole(self, pieces: Sequence[Piece], cache: Cache | None = None) -> tuple[torch.Tensor, Cache]:
        """Run a prompt from its beginning.

        Args:
            pieces: tokens and images in turn.
            cache: an empty one from ``empty_cache``, to continue from.

        Returns:
            hidden states [1, L, D], and the KV cache behind them, empty without ``cache``.
        """
        texts = [piece for piece in pieces if isinstance(piece, list)]
        embedded = iter(self._embedded(sum(texts, [])).split([len(text) for text in texts], 1))
        parts: list[torch.Tensor] = []
        infos, behind = [], 0
        for piece in pieces:
            parts.append(piece.features if isinstance(piece, ImageFeatures) else next(embedded))
            size = parts[-1].shape[1]
            if isinstance(piece, ImageFeatures):
                infos.append({"type": "image", "index": behind, "size": size, "extra": piece.extra})
            behind += size
        return self._states(self.model, cache, embeds=torch.cat(parts, 1), embeds_info=infos, dtype=torch.float32)

    def next(self, tokens: Sequence[int], position: int, cache: Cache) -> tuple[torch.Tensor, Cache]:
        """Run one more token of each of B rows; ComfyUI's models take no more than one behind a cache.

        Args:
            tokens: of the rows.
            position: of all of them.
            cache: of B rows, or of one that they all continue. It stays as it is.

        Returns:
            hidden states [B, 1, D], and the KV cache of B rows.
        """
        rows = [
            tuple(_rows(part, len(tokens), hasattr(layer, "linear_attn")) for part in entry)
            for layer, entry in zip(self.model.model.layers, cache, strict=True)
        ]
        places = torch.tensor([[position]], device=self.device)
        embeds = self._embedded(tokens).transpose(0, 1)
        return self._states(self.model.model, rows, embeds=embeds, position_ids=places)

    def empty_cache(self) -> Cache:
        """A cache without capacity, so that ComfyUI's attention makes new tensors instead of writing into it."""
        return self.model.init_kv_cache(1, 0, self.device, torch.float32)

    def log_probabilities(self, hidden: torch.Tensor) -> torch.Tensor:
        """Log-probabilities float32 [N, vocabulary] of the next tokens behind hidden states [N, D]."""
        return self.model.logits(hidden[:, None])[:, -1].float().log_softmax(-1)

    def _embedded(self, ids: Sequence[int]) -> torch.Tensor:
        return self.model.get_input_embeddings()(torch.tensor([list(ids)], device=self.device), out_dtype=torch.float32)

    def _states(self, call: Any, cache: Cache | None, **inputs: Any) -> tuple[torch.Tensor, Cache]:
        found = call(None, **inputs, **({} if cache is None else {"past_key_values": cache}))
        return found[0], [] if cache is None else found[2]


def _rows(part: Any, count: int, written: bool) -> Any:
    """A part of a cache for ``count`` rows: a copy where the model writes into it, as linear attention does."""
    if not isinstance(part, torch.Tensor):
        return part
    if part.shape[0] == count:
        return part.clone() if written else part
    return part.repeat(count, *[1] * (part.dim() - 1)) if written else part.expand(count, *part.shape[1:])


def _vision_language(clip: Any, name: str) -> Any:
    """The language model of a CLIP object that takes images."""
    encoder = getattr(clip, "cond_stage_model", None)
    if not isinstance(encoder, torch.nn.Module):
        raise CheckpointError(f"clip: {name} is not a text encoder that ComfyUI has loaded; {INSTEAD}")
    found = [module.transformer for module in encoder.modules() if hasattr(module, "transformer")]
    found = [model for model in found if hasattr(model, "preprocess_embed")]
    if not found:
        raise CheckpointError(f"clip: the text encoder {name} does not take images; {INSTEAD}")
    return found[0]


def _require_head(model: Any, name: str) -> None:
    """Refuse a model that ComfyUI itself cannot have write: without its last layers, its head or its end tokens."""
    inner = model.model
    whole = getattr(inner, "norm", None) is not None and getattr(inner.config, "stop_tokens", None)
    if not (hasattr(model, "logits") and hasattr(model, "init_kv_cache") and whole):
        raise CheckpointError(f"clip: ComfyUI loads the text encoder {name} without its language head; {INSTEAD}")


def _chat(model: Any, name: str) -> ChatFormat:
    found = chat_format(model)
    if found is None:
        raise CheckpointError(
            f"clip: the chat format of the text encoder {name} ({type(model).__name__}) is not supported; {INSTEAD}"
        )
    return found
