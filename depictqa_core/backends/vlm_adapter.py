"""Adapter folders: a LoRA adapter of a vision-language model, tuned by ``python -m training train``.

The folder holds what differs from the base model: the adapter in the format of peft, the profile that it was tuned
with, the calibration, and ``depictqa_adapter.json``, which names the base and the hash of its weights. It is opened
next to that base and no other.
"""

import hashlib
import json
import math
import os
import struct
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, quoted
from ..loading.checkpoint_folder import AGAIN, file_hash
from ..loading.device_placement import Device
from ..runtime.versions import require
from ..storage.documents import named, parse_json, read_json
from ..storage.files import use_umask, write_file
from ..storage.rules import OBJECT, SWITCH, above, list_of, number, one_of, problem, string, whole
from ..tasks import TASKS
from .profiles import OWN, Profile, choose_profile
from .vlm_loading import LoadedVlm, is_vlm_folder, load_vlm, read_calibration

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "depictqa_adapter.json"
WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
"""The two files of peft, which other programs read as well."""
_NAMES = list_of(string(300), 0, 10_000)
LORA = {
    "r": whole(1, 4096),
    "lora_alpha": above(0, 1e6),
    "lora_dropout": number(0, 0.99),
    "target_modules": _NAMES,
    "modules_to_save": _NAMES,
}
"""The settings of peft that our adapters have; no other is read, because some of them load code."""
_RULES: dict[str, Any] = {
    **{name: string() for name in ("name", "version", "license", "trained_on")},
    "base": {"name": string(255), "path": string(4096), "architecture": string(100), "hash": string(64)},
    "tasks": list_of(one_of(*TASKS), 1, len(TASKS), unique=True),
    "personal": SWITCH,
    "files": OBJECT,
}
_SAMPLE = 2048
"""Bytes of a tensor that are hashed at each of three places."""
_HEADER = 2**27
"""Largest header of a file of weights."""


def is_adapter_folder(folder: Path) -> bool:
    """Whether a folder holds an adapter of ours."""
    return os.path.isfile(folder / ADAPTER)


def read_adapter(folder: Path) -> dict[str, Any]:
    """Return the checked card of an adapter folder.

    Raises:
        CheckpointError: a file is missing, damaged or truncated.
    """
    where = f"adapter '{folder.name}' is damaged: {ADAPTER}"
    card = read_json(folder / ADAPTER, where=where, remedy=AGAIN, error=CheckpointError)
    missing = sorted({*_RULES, *_RULES["base"]} - {*card, *card.get("base", {})} - {"personal", "trained_on"})
    if wrong := problem({**card, "trained_on": card.get("trained_on") or "-"}, _RULES):
        raise CheckpointError(f"{where}: {wrong}; {AGAIN}")
    if missing:
        raise CheckpointError(f"{where}: {missing[0]} is missing; {AGAIN}")
    for name in (WEIGHTS, SETTINGS, OWN):
        if not (folder / name).is_file():
            raise CheckpointError(f"adapter '{folder.name}' is incomplete: {name} is missing; {AGAIN}")
    size = card["files"].get(WEIGHTS, {}).get("bytes")
    if (found := (folder / WEIGHTS).stat().st_size) != size:
        raise CheckpointError(
            f"adapter '{folder.name}' is damaged: {WEIGHTS} has {found} bytes instead of {size}; {AGAIN}"
        )
    return card


def base_folder(folder: Path, given: str | Path | None = None) -> Path:
    """Find the base model of an adapter folder: as given, at the path that the adapter states, or next to the folder.

    Args:
        given: the user's own choice; only this folder is tried then.

    Raises:
        CheckpointError: the base is not found, or the given folder is no vision-language model.
    """
    base = read_adapter(folder)["base"]
    if given is not None:
        if not is_vlm_folder(Path(given)):
            raise CheckpointError(
                f"base '{named(given)}' is not a folder of a vision-language model; give that of the base"
            )
        return Path(given)
    stated = [Path(base["path"])] if _is_local(base["path"]) else []
    for found in (*stated, folder.absolute().parent / Path(base["name"]).name):
        if is_vlm_folder(found):
            return found
    raise CheckpointError(
        f"adapter '{folder.name}' needs its base model '{base['name']}' ({base['architecture']}), which is not where it"
        f" was when it was tuned: put the folder next to the adapter, or name it (base, --base)"
    )


