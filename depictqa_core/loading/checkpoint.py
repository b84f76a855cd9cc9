"""The checkpoint folder: one format for every judge, written whole and read strictly.

A folder holds ``config.json`` (network), safetensors weights, the tokenizer's files and ``depictqa.json`` (name,
version, licence, what it was trained on, size and SHA-256 of each weight file, and SHA-256 of the tokenizer's files).
"""

import hashlib
import json
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..confidence import LOW_COVERAGE
from ..errors import CheckpointError, DepictQAError, quoted
from ..network.checkpoint_rules import card_problem, config_problem
from ..runtime.versions import ALWAYS, import_failed, mismatch, require
from ..storage.documents import describe, named, read_json
from ..storage.files import use_umask, write_file
from .device_placement import QUANTISED, check_device, loading_options

BUNDLED = Path(__file__).parents[1] / "checkpoints" / "depictqa-mini"
BUNDLED_NAMES = ("bundled", BUNDLED.name)
"""What the included model is called wherever a checkpoint is taken, unless there is a folder of that name."""
CARD = "depictqa.json"
SELF_TEST = "self_test"
"""Entry of a card: task -> coverage 0..1 of the self-test."""
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("tokenizer.model", "vocab.json", "merges.txt"),
)
AGAIN = "download the folder again"
PICKLES = ("*.pt", "*.pth", "*.bin", "*.ckpt")


@dataclass
class Checkpoint:
    """A loaded checkpoint: the network, its tokenizer, and the card of its folder."""

    model: object
    tokenizer: object
    card: dict


def checkpoint_folder(name: str | Path | None) -> Path:
    """The folder of a checkpoint: the included one for None and ``BUNDLED_NAMES``, else what was given, unchecked."""
    bundled = name is None or (str(name) in BUNDLED_NAMES and not os.path.isdir(name))
    return BUNDLED if bundled else Path(name)


def describe_checkpoint(folder: str | Path | None) -> dict:
    """The card of a checkpoint folder, checked: every weight file is there in its full size.

    Args:
        folder: as ``checkpoint_folder`` takes it.

    Raises:
        CheckpointError: the folder is no checkpoint, or a file of it is missing or cut short.
    """
    folder = checkpoint_folder(folder)
    if os.path.isfile(folder):  # of os.path, which says no where pathlib raises: a name too long, a NUL in it
        pickled = any(folder.match(pattern) for pattern in PICKLES)
        hint = f"a pickle, {_import_hint(folder, folder.with_suffix(''))}" if pickled else "a file"
        raise CheckpointError(f"checkpoint '{folder}' is {hint}; give the folder that holds {CARD} and the weights")
    if not os.path.isdir(folder):
        own = f"give a folder that holds {CARD}, or 'bundled' for the included {BUNDLED.name}"
        remedy = "it comes with the package: install or clone it again" if folder == BUNDLED else own
        raise CheckpointError(f"checkpoint folder '{named(folder)}' does not exist; {remedy}")
    if not os.path.isfile(folder / CARD):
        pickles = sorted(path for pattern in PICKLES for path in folder.glob(pattern))
        hint = f"; it holds the pickle {pickles[0].name}, {_import_hint(pickles[0], folder)}" if pickles else ""
        raise CheckpointError(f"'{folder.name}' is not a checkpoint folder of DepictQA: it has no {CARD}{hint}")
    card = _read_json(folder / CARD)
    if wrong := card_problem(card):
        raise _damaged(folder, f"{CARD}: {wrong}")
    files = card.get("files")
    if not isinstance(files, dict) or not files:
        raise _damaged(folder, f"{CARD} lists no weight files")
    for name, facts in files.items():
        plain = isinstance(facts, dict) and {"bytes", "sha256"} <= facts.keys() and Path(name).name == name
        if not plain or not name.endswith(".safetensors"):
            raise _damaged(folder, f"{CARD} says nothing useful of {describe(name)}")
        path = folder / name
        if not os.path.isfile(path):
            raise _missing(path)
        if path.stat().st_size != facts["bytes"]:
            raise _damaged(folder, f"{name} has {path.stat().st_size} bytes instead of {describe(facts['bytes'])}")
    config = _read_json(folder / "config.json")
    # Checked here: from a foreign or empty config transformers would build a network of default size, 7 billion weights
    if config.get("model_type") != "depictqa":
        raise CheckpointError(f"checkpoint '{folder.name}' is not one of DepictQA: its config.json is of another model")
    if wrong := config_problem(config):
        raise _damaged(folder, f"config.json: {wrong}")
    _read_json(folder / "tokenizer_config.json")
    return card


def _import_hint(pickle: Path, name: Path) -> str:
    """What to do with a pickle that stands where a checkpoint named ``name`` should."""
    if not pickle.name.startswith("ckpt"):
        return "which is never loaded directly"
    return (
        "a published delta, which must first be joined with CLIP and the language model:"
        f' cd "{Path(__file__).absolute().parents[2]}" && "{sys.executable}" -m depictqa_core import --clip ViT-L-14.pt'
        f' --llm VICUNA_FOLDER --delta "{pickle.absolute()}" --out "{name.absolute()}-imported"'
    )


