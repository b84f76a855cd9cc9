"""KV caches of transformers, of whatever kind a model uses: copied to several rows, measured, moved."""

import copy
from typing import Any

import torch

_VIEWS = ("keys", "values", "key_cache", "value_cache")
"""Tensors that transformers never writes into in place: their copies may be views."""


def branch(cache: Any, count: int) -> Any:
    """Copy the cache of one prompt to ``count`` rows that continue it independently; the original stays as it is."""
    new = copy.copy(cache)
    for name, value in vars(cache).items():
        if name == "layers":
            new.layers = [branch(layer, count) for layer in value]
        else:
            setattr(new, name, _repeated(value, count, name in _VIEWS))
    return new


def _repeated(value: Any, count: int, view: bool) -> Any:
    if isinstance(value, torch.Tensor) and value.dim() > 1 and value.shape[0] == 1:
        rest = [1] * (value.dim() - 1)
        return value.expand(count, *value.shape[1:]) if view else value.repeat(count, *rest)
    if isinstance(value, (list, tuple)):
        return type(value)(_repeated(one, count, view) for one in value)
    if isinstance(value, dict):
        return {key: _repeated(one, count, view) for key, one in value.items()}
    return value


def nbytes(value: Any) -> int:
    """Bytes of all tensors inside lists, dicts, outputs of transformers and caches."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(nbytes(one) for one in value.values())
    if isinstance(value, (list, tuple)):
        return sum(nbytes(one) for one in value)
    if hasattr(value, "layers") or hasattr(value, "keys") or hasattr(value, "key_cache"):
        return sum(nbytes(one) for one in vars(value).values())
    return 0


def to_device(value: Any, device: torch.device | str) -> Any:
    """Copy everything inside lists, dicts and outputs of transformers to a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):  # outputs of transformers are dicts of their own kind
        moved = copy.copy(value)
        for key, one in value.items():
            moved[key] = to_device(one, device)
        return moved
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(one, device) for one in value)
    return value
