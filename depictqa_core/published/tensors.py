"""Load tensors from foreign files without running code in them.

safetensors files have no code. Pickled state dicts are loaded by ``torch.load(weights_only=True)``. TorchScript
archives are not run either: ``torch.jit.load`` executes the archive's ``__setstate__`` methods, which may write files,
so only the tensors of its object tree are read here.
"""

import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, quoted
from ..storage.documents import read_json


@dataclass
class Tensors:
    """The tensors of one file: ``shapes`` by name without loading them, ``read(name)`` to load one."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], torch.Tensor]


def open_tensors(path: str | Path) -> Tensors:
    """Open a safetensors file, a pickled state dict or a TorchScript archive.

    Raises:
        CheckpointError: the file is missing, damaged, has anything but tensors by name, or would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"'{path}' is not a file: give the weights file itself")
    try:
        if path.suffix == ".safetensors":
            return _safetensors(path)
        if _is_torchscript(path):
            return _torchscript(path)
        return _state_dict(path)
    except CheckpointError:
        raise
    except Exception as error:  # damaged files may raise any error
        # Without the cause: its traceback would advise to load the file unsafely.
        raise CheckpointError(
            f"'{path}' cannot be read, and nothing in it was run ({quoted(error)}); download it again"
        ) from None


def refuse_damaged(path: Path) -> None:
    """Verify all checksums (CRC-32) of a file written by torch, which torch itself does not.

    Files without checksums pass: safetensors, pickles from before torch 1.6, and those written with
    ``torch.serialization.set_crc32_options(False)``, where all are zero.

    Raises:
        CheckpointError: a checksum does not match.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = any(item.CRC for item in archive.infolist()) and archive.testzip()
    except Exception as error:  # a damaged archive may raise any error
        damaged = quoted(error)
    if damaged:
        raise CheckpointError(f"'{path}' is damaged: a checksum does not match ({damaged}); download it again")


def refuse_infinite(tensors: Tensors) -> dict[str, torch.dtype]:
    """Load all tensors of a file once and reject invalid values.

    Returns:
        The dtype of each tensor, by name.

    Raises:
        CheckpointError: a tensor contains NaN or Inf, or is sparse or quantised.
    """
    formats = {}
    for name in tensors.shapes:
        tensor = tensors.read(name).detach()
        if tensor.layout != torch.strided or tensor.dtype not in _STORAGES.values():
            raise CheckpointError(f"'{tensors.path}': {name} is not a plain array of numbers; use the published file")
        # The attention mask in CLIP's archives is minus infinity on purpose; it is not a weight.
        if not name.endswith("attn_mask") and not torch.isfinite(tensor).all():
            raise CheckpointError(f"'{tensors.path}': {name} contains NaN or Inf; download it again")
        formats[name] = tensor.dtype
    return formats


def model_files(folder: str | Path, what: str) -> list[Path]:
    """Return the weight files of a Hugging Face folder: safetensors if present, else pickles; shards in order."""
    folder = Path(folder)
    for index, single in (
        ("model.safetensors.index.json", "model.safetensors"),
        ("pytorch_model.bin.index.json", "pytorch_model.bin"),
    ):
        if (folder / index).is_file():
            try:
                names = sorted(set(read_json(folder / index)["weight_map"].values()))
            except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
                raise CheckpointError(f"{what} '{folder}' is damaged: {index} lists no shards") from error
            if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
                raise CheckpointError(f"{what} '{folder}' is damaged: {index} names files outside of the folder")
            missing = [name for name in names if not (folder / name).is_file()]
            if missing:
                raise CheckpointError(f"{what} '{folder}' is incomplete: {', '.join(missing)} missing; download again")
            return [folder / name for name in names]
        if (folder / single).is_file():
            return [folder / single]
    raise CheckpointError(f"{what} '{folder}' has no weights (model.safetensors or pytorch_model*.bin)")


def _safetensors(path: Path) -> Tensors:
    from safetensors import safe_open

    file = safe_open(str(path), framework="pt")
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    return Tensors(path, shapes, file.get_tensor)


def _state_dict(path: Path) -> Tensors:
    if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < (2, 6):
        raise CheckpointError(f"'{path.name}' is a pickle, which only torch 2.6 and newer reads safely: update torch")
    # Memory-mapped, a shard needs no more memory than the tensor being converted.
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    if not isinstance(state, dict) or not state or not all(isinstance(name, str) for name in state):
        raise CheckpointError(f"'{path.name}' is not a plain state dict (tensors by name)")
    foreign = sorted(name for name, value in state.items() if not isinstance(value, torch.Tensor))
    if foreign:
        raise CheckpointError(f"'{path.name}' is not a plain state dict: {', '.join(foreign[:3])} is not a tensor")
    return Tensors(path, {name: tuple(value.shape) for name, value in state.items()}, state.__getitem__)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in archive.namelist())


class _ArchiveObject:
    """Replaces any object of a TorchScript archive: its attributes without its code."""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("an object with custom state")
        self.__dict__.update(state)


@dataclass(frozen=True)
class _Stored:
    dtype: torch.dtype
    record: str
    count: int


@dataclass(frozen=True)
class _View:
    storage: _Stored
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _view(storage: _Stored, offset: int, shape: Iterable[int], stride: Iterable[int], *_: object) -> _View:
    return _View(storage, offset, tuple(shape), tuple(stride))


_STORAGES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_HARMLESS = {
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("collections", "OrderedDict"): dict,
    **{("torch.jit._pickle", f"build_{kind}list"): list for kind in ("int", "float", "double", "bool", "tensor")},
    ("torch.jit._pickle", "restore_type_tag"): lambda value, *_: value,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}


class _TreeUnpickler(pickle.Unpickler):
    """Builds the object tree of a TorchScript archive from ``_Node`` objects; every other name is rejected."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _ArchiveObject
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it requests {module}.{name}, which weights do not need")
        return _HARMLESS[module, name]

    def persistent_load(self, reference: Any) -> _Stored:
        kind, dtype, record, _, count = reference
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("a reference to something other than a storage")
        return _Stored(dtype, str(record), int(count))


def _torchscript(path: Path) -> Tensors:
    archive = zipfile.ZipFile(path)
    root = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
    with archive.open(root) as file:
        tree = _TreeUnpickler(file).load()
    views = dict(_walk(tree, "", set()))

    def read(name: str) -> torch.Tensor:
        view = views[name]
        record = archive.getinfo(f"{root.rpartition('/')[0]}/data/{view.storage.record}")
        if record.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(f"'{path.name}' is damaged: a tensor of it is compressed")
        flat = torch.frombuffer(bytearray(archive.read(record)), dtype=view.storage.dtype)
        return torch.as_strided(flat, view.shape, view.stride, view.offset)

    return Tensors(path, {name: view.shape for name, view in views.items()}, read)


def _walk(node: object, prefix: str, seen: set[int]) -> Iterator[tuple[str, _View]]:
    if not isinstance(node, _ArchiveObject) or id(node) in seen:
        return
    seen.add(id(node))
    for name, value in node.__dict__.items():
        if isinstance(value, _View):
            yield prefix + name, value
        else:
            yield from _walk(value, f"{prefix}{name}.", seen)
