"""Which published tensor becomes which tensor of our network, at the sizes of the files or at full size."""

from typing import Any

import torch

from ..errors import CheckpointError
from ..network.config import DepictQAConfig
from . import layout
from .layout import Abstractor, Clip, Delta, Language, Table

FULL_SIZE = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32} | {
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
}
"""Settings of Vicuna-7B-v1.5 that shape its tensors."""


class Conversion:
    """The three tables of one import: published name -> our name and shape, of CLIP, language model and delta."""

    def __init__(self, clip: Clip, llm: Language, delta: Delta, openai: bool, merge: bool):
        self.sizes, self.clip_sizes, self.merge = delta, clip, merge
        self.clip: Table = (layout.openai_clip if openai else layout.transformers_clip)(clip)
        self.language: Table = layout.language(llm, lora=not merge)
        self.delta: Table = layout.delta(delta, clip, llm)
        self.written_delta = {name: e for name, e in self.delta.items() if not (merge and ".lora_" in name)}

    def targets(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of our network by name."""
        entries = [*self.clip.values(), *self.language.values(), *self.written_delta.values()]
        return {target: entry.target_shape for entry in entries for target in entry.targets}


def check_network(config: DepictQAConfig, conversion: Conversion) -> int:
    """Build the network on the meta device, compare it with the tables, and return the number of its tensors.

    Raises:
        CheckpointError: the tables and the network differ, which is a bug in this program or in a library.
    """
    from ..network.model import DepictQAModel

    with torch.device("meta"):
        network = DepictQAModel(config).state_dict()
    wanted = {name: layout.Entry(shape, (), shape) for name, shape in conversion.targets().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in network.items()}
    layout.refuse_misfits("the network of this version", shapes, wanted, "report this, with the versions installed")
    return len(shapes)


def full_size_config(abstractor: bool) -> DepictQAConfig:
    """Return the configuration of a published checkpoint at full size, with separate LoRA weights."""
    return network_config(_full_size(Abstractor() if abstractor else None, True, False), FULL_SIZE, None, None)


def _full_size(abstractor: Abstractor | None, openai: bool, merge: bool) -> Conversion:
    return Conversion(Clip(), language_sizes(FULL_SIZE), Delta(abstractor=abstractor), openai, merge)


def check_layout() -> list[str]:
    """Compare the published layouts with our network at full size, from the configuration alone.

    Returns:
        One line for each layout and way to import it.

    Raises:
        CheckpointError: names or shapes differ.
    """
    lines = []
    for abstractor in (None, Abstractor()):
        for merge in (False, True):
            openai, conversion = (_full_size(abstractor, names, merge) for names in (True, False))
            if openai.targets() != conversion.targets():
                raise CheckpointError("the two ways to name the tensors of CLIP differ: report this")
            count = check_network(network_config(conversion, FULL_SIZE, None, None), conversion)
            values = sum(value_count(entry.shape) for entry in conversion.delta.values())
            lines.append(
                f"{'abstractor' if abstractor else 'projector'} delta ({len(conversion.delta)} tensors, {values:,}"
                f" values), LoRA {'merged' if merge else 'kept apart'}: {count} tensors of the network fit"
            )
    return lines


def value_count(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()


def network_config(conversion: Conversion, settings: dict, short: int | None, long: int | None) -> DepictQAConfig:
    bounds = layout.BOUNDS[conversion.sizes.abstractor is not None]
    size = {"short": short or bounds[0], "long": long or bounds[1], "min": 70, "multiple": conversion.clip_sizes.patch}
    if not 0 < size["short"] <= size["long"]:
        raise CheckpointError(f"bounds of {size['short']} (short side) and {size['long']} (long side) are not possible")
    lora = {
        "r": conversion.sizes.rank,
        "lora_alpha": layout.LORA_ALPHA,
        "lora_dropout": layout.LORA_DROPOUT,
        "target_modules": list(layout.LORA_MODULES),
    }
    more: dict[str, Any] = {} if conversion.merge else {"lora": lora}
    return DepictQAConfig(
        vision=conversion.clip_sizes.config,
        connector=conversion.sizes.connector,
        language={"model_type": "llama", **settings},
        size=size,
        architectures=["DepictQAModel"],
        **more,
    )


def language_sizes(settings: dict) -> Language:
    return Language(
        settings["hidden_size"],
        settings["num_hidden_layers"],
        settings["num_attention_heads"],
        settings.get("num_key_value_heads", settings["num_attention_heads"]),
        settings["intermediate_size"],
        settings["vocab_size"],
    )
