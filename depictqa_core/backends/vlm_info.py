"""What can be told of the folder of a vision-language model without loading its weights."""

import math
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, quoted
from ..loading.checkpoint_folder import AGAIN, file_hash
from ..storage.documents import read_json
from .profiles import choose_profile
from .vlm_adapter import WEIGHTS, base_folder, read_adapter
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


def describe_adapter(folder: Path, verify: bool = False) -> dict[str, Any]:
    """Return the card of an adapter folder, where its base model is, its number of parameters and supported tasks.

    Args:
        verify: compare the SHA-256 of its weights with that of the card.

    Raises:
        CheckpointError: the folder is damaged.
    """
    card = read_adapter(folder)
    facts = card.pop("files")[WEIGHTS]
    if verify and file_hash(folder / WEIGHTS) != facts["sha256"]:
        raise CheckpointError(f"adapter '{folder.name}' is damaged: the contents of {WEIGHTS} have changed; {AGAIN}")
    try:
        found = str(base_folder(folder))
    except CheckpointError:
        found = "not found; name it by --base"
    trained = ", ".join(card.pop("tasks"))
    return {
        **card,
        "base_found": found,
        "supports": ", ".join(TASKS),
        "tuned_on": trained,
        "parameters": _parameters(folder),
    }


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
