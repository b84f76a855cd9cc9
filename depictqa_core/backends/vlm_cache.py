"""KV caches of transformers, of whatever kind a model uses: copied, stacked, measured, moved."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

_VIEWS = ("keys", "values", "key_cache", "value_cache")
"""Tensors that transformers never writes into in place: their copies may be views."""


def branch(cache: Any, count: int, rows: int = 1) -> Any:
    """Copy the cache of some prompts to rows that continue them independently; the original stays as it is.

    Args:
        count: rows for each prompt; those of one prompt are neighbours.
        rows: number of prompts in the cache.
    """

    def repeat(name: str, value: torch.Tensor) -> torch.Tensor:
        if rows == 1 and name in _VIEWS:
            return value.expand(count, *value.shape[1:])
        return value.repeat_interleave(count, 0) if count > 1 or name not in _VIEWS else value

    return _changed(cache, rows, lambda name, values: repeat(name, values[0]))


def stack(caches: Sequence[Any]) -> Any:
    """Put the caches of single prompts of equal length into one, a row for each."""
    return _changed(caches[0], 1, lambda name, values: torch.cat(values), caches)


def single(cache: Any, index: int, rows: int) -> Any:
    """Copy the cache of one prompt out of that of several."""
    return _changed(cache, rows, lambda name, values: values[0][index : index + 1].clone())


Change = Callable[[str, list[torch.Tensor]], torch.Tensor]


def _changed(cache: Any, rows: int, change: Change, caches: Sequence[Any] | None = None, name: str = "") -> Any:
    """Copy a cache with other tensors in the place of those that have a row for each prompt.

    Args:
        change: makes the new tensor of an attribute name and the tensors of all ``caches``.
        caches: caches of one structure; None is the one cache.
    """
    every = [cache] if caches is None else list(caches)
    if isinstance(cache, torch.Tensor):
        return change(name, every) if cache.dim() > 1 and cache.shape[0] == rows else cache
    if isinstance(cache, (list, tuple)):
        return type(cache)(_changed(one[0], rows, change, one, name) for one in zip(*every, strict=True))
    if isinstance(cache, dict):
        return {key: _changed(value, rows, change, [one[key] for one in every], name) for key, value in cache.items()}
    if not _is_cache(cache):
        return cache
    new = copy.copy(cache)
    for key, value in vars(cache).items():
        setattr(new, key, _changed(value, rows, change, [vars(one)[key] for one in every], key))
    return new


def _is_cache(value: Any) -> bool:
    """Whether a value is a cache of transformers, or the layer of one."""
    return any(hasattr(value, name) for name in ("layers", "keys", "key_cache", "conv_states")) and hasattr(
        value, "__dict__"
    )


def nbytes(value: Any) -> int:
    """Bytes of all tensors inside lists, dicts, outputs of transformers and caches."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(nbytes(one) for one in value.values())
    if isinstance(value, (list, tuple)):
        return sum(nbytes(one) for one in value)
    if _is_cache(value):
        return sum(nbytes(one) for one in vars(value).values())
    return 0


def pieces(value: Any, count: int) -> list[Any]:
    """Cut every tensor inside lists, dicts and outputs of transformers into ``count`` equal pieces of rows."""
    if isinstance(value, torch.Tensor):
        return list(value.chunk(count)) if value.dim() and value.shape[0] % count == 0 else [value] * count
    if isinstance(value, dict):
        cut = {key: pieces(one, count) for key, one in value.items()}
        return [{key: some[index] for key, some in cut.items()} for index in range(count)]
    if isinstance(value, (list, tuple)):
        cut_each = [pieces(one, count) for one in value]
        return [type(value)(some[index] for some in cut_each) for index in range(count)]
    return [value] * count


def joined(values: Sequence[Any]) -> Any:
    """Append the rows of every tensor inside lists, dicts and outputs of transformers: the inverse of ``pieces``."""
    first = values[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(values)) if first.dim() else first
    if isinstance(first, dict):
        new = copy.copy(first)
        for key in first:
            new[key] = joined([one[key] for one in values])
        return new
    if isinstance(first, (list, tuple)):
        return type(first)(joined(some) for some in zip(*values, strict=True))
    return first


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