def load_checkpoint(folder: str | Path | None, device: str | dict = "cpu", dtype: str = "float32") -> Checkpoint:
    """Load a checkpoint folder for inference, without network access and from safetensors only.

    Args:
        folder: a checkpoint folder, or one of ``BUNDLED_NAMES``.
        device: torch device; "balanced" or "sequential" for all of them together; or a device map (module -> device).
        dtype: "float32", "float16" or "bfloat16"; or "int8" or "int4", which quantise the language model (they need
            the package bitsandbytes).

    Raises:
        CheckpointError: missing, incomplete, damaged, weights that do not fit the configuration, or a device or dtype
            that cannot be had.
        PackageError: a package that this checkpoint needs is missing or too old.
    """
    folder = checkpoint_folder(folder)
    card = describe_checkpoint(folder)
    require(*ALWAYS)
    check_device(device)
    _check_tokenizer_files(folder, card)
    try:
        import torch
        from transformers import AutoTokenizer

        from ..network.config import DepictQAConfig
        from ..network.model import DepictQAModel
    except Exception as error:  # transformers raises whatever its own imports raised
        raise mismatch(error) from error
    try:
        with quiet(), torch.device("cpu"):  # whatever device is the default of the process
            config = DepictQAConfig.from_pretrained(str(folder), local_files_only=True)
            _refuse_misfits(folder, config, card["files"])
            options = loading_options(config, device, dtype)
            model = DepictQAModel.from_pretrained(str(folder), use_safetensors=True, local_files_only=True, **options)
            # Never run code that lies beside the weights, nor ask the terminal whether to.
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
            _check_tokenizer(folder, tokenizer, config)
    except DepictQAError:
        raise
    except Exception as error:  # whatever the libraries raise, the person gets one clear line
        # bitsandbytes is no package that is always needed: the message about its formats names it
        broken = import_failed(error) and "bitsandbytes" not in str(error)
        raise (mismatch(error) if broken else _unreadable(folder, device, dtype, error)) from error
    wanted = options["torch_dtype"]
    if dtype not in QUANTISED and any(p.dtype != wanted for p in model.parameters() if p.is_floating_point()):
        model.to(wanted)  # transformers 4 leaves some of a folder's number formats as they are when it mixes them
    model.eval()
    if "device_map" not in options:
        try:
            model.to(device)
        except Exception as error:
            raise CheckpointError(
                f"checkpoint '{folder.name}' cannot be put on device '{device}' ({quoted(error)}); choose auto or cpu"
            ) from error
    return Checkpoint(model, tokenizer, card)


def _unreadable(folder: Path, device, dtype: str, error: Exception) -> CheckpointError:
    what = f"checkpoint '{folder.name}' cannot be"
    if "out of memory" in str(error).lower():
        return CheckpointError(
            f"{what} loaded as {dtype}: not enough memory on {device}; choose int8, int4 or balanced"
        )
    if dtype in QUANTISED:
        return CheckpointError(f"{what} loaded as {dtype} on {device} ({quoted(error)}); choose float16 or float32")
    return CheckpointError(f"{what} read ({quoted(error)}); {AGAIN}")


def _refuse_misfits(folder: Path, config, files) -> None:
    """Weights that are missing, left over or of another shape would leave parts of the network random.

    Told from the headers of the files, because what the libraries report depends on version and device.
    """
    import torch
    from safetensors import safe_open

    from ..network.model import DepictQAModel

    found = {}
    for name in files:
        with safe_open(str(folder / name), framework="pt") as file:
            found |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    with torch.device("meta"):
        model = DepictQAModel(config)
    network = model.state_dict(keep_vars=True)
    same = {}  # tied weights are one tensor of several names, any of which will do
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
    _refuse_geometry(folder, model.eval())


def _refuse_geometry(folder: Path, model) -> None:
    """The tower and the connector must get the smallest image through.

    Strides, paddings and sizes of inputs leave no trace in the weights. On the meta device this costs nothing.
    """
    import torch

    from ..images.image import SizePolicy
    from ..network.vision import empty_inputs

    height, width = SizePolicy(**model.config.size).padded(1, 1)
    try:
        with torch.device("meta"), torch.no_grad():
            pooled = model.connector.pool(model.vision(*empty_inputs(model.config, height, width)))
            if not pooled.numel():
                raise ValueError(f"an image of {height} x {width} pixels becomes nothing")
            model.connector(pooled)
    except Exception as error:  # whatever a wrong stride or size makes the libraries raise
        raise _damaged(folder, f"no image fits through the network of config.json ({quoted(error)})") from error


def _check_tokenizer_files(folder: Path, card: dict) -> None:
    """Refuse changed files of the tokenizer: one wrong byte in a special token makes prompts that no model has seen."""
    for name, digest in card.get("tokenizer", {}).items():
        path = folder / name
        if Path(name).name != name or not os.path.isfile(path):
            raise _missing(path)
        if text_hash(path) != digest:
            raise _damaged(folder, f"the contents of {name} have changed")