def vlm_folder(folder: Path, base: str | Path | None = None) -> Path | None:
    """The folder of the vision-language model that a judge of this folder runs: itself, the base of an adapter, or
    None for other folders."""
    if is_adapter_folder(folder):
        return base_folder(folder, base)
    return folder if is_vlm_folder(folder) else None


def _is_local(path: str) -> bool:
    """Whether a path that a file states is one of this machine: a share (``//host/share``) would be a connection."""
    return Path(path).is_absolute() and not path.replace("\\", "/").startswith("//")


def load_adapter(folder: Path, base: str | Path | None, device: Device, dtype: str) -> LoadedVlm:
    """Load an adapter folder with its base model.

    In float32 the adapter is merged into the weights, which changes nothing but rounding; in other formats it stays
    separate, because they would round much of a small update away.

    Args:
        base, device, dtype: as in ``load_judge``.

    Raises:
        CheckpointError: as ``read_adapter`` and ``load_vlm``; the base is another model, or the adapter does not fit.
        PackageError: peft is missing.
    """
    require("peft")
    card, where = read_adapter(folder), base_folder(folder, base)
    if fingerprint(where) != card["base"]["hash"]:
        raise CheckpointError(
            f"adapter '{folder.name}' was tuned on other weights than those of '{where.name}': name the folder of its"
            f" base '{card['base']['name']}' ({card['base']['architecture']})"
        )
    loaded = load_vlm(where, device, dtype)
    model = _adapted(loaded.model, folder, merge=dtype == "float32" and not isinstance(device, dict))
    profile = choose_profile(folder, card["base"]["architecture"])
    known = {key: value for key, value in card.items() if key not in ("base", "personal")}
    facts = {key: card["base"][key] for key in ("name", "hash")}
    described = {**loaded.card, **known, "base": facts, "profile": profile.name, "accuracy": profile.accuracy}
    personal = bool(card.get("personal"))
    return replace(
        loaded, model=model, profile=profile, card=described, calibration=read_calibration(folder), personal=personal
    )


