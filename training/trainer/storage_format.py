"""Stores the weight matrices of a checkpoint in half as many bytes; computation stays in float32."""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from depictqa_core.errors import CheckpointError
from depictqa_core.loading.checkpoint_folder import describe_checkpoint
from depictqa_core.loading.saving import write_card
from depictqa_core.storage.documents import read_json
from depictqa_core.storage.files import new_folder, write_file

FORMATS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def convert(checkpoint: str | Path, output: str | Path, dtype: str = "float16") -> Path:
    """Write a copy of a checkpoint folder whose weight matrices are stored in another number format.

    Vectors (norms, biases) and the filters of convolutions stay as they are: answers depend on them most. Rounding the
    filters of depictqa-mini to float16 moves probabilities by up to 0.0024, rounding its matrices by 0.0001. The
    calibration is stored as well, since answers stay the same but for rounding (``benchmarks/agreement.py``).

    Args:
        checkpoint: checkpoint folder.
        output: a new folder.
        dtype: one of ``FORMATS``.

    Raises:
        CheckpointError: the folder is not a checkpoint, or a weight is outside the range of the number format.
        ValueError: the number format is unknown, or ``output`` exists already.
    """
    source, output = Path(checkpoint), Path(output)
    if dtype not in FORMATS:
        raise ValueError(f"unknown dtype '{dtype}'; choose one of {', '.join(FORMATS)}")
    if output.exists():
        raise ValueError(f"{output} exists already; name a new folder")
    card = describe_checkpoint(source)
    with new_folder(output) as unfinished:
        shutil.copytree(source, unfinished, ignore=shutil.ignore_patterns(*card["files"]), dirs_exist_ok=True)
        for file in card["files"]:
            with safe_open(str(source / file), "pt") as tensors:
                stored = {name: _stored(name, tensors.get_tensor(name), dtype) for name in tensors.keys()}
                save_file(stored, str(unfinished / file), metadata=tensors.metadata())
        config = read_json(unfinished / "config.json", error=CheckpointError)
        config = {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")}
        write_file(unfinished / "config.json", json.dumps({**config, "dtype": dtype}, indent=2, sort_keys=True) + "\n")
        write_card(unfinished, card)
    return output


def _stored(name: str, tensor: torch.Tensor, dtype: str) -> torch.Tensor:
    if not tensor.is_floating_point() or tensor.dim() != 2:
        return tensor
    stored = tensor.to(FORMATS[dtype])
    if not torch.isfinite(stored).all():
        raise CheckpointError(f"{name} has values outside the range of {dtype}; choose bfloat16 or float32")
    return stored


def add_convert(parser: argparse.ArgumentParser) -> None:
    """``convert``: the same checkpoint, with its weights in another number format."""
    parser.add_argument("checkpoint", help="checkpoint folder")
    parser.add_argument("output", help="new checkpoint folder")
    parser.add_argument("--dtype", choices=tuple(FORMATS), default="float16", help="default: %(default)s")
    parser.set_defaults(run=lambda a: print(convert(a.checkpoint, a.output, a.dtype)))
