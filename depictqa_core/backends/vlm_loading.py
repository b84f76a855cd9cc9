"""Opens the folder of a vision-language model of transformers, and refuses in one line what cannot be a judge."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..calibration import Calibration
from ..errors import CheckpointError, PackageError, quoted
from ..loading.checkpoint_folder import CARD
from ..loading.device_placement import Device, check_device, loading_options
from ..network.checkpoint_rules import config_problem
from ..runtime.quiet import quiet
from ..storage.documents import named, read_json
from .profiles import Profile, choose_profile

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

CONFIG = "config.json"
OWN_MODEL = "depictqa"
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
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
    model = _model(folder, device, dtype)
    card, ends = card_of(folder, config, profile), _ends(model, processor)
    return LoadedVlm(model, processor, profile, card, ends, read_calibration(folder))


def check_files(folder: Path, content: dict) -> None:
    """Refuse a folder that lacks what every judge needs."""
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
            raise CheckpointError(
                f"model '{folder.name}' ({kind}) needs Python code from its own folder, which is never run; use a"
                " version of it that transformers supports itself"
            )
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
        raise CheckpointError(f"model '{folder.name}': its {CONFIG} cannot be used ({quoted(error)})") from error


def read_processor(folder: Path) -> Any:
    """The processor with the image processor that needs no torchvision, and without a video processor.

    AutoProcessor would demand torchvision for the videos of some models.
    """
    import transformers
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    settings: dict[str, Any] = {}
    for name in ("tokenizer_config.json", *reversed(PROCESSOR_FILES)):
        if (folder / name).is_file():
            settings |= read_json(folder / name, error=CheckpointError)
    kind = getattr(transformers, str(settings.get("processor_class")), None)
    if kind is None:
        raise CheckpointError(
            f"model '{folder.name}': its processor {settings.get('processor_class')!r} is none of transformers;"
            " download its files again, or upgrade transformers"
        )
    try:
        with quiet():
            where = {"pretrained_model_name_or_path": str(folder), "local_files_only": True, "trust_remote_code": False}
            tokenizer = AutoTokenizer.from_pretrained(**where)
            images = AutoImageProcessor.from_pretrained(**where, **_pil(AutoImageProcessor))
            known = inspect.signature(kind.__init__).parameters
            own = {name: value for name, value in settings.items() if name in known and not isinstance(value, dict)}
            own["chat_template"] = _template(folder, tokenizer)
            if "video_processor" in known:
                own["video_processor"] = None
            try:
                processor = _for_still_images(kind)(image_processor=images, tokenizer=tokenizer, **own)
            except TypeError:  # transformers 4.50 insists on a video processor, which needs no torchvision there
                processor = AutoProcessor.from_pretrained(**where)
                processor.image_processor, processor.chat_template = images, own["chat_template"]
    except ImportError as error:
        raise PackageError(f"model '{folder.name}': its processor needs another package ({quoted(error)})") from error
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"model '{folder.name}': its processor cannot be loaded ({quoted(error)})") from error
    return processor


def _for_still_images(kind: Any) -> type:
    """The class of a processor that may have no video processor."""

    def check_argument_for_proper_class(self: object, name: str, argument: object) -> Any:
        return None if argument is None else kind.check_argument_for_proper_class(self, name, argument)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check_argument_for_proper_class})


def _pil(auto: Any) -> dict[str, Any]:
    """The argument that chooses image processors on Pillow: transformers 5 calls it backend, 4 use_fast."""
    return {"backend": "pil"} if "backend" in (inspect.getdoc(auto.from_pretrained) or "") else {"use_fast": False}


def _template(folder: Path, tokenizer: PreTrainedTokenizerBase) -> str:
    """The chat template of a folder."""
    jinja, packed = (folder / name for name in TEMPLATE_FILES)
    if jinja.is_file():
        return jinja.read_text(encoding="utf-8")
    if packed.is_file():
        found = read_json(packed, error=CheckpointError).get("chat_template")
    else:
        found = tokenizer.chat_template
        found = found.get("default") if isinstance(found, dict) else found
    if not isinstance(found, str):
        raise CheckpointError(
            f"model '{folder.name}' has no chat template ({TEMPLATE_FILES[0]}): it is no model for questions; give an"
            " instruction-tuned version of it"
        )
    return found


def _model(folder: Path, device: Device, dtype: str) -> PreTrainedModel:
    import torch
    from transformers import AutoModelForImageTextToText

    from ..engine.exact_logits import compute_logits_in_float32

    options = loading_options(None, device, dtype)
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
            f"model '{folder.name}' cannot be loaded as {dtype} on {device} ({quoted(error)})"
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
        raise CheckpointError("the tokenizer of this model has no end token; download its files again")
    return list(dict.fromkeys(found))


def card_of(folder: Path, config: PretrainedConfig, profile: Profile) -> dict[str, Any]:
    """What reports say of the model. The version tells apart folders of one name by their files."""
    digest = hashlib.sha256((folder / CONFIG).read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(json.dumps([path.name, path.stat().st_size]).encode())
    return {
        "name": folder.name,
        "version": digest.hexdigest()[:12],
        "license": "see the model's own card",
        "trained_on": f"unknown; a {config.model_type} model, asked by the profile {profile.name}",
        "architecture": config.model_type,
        "profile": profile.name,
        "accuracy": profile.accuracy,
    }
