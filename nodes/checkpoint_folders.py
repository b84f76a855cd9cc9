"""Checkpoint folders as the graph names them, and the reading of one into a judge for ComfyUI's devices."""

import os
from contextlib import suppress
from pathlib import Path

import folder_paths
import torch
from comfy import model_management

from ..depictqa_core.errors import CheckpointError
from ..depictqa_core.loading.checkpoint import BUNDLED as BUNDLED_FOLDER
from ..depictqa_core.loading.checkpoint import CARD, PICKLES, describe_checkpoint
from ..depictqa_core.loading.device_placement import QUANTISED
from .loaded_judge import LoadedJudge, answers_of
from .ui import plain

BUNDLED = "depictqa-mini (bundled)"
DEVICES = ["auto", "cpu"]
DTYPES = ["auto", "float32", "bfloat16", "float16", *QUANTISED]
BUILT_IN = "built in"  # no folder of one's own for anchors or encoder
LARGE = 2**30  # bytes of weights from which half precision is worth its rounding
KEEP, FREE = "keep in memory", "free after use"
MEMORY = [KEEP, FREE]


def checkpoint_folders() -> dict[str, Path]:
    """The checkpoints under ``models/depictqa``; and pickles, bare or in a folder of their own, listed so that their
    error can tell the way. What else lies there, such as the state of a training run, is not offered."""
    return {
        name: path
        for name, path in _entries("depictqa", PICKLES).items()
        if path.is_file() or (path / CARD).is_file() or any(any(path.glob(pattern)) for pattern in PICKLES)
    }


def _entries(kind: str, files: tuple[str, ...] = ()) -> dict[str, Path]:
    """The folders, and files of some patterns, directly under every model folder of a kind, by name; of two with one
    name the first path wins. Names are plain text: the menu of a widget can take a name for HTML."""
    found = {}
    for root in folder_paths.get_folder_paths(kind):
        if os.path.isdir(root):
            for entry in sorted(os.scandir(root), key=lambda entry: entry.name.lower()):
                wanted = entry.is_dir() or any(Path(entry.name).match(pattern) for pattern in files)
                if wanted and not entry.name.startswith("."):
                    found.setdefault(plain(entry.name), Path(entry.path))
    return found


def own_names(kind: str) -> list[str]:
    """What the widget of a kind ("anchors" or "encoders") offers, what is built in first."""
    return [BUILT_IN, *_entries(f"depictqa_{kind}")]


def _own_folder(kind: str, name: str) -> Path | None:
    """The folder of a name that came with a graph, as ``checkpoint_path`` takes it; None for what is built in."""
    folders = _entries(f"depictqa_{kind}")
    if name != BUILT_IN and plain(name) not in folders:
        raise CheckpointError(f"{kind}: there is no folder {name!r} under models/depictqa_{kind}.")
    return folders.get(plain(name))


def checkpoint_names() -> list[str]:
    """What the checkpoint widget offers, the bundled model first."""
    return [BUNDLED, *checkpoint_folders()]


def checkpoint_path(name: str) -> Path | None:
    """The folder of a name that came with a graph, None for the bundled model.

    Only names that the widget offers are taken, so no name can lead out of the model folders.

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


def loader_state(checkpoint: str, anchors: str = BUILT_IN, encoder: str = BUILT_IN) -> str:
    """Return a stable text that changes with the files of the checkpoint, the anchors or the encoder.

    ComfyUI then loads them again, and earlier answers do not count.
    """
    checkpoints = {BUNDLED: BUNDLED_FOLDER, **checkpoint_folders()}
    folders = [checkpoints.get(plain(checkpoint)), _entries("depictqa_anchors").get(plain(anchors))]
    folders.append(_entries("depictqa_encoders").get(plain(encoder)))
    return repr([checkpoint, anchors, encoder, *map(_file_states, folders)])


def _file_states(folder: Path | None) -> list[tuple]:
    """Path, size and times of every file below a folder, or of a file. The time of the last change of the entry tells a
    file that another of equal size and time has replaced."""
    if folder is None:
        return []
    states = []
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        with suppress(OSError):  # a file that goes away meanwhile, or a link to nothing
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
) -> LoadedJudge:
    """Read a checkpoint into ordinary memory; it moves to the GPU when it is first asked.

    Args:
        checkpoint: one of ``checkpoint_names()``.
        device: "auto" (ComfyUI's device) or "cpu".
        dtype: one of ``DTYPES``. Auto is float32, except for large checkpoints on a GPU, which get float16, or
            bfloat16 where ComfyUI finds float16 unfit: its 8 bits of precision move probabilities six times as far.
            int8 and int4 stay where they work: quantised weights cannot be moved.
        anchors, encoder: one of ``own_names``.
        memory: KEEP leaves the weights to ComfyUI's memory management; FREE lets them go after every question.

    Raises:
        CheckpointError: the checkpoint or a folder is missing, damaged or unsafe to read, or the dtype cannot be had.
    """
    folder = checkpoint_path(checkpoint)
    own = {"anchors": _own_folder("anchors", anchors), "encoder": _own_folder("encoders", encoder)}
    on_cpu = device == "cpu" or model_management.get_torch_device().type == "cpu"
    load_device = torch.device("cpu") if on_cpu else model_management.get_torch_device()
    offload_device = torch.device("cpu") if on_cpu else model_management.unet_offload_device()
    if dtype == "auto":
        dtype = "float32" if on_cpu or _weight_bytes(folder) < LARGE else _half(load_device)
    if dtype in QUANTISED:
        offload_device = load_device
    answers = answers_of((loader_state(checkpoint, anchors, encoder), dtype, str(load_device)))

    def read():
        from ..depictqa_core.judge import load_judge  # brings in transformers: only now that a model is wanted

        # Nodes run in inference mode; weights made there could never be updated in place again.
        with torch.inference_mode(False), torch.no_grad():
            return load_judge(folder, device=str(offload_device), dtype=dtype, answers=answers.questions, **own)

    return LoadedJudge(read, load_device, offload_device, keep=memory == KEEP, answers=answers)


def _weight_bytes(folder: Path | None) -> int:
    files = describe_checkpoint(folder or BUNDLED_FOLDER)["files"]
    return sum(facts["bytes"] for facts in files.values())


def _half(device: torch.device) -> str:
    if model_management.should_use_fp16(device):
        return "float16"
    return "bfloat16" if model_management.should_use_bf16(device) else "float32"
