"""The judge network: vision tower -> connector -> causal language model, as one ordinary ``transformers`` model."""

from collections import defaultdict

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from ..prompts import Slot
from ..runtime.versions import require
from .config import DepictQAConfig
from .connector import CONNECTORS
from .vision import TOWERS, Prepared, statistics_width

IMAGE_TOKEN = -1
"""Stands in ``input_ids`` where the embeddings of a picture go."""
IGNORE = -100
PARTS = ("vision", "connector", "language", "lora")
"""What can be trained or frozen."""
ENCODE_BATCH = 16
"""Pictures of one size that the vision tower of an accelerator sees at once."""


class DepictQAModel(PreTrainedModel):
    """The network of DepictQA (arXiv 2405.18842, section 5), for any tower, connector and causal language model."""

    config_class = DepictQAConfig
    base_model_prefix = "depictqa"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _skip_keys_device_placement = ["past_key_values", "cache"]
    _no_split_modules = ["LlamaDecoderLayer", "CLIPEncoderLayer", "TransformerDecoderLayer"]

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
        """Every part initialises itself when it is made."""

    def get_input_embeddings(self) -> nn.Module:
        return self.language.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.language.get_output_embeddings()

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass, also where only LoRA behind frozen embeddings is trained."""
        # transformers 5 renames what 4 has
        enable = getattr(self, "activation_checkpointing_enable", None) or self.gradient_checkpointing_enable
        enable({"use_reentrant": False})

    def _add_lora(self, lora: dict) -> None:
        require("peft")
        from peft import LoraConfig, inject_adapter_in_model

        defaults = {"r": 16, "lora_alpha": 16, "lora_dropout": 0.1}
        defaults["target_modules"] = ["q_proj", "k_proj", "v_proj", "o_proj"]
        inject_adapter_in_model(LoraConfig(**{**defaults, **lora}), self.language)

    def merge_lora(self) -> None:
        """Add the LoRA updates to the weights for good: one matrix product in place of three, equal but for rounding.

        Offloaded layers keep theirs apart: what is added to weights that are not here would be lost. What is saved
        afterwards would hold the updates twice.
        """
        if getattr(self.config, "lora", None):
            from peft.tuners.tuners_utils import BaseTunerLayer

            for module in self.language.modules():
                if isinstance(module, BaseTunerLayer) and not module.weight.is_meta:
                    module.merge()

    def freeze(self, trainable: tuple[str, ...] = ("connector", "lora")) -> None:
        """Leave only some parts trainable: any of "vision", "connector", "language", "lora"; else ValueError."""
        unknown = set(trainable) - set(PARTS)
        if unknown:
            raise ValueError(f"unknown parts {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
        for name, parameter in self.named_parameters():
            part = "lora" if "lora_" in name else name.split(".")[0]
            parameter.requires_grad_(part in trainable)

    def encode(self, pictures: list[Prepared]) -> list[torch.Tensor]:
        """Vision tower and weightless pooling, with pictures of one size in one batch.

        Returns one tensor per picture: [T, C] patch features, or [V] for the pooling connector.
        """
        device = next(self.vision.parameters()).device
        by_size = defaultdict(list)
        for index, picture in enumerate(pictures):
            by_size[tuple(picture.pixels.shape)].append(index)
        # A CPU is fastest on one picture at a time: its activations then stay in the cache.
        at_once = 1 if device.type == "cpu" else ENCODE_BATCH
        groups = [group[i : i + at_once] for group in by_size.values() for i in range(0, len(group), at_once)]
        pooled: list[torch.Tensor | None] = [None] * len(pictures)
        for indexes in groups:
            pixels = torch.stack([pictures[i].pixels for i in indexes]).to(device)
            statistics = None
            if self.vision.uses_statistics:
                statistics = torch.stack([pictures[i].statistics for i in indexes]).to(device)
            native = [pictures[i].native for i in indexes]
            for index, row in zip(indexes, self.connector.pool(self.vision(pixels, statistics, native))):
                pooled[index] = row
        return pooled

    def connect(
        self,
        pooled: list[torch.Tensor],
        references: list[torch.Tensor | None] | None = None,
        comparisons: list[torch.Tensor | None] | None = None,
    ) -> list[torch.Tensor]:
        """Connector over what ``encode`` gave.

        Args:
            pooled: output of ``encode`` for each picture.
            references: output of ``encode`` for each picture's reference, None for pictures without one.
            comparisons: output of ``vision.prepare_comparison`` for each picture beside its reference.

        Returns:
            [T, hidden] language-model embeddings per picture.

        Raises:
            ValueError: not one entry for each picture.
        """
        references = references or [None] * len(pooled)
        comparisons = comparisons or [None] * len(pooled)
        by_shape = defaultdict(list)
        for index, inputs in enumerate(zip(pooled, references, comparisons, strict=True)):
            by_shape[tuple(None if value is None else tuple(value.shape) for value in inputs)].append(index)
        tokens: list[torch.Tensor | None] = [None] * len(pooled)
        for (_, has_reference, has_comparison), indexes in by_shape.items():
            own = self._stack([pooled[i] for i in indexes])
            beside = self._stack([references[i] for i in indexes]) if has_reference else None
            compared = torch.stack([comparisons[i] for i in indexes]).to(own.device) if has_comparison else None
            for index, row in zip(indexes, self.connector(own, beside, compared)):
                tokens[index] = row
        return tokens

    def _stack(self, pooled: list[torch.Tensor]) -> torch.Tensor:
        stacked = torch.stack(pooled)
        # Pooled vectors are standardised in fp32; patch features go on in the connector's own precision.
        return stacked if stacked.dim() == 2 else stacked.to(next(self.connector.parameters()).dtype)

    def embed_prompt(self, parts: list[list[int] | Slot], tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        """Embeddings [L, hidden] of one encoded prompt, with the tokens of each picture (by role) in its slot."""
        embedding = self.get_input_embeddings()
        device = embedding.weight.device
        rows = [
            tokens[part.role] if isinstance(part, Slot) else embedding(torch.tensor(part, device=device))
            for part in parts
        ]
        return torch.cat([row.to(rows[0]) for row in rows])  # the dtype and device of the words

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pooled: list[torch.Tensor] | None = None,
        labels: torch.Tensor | None = None,
        references: list[int | None] | None = None,
        pictures: list[Prepared] | None = None,
        comparisons: list[torch.Tensor | None] | None = None,
        **kwargs,
    ):
        """One training step's forward pass.

        Args:
            input_ids: [B, L], ``IMAGE_TOKEN`` at every position of a picture token.
            attention_mask: [B, L], 0 at padding (and at hidden separators, facts 1.6).
            pooled: outputs of ``encode`` for all pictures, in the order of their slots over the batch.
            labels: [B, L], ``IGNORE`` where no loss is taken.
            references: for each of ``pooled``, the index in it of the picture's reference, or None.
            pictures: instead of ``pooled``, the pictures themselves, for the vision tower to see now.
            comparisons: for each of ``pooled``, ``vision.prepare_comparison`` with its reference, or None.

        Returns:
            the language model's output, with ``loss`` when labels are given.

        Raises:
            ValueError: the pictures do not fill exactly the places of ``IMAGE_TOKEN``, or ``references`` does not fit.
        """
        embedding = self.get_input_embeddings()
        embeds = embedding(input_ids.clamp(min=0))
        if pooled is None:
            learns = any(parameter.requires_grad for parameter in self.vision.parameters())
            with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
                pooled = self.encode(pictures)
        references = references or [None] * len(pooled)
        if len(references) != len(pooled):
            raise ValueError(f"{len(pooled)} pictures but {len(references)} entries in references")
        beside = [None if index is None else pooled[index] for index in references]
        tokens = torch.cat(self.connect(pooled, beside, comparisons)).to(embeds)
        if self.training:
            # What learns together on several processes must get a gradient on each of them, even where a batch without
            # references leaves a part of the connector idle.
            learned = [p.flatten()[0] for p in self.connector.parameters() if p.requires_grad]
            tokens = tokens + 0.0 * sum(value.to(tokens) for value in learned)
        places = input_ids == IMAGE_TOKEN
        if int(places.sum()) != len(tokens):  # masked_scatter would leave pictures over in silence
            raise ValueError(f"{len(tokens)} picture tokens for {int(places.sum())} places in input_ids")
        embeds = embeds.masked_scatter(places[..., None], tokens)
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand(len(input_ids), -1)
        kwargs.setdefault("use_cache", False)  # keys and values are of no use in one pass
        return self.language(
            inputs_embeds=embeds, attention_mask=attention_mask, position_ids=positions, labels=labels, **kwargs
        )
