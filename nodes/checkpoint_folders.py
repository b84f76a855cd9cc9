"""Find checkpoint folders by the names in a graph, and load one as a judge on ComfyUI's devices."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import folder_paths
import torch
from comfy import model_management

from ..depictqa_core.backends.vlm_adapter import is_adapter_folder, vlm_folder
from ..depictqa_core.backends.vlm_loading import is_vlm_folder, vlm_dtype
from ..depictqa_core.errors import CheckpointError
from ..depictqa_core.loading.checkpoint_folder import BUNDLED as BUNDLED_FOLDER
from ..depictqa_core.loading.checkpoint_folder import CARD, PICKLES, describe_checkpoint
from ..depictqa_core.loading.device_placement import QUANTISED
from .loaded_judge import LoadedJudge, answers_of
from .ui import plain

if TYPE_CHECKING:
    from ..depictqa_core.judge import Judge

BUNDLED = "depictqa-mini (bundled)"
DEVICES = ["auto", "cpu"]
DTYPES = ["auto", "float32", "bfloat16", "float16", *QUANTISED]
BUILT_IN = "built in"  # no custom folder for anchors or encoder
AUTOMATIC = "automatic"  # an adapter says where its base model is
LARGE = 2**30  # bytes of weights from which half precision is worth its rounding
KEEP, FREE = "keep in memory", "free after use"
MEMORY = [KEEP, FREE]


def checkpoint_folders() -> dict[str, Path]:
    """Return the checkpoints under ``models/depictqa`` by name.

    Pickles, alone or in a folder, are listed too, because their error message explains the import. Other contents, such
    as the state of a training run, are not listed.
    """
    return {
        name: path
        for name, path in _entries("depictqa", PICKLES).items()
        if path.is_file()
        or (path / CARD).is_file()
        or is_vlm_folder(path)
        or is_adapter_folder(path)
        or any(any(path.glob(pattern)) for pattern in PICKLES)
    }


def _entries(kind: str, files: tuple[str, ...] = ()) -> dict[str, Path]:
    """Return the folders, and files that match the patterns, in every model folder of a kind, by name.

    Of two with the same name the first path wins. Names are plain text, because the menu of a widget may interpret a
    name as HTML.
    """
    found: dict[str, Path] = {}
    for root in folder_paths.get_folder_paths(kind):
        if os.path.isdir(root):
            for entry in sorted(os.scandir(root), key=lambda entry: entry.name.lower()):
                wanted = entry.is_dir() or any(Path(entry.name).match(pattern) for pattern in files)
                if wanted and not entry.name.startswith("."):
                    found.setdefault(plain(entry.name), Path(entry.path))
    return found


def own_names(kind: str) -> list[str]:
    """Return the options of the widget of a kind ("anchors" or "encoders"), the built-in one first."""
    return [BUILT_IN, *_entries(f"depictqa_{kind}")]


def _own_folder(kind: str, name: str) -> Path | None:
    """Return the folder of a name from a graph, with the checks of ``checkpoint_path``; None for the built-in one."""
    folders = _entries(f"depictqa_{kind}")
    if name != BUILT_IN and plain(name) not in folders:
        raise CheckpointError(f"{kind}: there is no folder {name!r} under models/depictqa_{kind}.")
    return folders.get(plain(name))


def checkpoint_names() -> list[str]:
    """Return the options of the checkpoint widget, the bundled model first."""
    return [BUNDLED, *checkpoint_folders()]


def base_names() -> list[str]:
    """Return the options of the widget for the base model of an adapter."""
    return [AUTOMATIC, *(name for name, path in checkpoint_folders().items() if is_vlm_folder(path))]


def _base_path(name: str) -> Path | None:
    """Return the folder of a base model by its name from a graph; None where the adapter says which."""
    return None if name == AUTOMATIC else checkpoint_path(name)


def checkpoint_path(name: str) -> Path | None:
    """Return the folder of a name from a graph, None for the bundled model.

    Only options of the widget are accepted, so no name can lead out of the model folders.

    Raises:
        CheckpointError: there is none of that name.
    """
    if name == BUNDLED:
        return None
    folders = checkpoint_folders()
    if plain(name) not in folders:
        raise CheckpointError(
            f"checkpoint: there is no checkpoint {name!r} under models/depictqa; "
            f"choose one of: {', '.join([BUNDLED, *folders])}."
        )
    return folders[plain(name)]


def loader_state(checkpoint: str, anchors: str = BUILT_IN, encoder: str = BUILT_IN, base: str = AUTOMATIC) -> str:
    """Return a stable text that changes with the files of the checkpoint, its base, the anchors or the encoder.

    ComfyUI then loads them again, and cached answers are discarded.
    """
    checkpoints = {BUNDLED: BUNDLED_FOLDER, **checkpoint_folders()}
    folders = [checkpoints.get(plain(checkpoint)), _entries("depictqa_anchors").get(plain(anchors))]
    folders.append(_entries("depictqa_encoders").get(plain(encoder)))
    adapter = folders[0]
    if adapter is not None and is_adapter_folder(adapter):
        with suppress(CheckpointError):  # it is raised where the judge is loaded
            folders.append(vlm_folder(adapter, _base_path(base)))
    return repr([checkpoint, anchors, encoder, base, *map(_file_states, folders)])


def _file_states(folder: Path | None) -> list[tuple]:
    """Return path, size and times of every file in a folder, or of one file.

    The change time (``ctime``) detects a file that was replaced by another of equal size and modification time.
    """
    if folder is None:
        return []
    states = []
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        with suppress(OSError):  # a file that was deleted meanwhile, or a broken link
            if path.is_file():
                stat = path.stat()
                states.append((path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return states


def load(
    checkpoint: str,
    device: str,
    dtype: str,
    memory: str = KEEP,
    anchors: str = BUILT_IN,
    encoder: str = BUILT_IN,
    base: str = AUTOMATIC,
) -> LoadedJudge:
    """Load a checkpoint into CPU memory; it moves to the GPU on first use.

    Args:
        checkpoint: one of ``checkpoint_names()``.
        device: "auto" (ComfyUI's device) or "cpu".
        dtype: one of ``DTYPES``. Auto is float32, or float16 for large checkpoints on a GPU, or bfloat16 where ComfyUI
            does not use float16; its 8 bits of precision change probabilities six times as much. int8 and int4 stay on
            their device: quantised weights cannot be moved.
        anchors, encoder: one of ``own_names``.
        base: one of ``base_names()``, for an adapter.
        memory: KEEP leaves the weights to ComfyUI's memory management; FREE unloads them after every run.

    Raises:
        CheckpointError: the checkpoint or a folder is missing, damaged or unsafe to read, or the dtype is unavailable.
    """
    folder, under = checkpoint_path(checkpoint), _base_path(base)
    model = folder and vlm_folder(folder, under)
    own = {"anchors": _own_folder("anchors", anchors), "encoder": _own_folder("encoders", encoder)}
    on_cpu = device == "cpu" or model_management.get_torch_device().type == "cpu"
    load_device = torch.device("cpu") if on_cpu else model_management.get_torch_device()
    offload_device = torch.device("cpu") if on_cpu else model_management.unet_offload_device()
    if dtype == "auto" and model is not None:
        dtype = "float32" if on_cpu else vlm_dtype(model)
    elif dtype == "auto":
        dtype = "float32" if on_cpu or _weight_bytes(folder) < LARGE else _half(load_device)
    if dtype in QUANTISED:
        offload_device = load_device
    answers = answers_of((loader_state(checkpoint, anchors, encoder, base), dtype, str(load_device)))

    def read() -> Judge:
        from ..depictqa_core.judge import load_judge  # imports transformers, so only when a model is needed

        # Nodes run in inference mode; weights created there could never be updated in place.
        with torch.inference_mode(False), torch.no_grad():
            places = {"device": str(offload_device), "base": under}
            return load_judge(folder, dtype=dtype, answers=answers.questions, **places, **own)

    return LoadedJudge(read, load_device, offload_device, keep=memory == KEEP, answers=answers)


def _weight_bytes(folder: Path | None) -> int:
    files = describe_checkpoint(folder or BUNDLED_FOLDER)["files"]
    return sum(facts["bytes"] for facts in files.values())


def _half(device: torch.device) -> str:
    if model_management.should_use_fp16(device):
        return "float16"
    return "bfloat16" if model_management.should_use_bf16(device) else "float32"
