"""Opens the folder of a vision-language model of transformers, and refuses in one line what cannot be a judge."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..calibration import Calibration
from ..errors import CheckpointError, quoted
from ..loading.checkpoint_folder import CARD, refuse_adapter
from ..loading.device_placement import QUANTISED, Device, check_device, loading_options
from ..network.checkpoint_rules import config_problem
from ..runtime.quiet import quiet
from ..storage.documents import named, read_json
from .profiles import Profile, choose_profile
from .vlm_files import check_stored_formats
from .vlm_memory import skeleton, unquantised
from .vlm_processor import CONFIG, PROCESSOR_FILES, check_tokenizer, needs_code, read_processor
from .worded import model_card

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

OWN_MODEL = "depictqa"
CALIBRATION = "depictqa_calibration.json"
"""What ``python -m training calibrate`` stores in a model folder."""


@dataclass
class LoadedVlm:
    """A loaded model.

    Attributes:
        model, processor: of transformers.
        profile: how questions are worded.
        card: name, version, licence and training data, as far as the folder says.
        ends: tokens that end an answer; the first is what a template ends turns with.
        calibration: settings of ``calibration.Calibration``.
        personal: whether its ratings follow one person's preferences.
    """

    model: PreTrainedModel
    processor: Any
    profile: Profile
    card: dict[str, Any]
    ends: list[int]
    calibration: dict[str, Any] = field(default_factory=dict)
    personal: bool = False


def is_vlm_folder(folder: Path) -> bool:
    """Whether a folder holds a model of transformers that is none of ours."""
    path = folder / CONFIG
    if os.path.exists(folder / CARD) or not os.path.isfile(path):  # pathlib raises for names that cannot be
        return False
    try:
        return read_json(path, error=CheckpointError).get("model_type") != OWN_MODEL
    except CheckpointError:
        return False


def calibration_file(folder: Path) -> Path:
    """The file of a checkpoint, model or adapter folder, or of the settings of a server, that holds its calibration."""
    return folder / (CONFIG if (folder / CARD).is_file() else CALIBRATION)


def read_calibration(folder: Path) -> dict[str, Any]:
    """Return the checked calibration of such a folder, empty where there is none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / CALIBRATION
    found = read_json(path, error=CheckpointError).get("calibration") if path.is_file() else {}
    if wrong := config_problem({"calibration": found}):
        raise CheckpointError(f"model '{folder.name}': {CALIBRATION}: {wrong}; delete the file, or calibrate again")
    try:
        Calibration(found)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"model '{folder.name}': {CALIBRATION}: {error}; delete the file, or calibrate again"
        ) from error
    return found


def vlm_dtype(folder: Path) -> str:
    """The half-precision format in which the weights of a model folder are meant to run."""
    content = read_json(folder / CONFIG, error=CheckpointError)
    inner = content.get("text_config") if isinstance(content.get("text_config"), dict) else {}
    stated = [source.get(name) for source in (content, inner) for name in ("dtype", "torch_dtype")]
    return "float16" if "float16" in stated else "bfloat16"


def load_vlm(folder: Path, device: Device, dtype: str) -> LoadedVlm:
    """Load a model folder for inference: no network, safetensors only, never code of the folder.

    Args:
        device, dtype: as in ``load_checkpoint``.

    Raises:
        CheckpointError: the folder is no vision-language model, lacks a file, needs code of its own, or cannot be
            loaded on this device in this format.
        PackageError: its processor needs a package that is missing.
    """
    check_device(device)
    content = read_json(folder / CONFIG, error=CheckpointError)
    check_files(folder, content)
    config = read_config(folder, content)
    profile = choose_profile(folder, config.model_type)
    processor = read_processor(folder)
    model = _model(folder, config, device, dtype)
    check_tokenizer(folder, model, processor)
    card, ends = card_of(folder, config, profile), _ends(model, processor)
    return LoadedVlm(model, processor, profile, card, ends, read_calibration(folder))


