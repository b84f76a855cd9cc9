"""What a record takes of a vision-language model with an adapter, computed from its configuration without weights."""

from pathlib import Path

import torch
from torch import nn

from depictqa_core.backends.profiles import choose_profile
from depictqa_core.backends.vlm_adapter import with_lora
from depictqa_core.backends.vlm_loading import CONFIG, read_config
from depictqa_core.backends.vlm_memory import ImageInput
from depictqa_core.backends.vlm_processor import largest_image
from depictqa_core.errors import CheckpointError
from depictqa_core.runtime.quiet import quiet
from depictqa_core.storage.documents import read_json

from .vlm_network import lora_settings, parts_of
from .work import ANSWER_TOKENS, TEXT_TOKENS, Work

LAYER_BYTES = 34
"""Bytes that a layer keeps for each token and unit of its width in half precision, without attention matrices
(Korthikanti et al., arXiv 2205.05198)."""


def vlm_work(recipe) -> Work:
    """Count what a record takes; attention inside the vision tower is left out.

    Raises:
        CheckpointError: ``start`` is no folder of a vision-language model.
    """
    from transformers import AutoModelForImageTextToText

    folder = Path(recipe.start)
    config = read_config(folder, read_json(folder / CONFIG, error=CheckpointError))
    with torch.device("meta"), quiet():
        base = AutoModelForImageTextToText.from_config(config)
        towers = [base.get_submodule(name) for name in parts_of(base)[0]]
        model = with_lora(base, lora_settings(base, recipe.adapter, recipe.trainable))
    image = largest_image(folder, choose_profile(folder, config.model_type).max_pixels)
    patches = _patches(image, config)
    length = 3 * image.tokens + TEXT_TOKENS + ANSWER_TOKENS
    text = config.get_text_config()
    layers, width = text.num_hidden_layers, text.hidden_size
    head = base.get_output_embeddings().weight.numel()
    seen = sum(_linear(tower) for tower in towers)
    forward = 2 * (_linear(base) - seen - head) * length + 4 * length**2 * width * layers + 2 * head * ANSWER_TOKENS
    seeing = 2 * seen * patches * 3
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    again = 3 if recipe.gradient_checkpointing else 2  # frozen weights need no gradient of their own
    flops = again * forward + 2 * learned * length + (2 if "vision" in recipe.adapter.parts else 1) * seeing
    size = 1 if recipe.precision != "no" else 2  # twice the bytes in full precision
    saved = LAYER_BYTES * size * length * width * layers
    if recipe.gradient_checkpointing:  # each layer keeps its input, and one layer at a time everything
        saved = saved / layers + 2 * size * length * width * layers
    frozen = sum(p.numel() for p in model.parameters()) - learned
    return Work(learned, frozen, length, saved, float(flops))


def _linear(module: nn.Module) -> int:
    """Parameters of all weight matrices and filters that activations are multiplied by."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return sum(one.weight.numel() for one in module.modules() if isinstance(one, kinds))


def _patches(image: ImageInput, config) -> int:
    """Positions of an image in the vision tower."""
    if len(image.shape) == 2:
        return image.shape[0]
    patch = config.vision_config.patch_size
    patch = patch[0] if isinstance(patch, (list, tuple)) else patch
    return int(image.values // 3 // patch**2)
