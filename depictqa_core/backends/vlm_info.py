"""What can be told of the folder of a vision-language model without loading its weights."""

from pathlib import Path
from typing import Any

from ..errors import CheckpointError, PackageError, quoted
from ..loading.checkpoint_folder import AGAIN, file_hash
from ..storage.documents import read_json
from .profiles import choose_profile
from .vlm_adapter import WEIGHTS, base_folder, read_adapter
from .vlm_files import parameter_count
from .vlm_loading import card_of, check_files, read_config
from .vlm_memory import vlm_needs
from .vlm_processor import CONFIG, largest_image
from .vlm_prompts import TASKS


def describe_vlm(folder: Path) -> dict[str, Any]:
    """Return name, version, architecture, profile, supported tasks, parameters and memory needs by dtype.

    Raises:
        CheckpointError: the folder is no vision-language model, or lacks a file.
    """
    content = read_json(folder / CONFIG, error=CheckpointError)
    check_files(folder, content)
    config, count = read_config(folder, content), parameter_count(folder)
    profile = choose_profile(folder, config.model_type)
    card = card_of(folder, config, profile)
    memory = _memory(folder, config, profile.max_pixels)
    return {**card, "supports": ", ".join(TASKS), "parameters": count, "memory": memory}


def _memory(folder: Path, config: Any, max_pixels: int) -> str:
    """The memory needs in words: weights, and what the longest question about the largest images adds."""
    image, more = None, ""
    try:
        image = largest_image(folder, max_pixels)
    except (CheckpointError, PackageError) as error:
        more = f"; that of a question is not known ({quoted(error)})"
    parts = []
    for need in vlm_needs(config, image):
        question = f" + {(need.words + need.image) / 1e9:.2g} GB" if image else ""
        parts.append(f"{need.dtype} {need.weights / 1e9:.2g} GB{question}")
    return f"{', '.join(parts)}{more or ' (weights + the longest question about the largest images)'}"


def describe_adapter(folder: Path, verify: bool = False, base: str | Path | None = None) -> dict[str, Any]:
    """Return the card of an adapter folder, where its base model is, its number of parameters and supported tasks.

    Args:
        verify: compare the SHA-256 of its weights with that of the card.
        base: the folder of its base model, where the user names it.

    Raises:
        CheckpointError: the folder is damaged.
    """
    card = read_adapter(folder)
    facts = card.pop("files")[WEIGHTS]
    if verify and file_hash(folder / WEIGHTS) != facts["sha256"]:
        raise CheckpointError(f"adapter '{folder.name}' is damaged: the contents of {WEIGHTS} have changed; {AGAIN}")
    try:
        found = str(base_folder(folder, base))
    except CheckpointError:
        found = "not found; name it by --base, or put it next to the adapter folder"
    trained = ", ".join(card.pop("tasks"))
    return {
        **card,
        "base_found": found,
        "supports": ", ".join(TASKS),
        "tuned_on": trained,
        "parameters": parameter_count(folder),
    }