def check_files(folder: Path, content: dict) -> None:
    """Refuse a folder that lacks what every judge needs."""
    refuse_adapter(folder)  # transformers would load the base that it names
    weights = list(folder.glob("*.safetensors"))
    if not weights:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth"))
        why = "its weights are pickles, which are never loaded" if pickled else "it has no weights"
        raise CheckpointError(f"model '{folder.name}': {why}; download its .safetensors files")
    for index in folder.glob("*.safetensors.index.json"):
        names = read_json(index, error=CheckpointError).get("weight_map", {})
        for name in sorted({str(name) for name in names.values()} if isinstance(names, dict) else ()):
            if Path(name).name != name or not (folder / name).is_file():
                raise CheckpointError(
                    f"model '{folder.name}' is incomplete: {named(name)} is missing; download it again"
                )
    if not any((folder / name).is_file() for name in PROCESSOR_FILES):
        raise CheckpointError(
            f"model '{folder.name}' ({content.get('model_type')}) has no processor for images"
            f" ({' or '.join(PROCESSOR_FILES)}): it is a text-only model, or the file must be downloaded too"
        )


def read_config(folder: Path, content: dict) -> PretrainedConfig:
    """The configuration, of a class that takes images and text."""
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    kind = content.get("model_type")
    if kind not in CONFIG_MAPPING:
        if content.get("auto_map"):
            raise needs_code(folder, f"its architecture {kind}")
        raise CheckpointError(
            f"model '{folder.name}': this transformers does not know the architecture {kind!r}; pip install --upgrade"
            " transformers"
        )
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise CheckpointError(
            f"model '{folder.name}' ({kind}) does not take images and text: give a vision-language model, such as"
            " qwen2_5_vl, smolvlm, internvl or gemma3"
        )
    try:
        with quiet():
            config: PretrainedConfig = AutoConfig.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
            return config
    except Exception as error:  # any error of the libraries becomes one clear line
        raise CheckpointError(
            f"model '{folder.name}': its {CONFIG} cannot be used ({quoted(error)}); download it again"
        ) from error


def _model(folder: Path, config: PretrainedConfig, device: Device, dtype: str) -> PreTrainedModel:
    import torch
    from transformers import AutoModelForImageTextToText

    from ..engine.exact_logits import compute_logits_in_float32

    check_stored_formats(folder, config)
    options = loading_options(None, device, dtype, unquantised(skeleton(config)) if dtype in QUANTISED else ())
    try:
        with quiet():
            loaded: Any = AutoModelForImageTextToText.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
        model: PreTrainedModel
        model, facts = loaded
    except Exception as error:
        raise CheckpointError(
            f"model '{folder.name}' cannot be loaded as {dtype} on {device} ({quoted(error)}); if the reason is a file,"
            " download it again"
        ) from error
    if missing := sorted(facts["missing_keys"]):
        raise CheckpointError(
            f"model '{folder.name}' is incomplete: its files lack {len(missing)} weights, such as {missing[0]};"
            " download it again"
        )
    if facts.get("mismatched_keys"):
        raise CheckpointError(f"model '{folder.name}': its weights do not fit its {CONFIG}; download it again")
    model.eval()
    compute_logits_in_float32(model)
    if "device_map" not in options:
        try:
            torch.nn.Module.to(model, str(device))  # transformers wraps ``to`` in a type that no device fits
        except Exception as error:
            raise CheckpointError(
                f"model '{folder.name}' cannot be moved to device '{device}' ({quoted(error)}); choose auto or cpu"
            ) from error
    return model


def _ends(model: PreTrainedModel, processor: Any) -> list[int]:
    """Tokens that end an answer: those of the generation config, and the tokenizer's."""
    listed = getattr(model.generation_config, "eos_token_id", None)
    listed = listed if isinstance(listed, (list, tuple)) else [listed]
    found = [int(one) for one in (*listed, processor.tokenizer.eos_token_id) if one is not None]
    if not found:
        raise CheckpointError("the tokenizer of this model has no end token; download the folder again")
    return list(dict.fromkeys(found))


def card_of(folder: Path, config: PretrainedConfig, profile: Profile) -> dict[str, Any]:
    """What reports say of the model. The version tells apart folders of one name by their files."""
    digest = hashlib.sha256((folder / CONFIG).read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(json.dumps([path.name, path.stat().st_size]).encode())
    kind = config.model_type
    return model_card(folder.name, digest.hexdigest()[:12], f"a {kind} model", profile, architecture=kind)
