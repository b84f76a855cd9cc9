"""The KV cache: keys and values of every layer of a language model for a batch of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from .exact_logits import embedding_weight

SPARE_TOKENS = 16
"""Tokens that at least fit behind a prompt before its keys and values must be copied to a larger buffer."""


class KVCache(DynamicCache):
    """Keys and values of every layer, with spare capacity: new ones are written in place, not concatenated.

    Independent of how transformers 4 or 5 store theirs: the models of both only call the methods below.

    Args:
        spare: tokens that fit behind what is gathered without another copy.
    """

    def __init__(self, spare: int = 0) -> None:
        super().__init__()
        self._spare = max(spare, SPARE_TOKENS)
        self._buffers: list[list[torch.Tensor]] = []  # per layer, keys and values [B, heads, capacity, head width]
        self._lengths: list[int] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append [B, heads, T, head width] to one layer and return all of its keys and values."""
        if layer_idx == len(self._buffers):
            self._buffers.append([key_states[:, :, :0], value_states[:, :, :0]])
            self._lengths.append(0)
        start = self._lengths[layer_idx]
        stop = self._lengths[layer_idx] = start + key_states.shape[2]
        buffers = self._buffers[layer_idx]
        for place, new in enumerate((key_states, value_states)):
            old = buffers[place]
            if stop > old.shape[2]:
                shape = (*new.shape[:2], stop + max(self._spare, stop // 4), new.shape[3])
                buffers[place] = new.new_empty(shape)
                buffers[place][:, :, :start] = old[:, :, :start]
            buffers[place][:, :, start:stop] = new
        keys, values = (buffer[:, :, :stop] for buffer in buffers)
        return keys, values

    def get_seq_length(self, layer_idx: int = 0, *args: Any, **kwargs: Any) -> int:
        return self._lengths[layer_idx] if layer_idx < len(self._lengths) else 0

    @property
    def nbytes(self) -> int:
        """Memory that the keys and values take, spare capacity included."""
        return sum(buffer.nbytes for pair in self._buffers for buffer in pair)

    @staticmethod
    def gather(rows: Sequence[tuple[KVCache, int]], spare: int = 0) -> KVCache:
        """Copy rows, each given by its cache and its index there, into one batch; shorter ones get zeros in front.

        Args:
            spare: tokens that fit behind without another copy.
        """
        gathered, longest = KVCache(spare), max(cache.get_seq_length() for cache, _ in rows)
        first, same = rows[0][0], all(cache is rows[0][0] for cache, _ in rows)
        for layer, pair in enumerate(first._buffers):
            gathered._lengths.append(longest)
            gathered._buffers.append([])
            for kind, like in enumerate(pair):
                batch = like.new_empty(len(rows), like.shape[1], longest + gathered._spare, like.shape[3])
                gathered._buffers[layer].append(batch)
                if same:
                    chosen = torch.tensor([row for _, row in rows], device=like.device)
                    batch[:, :, :longest] = like[:, :, :longest].index_select(0, chosen)
                    continue
                for place, (cache, row) in enumerate(rows):
                    start = longest - cache._lengths[layer]
                    batch[place, :, :start] = 0
                    batch[place, :, start:longest] = cache._buffers[layer][kind][row, :, : longest - start]
        return gathered


def bytes_per_token(language: PreTrainedModel) -> int:
    """What the keys and values of one token take."""
    config = language.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * width * embedding_weight(language).element_size()