def _adapted(model: "PreTrainedModel", folder: Path, merge: bool) -> "PreTrainedModel":
    """The model with the weights of an adapter in it."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    settings = read_json(folder / SETTINGS, error=CheckpointError)
    content = {name: settings[name] for name in LORA if settings.get(name) is not None}
    wrong = problem(content, LORA) or next((f"{name} is missing" for name in LORA if name not in content), None)
    if wrong or settings.get("peft_type") != "LORA":
        raise CheckpointError(
            f"adapter '{folder.name}' is damaged: {SETTINGS}: {wrong or 'it is of another kind than LORA'}; {AGAIN}"
        )
    try:
        adapted = with_lora(model, content)
        loaded: Any = set_peft_model_state_dict(adapted, load_file(folder / WEIGHTS))
        strange = [*loaded.unexpected_keys, *(name for name in loaded.missing_keys if _is_adapted(name))]
    except Exception as error:  # any error of the libraries becomes one clear line
        raise CheckpointError(
            f"adapter '{folder.name}' does not fit its base model ({quoted(error)}); {AGAIN}"
        ) from error
    if strange:
        raise CheckpointError(
            f"adapter '{folder.name}' does not fit its base model as this transformers names its parts (see"
            f" {strange[0]}); use the version of transformers that it was tuned with"
        )
    places = getattr(model, "hf_device_map", {})
    if merge and len(set(places.values())) < 2:
        return adapted.merge_and_unload().eval()
    return adapted.get_base_model().eval().requires_grad_(False)


def _is_adapted(name: str) -> bool:
    return ".lora_" in name or ".modules_to_save." in name


def with_lora(model: "PreTrainedModel", settings: Mapping[str, Any]) -> Any:
    """Put a LoRA adapter into a model, in place; it adds nothing at first.

    Args:
        settings: of ``LORA``.

    Returns:
        the ``peft.PeftModel`` around the model.
    """
    from peft import LoraConfig, get_peft_model

    whole = list(settings["modules_to_save"]) or None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks for an attribute by its name in transformers 4
        return get_peft_model(model, LoraConfig(**{**settings, "modules_to_save": whole}))


# ---------------------------------------------------------------------- writing


def save_adapter(
    folder: Path, weights: Mapping[str, Any], settings: Mapping[str, Any], profile: Profile, card: dict[str, Any]
) -> None:
    """Write an adapter folder.

    Args:
        folder: an empty folder.
        weights: tensors by their names in peft's format.
        settings: of ``LORA``.
        card: name, version, license, trained_on, tasks, personal, and ``base`` with name, path, architecture and hash.
    """
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS, {"format": "pt"})
    peft = {
        **settings,
        "peft_type": "LORA",
        "task_type": None,
        "bias": "none",
        "base_model_name_or_path": card["base"]["name"],
    }
    write_file(folder / SETTINGS, json.dumps(peft, indent=1, sort_keys=True) + "\n")
    write_file(
        folder / OWN, json.dumps({key: value for key, value in asdict(profile).items() if value != ""}, indent=1) + "\n"
    )
    facts = {"bytes": (folder / WEIGHTS).stat().st_size, "sha256": file_hash(folder / WEIGHTS)}
    write_file(folder / ADAPTER, json.dumps({**card, "files": {WEIGHTS: facts}}, indent=1) + "\n")
    use_umask(folder, [folder / WEIGHTS])


# ---------------------------------------------------------------------- which base it is


def fingerprint(folder: Path) -> str:
    """Hash what tells the weights of a model folder from all others, in a moment even for many gigabytes.

    It covers the tokenizer, and of every tensor name, format, shape and three samples of its bytes: tuning, merging and
    quantising a model change nearly all of them. How the tensors are split over files makes no difference.

    Raises:
        CheckpointError: a file of weights is damaged.
    """
    digest = hashlib.sha256()
    places: dict[str, tuple[Path, str, list[int], int, int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        places |= {name: (path, *facts) for name, facts in _tensors(path).items()}
    for name, (path, kind, shape, start, end) in sorted(places.items()):
        digest.update(json.dumps([name, kind, shape]).encode())
        with open(path, "rb") as file:
            for place in sorted({start, max(start, (start + end - _SAMPLE) // 2), max(start, end - _SAMPLE)}):
                file.seek(place)
                digest.update(file.read(min(_SAMPLE, end - place)))
    tokenizer = folder / "tokenizer.json"
    if tokenizer.is_file():
        digest.update(tokenizer.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def _tensors(path: Path) -> dict[str, tuple[str, list[int], int, int]]:
    """Name -> format, shape, and first and last byte in the file, of every tensor of a .safetensors file."""
    where = f"model '{path.parent.name}': {path.name}"
    with open(path, "rb") as file:
        lead = file.read(8)
        size = struct.unpack("<Q", lead)[0] if len(lead) == 8 else 0
        text = file.read(size) if size <= _HEADER else b""
    try:
        header = parse_json(text.decode(), where)
        header.pop("__metadata__", None)
        found = {
            name: (one["dtype"], one["shape"], *(8 + size + place for place in one["data_offsets"]))
            for name, one in header.items()
        }
        if any(not 0 <= start <= end or math.prod(shape) < 0 for _, shape, start, end in found.values()):
            raise ValueError("its header is wrong")
    except Exception as error:  # whatever a damaged file makes of it
        raise CheckpointError(f"{where} is damaged ({quoted(error)}); download it again") from error
    return found
