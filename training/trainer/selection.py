"""Which weights of a run are the finished ones: those with the lowest loss on validation records."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict

from depictqa_core.storage.documents import read_json

from .batches import Batches
from .recipe import Recipe
from .recipe_parts import Validation
from .state import read_weights, replaced, write_weights

NOTE = "best.json"
FULL = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)


def validation_recipe(recipe: Recipe) -> Recipe:
    """The recipe by which validation records become batches: whole images, and every record once and as much."""
    assert recipe.validate is not None  # there is none otherwise
    root = recipe.validate.data or recipe.data
    return replace(recipe, data=root, crop=None, average="record", rehearsal=None, sampling="repeat")


@dataclass(frozen=True)
class Best:
    """The best measurement of a run so far.

    Attributes:
        step: steps done by then; 0 before the first measurement.
        loss: its loss.
        since: measurements after it.
    """

    step: int = 0
    loss: float = float("inf")
    since: int = 0


class Selection:
    """Measures the loss on validation records, and stores the best weights of a run.

    Args:
        settings: of the recipe.
        batches: those of the validation records; their first epoch has every record once.
        folder: where the best weights are stored.
        best: what was found before the run was resumed.
    """

    def __init__(self, settings: Validation, batches: Batches, folder: Path, best: dict | None = None):
        self.settings, self.batches, self.folder = settings, batches, folder
        self.best = Best(**best) if best else Best()

    @property
    def exhausted(self) -> bool:
        """Whether the loss has stayed above the best one for as many measurements as the recipe allows."""
        return self.settings.patience is not None and self.best.since >= self.settings.patience

    def due(self, step: int, steps: int) -> bool:
        """Whether the loss is measured after a step, counted from 1, of a run of ``steps``."""
        return step % self.settings.every == 0 or step == steps

    def measure(self, loop, step: int) -> dict[str, float]:
        """Measure the loss after some steps; store the weights if it is the lowest. All processes call this.

        Args:
            loop: a ``loop.Loop``; its model has the weights to be measured.

        Returns:
            loss (mean over the records of the mean over their answer tokens) and token_accuracy.

        Raises:
            ImageError: too many images cannot be read; it is raised in all processes.
        """
        accelerator, sums, count = loop.accelerator, torch.zeros(3, dtype=torch.float64), 0
        learning = [module for module in loop.model.modules() if module.training]
        loop.model.eval()
        with torch.no_grad():
            epoch = range(self.batches.sampler.epoch_steps)
            ahead = self.batches.ahead(epoch, accelerator.process_index, accelerator.num_processes)
            for number, batches in zip(epoch, ahead):
                records = len(self.batches.sampler(number))
                for batch in batches:
                    loss, right, tokens = loop.loss(batch)
                    found = [loss.detach().double() * records, right.double(), tokens.double()]
                    sums += torch.stack(found).cpu()
                count += records
        for module in learning:
            module.training = True
        unreadable = self.batches.unreadable
        # The counts of all processes: one that stopped alone would leave the others waiting.
        sums = torch.cat([sums, torch.tensor([unreadable.failed, unreadable.read], dtype=torch.float64)])
        summed = accelerator.reduce(sums.to(accelerator.device), reduction="sum").tolist()
        total, right, tokens, failed, read = summed
        unreadable.check(int(read), int(failed))
        values = {"loss": total / count, "token_accuracy": right / max(1.0, tokens)}
        if values["loss"] < self.best.loss:
            self.best = Best(step, values["loss"])
            self._store(accelerator, loop.model)
        else:
            self.best = replace(self.best, since=self.best.since + 1)
        return values

    def _store(self, accelerator, model) -> None:
        weights = get_model_state_dict(model, options=FULL)
        if accelerator.is_main_process:
            with replaced(self.folder) as new:
                write_weights(new, weights)
                note = {"step": self.best.step, "loss": self.best.loss}
                (new / NOTE).write_text(json.dumps(note) + "\n", encoding="utf-8")
        accelerator.wait_for_everyone()

    def restore(self, model) -> None:
        """Give the model the best weights; nothing if none were measured.

        ``best`` then tells of these weights. A run that was killed between a better measurement and its next state has
        weights that the state does not know of. They are measured and stored again when the steps up to them are
        repeated, but a run that is resumed with fewer steps ends with them.
        """
        if self.best.step:
            note = read_json(self.folder / NOTE)
            self.best = replace(self.best, step=note["step"], loss=note["loss"])
            weights: dict[str, Any] = read_weights(self.folder)
            set_model_state_dict(model, weights, options=StateDictOptions(full_state_dict=True, strict=False))
