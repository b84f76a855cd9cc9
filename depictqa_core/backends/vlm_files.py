"""What the headers of a model's .safetensors files say, without loading the weights."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, quoted

FLOATING = ("F64", "F32", "F16", "BF16")
"""Formats of weights that need no settings to be understood."""


def parameter_count(folder: Path) -> int:
    """Count the weights of a model folder."""
    return sum(math.prod(shape) for _, _, shape in _headers(folder))


def check_stored_formats(folder: Path, config: Any) -> None:
    """Refuse weights that are stored as whole or tiny numbers without a word on how to read them.

    transformers would take the numbers for the weights themselves.

    Raises:
        CheckpointError: such a file, or a damaged one.
    """
    if getattr(config, "quantization_config", None):
        return
    for name, stored, shape in _headers(folder):
        if name.endswith("weight") and len(shape) > 1 and stored not in FLOATING:
            raise CheckpointError(
                f"model '{folder.name}': {name} is stored as {stored}, but config.json has no quantization_config that"
                " says how to read it; download a version in bfloat16 or float16"
            )


def _headers(folder: Path) -> Iterator[tuple[str, str, list[int]]]:
    """Name, format and shape of every tensor.

    Raises:
        CheckpointError: a file is damaged.
    """
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(str(path), framework="pt") as file:
                for name in file.keys():
                    found = file.get_slice(name)
                    yield name, found.get_dtype(), found.get_shape()
        except Exception as error:  # whatever the library raises, the person gets one clear line
            raise CheckpointError(
                f"model '{folder.name}': {path.name} is damaged ({quoted(error)}); download it again"
            ) from error
