"""Opens whatever ``load_judge`` is given: one function for each kind of judge, tried by what the folder holds."""

import os
from importlib.metadata import EntryPoint
from pathlib import Path

from ..chat.endpoint import is_address
from ..errors import CheckpointError, PackageError
from ..loading.checkpoint import load_checkpoint
from ..loading.checkpoint_folder import checkpoint_folder
from ..runtime.byte_cache import ByteCache
from ..runtime.plugins import JUDGES, load_plugin, plugins
from ..runtime.versions import ALWAYS, require
from .base import Backend
from .server_options import ServerOptions
from .vlm_adapter import is_adapter_folder, load_adapter, vlm_folder
from .vlm_loading import load_vlm, vlm_dtype

LARGE = 2**30
"""Bytes of weights from which half precision is worth its rounding."""
NAMES = "model, concurrency, votes, cache and settings"


def open_backend(
    checkpoint: str | Path | None,
    device: str,
    dtype: str,
    cache_bytes: int | None = None,
    compiled: bool = False,
    answers: ByteCache | None = None,
    base: str | Path | None = None,
    server: ServerOptions | None = None,
    vllm: str | None = None,
) -> Backend:
    """Load the judge of a checkpoint folder, of a server, or of another package; arguments as in ``load_judge``."""
    require(*ALWAYS)
    if vllm is not None:
        return _open_on_vllm(checkpoint, vllm, (device, dtype, base), compiled, server or ServerOptions(), answers)
    if is_address(checkpoint):
        return _open_server(str(checkpoint), compiled, server or ServerOptions(), answers)
    if server is not None:
        raise CheckpointError(
            f"{NAMES} are for judges on a server: give its address, such as http://host:8000/v1, or vllm"
        )
    entry = plugins(JUDGES).get(str(checkpoint))
    if entry is not None and not os.path.exists(entry.name):
        return _open_plugin(entry, _device(device), dtype)
    folder = checkpoint_folder(checkpoint)
    device = _device(device)
    if base is not None and not is_adapter_folder(folder):
        raise CheckpointError(
            f"'{folder.name}' is not an adapter folder: leave out base, which names the model under one"
        )
    if (model := vlm_folder(folder, base)) is not None:
        return _open_vlm(folder, model, device, dtype, cache_bytes, compiled, answers)
    return _open_native(folder, device, _dtype(folder, device, dtype), cache_bytes, compiled, answers)


def _open_server(address: str, compiled: bool, options: ServerOptions, answers: ByteCache | None) -> Backend:
    from .endpoint_factory import open_server

    if compiled:
        raise CheckpointError("compiling is for checkpoints of DepictQA, not for a server; leave it out")
    return open_server(address, options, answers)


def _open_on_vllm(
    checkpoint: str | Path | None,
    arguments: str,
    own: tuple[str, str, str | Path | None],
    compiled: bool,
    options: ServerOptions,
    answers: ByteCache | None,
) -> Backend:
    """Open a model folder by a vLLM server of its own; ``own`` are device, dtype and base, which vLLM chooses."""
    from .endpoint_factory import open_on_vllm

    if is_address(checkpoint):
        raise CheckpointError(f"{checkpoint}: vllm is for the folder of a model; a server is used as it is")
    folder = checkpoint_folder(checkpoint)
    if is_adapter_folder(folder):
        raise CheckpointError(f"'{folder.name}' is an adapter folder, which vllm does not take: leave vllm out")
    if vlm_folder(folder) is None:
        raise CheckpointError(f"'{folder.name}' is not a vision-language model of transformers: leave vllm out")
    if own != ("auto", "auto", None) or compiled:
        raise CheckpointError(
            "device, dtype, base and compiling are not for vLLM: leave them out, give further arguments of vllm serve,"
            " such as --dtype float16, and choose GPUs by CUDA_VISIBLE_DEVICES"
        )
    return open_on_vllm(folder, arguments, options, answers)


def _open_plugin(entry: EntryPoint, device: str, dtype: str) -> Backend:
    """Call what a package provides under ``depictqa.judges``: a function of device and dtype that returns a Backend."""
    backend = load_plugin(entry)(device=device, dtype=dtype)
    if not isinstance(backend, Backend):
        raise PackageError(f"{entry.name} ({entry.value}): gives a {type(backend).__name__}, not a Backend; update it")
    return backend


def _open_native(
    folder: Path, device: str, dtype: str, cache_bytes: int | None, compiled: bool, answers: ByteCache | None
) -> Backend:
    from .native import NativeBackend

    checkpoint = load_checkpoint(folder, device, dtype)
    if dtype == "float32":  # a half-precision weight would round much of a small update away
        checkpoint.model.merge_lora()
    if compiled:
        from ..engine.compiling import compile_language

        compile_language(checkpoint.model.language)
    return NativeBackend(checkpoint, cache_bytes, answers)


def _open_vlm(
    folder: Path,
    model: Path,
    device: str,
    dtype: str,
    cache_bytes: int | None,
    compiled: bool,
    answers: ByteCache | None,
) -> Backend:
    """Open a model folder, or an adapter folder with the folder of its base model."""
    from .vlm import VlmBackend

    if compiled:
        raise CheckpointError(f"model '{folder.name}': compiling is for checkpoints of DepictQA; leave it out")
    if dtype == "auto":  # bfloat16 unless the model states float16, which is too narrow for some
        dtype = "float32" if str(device).startswith("cpu") else vlm_dtype(model)
    loaded = load_vlm(folder, device, dtype) if folder == model else load_adapter(folder, model, device, dtype)
    return VlmBackend(loaded, cache_bytes, answers)


def _device(device: str) -> str:
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(folder: Path, device: str, dtype: str) -> str:
    if dtype != "auto":
        return dtype
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) if os.path.isdir(folder) else 0
    return "float16" if weights > LARGE and device != "cpu" else "float32"
