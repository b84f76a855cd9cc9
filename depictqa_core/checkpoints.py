"""The checkpoint folder: one format for every judge, written whole and read strictly.

A folder holds ``config.json`` (network), safetensors weights, the tokenizer's files and ``depictqa.json`` (name,
version, licence, what it was trained on, and size and SHA-256 of each weight file).
"""

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import CheckpointError

BUNDLED = Path(__file__).parent / "checkpoints" / "depictqa-mini"
CARD = "depictqa.json"
DTYPES = ("float32", "float16", "bfloat16")
_PICKLES = ("*.pt", "*.pth", "*.bin", "*.ckpt")


@dataclass
class Checkpoint:
    """A loaded checkpoint: the network, its tokenizer, and the card of its folder."""

    model: object
    tokenizer: object
    card: dict


def describe_checkpoint(folder: str | Path) -> dict:
    """The card of a checkpoint folder, checked: every weight file is there in its full size.

    Raises:
        CheckpointError: the folder is no checkpoint, or a file of it is missing or cut short.
    """
    folder = Path(folder)
    if folder.is_file():
        raise CheckpointError(f"checkpoint '{folder}' is a file: give the folder that holds {CARD} and the weights")
    if not folder.is_dir():
        remedy = "; it comes with the package: install or clone it again" if folder == BUNDLED else ""
        raise CheckpointError(f"checkpoint folder '{folder}' does not exist{remedy}")
    if not (folder / CARD).is_file():
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        hint = f"; it holds the pickle {pickles[0]}, which is never loaded directly" if pickles else ""
        if any(name.startswith("ckpt") for name in pickles):
            hint += (
                ": make a checkpoint of it with depictqa import --clip ViT-L-14.pt --llm VICUNA_FOLDER"
                f" --delta '{folder / pickles[0]}' --out '{folder}-imported'"
            )
        raise CheckpointError(f"'{folder.name}' is not a checkpoint folder of DepictQA: it has no {CARD}{hint}")
    card = _read_json(folder / CARD)
    files = card.get("files")
    if not isinstance(files, dict) or not files:
        raise CheckpointError(f"checkpoint '{folder.name}' is damaged: {CARD} lists no weight files")
    for name, facts in files.items():
        plain = isinstance(facts, dict) and {"bytes", "sha256"} <= facts.keys() and Path(name).name == name
        if not plain or not name.endswith(".safetensors"):
            raise CheckpointError(
                f"checkpoint '{folder.name}' is damaged: {CARD} says nothing useful of '{name}'; get the folder again"
            )
        path = folder / name
        if not path.is_file():
            raise _missing(path)
        if path.stat().st_size != facts["bytes"]:
            raise CheckpointError(
                f"checkpoint '{folder.name}' is damaged: {name} has {path.stat().st_size} bytes instead of"
                f" {facts['bytes']}; get the folder again"
            )
    # Checked here: from a foreign or empty config transformers would build a network of default size, 7 billion weights
    if _read_json(folder / "config.json").get("model_type") != "depictqa":
        raise CheckpointError(f"checkpoint '{folder.name}' is not one of DepictQA: its config.json is of another model")
    _read_json(folder / "tokenizer_config.json")
    return card


def load_checkpoint(folder: str | Path, device: str = "cpu", dtype: str = "float32") -> Checkpoint:
    """Load a checkpoint folder for inference, without network access and from safetensors only.

    Args:
        folder: a checkpoint folder.
        device: torch device, or a ``device_map`` such as "auto" (needs accelerate).
        dtype: "float32", "float16" or "bfloat16".

    Raises:
        CheckpointError: missing, incomplete, damaged, weights that do not fit the configuration, or a device or dtype
            that cannot be had.
    """
    folder = Path(folder)
    card = describe_checkpoint(folder)
    if dtype not in DTYPES:
        raise CheckpointError(f"unknown dtype '{dtype}': choose one of {', '.join(DTYPES)}")
    import torch
    from transformers import AutoTokenizer

    from .model import DepictQAModel

    try:
        where = {"device_map": device} if device in ("auto", "balanced", "sequential") else {}
        with _quiet():
            model, report = DepictQAModel.from_pretrained(
                str(folder),
                torch_dtype=getattr(torch, dtype),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                **where,
            )
            # Never run code that lies beside the weights, nor ask the terminal whether to.
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a damaged file makes the libraries raise, the person gets one clear line
        raise CheckpointError(
            f"checkpoint '{folder.name}' cannot be read ({_line(error)}); get the folder again"
        ) from error
    _refuse_misfits(folder, report)
    wanted = getattr(torch, dtype)
    if any(p.dtype != wanted for p in model.parameters() if p.is_floating_point()):
        model.to(wanted)  # transformers 4 leaves some of a folder's number formats as they are when it mixes them
    model.eval()
    if not where:
        try:
            model.to(device)
        except Exception as error:
            raise CheckpointError(
                f"checkpoint '{folder.name}' cannot be put on device '{device}' ({_line(error)}); choose auto or cpu"
            ) from error
    return Checkpoint(model, tokenizer, card)


def _refuse_misfits(folder: Path, report: dict) -> None:
    """Weights that are missing, left over or of another shape would leave parts of the network random."""
    listed = []
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(name if isinstance(name, str) else name[0] for name in report[key])
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            listed.append(f"{key.replace('_', ' ')}: {', '.join(names[:3])}{more}")
    if listed:
        raise CheckpointError(f"checkpoint '{folder.name}' does not fit its configuration ({'; '.join(listed)})")


def _line(error: Exception) -> str:
    """The first line of an error, with its kind where it is a bare word."""
    first = (str(error).strip().splitlines() or [""])[0].strip()
    first = first if len(first) < 200 else first[:197] + "..."
    return first if " " in first else f"{type(error).__name__} {first}".strip()


def _missing(path: Path) -> CheckpointError:
    return CheckpointError(
        f"checkpoint '{path.parent.name}' is incomplete: {path.name} is missing; get the folder again"
    )


def save_checkpoint(folder: str | Path, model, tokenizer, card: dict, max_shard_size: str = "4GB") -> None:
    """Write a checkpoint folder. ``card`` needs name, version, licence and trained_on; file facts are added here."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet():
        model.save_pretrained(str(folder), safe_serialization=True, max_shard_size=max_shard_size)
    tokenizer.save_pretrained(str(folder))
    _name_tokenizer_class(folder / "tokenizer_config.json")
    write_card(folder, card)


def _name_tokenizer_class(path: Path) -> None:
    """Name the class as every supported transformers knows it: 5.x writes one that 4.x cannot find."""
    settings = _read_json(path)
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def write_card(folder: Path, card: dict) -> dict:
    """Write the card of a folder whose weights are in place, with their file facts; returns the whole card."""
    files = {}
    for path in sorted(folder.glob("*.safetensors")):
        files[path.name] = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
    card = {**card, "files": files}
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return card


def verify_checkpoint(folder: str | Path) -> dict:
    """``describe_checkpoint``, and the SHA-256 of every weight file besides; raises CheckpointError if one differs."""
    card = describe_checkpoint(folder)
    for name, facts in card["files"].items():
        if file_hash(Path(folder) / name) != facts["sha256"]:
            raise CheckpointError(f"checkpoint '{Path(folder).name}' is damaged: the contents of {name} have changed")
    return card


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _quiet():
    """transformers without its own progress bars and notices: the person sees ours."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise _missing(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint '{path.parent.name}' is damaged: {path.name} is no valid JSON") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"checkpoint '{path.parent.name}' is damaged: {path.name} is no JSON object")
    return content
