"""Loads a checkpoint folder for inference: network, tokenizer and card, everything checked before it is used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CheckpointError, DepictQAError, quoted
from ..runtime.quiet import quiet
from ..runtime.versions import ALWAYS, import_failed, mismatch, require
from ..typicality import TypicalityModel
from ..typicality import load as load_typicality
from .checkpoint_folder import AGAIN, check_tokenizer_files, checkpoint_folder, damaged, describe_checkpoint
from .device_placement import QUANTISED, Device, check_device, loading_options

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..network.config import DepictQAConfig
    from ..network.model import DepictQAModel


@dataclass
class Checkpoint:
    """A loaded checkpoint: the network, its tokenizer, the card of its folder, and the distribution of the features of
    its training images, where the folder has it."""

    model: DepictQAModel
    tokenizer: PreTrainedTokenizerBase
    card: dict
    typicality: TypicalityModel | None = None


def load_checkpoint(folder: str | Path | None, device: Device = "cpu", dtype: str = "float32") -> Checkpoint:
    """Load a checkpoint folder for inference, without network access and from safetensors only.

    Args:
        folder: a checkpoint folder, or one of ``BUNDLED_NAMES``.
        device: torch device; "balanced" or "sequential" for all devices; or a device map (module -> device).
        dtype: "float32", "float16" or "bfloat16"; or "int8" or "int4", which quantise the language model (they need
            the package bitsandbytes).

    Raises:
        CheckpointError: the folder is missing, incomplete or damaged, its weights do not fit the configuration, or the
            device or dtype is not available.
        PackageError: a package that this checkpoint needs is missing or too old.
    """
    folder = checkpoint_folder(folder)
    card = describe_checkpoint(folder)
    require(*ALWAYS)
    check_device(device)
    check_tokenizer_files(folder, card)
    try:
        import torch
        from transformers import AutoTokenizer

        from ..network.config import DepictQAConfig
        from ..network.model import DepictQAModel, feature_width
    except Exception as error:  # transformers raises any error of its own imports
        raise mismatch(error) from error
    try:
        with quiet(), torch.device("cpu"):  # independent of the default device of the process
            config = DepictQAConfig.from_pretrained(str(folder), local_files_only=True)
            _refuse_misfits(folder, config, card["files"])
            options = loading_options(config, device, dtype)
            model = DepictQAModel.from_pretrained(str(folder), use_safetensors=True, local_files_only=True, **options)
            # Never run code in the folder of the weights, and never ask the user whether to.
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
            _check_tokenizer(folder, tokenizer, config)
            typicality = load_typicality(folder, lambda: feature_width(config))
    except DepictQAError:
        raise
    except Exception as error:  # any error of the libraries becomes one clear line
        # bitsandbytes is optional: the message about its formats names it
        broken = import_failed(error) and "bitsandbytes" not in str(error)
        raise (mismatch(error) if broken else _unreadable(folder, device, dtype, error)) from error
    wanted = options["torch_dtype"]
    if dtype not in QUANTISED and any(p.dtype != wanted for p in model.parameters() if p.is_floating_point()):
        model.to(wanted)  # transformers 4 does not convert all tensors of a folder with mixed dtypes
    model.eval()
    if "device_map" not in options:
        try:
            torch.nn.Module.to(model, str(device))  # transformers wraps ``to`` in a type that no device fits
        except Exception as error:
            raise CheckpointError(
                f"checkpoint '{folder.name}' cannot be moved to device '{device}' ({quoted(error)}); choose auto or cpu"
            ) from error
    return Checkpoint(model, tokenizer, card, typicality)


def _unreadable(folder: Path, device: Device, dtype: str, error: Exception) -> CheckpointError:
    what = f"checkpoint '{folder.name}' cannot be"
    if "out of memory" in str(error).lower():
        return CheckpointError(
            f"{what} loaded as {dtype}: not enough memory on {device}; choose int8, int4 or balanced"
        )
    if dtype in QUANTISED:
        return CheckpointError(f"{what} loaded as {dtype} on {device} ({quoted(error)}); choose float16 or float32")
    return CheckpointError(f"{what} read ({quoted(error)}); {AGAIN}")


def _refuse_misfits(folder: Path, config: DepictQAConfig, files: Iterable[str]) -> None:
    """Reject missing, unexpected or wrongly shaped weights, which would leave parts of the network random.

    This reads the headers of the files, because the reports of the libraries depend on version and device.
    """
    import torch
    from safetensors import safe_open

    from ..network.model import DepictQAModel

    found: dict[str, tuple[int, ...]] = {}
    for name in files:
        with safe_open(str(folder / name), framework="pt") as file:
            found |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    with torch.device("meta"):
        model = DepictQAModel(config)
    network = model.state_dict(keep_vars=True)
    same: dict[int, list[str]] = {}  # tied weights are one tensor with several names, any of which is enough
    for name, tensor in network.items():
        same.setdefault(id(tensor), []).append(name)
    misfits = {
        "missing": [names[0] for names in same.values() if not found.keys() & names],
        "unexpected": [name for name in found if name not in network],
        "mismatched": [name for name in found if name in network and found[name] != tuple(network[name].shape)],
    }
    listed = []
    for kind, names in misfits.items():
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            listed.append(f"{kind}: {', '.join(sorted(names)[:3])}{more}")
    if listed:
        raise CheckpointError(f"checkpoint '{folder.name}' does not fit its configuration ({'; '.join(listed)})")
    _refuse_geometry(folder, config)


def _refuse_geometry(folder: Path, config: DepictQAConfig) -> None:
    """Check that the smallest image fits through tower and connector.

    Strides, paddings and input sizes cannot be checked by the weights.
    """
    from ..images.size_policy import SizePolicy
    from ..network.model import pooled_shape

    height, width = SizePolicy(**config.size).padded(1, 1)
    try:
        if not pooled_shape(config, height, width).numel():
            raise ValueError(f"an image of {height} x {width} pixels becomes empty")
    except Exception as error:  # a wrong stride or size may raise any error
        raise damaged(folder, f"the network of config.json accepts no image ({quoted(error)})") from error


def _check_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, config: DepictQAConfig) -> None:
    """Reject a tokenizer that cannot encode the prompts and answers, or has ids beyond the network's vocabulary."""
    from .. import tasks
    from ..prompts import answer_ids, fixed_strings, text_ids

    words = config.language_config().vocab_size
    if tokenizer.eos_token_id is None:
        raise damaged(folder, "its tokenizer has no end token")
    known = set(tokenizer.all_special_ids) | {token for text in fixed_strings() for token in text_ids(text, tokenizer)}
    brief = (task for task in tasks.TASKS.values() if task.brief)
    for answer in dict.fromkeys(answer for task in brief for answer in tasks.answers(task, task.question)):
        ids = text_ids(answer, tokenizer)
        known |= {*ids, *answer_ids(answer, tokenizer)}
        if str(tokenizer.decode(ids)).strip() != answer:
            raise damaged(folder, f"its tokenizer does not reproduce the answer {answer!r}")
    if wrong := [token for token in known if token is None or not 0 <= token < words]:
        raise damaged(folder, f"its tokenizer has the token id {wrong[0]}, but the network has {words} words")
