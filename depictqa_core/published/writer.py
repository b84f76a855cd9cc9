"""Writes the tensors of an import to safetensors shards, one by one."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..errors import CheckpointError, quoted
from ..storage.files import readable_file_errors, write_file
from . import layout
from .conversion import Conversion
from .layout import Table
from .tensors import Tensors

SHARD_BYTES = 2**29


class ShardWriter:
    """Writes a stream of tensors to safetensors shards of limited size."""

    def __init__(self, folder: Path, dtype: torch.dtype | None):
        self.folder, self.dtype = folder, dtype
        self.held: dict[str, torch.Tensor] = {}
        self.bytes = self.total = 0
        self.shards: list[list[str]] = []

    def convert(self, source: Tensors, table: Table, change: Callable | None = None) -> None:
        """Write all tensors of a file that are in a table."""
        for name in source.shapes:
            if name not in table:
                continue
            entry = table[name]
            tensor = source.read(name).detach()
            dtype = self.dtype or tensor.dtype
            if change is not None:
                tensor = change(name, tensor)
            rows = tensor.reshape(len(entry.targets), *entry.target_shape)
            for target, row in zip(entry.targets, rows):
                self.add(target, row, dtype)

    def add(self, name: str, tensor: torch.Tensor, dtype: torch.dtype) -> None:
        # Always a copy: a view into a mapped file would keep that file in memory, and be written as a whole.
        tensor = tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} has values that {dtype} cannot hold: import as float32 or bfloat16")
        self.held[name] = tensor
        self.bytes += tensor.nbytes
        if self.bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        if self.held:
            path = self.folder / f"{len(self.shards)}.safetensors"
            with readable_file_errors(path):
                try:
                    save_file(self.held, str(path), metadata={"format": "pt"})
                except SafetensorError as error:  # raised for a full disk
                    raise OSError(quoted(error)) from None
            self.shards.append(list(self.held))
            self.total += self.bytes
            self.held, self.bytes = {}, 0

    def finish(self, wanted: dict[str, tuple[int, ...]]) -> None:
        """Name the shards and write their index; check that every tensor was written."""
        self.flush()
        written = {name for shard in self.shards for name in shard}
        if written != set(wanted):
            raise CheckpointError(f"not written: {', '.join(sorted(set(wanted) ^ written)[:12])}")
        count = len(self.shards)
        places: dict[str, str] = {}
        for number, names in enumerate(self.shards, start=1):
            final = f"model-{number:05}-of-{count:05}.safetensors" if count > 1 else "model.safetensors"
            (self.folder / f"{number - 1}.safetensors").rename(self.folder / final)
            places |= dict.fromkeys(names, final)
        if count > 1:
            index = {"metadata": {"total_size": self.total}, "weight_map": dict(sorted(places.items()))}
            text = json.dumps(index, indent=1) + "\n"
            write_file(self.folder / "model.safetensors.index.json", text)


def lora_merger(delta: Tensors, conversion: Conversion) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Return a function that adds the LoRA update to a weight of the language model, in fp32."""
    scale = layout.LORA_ALPHA / conversion.sizes.rank

    def merge(name: str, weight: torch.Tensor) -> torch.Tensor:
        lora = f"llm.base_model.model.{name.removesuffix('.weight')}.lora_"
        if f"{lora}A.default.weight" not in delta.shapes:
            return weight
        a, b = (delta.read(f"{lora}{kind}.default.weight").float() for kind in "AB")
        return weight.float() + scale * (b @ a)

    return merge
