"""The judge network: vision tower -> connector -> causal language model, as one ordinary ``transformers`` model."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from ..images.size_policy import SizePolicy
from ..prompts import Slot
from ..runtime.versions import require
from .config import DepictQAConfig
from .connector import CONNECTORS, Connector
from .vision import TOWERS, Prepared, Tower, empty_inputs, statistics_width

IMAGE_TOKEN = -1
"""Placeholder in ``input_ids`` for the embeddings of an image."""
IGNORE = -100
PAIR_WEIGHTS = "connector.pair_tokens."
"""The beginning of the names of the weights that tell the language model which of two images is better."""
HEAD_WEIGHTS = "connector.heads."
"""The same of the weights of the heads, which the language model does not read: they learn in their warm-up alone."""
PARTS = ("vision", "connector", "pair", "language", "lora")
"""Parts that can be trained or frozen; the pair is a part of the connector as well."""
ENCODE_BATCH = 16
"""Batch size of the vision tower on an accelerator, for images of one size."""
_SHAPES: dict[str, torch.Size] = {}
"""Known results of ``pooled_shape``: a pass takes a tenth of a second, and a process may load a checkpoint often."""


def pooled_shape(config: DepictQAConfig, height: int, width: int) -> torch.Size:
    """Return the shape of the features that the connector pools from one image, from the configuration alone.

    The pass through tower and connector is computed without values, so it needs neither weights nor memory.

    Args:
        config: of the network.
        height, width: size of the image in pixels.

    Raises:
        Exception: of any kind, if strides, paddings or sizes do not fit.
    """
    key = json.dumps([config.vision, config.connector, height, width], sort_keys=True)
    if key not in _SHAPES:
        with torch.device("meta"), torch.no_grad():
            tower = TOWERS[config.vision["kind"]](config).eval()
            widths = tower.widths, statistics_width(config)
            connector = CONNECTORS[config.connector["kind"]](config, *widths, 8).eval()  # for any language model
            pooled = connector.pool(tower(*empty_inputs(config, height, width)))
            if pooled.numel():
                connector(pooled)
            _SHAPES[key] = pooled[0].shape
    return _SHAPES[key]


def feature_width(config: DepictQAConfig) -> int:
    """Return the number of values of the pooled features of an image, or of each of its patches."""
    policy = SizePolicy(**config.size)
    return pooled_shape(config, *policy.padded(policy.short, policy.short))[-1]


class DepictQAModel(PreTrainedModel):
    """The network of DepictQA (arXiv 2405.18842, section 5), for any tower, connector and causal language model."""

    config_class = DepictQAConfig
    base_model_prefix = "depictqa"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _skip_keys_device_placement = ["past_key_values", "cache"]
    _no_split_modules = ["LlamaDecoderLayer", "CLIPEncoderLayer", "TransformerDecoderLayer"]
    config: DepictQAConfig
    vision: Tower
    connector: Connector
    language: PreTrainedModel

    def __init__(self, config: DepictQAConfig):
        super().__init__(config)
        self.vision = TOWERS[config.vision["kind"]](config)
        self.language = AutoModelForCausalLM.from_config(config.language_config())
        if getattr(config, "lora", None):
            self._add_lora(config.lora)
        hidden = self.language.config.hidden_size
        connector = CONNECTORS[config.connector["kind"]]
        self.connector = connector(config, self.vision.widths, statistics_width(config), hidden)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing: every part initializes itself."""

    def get_input_embeddings(self) -> nn.Module:
        return self.language.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.language.get_output_embeddings()

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass, also if only LoRA after frozen embeddings is trained."""
        checkpoint_activations(self)

    def _add_lora(self, lora: dict) -> None:
        require("peft")
        from peft import LoraConfig, inject_adapter_in_model

        modules = ["q_proj", "k_proj", "v_proj", "o_proj"]
        defaults = {"r": 16, "lora_alpha": 16, "lora_dropout": 0.1, "target_modules": modules}
        inject_adapter_in_model(LoraConfig(**{**defaults, **lora}), self.language)

    def merge_lora(self) -> None:
        """Merge the LoRA updates into the weights: one matrix product instead of three, equal except for rounding.

        Offloaded layers keep separate LoRA weights: updates of weights that are not in memory would be lost. Do not
            save
        the network afterwards: the file would contain the updates twice.
        """
        if getattr(self.config, "lora", None):
            from peft.tuners.tuners_utils import BaseTunerLayer

            for module in self.language.modules():
                if isinstance(module, BaseTunerLayer) and not module.weight.is_meta:
                    module.merge()

    def freeze(self, trainable: tuple[str, ...] = ("connector", "lora")) -> None:
        """Make only some of ``PARTS`` trainable; raise ValueError for others."""
        unknown = set(trainable) - set(PARTS)
        if unknown:
            raise ValueError(f"unknown parts {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(any(part in trainable for part in parts_of(name)))

    def encode(self, pictures: list[Prepared]) -> list[torch.Tensor]:
        """Apply the vision tower and the weightless pooling, with images of one size in one batch.

        Returns:
            One tensor per image: [T, C] patch features, or [V] for the pooling connector.
        """
        device = next(self.vision.parameters()).device
        by_size = defaultdict(list)
        for index, picture in enumerate(pictures):
            by_size[tuple(picture.pixels.shape)].append(index)
        # A CPU is fastest with one image at a time: its activations then stay in the cache.
        at_once = 1 if device.type == "cpu" else ENCODE_BATCH
        groups = [group[i : i + at_once] for group in by_size.values() for i in range(0, len(group), at_once)]
        pooled: dict[int, torch.Tensor] = {}
        for indexes in groups:
            pixels = torch.stack([pictures[i].pixels for i in indexes]).to(device)
            found = [pictures[i].statistics for i in indexes] if self.vision.uses_statistics else []
            statistics = torch.stack([one for one in found if one is not None]).to(device) if found else None
            native = [pictures[i].native for i in indexes]
            pooled.update(zip(indexes, self.connector.pool(self.vision(pixels, statistics, native))))
        return [pooled[index] for index in range(len(pictures))]

    def connect(
        self,
        pooled: Sequence[torch.Tensor],
        references: Sequence[torch.Tensor | None] | None = None,
        comparisons: Sequence[torch.Tensor | None] | None = None,
        others: Sequence[torch.Tensor | None] | None = None,
    ) -> list[torch.Tensor]:
        """Apply the connector to the output of ``encode``.

        Args:
            pooled: output of ``encode`` for each image.
            references: output of ``encode`` for each image's reference, None for images without one.
            comparisons: output of ``vision.prepare_comparison`` for each image and its reference.
            others: output of ``encode`` for Image A where the image is Image B without a reference; None elsewhere.

        Returns:
            [T, hidden] language model embeddings per image.

        Raises:
            ValueError: the numbers of entries differ.
        """
        references = references or [None] * len(pooled)
        comparisons = comparisons or [None] * len(pooled)
        others = others if others and self.connector.pairs else [None] * len(pooled)
        by_shape = defaultdict(list)
        for index, inputs in enumerate(zip(pooled, references, comparisons, others, strict=True)):
            by_shape[tuple(None if value is None else tuple(value.shape) for value in inputs)].append(index)
        tokens: dict[int, torch.Tensor] = {}
        for indexes in by_shape.values():
            own = self._stack([pooled[i] for i in indexes])
            beside = [one for one in (references[i] for i in indexes) if one is not None]
            known = [one for one in (comparisons[i] for i in indexes) if one is not None]
            compared = torch.stack(known).to(own.device) if known else None
            first = [one for one in (others[i] for i in indexes) if one is not None]
            rows = self.connector(
                own, self._stack(beside) if beside else None, compared, self._stack(first) if first else None
            )
            tokens.update(zip(indexes, rows))
        return [tokens[index] for index in range(len(pooled))]

    def _stack(self, pooled: list[torch.Tensor]) -> torch.Tensor:
        stacked = torch.stack(pooled)
        # Pooled vectors are standardized in fp32; patch features stay in the precision of the connector.
        return stacked if stacked.dim() == 2 else stacked.to(next(self.connector.parameters()).dtype)

    def embed_prompt(self, parts: list[list[int] | Slot], tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the embeddings [L, hidden] of one encoded prompt, with the tokens of each image (by role) in its
        slot."""
        embedding = self.get_input_embeddings()
        device = next(embedding.parameters()).device
        rows = [
            tokens[part.role] if isinstance(part, Slot) else embedding(torch.tensor(part, device=device))
            for part in parts
        ]
        return torch.cat([row.to(rows[0]) for row in rows])  # the dtype and device of the text embeddings

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pooled: list[torch.Tensor] | None = None,
        labels: torch.Tensor | None = None,
        references: list[int | None] | None = None,
        pictures: list[Prepared] | None = None,
        comparisons: list[torch.Tensor | None] | None = None,
        others: list[int | None] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the forward pass of a training step.

        Args:
            input_ids: [B, L], ``IMAGE_TOKEN`` at every position of an image token.
            attention_mask: [B, L], 0 at padding (and at hidden separators, method.md 1.6).
            pooled: outputs of ``encode`` for all images, in the order of their slots in the batch.
            labels: [B, L], ``IGNORE`` at positions without loss.
            references: for each of ``pooled``, the index in it of the image's reference, or None.
            pictures: the images for the vision tower, instead of ``pooled``.
            comparisons: for each of ``pooled``, ``vision.prepare_comparison`` with its reference, or None.
            others: for each of ``pooled``, the index in it of Image A where it is Image B without a reference, or None.

        Returns:
            The output of the language model, with ``loss`` if labels are given.

        Raises:
            ValueError: the image tokens do not fill the positions of ``IMAGE_TOKEN`` exactly, or ``references`` or
                ``others`` do not fit.
        """
        embedding = self.get_input_embeddings()
        embeds = embedding(input_ids.clamp(min=0))
        if pooled is None:
            learns = any(parameter.requires_grad for parameter in self.vision.parameters())
            with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
                pooled = self.encode(pictures or [])
        beside, first = (
            _chosen(pooled, indexes, name) for name, indexes in (("references", references), ("others", others))
        )
        tokens = torch.cat(self.connect(pooled, beside, comparisons, first)).to(embeds)
        if self.training:
            # In distributed training every trainable weight needs a gradient on each process, even if a batch without
            # references does not use a part of the connector.
            learned = [p.flatten()[0] for p in self.connector.parameters() if p.requires_grad]
            tokens = tokens + 0.0 * sum(value.to(tokens) for value in learned)
        places = input_ids == IMAGE_TOKEN
        if int(places.sum()) != len(tokens):  # masked_scatter would ignore extra tokens silently
            raise ValueError(f"{len(tokens)} image tokens for {int(places.sum())} places in input_ids")
        embeds = embeds.masked_scatter(places[..., None], tokens)
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand(len(input_ids), -1)
        kwargs.setdefault("use_cache", False)  # a single pass needs no KV cache
        return self.language(
            inputs_embeds=embeds, attention_mask=attention_mask, position_ids=positions, labels=labels, **kwargs
        )


def parts_of(name: str) -> tuple[str, ...]:
    """Those of ``PARTS`` that a weight belongs to, by its name."""
    if "lora_" in name:
        return ("lora",)
    if name.startswith(HEAD_WEIGHTS):
        return ()
    return (name.split(".")[0], *(["pair"] if name.startswith(PAIR_WEIGHTS) else []))


def _chosen(pooled: list[torch.Tensor], indexes: list[int | None] | None, name: str) -> list[torch.Tensor | None]:
    """Features of the images that ``indexes`` name for each image."""
    indexes = indexes or [None] * len(pooled)
    if len(indexes) != len(pooled):
        raise ValueError(f"{len(pooled)} images but {len(indexes)} entries in {name}")
    return [None if index is None else pooled[index] for index in indexes]


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Have any model of transformers recompute activations in the backward pass."""
    # transformers 5 has another name for it than 4
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
