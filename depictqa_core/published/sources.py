"""The published files as they are downloaded: CLIP, the folder of Vicuna and the delta."""

from collections.abc import Iterable
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..storage.documents import read_json
from ..storage.rules import whole
from . import layout
from .conversion import value_count
from .layout import Table
from .tensors import Tensors, model_files, open_tensors, refuse_infinite

_LANGUAGE_SETTINGS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "hidden_act", "initializer_range"),
)


def language_settings(folder: Path) -> dict:
    """Return the settings of a LLaMA config that define the network, with names that all versions of transformers
    have."""
    if not folder.is_dir():
        raise CheckpointError(f"language model '{folder}' is not a folder: give the whole folder of Vicuna-7B-v1.5")
    try:
        raw = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"language model '{folder}' has no readable config.json: download it again") from error
    if not isinstance(raw, dict) or raw.get("model_type") != "llama":
        raise CheckpointError(f"language model '{folder}' is not a LLaMA: use the folder of Vicuna-7B-v1.5")
    if raw.get("tie_word_embeddings") or raw.get("attention_bias") or raw.get("mlp_bias"):
        raise CheckpointError(f"language model '{folder}' is not a LLaMA like Vicuna-7B-v1.5: use that one")
    settings = {name: raw[name] for name in _LANGUAGE_SETTINGS if raw.get(name) is not None}
    missing = [
        name
        for name in _LANGUAGE_SETTINGS[:5]
        if not whole(1, 1024 if "num_" in name else 2**24).fits(settings.get(name))
    ]
    if missing:
        raise CheckpointError(f"language model '{folder}' is damaged: its config.json lacks {', '.join(missing)}")
    rope = raw.get("rope_parameters") or {}
    settings["rope_theta"] = raw.get("rope_theta") or rope.get("rope_theta") or 10000.0
    if raw.get("rope_scaling") or rope.get("rope_type", "default") != "default":
        raise CheckpointError(f"language model '{folder}' scales its positions, which Vicuna-7B-v1.5 does not")
    settings["_name_or_path"] = raw.get("_name_or_path")
    return {**settings, "bos_token_id": 1, "eos_token_id": 2}


def open_clip(path: Path) -> tuple[list[Path], list[Tensors]]:
    if not path.is_dir():
        return [path], [open_tensors(path)]
    try:
        raw = read_json(path / "config.json")
        raw = raw.get("vision_config") or raw
        kind, act, heads = raw.get("model_type"), raw.get("hidden_act"), raw.get("num_attention_heads", 12)
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"CLIP '{path}' has no readable config.json: download it again") from error
    if kind not in ("clip_vision_model", "clip") or act not in (None, "quick_gelu"):
        raise CheckpointError(f"CLIP '{path}' is not OpenAI's CLIP (model type {kind}, activation {act})")
    files = model_files(path, "CLIP")
    parts = []
    for file in files:
        tensors = open_tensors(file)
        parts.append(_without_prefix(tensors, "vision_model."))
    width = all_shapes(parts).get("embeddings.class_embedding", (0,))[0]
    if width != heads * layout.HEAD_WIDTH:
        raise CheckpointError(f"CLIP '{path}' has {heads} heads at width {width}: use OpenAI's ViT-L/14 at 224 px")
    return files, parts


def _without_prefix(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors of a file under names without a prefix."""
    names = {name.removeprefix(prefix): name for name in tensors.shapes}
    shapes = {short: tensors.shapes[name] for short, name in names.items()}
    return Tensors(tensors.path, shapes, lambda short: tensors.read(names[short]))


def without_rotary(tensors: Tensors) -> Tensors:
    """Remove the rotary frequencies in Vicuna's files, which every version of transformers computes itself."""
    kept = {name: shape for name, shape in tensors.shapes.items() if not name.endswith(".rotary_emb.inv_freq")}
    return Tensors(tensors.path, kept, tensors.read)


def all_shapes(parts: Iterable[Tensors]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for part in parts:
        twice = shapes.keys() & part.shapes.keys()
        if twice:
            raise CheckpointError(f"'{part.path.name}' repeats {sorted(twice)[0]} of another file: download again")
        shapes |= part.shapes
    return shapes


def written_bytes(tensors: Tensors, table: Table, dtype: torch.dtype | None) -> int:
    """Check the values of all tensors of a file, and return the total size in bytes of those in a table."""
    stored = {name: found for name, found in refuse_infinite(tensors).items() if name in table}
    for name, found in stored.items():
        if not found.is_floating_point:
            raise CheckpointError(f"'{tensors.path}' has {name} as {found}, which is not a weight; download it again")
    return sum(value_count(table[name].shape) * (dtype or found).itemsize for name, found in stored.items())


def delta_file(path: Path) -> Path:
    return path / "ckpt.pt" if path.is_dir() else path
