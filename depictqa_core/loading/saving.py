"""Writes checkpoint folders and their cards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.quiet import quiet
from ..storage.files import use_umask, write_file
from ..typicality import TYPICALITY
from .checkpoint_folder import CARD, SELF_TEST, TOKENIZER_FILES, file_hash, read_folder_json, text_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def save_checkpoint(
    folder: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    card: dict,
    max_shard_size: str = "4GB",
) -> None:
    """Save a checkpoint folder. ``card`` needs name, version, licence and trained_on; file facts are added here."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        model.save_pretrained(str(folder), safe_serialization=True, max_shard_size=max_shard_size)
    tokenizer.save_pretrained(str(folder))
    _name_tokenizer_class(folder / "tokenizer_config.json")
    write_card(folder, card)
    use_umask(folder, folder.glob("*.safetensors"))


def _name_tokenizer_class(path: Path) -> None:
    """Set the class name that all versions of transformers have: 4.x and 5.x each write one that the other lacks."""
    settings = read_folder_json(path)
    if settings.get("tokenizer_class") in ("TokenizersBackend", "PreTrainedTokenizer"):
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        write_file(path, json.dumps(settings, indent=2) + "\n")


def write_card(folder: Path, card: dict) -> dict:
    """Write the card of a folder with weights, with their file facts, and return the whole card."""
    files = {}
    for path in sorted(set(folder.glob("*.safetensors")) - {folder / TYPICALITY}):
        files[path.name] = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
    tokenizer = {name: text_hash(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()}
    card = {**card, "files": files, "tokenizer": tokenizer}
    write_file(folder / CARD, json.dumps(card, indent=1) + "\n")
    return card


def record_self_test(folder: str | Path, coverage: dict[str, float]) -> dict:
    """Store the coverage of a self-test (``Judge.self_test``) in the card of a folder, and return the whole card."""
    path = Path(folder) / CARD
    card = {**read_folder_json(path), SELF_TEST: {task: float(f"{share:.3g}") for task, share in coverage.items()}}
    write_file(path, json.dumps(card, indent=1) + "\n")
    return card
