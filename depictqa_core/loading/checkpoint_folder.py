"""The files of a checkpoint folder, read strictly, without building the network."""

import hashlib
import os
import sys
from pathlib import Path

from ..confidence import LOW_COVERAGE, TEST_FOLDER
from ..errors import CheckpointError
from ..network.checkpoint_rules import card_problem, config_problem
from ..storage.documents import describe, named, read_json

BUNDLED = Path(__file__).parents[1] / "checkpoints" / "depictqa-mini"
BUNDLED_NAMES = ("bundled", BUNDLED.name)
"""Names of the bundled model wherever a checkpoint is expected, unless there is a folder of that name."""
CARD = "depictqa.json"
ADAPTER = "adapter_config.json"
"""File of peft in the folder of an adapter."""
SELF_TEST = "self_test"
"""Entry of a card: task -> coverage 0..1 of the self-test."""
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("tokenizer.model", "vocab.json", "merges.txt"),
)
AGAIN = "download the folder again"
PICKLES = ("*.pt", "*.pth", "*.bin", "*.ckpt")


def checkpoint_folder(name: str | Path | None) -> Path:
    """Return the folder of a checkpoint: the bundled one for None and ``BUNDLED_NAMES``, else the given one,
    unchecked."""
    if name is None or (str(name) in BUNDLED_NAMES and not os.path.isdir(name)):
        return BUNDLED
    return Path(name)


def describe_checkpoint(folder: str | Path | None) -> dict:
    """Return the checked card of a checkpoint folder: every weight file exists with its full size.

    Args:
        folder: as in ``checkpoint_folder``.

    Raises:
        CheckpointError: the folder is not a checkpoint, or a file of it is missing or truncated.
    """
    folder = checkpoint_folder(folder)
    if os.path.isfile(folder):  # os.path returns False where pathlib raises: a name too long, a NUL in it
        pickled = any(folder.match(pattern) for pattern in PICKLES)
        hint = f"a pickle, {_import_hint(folder, folder.with_suffix(''))}" if pickled else "a file"
        raise CheckpointError(f"checkpoint '{folder}' is {hint}; give the folder that holds {CARD} and the weights")
    if not os.path.isdir(folder):
        own = f"give a folder that holds {CARD}, or 'bundled' for the included {BUNDLED.name}"
        remedy = "it is part of the package: install or clone it again" if folder == BUNDLED else own
        raise CheckpointError(f"checkpoint folder '{named(folder)}' does not exist; {remedy}")
    if not os.path.isfile(folder / CARD):
        refuse_adapter(folder)
        pickles = sorted(path for pattern in PICKLES for path in folder.glob(pattern))
        hint = f"; it holds the pickle {pickles[0].name}, {_import_hint(pickles[0], folder)}" if pickles else ""
        raise CheckpointError(f"'{folder.name}' is not a checkpoint folder of DepictQA: it has no {CARD}{hint}")
    card = read_folder_json(folder / CARD)
    if wrong := card_problem(card):
        raise damaged(folder, f"{CARD}: {wrong}")
    files = card.get("files")
    if not isinstance(files, dict) or not files:
        raise damaged(folder, f"{CARD} lists no weight files")
    for name, facts in files.items():
        plain = isinstance(facts, dict) and {"bytes", "sha256"} <= facts.keys() and Path(name).name == name
        if not plain or not name.endswith(".safetensors"):
            raise damaged(folder, f"{CARD} has no valid entry for {describe(name)}")
        path = folder / name
        if not os.path.isfile(path):
            raise _missing(path)
        if path.stat().st_size != facts["bytes"]:
            raise damaged(folder, f"{name} has {path.stat().st_size} bytes instead of {describe(facts['bytes'])}")
    config = read_folder_json(folder / "config.json")
    # Checked here: transformers would build a default network, 7 billion weights, from a foreign or empty config
    if config.get("model_type") != "depictqa":
        raise CheckpointError(
            f"checkpoint '{folder.name}' is not a DepictQA checkpoint: its config.json belongs to another model"
        )
    if wrong := config_problem(config):
        raise damaged(folder, f"config.json: {wrong}")
    read_folder_json(folder / "tokenizer_config.json")
    return card