def _check_tokenizer(folder: Path, tokenizer, config) -> None:
    """Refuse a tokenizer that cannot write the prompts and answers, or has ids beyond the words of the network."""
    from .. import tasks
    from ..prompts import answer_ids, fixed_strings, text_ids

    words = config.language_config().vocab_size
    if tokenizer.eos_token_id is None:
        raise _damaged(folder, "its tokenizer has no end token")
    known = set(tokenizer.all_special_ids) | {token for text in fixed_strings() for token in text_ids(text, tokenizer)}
    brief = (task for task in tasks.TASKS.values() if task.brief)
    for answer in dict.fromkeys(answer for task in brief for answer in tasks.answers(task, task.question)):
        ids = text_ids(answer, tokenizer)
        known |= {*ids, *answer_ids(answer, tokenizer)}
        if tokenizer.decode(ids).strip() != answer:
            raise _damaged(folder, f"its tokenizer does not give back the answer {answer!r}")
    if wrong := [token for token in known if token is None or not 0 <= token < words]:
        raise _damaged(folder, f"its tokenizer has the token id {wrong[0]}, but the network has {words} words")


def _missing(path: Path) -> CheckpointError:
    return CheckpointError(f"checkpoint '{path.parent.name}' is incomplete: {named(path.name)} is missing; {AGAIN}")


def _damaged(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(f"checkpoint '{folder.name}' is damaged: {what}; {AGAIN}")


def save_checkpoint(folder: str | Path, model, tokenizer, card: dict, max_shard_size: str = "4GB") -> None:
    """Write a checkpoint folder. ``card`` needs name, version, licence and trained_on; file facts are added here."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        model.save_pretrained(str(folder), safe_serialization=True, max_shard_size=max_shard_size)
    tokenizer.save_pretrained(str(folder))
    _name_tokenizer_class(folder / "tokenizer_config.json")
    write_card(folder, card)
    use_umask(folder, folder.glob("*.safetensors"))


def _name_tokenizer_class(path: Path) -> None:
    """Name the class as every supported transformers knows it: 4.x and 5.x each write one that the other lacks."""
    settings = _read_json(path)
    if settings.get("tokenizer_class") in ("TokenizersBackend", "PreTrainedTokenizer"):
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        write_file(path, json.dumps(settings, indent=2) + "\n")


def write_card(folder: Path, card: dict) -> dict:
    """Write the card of a folder whose weights are in place, with their file facts; returns the whole card."""
    files = {}
    for path in sorted(folder.glob("*.safetensors")):
        files[path.name] = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
    tokenizer = {name: text_hash(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()}
    card = {**card, "files": files, "tokenizer": tokenizer}
    write_file(folder / CARD, json.dumps(card, indent=1) + "\n")
    return card


def record_self_test(folder: str | Path, coverage: dict[str, float]) -> dict:
    """Write the coverage of a self-test (``Judge.self_test``) into the card of a folder; returns the whole card."""
    path = Path(folder) / CARD
    card = {**_read_json(path), SELF_TEST: {task: float(f"{share:.3g}") for task, share in coverage.items()}}
    write_file(path, json.dumps(card, indent=1) + "\n")
    return card


def self_test_notices(card: dict) -> list[str]:
    """What a checkpoint's recorded self-test warns of; an imported one that has none is named as well."""
    found, name = card.get(SELF_TEST), card.get("name")
    if not isinstance(found, dict):
        remedy = "run depictqa info --self-test on its folder"
        return [f"{name}: imported, and its answers were never tested; {remedy}"] if "sources" in card else []
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
    """What questions a checkpoint states that it supports, in words."""
    config = _read_json(checkpoint_folder(folder) / "config.json")
    names = config.get("tasks") or ("identification", "assessment", "rating", "comparison")
    own = "in any words" if config.get("free_questions", True) else "only in the words of its training questions"
    scores = "; scores by comparison, as its preferences are personal" if config.get("personal") else ""
    return f"{', '.join(map(str, names))}; own questions {own}{scores}"


def verify_checkpoint(folder: str | Path | None) -> dict:
    """``describe_checkpoint``, and the SHA-256 of all files that the card names; CheckpointError if one differs."""
    folder = checkpoint_folder(folder)
    card = describe_checkpoint(folder)
    for name, facts in card["files"].items():
        if file_hash(folder / name) != facts["sha256"]:
            raise _damaged(folder, f"the contents of {name} have changed")
    _check_tokenizer_files(folder, card)
    return card


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def text_hash(path: Path) -> str:
    """SHA-256 of a file, in hex, with line ends as LF: tools such as Git change those of text files."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


@contextmanager
def quiet():
    """Load without transformers' own progress bars and notices: the person sees ours.

    A panic in the Rust code of tokenizers or safetensors is raised as RuntimeError: its own class is no Exception, so
    nobody would catch it.
    """
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(str(error)) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise _missing(path)
    where = f"checkpoint '{path.parent.name}' is damaged: {path.name}"
    return read_json(path, where=where, remedy=AGAIN, error=CheckpointError)
