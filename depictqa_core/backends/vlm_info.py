"""What can be told of the folder of a vision-language model without loading its weights."""

import math
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, quoted
from ..storage.documents import read_json
from .profiles import choose_profile
from .vlm_loading import CONFIG, card_of, check_files, read_config
from .vlm_prompts import TASKS

BYTES = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "int4": 0.55}
"""Memory of a parameter by dtype; that of int4 with its scales."""


def describe_vlm(folder: Path) -> dict[str, Any]:
    """Return name, version, architecture, profile, supported tasks, parameters and memory by dtype.

    Raises:
        CheckpointError: the folder is no vision-language model, or lacks a file.
    """
    content = read_json(folder / CONFIG, error=CheckpointError)
    check_files(folder, content)
    config, count = read_config(folder, content), _parameters(folder)
    card = card_of(folder, config, choose_profile(folder, config.model_type))
    memory = ", ".join(f"{name} {count * size / 1e9:.2g} GB" for name, size in BYTES.items())
    return {**card, "supports": ", ".join(TASKS), "parameters": count, "memory": f"{memory}; and that of the prompts"}


def _parameters(folder: Path) -> int:
    """Number of weights, from the headers of the files."""
    from safetensors import safe_open

    count = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(str(path), framework="pt") as file:
                count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())
        except Exception as error:  # whatever the library raises, the person gets one clear line
            raise CheckpointError(
                f"model '{folder.name}': {path.name} is damaged ({quoted(error)}); download it again"
            ) from error
    return count
