"""Memory needs of a network by dtype, computed from its configuration alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..images.size_policy import SizePolicy
from .device_placement import DTYPES, QUANTISED, UNTOUCHED

if TYPE_CHECKING:
    import torch

    from ..network.config import DepictQAConfig

GIB = 2**30
TEXT_TOKENS = 150
"""Approximate number of text tokens of the longest prompt: system text, titles and question."""
ANSWER_TOKENS = 400
INT8_ROW, INT4_BLOCK = 4, 64
"""bitsandbytes keeps one float32 scale (4 bytes) for each row (int8) or for each block of 64 values (int4)."""


@dataclass(frozen=True)
class Needs:
    """Memory needs of a network in bytes, for one dtype.

    Attributes:
        dtype: the dtype.
        weights: all weights.
        words: the KV cache of the language model for the longest question and answer: two images and a reference of the
            largest size.
        image: approximate activations of the vision tower for the largest image.
    """

    dtype: str
    weights: int
    words: int
    image: int

    @property
    def total(self) -> int:
        return self.weights + self.words + self.image


def memory_needs(config: DepictQAConfig) -> list[Needs]:
    """Compute the needs of the network of a ``DepictQAConfig`` with a CLIP tower, for every dtype."""
    import torch

    from ..network.model import DepictQAModel

    with torch.device("meta"):
        model = DepictQAModel(config)
    values = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    quantised = [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not any(f"{word}." in f"{name}." for word in UNTOUCHED)
    ]
    inner, small = sum(weight.numel() for weight in quantised), quantised_bytes(quantised)
    language, clip, policy = model.language.config, config.vision_config().to_dict(), SizePolicy(**config.size)
    head = getattr(language, "head_dim", None) or language.hidden_size // language.num_attention_heads
    keys_and_values = 2 * language.num_hidden_layers * language.num_key_value_heads * head
    height, width = policy.padded(policy.short, policy.long)
    patches = (height // clip["patch_size"]) * (width // clip["patch_size"])
    tokens = 3 * model.connector.token_count(torch.empty(patches, clip["hidden_size"], device="meta"))
    # input, queries, keys, values; two sides of the MLP
    block = 4 * clip["hidden_size"] + 2 * clip["intermediate_size"]
    needs = []
    for dtype in DTYPES + QUANTISED:
        size = 4 if dtype == "float32" else 2
        weights = size * values if dtype in DTYPES else size * (values - inner) + small[dtype]
        words = size * keys_and_values * (tokens + TEXT_TOKENS + ANSWER_TOKENS)
        needs.append(Needs(dtype, weights, words, size * patches * block))
    return needs


def quantised_bytes(weights: Sequence[torch.Tensor]) -> dict[str, int]:
    """Compute the bytes that weights [rows, columns] take when bitsandbytes has quantised them, by dtype."""
    values = sum(weight.numel() for weight in weights)
    return {
        "int8": values + INT8_ROW * sum(len(weight) for weight in weights),
        "int4": values // 2 + 4 * (values // INT4_BLOCK),
    }


def memory_table(config: DepictQAConfig) -> str:
    """Format the needs as a Markdown table in GiB."""
    lines = [
        "| number format | weights | longest question | largest image | together |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for need in memory_needs(config):
        cells = " | ".join(f"{size / GIB:.2f}" for size in (need.weights, need.words, need.image, need.total))
        lines.append(f"| {need.dtype} | {cells} |")
    return "\n".join(lines)
