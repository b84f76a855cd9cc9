"""Loads the processor of a vision-language model, with its chat template, and checks that its tokenizer fits."""

import inspect
import math
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import CheckpointError, PackageError, quoted
from ..runtime.quiet import quiet
from ..storage.documents import read_json
from .vlm_memory import ImageInput
from .vlm_prompts import image_token

CONFIG = "config.json"
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
SIDE = 64
"""Side in pixels of an image that tests a processor."""
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")


def needs_code(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"model '{folder.name}': {what} needs Python code from its own folder, which is never run; use a version of it"
        " that transformers supports itself"
    )


def read_processor(folder: Path) -> Any:
    """Load the processor with the image processor that needs no torchvision, and without a video processor.

    AutoProcessor would demand torchvision for the videos of some models.

    Raises:
        CheckpointError: its files are damaged, need code of their own, or lack a chat template.
        PackageError: it needs a package that is missing.
    """
    import transformers
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    settings: dict[str, Any] = {}
    for name in ("tokenizer_config.json", *reversed(PROCESSOR_FILES)):
        if (folder / name).is_file():
            settings |= read_json(folder / name, error=CheckpointError)
    kind = getattr(transformers, str(settings.get("processor_class")), None)
    if kind is None and settings.get("auto_map"):
        raise needs_code(folder, f"its processor {settings.get('processor_class')}")
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
        raise PackageError(
            f"model '{folder.name}': its processor needs another package ({quoted(error)}); install it"
        ) from error
    except CheckpointError:
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):  # advice that nobody should follow
            raise needs_code(folder, "its processor") from error
        raise CheckpointError(
            f"model '{folder.name}': its processor cannot be loaded ({quoted(error)}); download it again"
        ) from error
    return processor


def _for_still_images(kind: Any) -> type:
    """The class of a processor that may have no video processor."""

    def check_argument_for_proper_class(self: object, name: str, argument: object) -> Any:
        return None if argument is None else kind.check_argument_for_proper_class(self, name, argument)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check_argument_for_proper_class})


def _pil(auto: Any) -> dict[str, Any]:
    """The argument that chooses image processors on Pillow: transformers 5 calls it backend, 4 use_fast."""
    return {"backend": "pil"} if "backend" in (inspect.getdoc(auto.from_pretrained) or "") else {"use_fast": False}


def _template(folder: Path, tokenizer: Any) -> str:
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


def processed(folder: Path, processor: Any, side: int) -> Any:
    """What the processor makes of one black square image, as a dict of tensors.

    Raises:
        CheckpointError: it fails.
    """
    try:
        with quiet():
            text, images = image_token(processor), [Image.new("RGB", (side, side))]
            return processor(text=[text], images=images, return_tensors="pt", add_special_tokens=False)
    except Exception as error:  # whatever the processor raises
        raise CheckpointError(
            f"model '{folder.name}': its processor fails ({quoted(error)}); download it again"
        ) from error


def largest_image(folder: Path, max_pixels: int) -> ImageInput:
    """Return what the processor of a folder makes of a square image of the largest area.

    Raises:
        CheckpointError, PackageError: as in ``read_processor`` and ``processed``.
    """
    made = processed(folder, read_processor(folder), math.isqrt(max_pixels))
    return ImageInput(made["input_ids"].shape[1], tuple(made["pixel_values"].shape))


def check_tokenizer(folder: Path, model: Any, processor: Any) -> None:
    """Refuse the tokenizer of another model, whose tokens would mean nothing here, or crash the device."""
    tokenizer, known = processor.tokenizer, len(model.get_input_embeddings().weight)
    # tokens that are merely added to it may be more than the network has, unless the chat template uses them
    tokens = max(tokenizer.vocab_size, 1 + max(tokenizer(processor.chat_template)["input_ids"], default=0))
    wrong = f"its tokenizer has {tokens} tokens or more, and the network {known}" if tokens > known else ""
    expected = getattr(model.config, "image_token_id", getattr(model.config, "image_token_index", None))
    if not wrong and isinstance(expected, int) and expected not in processed(folder, processor, SIDE)["input_ids"]:
        wrong = f"it writes images with other tokens than number {expected}, which {CONFIG} states"
    if wrong:
        raise CheckpointError(
            f"model '{folder.name}': {wrong}: the tokenizer is that of another model; download the folder again"
        )
