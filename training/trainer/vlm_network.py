"""A vision-language model of transformers as the trainer sees it: the base frozen, a LoRA adapter that learns."""

import json
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from transformers import PreTrainedModel

from depictqa_core.backends.vlm_adapter import fingerprint, save_adapter, with_lora
from depictqa_core.backends.vlm_loading import CALIBRATION, LoadedVlm
from depictqa_core.engine.exact_logits import keywords
from depictqa_core.network.model import checkpoint_activations
from depictqa_core.runtime.quiet import quiet
from depictqa_core.storage.files import write_file

from .state import replaced

TOWERS = ("visual", "vision_tower", "vision_model", "vision_encoder")
CONNECTORS = ("multi_modal_projector", "connector", "merger", "mm_projector", "aligner", "modality_projection")
LISTED_CONNECTORS = "deepstack_merger_list"
"""What transformers calls the vision tower and the projector, the last part of a module's name."""


def parts_of(model: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the modules that are the vision tower, and of those that project its features, of a model.

    Raises:
        ValueError: the model has no vision tower that is known.
    """
    names = [name for name, _ in model.named_modules()]
    towers = _outermost([name for name in names if name.rpartition(".")[2] in TOWERS])
    if not towers:
        raise ValueError(f"start: {type(model).__name__} has no vision tower that is known here ({', '.join(TOWERS)})")
    listed = [name for name in names if name.rpartition(".")[0].endswith(LISTED_CONNECTORS)]
    return towers, [*_outermost([name for name in names if name.rpartition(".")[2] in CONNECTORS]), *listed]


def _outermost(names: list[str]) -> list[str]:
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]


def lora_settings(model: PreTrainedModel, adapter, trainable: list[str]) -> dict:
    """The settings of peft for a recipe: LoRA on all linear layers of the parts that it names.

    Args:
        model: the base.
        adapter: ``recipe.Adapter``.
        trainable: with "connector" the projector learns, too.

    Raises:
        ValueError: the model has no such part.
    """
    towers, connectors = parts_of(model)
    if "connector" in trainable and not connectors:
        raise ValueError(f"trainable names connector, but {type(model).__name__} has none that is known here")
    head = model.get_output_embeddings()
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]
    linear = [name for name in linear if not _inside(name, connectors)]
    groups = {"vision": [n for n in linear if _inside(n, towers)]}
    groups["language"] = [n for n in linear if not _inside(n, towers)]
    return {
        "r": adapter.r,
        "lora_alpha": adapter.lora_alpha,
        "lora_dropout": adapter.lora_dropout,
        "target_modules": [name for part in sorted(adapter.parts) for name in groups[part]],
        "modules_to_save": connectors if "connector" in trainable else [],
    }


def _inside(name: str, parts: list[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


class TunedVlm(nn.Module):
    """A vision-language model with a LoRA adapter: only the adapter learns, in float32.

    Args:
        loaded: the base model.
        settings: of ``lora_settings``.

    Attributes:
        model: the ``peft.PeftModel``.
    """

    def __init__(self, loaded: LoadedVlm, settings: dict):
        super().__init__()
        base = loaded.model
        self.model = with_lora(base, settings)
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        self._towers = [base.get_submodule(name) for name in parts_of(base)[0]]
        seen = {type(module).__name__ for tower in self._towers for module in tower.modules()}
        self._no_split_modules = [name for name in base._no_split_modules or () if name not in seen]
        self._keeps = "logits_to_keep" in keywords(type(base).forward)

    @property
    def vision(self) -> nn.ModuleList:
        """The vision tower."""
        return nn.ModuleList(self._towers)

    @property
    def language(self) -> nn.Module:
        """What holds the layers of the language model."""
        return self.model

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass."""
        checkpoint_activations(self.model.get_base_model())

    def forward(self, logits_to_keep: int, **inputs):
        """Run the model; its logits are those of the last ``logits_to_keep`` tokens, or more."""
        dtype = self.model.get_base_model().dtype
        inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
        known = {"logits_to_keep": logits_to_keep} if self._keeps else {}
        return self.model(**inputs, **known, use_cache=False, return_dict=True)

    @contextmanager
    def without_adapter(self):
        """Answer as the base model does."""
        with self.model.disable_adapter():
            yield


def teacher_of(model: TunedVlm) -> Callable:
    """The start of a run, as a function of a batch: the same weights with the adapter switched off."""

    def teacher(**inputs):
        with model.without_adapter():
            return model(**inputs)

    return teacher


def save_tuned(folder: Path, accelerator, model, loaded: LoadedVlm, settings: dict, base: Path, card: dict) -> None:
    """Save the adapter folder of a model that may be split over processes; all of them call this.

    Args:
        model: a ``TunedVlm``, wrapped for its processes.
        settings: of ``lora_settings``.
        base: folder of the base model.
        card: name, version, license, trained_on, tasks, personal, and ``calibration`` where there is one.
    """
    from peft import get_peft_model_state_dict

    only = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    learned = get_model_state_dict(model, options=only)
    if accelerator.is_main_process:
        known = {
            name.removeprefix("model."): value for name, value in learned.items() if isinstance(value, torch.Tensor)
        }
        with quiet():
            weights = get_peft_model_state_dict(
                accelerator.unwrap_model(model).model, known, save_embedding_layers=False
            )
        where = base.absolute()
        under = {"name": where.name, "path": str(where), "architecture": loaded.card["architecture"]}
        calibration = card.pop("calibration", None)
        with replaced(folder) as new:
            if calibration:
                write_file(new / CALIBRATION, json.dumps({"calibration": calibration}, indent=2, sort_keys=True) + "\n")
            save_adapter(new, weights, settings, loaded.profile, {**card, "base": {**under, "hash": fingerprint(base)}})
    accelerator.wait_for_everyone()
