"""What a run keeps on disk: its state, replaced only by a complete new one, and the finished checkpoint."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)

from depictqa_core.errors import DocumentError, quoted
from depictqa_core.loading.checkpoint import save_checkpoint
from depictqa_core.network.model import DepictQAModel
from depictqa_core.storage.documents import read_json
from depictqa_core.storage.files import settle, write_file
from depictqa_core.storage.rules import problem, string, whole

WEIGHTS, OPTIMISER, PROGRESS = "trained.safetensors", "optimiser.pt", "step.json"


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of ``folder`` once it is complete.

    Raises:
        OSError: writing failed (a full disk, say); ``folder`` is as it was.
    """
    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        yield new
    except BaseException as error:
        shutil.rmtree(new, ignore_errors=True)
        if not isinstance(error, Exception):
            raise
        kept = "; what was saved there before is untouched" if folder.exists() else ""
        raise OSError(f"{folder} could not be written ({quoted(error)}){kept}") from error
    settle(new)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def mend(folder: Path) -> None:
    """Undo what a stop in the middle of ``replaced`` left behind: the last complete folder is the one that counts."""
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():
        old.rename(folder)


def digest(source) -> str:
    """A hash of anything that JSON can write."""
    coder, found = json.JSONEncoder(sort_keys=True), hashlib.blake2b(digest_size=16)
    for piece in coder.iterencode(source):
        found.update(piece.encode())
    return found.hexdigest()


def goes_on(folder: Path, source: str, shape: dict, report: Callable[[str], None]) -> bool:
    """Whether a saved state is there to go on from: a run that ended begins anew once its records have changed.

    Args:
        source: digest of the records.
        shape: what the recipe says that shapes the run (``Recipe.shape``); a state of before they were kept has none.

    Raises:
        ValueError: the recipe has changed, or the records have while the run was interrupted.
    """
    if not folder.exists():
        return False
    progress = _progress(folder)
    before, now = progress.get("recipe", {}), json.loads(json.dumps(shape))
    if changed := [key for key in before if key in now and before[key] != now[key]]:
        raise ValueError(
            f"the recipe has changed since {folder} was saved at step {progress['step']} of {progress['steps']}:"
            f" {', '.join(changed)}; put this back, or begin anew with --restart"
        )
    if progress["records"] == source:
        return True
    if progress["step"] < progress["steps"]:
        raise ValueError(
            f"the records have changed since {folder} was saved at step {progress['step']} of {progress['steps']}:"
            " put them back, or begin anew with --restart"
        )
    report("the records have changed since this run ended: it begins anew")
    return False


def save_state(folder: Path, accelerator, model, optimiser, progress: dict) -> None:
    """Save what is needed to go on: what learns, gathered whole from all processes, its optimiser state, and progress.

    The state does not depend on the number of processes: a run may go on with more or fewer of them. All processes call
    this; raises OSError as ``replaced`` does.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    weights, moments = get_state_dict(model, optimiser.optimizer, options=options)
    if accelerator.is_main_process:
        scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else {}
        with replaced(folder) as new:
            save_file({name: value.contiguous() for name, value in weights.items()}, new / WEIGHTS)
            torch.save({"optimiser": moments, "scaler": scaler}, new / OPTIMISER)
            write_file(new / PROGRESS, json.dumps(progress))
    accelerator.wait_for_everyone()


def load_state(folder: Path, accelerator, model, optimiser) -> dict:
    """Put a saved state back and return its progress; raises ValueError if it is the state of another recipe."""
    weights = load_file(folder / WEIGHTS)
    learned = {name.removeprefix("module.") for name, p in model.named_parameters() if p.requires_grad}
    saved = {name for name in weights if name in dict(accelerator.unwrap_model(model).named_parameters())}
    if learned != saved:
        odd = sorted(learned ^ saved)[0]
        raise ValueError(f"{folder} is the state of a run that trained other parts (see {odd}); --restart begins anew")
    stored = torch.load(folder / OPTIMISER, map_location="cpu", weights_only=True)
    set_state_dict(
        model,
        optimiser.optimizer,
        model_state_dict=weights,
        optim_state_dict=stored["optimiser"],
        options=StateDictOptions(full_state_dict=True, strict=False),
    )
    if accelerator.scaler is not None and stored["scaler"]:
        accelerator.scaler.load_state_dict(stored["scaler"])
    return _progress(folder)


def _progress(folder: Path) -> dict:
    """The progress of a saved state."""
    remedy = "begin anew with --restart"
    progress = read_json(folder / PROGRESS, remedy=remedy)
    fits = {"step": whole(0, 10**12), "steps": whole(1, 10**12), "records": string()}
    missing = [name for name in fits if name not in progress]
    wrong = f"{missing[0]} is missing" if missing else problem(progress, fits)
    if wrong:
        raise DocumentError(f"{folder / PROGRESS}: {wrong}; {remedy}")
    return progress


def save_whole(folder: Path, accelerator, model, tokenizer, card: dict) -> None:
    """Write the ordinary checkpoint folder of a model that may be spread over processes; all of them call this."""
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if accelerator.is_main_process:
        with torch.device("meta"):
            whole = DepictQAModel(accelerator.unwrap_model(model).config)
        whole.load_state_dict(weights, assign=True)
        whole.tie_weights()
        with replaced(folder) as new:
            save_checkpoint(new, whole, tokenizer, card)
    accelerator.wait_for_everyone()