def _import_hint(pickle: Path, name: Path) -> str:
    """Return the advice for a pickle at the place of a checkpoint named ``name``."""
    if not pickle.name.startswith("ckpt"):
        return "which is never loaded directly"
    return (
        "a published delta, which must first be joined with CLIP and the language model:"
        f' cd "{Path(__file__).absolute().parents[2]}" && "{sys.executable}" -m depictqa_core import --clip ViT-L-14.pt'
        f' --llm VICUNA_FOLDER --delta "{pickle.absolute()}" --out "{name.absolute()}-imported"'
    )


def check_tokenizer_files(folder: Path, card: dict) -> None:
    """Reject changed files of the tokenizer: one wrong byte in a special token makes prompts unlike the training's."""
    for name, digest in card.get("tokenizer", {}).items():
        path = folder / name
        if Path(name).name != name or not os.path.isfile(path):
            raise _missing(path)
        if text_hash(path) != digest:
            raise damaged(folder, f"the contents of {name} have changed")


def refuse_adapter(folder: Path) -> None:
    """Raise CheckpointError for the folder of a LoRA adapter of peft, which is no model without its base."""
    if os.path.isfile(folder / ADAPTER):
        base = read_json(folder / ADAPTER, error=CheckpointError).get("base_model_name_or_path")
        raise CheckpointError(
            f"'{folder.name}' is a LoRA adapter of the model {named(str(base))}, not a model: merge both with peft"
            " (merge_and_unload, save_pretrained) and give that folder"
        )


def _missing(path: Path) -> CheckpointError:
    return CheckpointError(f"checkpoint '{path.parent.name}' is incomplete: {named(path.name)} is missing; {AGAIN}")


def damaged(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(f"checkpoint '{folder.name}' is damaged: {what}; {AGAIN}")


def self_test_notices(card: dict) -> list[str]:
    """Return warnings about a checkpoint's stored self-test, or about an imported one without it."""
    found, name = card.get(SELF_TEST), card.get("name")
    if not isinstance(found, dict):
        return [f"{name}: imported without a self-test; {TEST_FOLDER}"] if "sources" in card else []
    low = {task: share for task, share in found.items() if share < LOW_COVERAGE}
    if not low:
        return []
    listed = ", ".join(f"{task} {share:.2g}" for task, share in low.items())
    return [
        f"{name}: the self-test failed. Coverage, the share of probability that allowed answers get, should be near 1"
        f" and is {listed}. Its parts do not belong together, or one is damaged: compare the SHA-256 of its sources"
        " (depictqa info) with where they were published, and import it again"
    ]


def supported(folder: str | Path | None) -> str:
    """Describe the questions that a checkpoint supports, in words."""
    config = read_folder_json(checkpoint_folder(folder) / "config.json")
    names = config.get("tasks") or ("identification", "assessment", "rating", "comparison")
    own = "in any words" if config.get("free_questions", True) else "only as worded in training"
    scores = "; scores by comparison, as its preferences are personal" if config.get("personal") else ""
    return f"{', '.join(map(str, names))}; own questions {own}{scores}"


def verify_checkpoint(folder: str | Path | None) -> dict:
    """Return ``describe_checkpoint`` after comparing the SHA-256 of all files in the card; raise CheckpointError if one
    differs."""
    folder = checkpoint_folder(folder)
    card = describe_checkpoint(folder)
    for name, facts in card["files"].items():
        if file_hash(folder / name) != facts["sha256"]:
            raise damaged(folder, f"the contents of {name} have changed")
    check_tokenizer_files(folder, card)
    return card


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def text_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hex, with LF line ends: tools such as Git change those of text files."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def read_folder_json(path: Path) -> dict:
    if not path.is_file():
        raise _missing(path)
    where = f"checkpoint '{path.parent.name}' is damaged: {path.name}"
    return read_json(path, where=where, remedy=AGAIN, error=CheckpointError)
