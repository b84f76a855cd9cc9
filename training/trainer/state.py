"""Files of a run: its state, replaced only by a complete new one, and the finished checkpoint."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)

from depictqa_core.backends.vlm_adapter import ADAPTER
from depictqa_core.errors import DocumentError, quoted
from depictqa_core.loading.checkpoint_folder import CARD
from depictqa_core.loading.saving import save_checkpoint
from depictqa_core.network.model import DepictQAModel
from depictqa_core.storage.documents import read_json
from depictqa_core.storage.files import settle, write_file
from depictqa_core.storage.rules import problem, string, whole

from .moving_average import MovingAverage

WEIGHTS, OPTIMISER, PROGRESS, AVERAGE = "trained.safetensors", "optimiser.pt", "step.json", "average"
OTHERWISE = "(this replaces the finished checkpoint; or give another --output)"


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


def recover(folder: Path) -> None:
    """Clean up after an interruption of ``replaced``: the last complete folder counts."""
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():
        old.rename(folder)


def refuse_foreign(folder: Path) -> None:
    """Raise ValueError if a folder that a checkpoint is to be written to holds something else."""
    if folder.exists() and _card(folder) is None and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"output {folder} exists and is not a checkpoint folder: name a new folder")


def keep_other(folder: Path, run: str) -> Path | None:
    """Rename a checkpoint folder of another run, which a new one would replace, to ``<folder>.1`` or the next number.

    Args:
        run: the digest of this run; its card has it under ``run``.

    Returns:
        the new name, or None if there is no such checkpoint.
    """
    card = _card(folder)
    if card is None or card.get("run") == run:
        return None
    number = 1
    while (kept := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(kept)
    return kept


def _card(folder: Path) -> dict | None:
    """The card of a checkpoint or adapter folder; empty if it cannot be read, None if there is none."""
    file = next((folder / name for name in (CARD, ADAPTER) if (folder / name).is_file()), None)
    if file is None:
        return None
    try:
        return read_json(file)
    except DocumentError:
        return {}


def digest(source) -> str:
    """A hash of anything that JSON can write."""
    coder, found = json.JSONEncoder(sort_keys=True), hashlib.blake2b(digest_size=16)
    for piece in coder.iterencode(source):
        found.update(piece.encode())
    return found.hexdigest()


def can_resume(folder: Path, source: str, shape: dict, report: Callable[[str], None]) -> bool:
    """Return whether there is a saved state to resume from; a finished run starts again if its records have changed.

    Args:
        source: digest of the records.
        shape: the settings that define the run (``Recipe.shape``); old states have none.

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
            f" {', '.join(changed)}; put this back, or start again with --restart {OTHERWISE}"
        )
    if progress["records"] == source:
        return True
    if progress["step"] < progress["steps"] and not progress.get("stopped_early"):
        raise ValueError(
            f"the records have changed since {folder} was saved at step {progress['step']} of {progress['steps']}:"
            f" put them back, or start again with --restart {OTHERWISE}"
        )
    report("the records have changed since this run ended: it starts again, and its checkpoint will be kept")
    return False


def write_weights(folder: Path, weights: Mapping[str, Any]) -> None:
    """Write the gathered weights that learn into a folder; some libraries gather other values with them."""
    folder.mkdir(exist_ok=True)
    learned = {name: value.contiguous() for name, value in weights.items() if isinstance(value, torch.Tensor)}
    save_file(learned, folder / WEIGHTS)


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read what ``write_weights`` wrote."""
    return load_file(folder / WEIGHTS)


def save_state(
    folder: Path, accelerator, model, optimiser, progress: dict, average: MovingAverage | None = None
) -> None:
    """Save the state to resume from: trainable weights, gathered from all processes, their optimizer state, their
    moving average if there is one, and progress.

    The state does not depend on the number of processes: a run may be resumed with another number. All processes call
    this; raises OSError as ``replaced`` does.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    weights, moments = get_state_dict(model, optimiser.optimizer, options=options)
    averaged: dict[str, Any] = {}
    if average is not None:
        with average.in_place():
            found = get_model_state_dict(model, options=options)
            averaged = {name: value.clone() for name, value in found.items() if isinstance(value, torch.Tensor)}
    if accelerator.is_main_process:
        scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else {}
        with replaced(folder) as new:
            write_weights(new, weights)
            torch.save({"optimiser": moments, "scaler": scaler}, new / OPTIMISER)
            if average is not None:
                write_weights(new / AVERAGE, averaged)
            write_file(new / PROGRESS, json.dumps(progress))
    accelerator.wait_for_everyone()


def load_state(folder: Path, accelerator, model, optimiser, average: MovingAverage | None = None) -> dict:
    """Restore a saved state and return its progress; raise ValueError if it is the state of another recipe.

    Args:
        average: gets the moving average of the state, or, where that has none, begins with its weights.
    """
    weights: dict[str, Any] = read_weights(folder)  # Any: torch's own alias of the values of a state
    learned = {name.removeprefix("module.") for name, p in model.named_parameters() if p.requires_grad}
    saved = {name for name in weights if name in dict(accelerator.unwrap_model(model).named_parameters())}
    if learned != saved:
        odd = sorted(learned ^ saved)[0]
        raise ValueError(f"{folder} is the state of a run that trained other parts (see {odd}); --restart starts again")
    stored = torch.load(folder / OPTIMISER, map_location="cpu", weights_only=True)
    whole_weights = StateDictOptions(full_state_dict=True, strict=False)
    set_state_dict(
        model,
        optimiser.optimizer,
        model_state_dict=weights,
        optim_state_dict=stored["optimiser"],
        options=whole_weights,
    )
    if average is not None:
        averaged: dict[str, Any] = read_weights(folder / AVERAGE) if (folder / AVERAGE).is_dir() else weights
        with average.in_place():
            set_model_state_dict(model, averaged, options=whole_weights)
    if accelerator.scaler is not None and stored["scaler"]:
        accelerator.scaler.load_state_dict(stored["scaler"])
    return _progress(folder)


def _progress(folder: Path) -> dict:
    """The progress of a saved state."""
    remedy = "start again with --restart"
    progress = read_json(folder / PROGRESS, remedy=remedy)
    fits = {"step": whole(0, 10**12), "steps": whole(1, 10**12), "records": string()}
    missing = [name for name in fits if name not in progress]
    wrong = f"{missing[0]} is missing" if missing else problem(progress, fits)
    if wrong:
        raise DocumentError(f"{folder / PROGRESS}: {wrong}; {remedy}")
    return progress


def save_whole(folder: Path, accelerator, model, tokenizer, card: dict) -> None:
    """Save the checkpoint folder of a model that may be split over processes; all of them call this."""
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if accelerator.is_main_process:
        with torch.device("meta"):
            whole = DepictQAModel(accelerator.unwrap_model(model).config)
        whole.load_state_dict(weights, assign=True)
        whole.tie_weights()
        with replaced(folder) as new:
            save_checkpoint(new, whole, tokenizer, card)
    accelerator.wait_for_everyone()
