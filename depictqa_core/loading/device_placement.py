"""Placement of weights and their dtype: one device, several, or quantised by bitsandbytes."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from ..errors import CheckpointError
from ..runtime.versions import require
from ..storage.documents import describe

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig

    from ..network.config import DepictQAConfig

Device: TypeAlias = Union[str, "torch.device", dict[str, Any]]
"""A device, one of ``SPREAD``, or a device map (module name -> device)."""
DTYPES = ("float32", "float16", "bfloat16")
QUANTISED = ("int8", "int4")
"""Dtypes of bitsandbytes, for the linear layers of the language model only."""
SPREAD = ("auto", "balanced", "sequential")
"""Names for all devices: equal shares on each, or one after the other; the rest goes to CPU memory."""
UNTOUCHED = ("vision", "connector", "lm_head", "lora_A", "lora_B", ".*lora_A", ".*lora_B")
"""Modules of our networks that are never quantised: words inside names for transformers 4, patterns from their start
for 5."""


def check_device(device: Device) -> None:
    """Check a device name, with a shorter message than torch's.

    Raises:
        CheckpointError: the device is unknown, or holds no data ("meta").
    """
    import torch

    choices = "choose auto, cpu, cuda (or cuda:1, ...), mps or balanced"
    if isinstance(device, dict) or (isinstance(device, str) and device in SPREAD):
        return
    if not isinstance(device, (str, torch.device)):
        raise CheckpointError(f"device is {describe(device)}, which is not the name of a device: {choices}")
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise CheckpointError(f"device '{device}' is not known: {choices}") from error
    if kind == "meta":
        raise CheckpointError(f"device '{device}' holds no data, so nothing can be computed on it: {choices}")


def loading_options(
    config: DepictQAConfig | None, device: Device, dtype: str, untouched: Sequence[str] = UNTOUCHED
) -> dict[str, Any]:
    """Return the arguments of ``from_pretrained`` for a device and a dtype.

    Args:
        config: the ``DepictQAConfig``; None for another model, of which accelerate finds out how to spread it.
        device: a torch device, one of ``SPREAD``, or a device map (module name -> device).
        dtype: one of ``DTYPES`` or ``QUANTISED``.
        untouched: names of the modules that are never quantised.

    Returns:
        The arguments; with a ``device_map``, the network is placed while it is loaded.

    Raises:
        CheckpointError: the dtype is unknown or not available here, or the network does not fit.
    """
    import torch

    if dtype not in DTYPES + QUANTISED:
        raise CheckpointError(f"unknown dtype '{dtype}': choose one of {', '.join(DTYPES + QUANTISED)}")
    options: dict[str, Any] = {}
    strategy = device if isinstance(device, str) and device in SPREAD else None
    if dtype in QUANTISED or isinstance(device, dict) or strategy is not None:
        require("accelerate")
    if dtype in QUANTISED:
        options["quantization_config"] = _quantisation(device, dtype, list(untouched))
    options["torch_dtype"] = getattr(torch, dtype if dtype in DTYPES else compute_dtype(device))
    if isinstance(device, dict):
        options["device_map"] = device
    elif strategy is not None:
        options["device_map"] = strategy if config is None else spread(config, dtype, strategy)
    elif dtype in QUANTISED:  # quantised weights cannot be moved later
        options["device_map"] = {"": device}
    return options


def compute_dtype(device: Device) -> str:
    """Return the dtype of the layers of a quantised network that are not quantised: half precision, except on a CPU."""
    return "float32" if str(device).startswith("cpu") else "float16"


def _quantisation(device: Device, dtype: str, untouched: list[str]) -> BitsAndBytesConfig:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise CheckpointError(
            f"dtype {dtype} needs the package bitsandbytes, which is not installed: pip install bitsandbytes, or choose"
            " float16"
        )
    import bitsandbytes
    import torch
    from transformers import BitsAndBytesConfig

    kinds = getattr(bitsandbytes, "supported_torch_devices", {"cuda"})
    if isinstance(device, str) and device not in SPREAD and torch.device(device).type not in kinds:
        raise CheckpointError(
            f"dtype {dtype}: this bitsandbytes does not run on '{device}', only on {', '.join(sorted(kinds))}; choose"
            " float16 or float32"
        )
    if dtype == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=untouched)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=getattr(torch, compute_dtype(device)),
        llm_int8_skip_modules=untouched,
    )


def spread(
    config: DepictQAConfig, dtype: str, strategy: str = "balanced", max_memory: dict | None = None
) -> dict[str, Any]:
    """Return a device map with the language model on all devices, and vision tower and connector on the first.

    Layers that do not fit are offloaded to CPU memory, but never the layers that make the prompts.

    Args:
        config: the ``DepictQAConfig``.
        dtype: one of ``DTYPES`` or ``QUANTISED``.
        strategy: one of ``SPREAD``.
        max_memory: bytes by device (index, "mps" or "cpu"); None queries the devices.

    Raises:
        CheckpointError: all devices together are too small.
    """
    import torch
    from accelerate import infer_auto_device_map
    from accelerate.utils import CustomDtype, get_balanced_memory, get_max_memory

    from ..network.model import DepictQAModel

    with torch.device("meta"):
        model = DepictQAModel(config)
    stored = {"int8": torch.int8, "int4": CustomDtype.INT4}.get(dtype) or getattr(torch, dtype)
    kept_whole = model._no_split_modules
    memory = dict(get_max_memory(max_memory))
    main = next(iter(memory))
    beside = sum(p.numel() for part in (model.vision, model.connector) for p in part.parameters())
    memory[main] = max(0, memory[main] - beside * (4 if dtype == "float32" else 2))
    if strategy != "sequential":
        memory = get_balanced_memory(model.language, memory, kept_whole, stored)
    places = infer_auto_device_map(model.language, memory, kept_whole, stored)
    used = set(places.values())
    words = next(iter(places.values()))  # the word embeddings are the first of the language model
    if "disk" in used or (main != "cpu" and (words == "cpu" or (dtype in QUANTISED and "cpu" in used))):
        raise CheckpointError(
            f"the network does not fit into the memory of this machine's devices as {dtype}: choose int8 or int4, or"
            " free some memory"
        )
    places = {f"language.{name}".rstrip("."): device for name, device in places.items()}
    return {"vision": main, "connector": main, **places}
