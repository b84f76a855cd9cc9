"""The parts of a vision-language model and the memory that it needs, from its configuration alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import CheckpointError
from ..loading.device_placement import DTYPES, QUANTISED
from ..loading.memory_needs import ANSWER_TOKENS, Needs, quantised_bytes

if TYPE_CHECKING:
    import torch

LANGUAGE = ("language_model", "text_model")
"""What architectures call their language model."""
IMAGES = 3
"""Images of the longest question: two and a reference."""
TEXT_TOKENS = 300
"""Approximate number of text tokens of the longest question, which lists all distortions."""


class ImageInput(NamedTuple):
    """What the processor makes of the largest image: tokens of the prompt, and the shape of the pixels."""

    tokens: int
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        """Number of values of the pixels."""
        return math.prod(self.shape)


def skeleton(config: Any) -> torch.nn.Module:
    """Build the network of a configuration without its weights."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model: torch.nn.Module = AutoModelForImageTextToText.from_config(config)
    return model


def unquantised(model: Any) -> list[str]:
    """Return the names of the modules that int8 and int4 leave alone: all but the blocks of the language model.

    Raises:
        CheckpointError: the architecture does not tell its language model from the rest.
    """
    names = [name for name, _ in model.named_modules() if name.rpartition(".")[2] in LANGUAGE]
    if not names:
        raise CheckpointError(
            f"{type(model).__name__}: its language model cannot be told from its vision tower, so it cannot be"
            " quantised; choose bfloat16 or float16"
        )
    language = min(names, key=len)
    above = {".".join(language.split(".")[:depth]) for depth in range(language.count(".") + 2)}
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if name not in above and (name.rpartition(".")[0] in above - {language} or module is head)
    ]


def vlm_needs(config: Any, image: ImageInput | None) -> list[Needs]:
    """Compute the memory needs of a vision-language model for every dtype.

    Args:
        config: of transformers.
        image: of the largest image; None where it is not known, then only weights are counted.
    """
    import torch

    model = skeleton(config)
    values = sum(parameter.numel() for parameter in model.parameters())
    try:
        left = tuple(unquantised(model))
        weights = [
            module.weight
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and not any(f"{name}.".startswith(f"{one}.") for one in left)
        ]
    except CheckpointError:
        weights = []
    inner = sum(weight.numel() for weight in weights)
    small = quantised_bytes(weights)
    needs = []
    for dtype in DTYPES + (QUANTISED if weights else ()):
        size = 4 if dtype == "float32" else 2
        held = size * values if dtype in DTYPES else size * (values - inner) + small[dtype]
        words = 0 if image is None else size * _cached_values(config) * _tokens(image)
        needs.append(Needs(dtype, held, words, 0 if image is None else size * _activations(config, image)))
    return needs


def _tokens(image: ImageInput) -> int:
    return IMAGES * image.tokens + TEXT_TOKENS + ANSWER_TOKENS


def _cached_values(config: Any) -> int:
    """Keys and values of one token in all layers that keep them; linear attention keeps none."""
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * sum("linear" not in kind for kind in kinds) * text.num_key_value_heads * head


def _activations(config: Any, image: ImageInput) -> int:
    """Approximate values that one block of the vision tower holds: as in ``loading.memory_needs``."""
    vision = config.vision_config
    hidden: int = next(getattr(vision, key) for key in ("hidden_size", "embed_dim") if getattr(vision, key, None))
    inner = getattr(vision, "intermediate_size", None) or 4 * hidden
    patch = getattr(vision, "patch_size", 14)
    height, width = patch if isinstance(patch, (list, tuple)) else (patch, patch)
    patches = math.ceil(image.values / (3 * getattr(vision, "temporal_patch_size", 1) * height * width))
    return patches * (4 * hidden + 2 * inner)
