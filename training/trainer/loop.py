"""The steps of a run: loss, optimiser, saved states, and how weights are spread over processes."""

import contextlib
import math
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn
from tqdm import tqdm

from depictqa_core.network.model import IGNORE, DepictQAModel

from .batches import Batches
from .metric_logger import MetricLogger
from .moving_average import MovingAverage
from .recipe import Recipe, RecipeError
from .selection import Best, Selection
from .state import load_state, save_state

OUTSIDE = {"labels", "scales", "rehearsal", "number"}
"""Keys of a batch that are no inputs of the network."""
PATIENCE = 50
"""Maximum number of steps in a row that are skipped because gradients overflowed under fp16."""
LEAST_RATE = 1e-8
"""Where "warmup_decay" starts and ends."""


class Stopped(KeyboardInterrupt):
    """The run was asked to stop, and its state is saved."""


class Done(NamedTuple):
    """What one step gave: loss, gradient norm, right answer tokens and answer tokens; records; whether to stop."""

    sums: tuple[float, float, float, float]
    records: int
    stop: bool


class Loop:
    """The steps of one run.

    Args:
        teacher: the network before the run, a function of its inputs, for rehearsal.
        held_out: the batches of the validation records.

    Attributes:
        model: the network as it is trained, wrapped for its processes.
        average: the moving average of what learns, if the recipe has one.
        selection: chooses the best weights, if the recipe validates.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        recipe: Recipe,
        model,
        batches: Batches,
        source: str,
        teacher=None,
        held_out: Batches | None = None,
    ):
        self.accelerator, self.recipe, self.batches, self.source = accelerator, recipe, batches, source
        self.teacher = teacher.to(accelerator.device) if isinstance(teacher, nn.Module) else teacher
        self.steps = recipe.steps_of(batches.sampler.epoch_steps)
        if (recipe.warm_steps or 0) >= self.steps:
            raise RecipeError(f"warm_steps is {recipe.warm_steps}, but the run has {self.steps} steps: give fewer")
        self.skipped = 0
        if recipe.gradient_checkpointing:
            model.checkpoint_activations()
        model.train()
        connector = getattr(model, "connector", None)  # vision-language models have none of ours
        for part in (model.vision, *(connector.children() if connector else ())):  # no dropout where nothing learns
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        self.sharded = recipe.sharding == "full"
        # the network, or what wraps it for several processes
        self.model: Any = shard(model, accelerator) if self.sharded else accelerator.prepare(model)
        self.learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(
            self.learned, lr=recipe.learning_rate, betas=tuple(recipe.betas), weight_decay=recipe.weight_decay
        )
        self.optimiser = accelerator.prepare(optimiser)
        self.average = MovingAverage(self.learned, recipe.ema) if recipe.ema else None
        self.selection: Selection | None = None
        if recipe.validate and held_out:
            self.selection = Selection(recipe.validate, held_out, recipe.run / "best")

    def go(self, run: Path, resume: bool) -> None:
        """Run all remaining steps; the model then has the weights of the finished checkpoint."""
        accelerator, state = self.accelerator, run / "state"
        first, window = 0, None
        if resume:
            progress = load_state(state, accelerator, self.model, self.optimiser, self.average)
            first, window = progress["step"], progress["window"]
            if self.selection and progress.get("best"):
                self.selection.best = Best(**progress["best"])
            if first >= self.steps or self._stopped_early:
                accelerator.print(f"{state} is of step {first} of {self.steps}: nothing is left to do")
        else:
            self._save(state, 0, None)
        log = MetricLogger(run, self.recipe.log_every, first, window) if accelerator.is_main_process else None
        steps = range(first, first if self._stopped_early else self.steps)
        ahead = self.batches.ahead(steps, accelerator.process_index, accelerator.num_processes)
        bar = tqdm(steps, initial=first, total=self.steps, desc=self.recipe.name, disable=log is None, mininterval=2)
        with contextlib.closing(ahead), _signals() as asked:
            for step, batches in zip(bar, ahead):
                try:
                    done = self.step(step, batches, asked.is_set())
                except FloatingPointError as error:
                    raise FloatingPointError(
                        f"{error}; {self._rescue(state, step, log.window if log else None)}"
                    ) from None
                if self.average:
                    self.average.update(step)
                bar.set_postfix(loss=f"{done.sums[0]:.4f}", refresh=step == first)
                if log is not None and log.add(step + 1, done.sums, self.optimiser.param_groups[0]["lr"], done.records):
                    accelerator.log({key: value for key, value in log.last.items() if key != "step"}, step=step + 1)
                self._validate(step + 1, log)
                last = step + 1 == self.steps or self._stopped_early
                if (step + 1) % self.recipe.save_every == 0 or last or done.stop:
                    self._save(state, step + 1, log.window if log else None)
                if done.stop and not last:
                    raise Stopped(f"stopped after step {step + 1} of {self.steps}; the state is saved in {state}")
                if last:
                    break
        if log is not None:
            log.close()
        self._finish()

    @property
    def _stopped_early(self) -> bool:
        return self.selection is not None and self.selection.exhausted

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within the body, the model has its averaged weights, if the recipe has such."""
        return self.average.in_place() if self.average else contextlib.nullcontext()

    def _validate(self, step: int, log: MetricLogger | None) -> None:
        """Measure the validation loss after a step, counted from 1, where it is due."""
        if self.selection is None or not self.selection.due(step, self.steps):
            return
        with self._averaged():
            found = self.selection.measure(self, step)
        if log is not None:
            log.validated(step, found)
        self.accelerator.log({f"validation_{name}": value for name, value in found.items()}, step=step)
        if self.selection.exhausted and step < self.steps:
            best = self.selection.best
            self.accelerator.print(
                f"stopped early after step {step} of {self.steps}: no validation loss was below {best.loss:.4f}"
                f" of step {best.step}"
            )

    def _finish(self) -> None:
        """Give the model the weights of the finished checkpoint."""
        if self.selection and self.selection.best.step:
            self.selection.restore(self.model)
            best = self.selection.best
            self.accelerator.print(
                f"the checkpoint has the weights of step {best.step}: validation loss {best.loss:.4f}"
            )
        elif self.average:
            self.average.apply()

    def _save(self, state: Path, step: int, window: list[float] | None) -> None:
        progress = {"step": step, "steps": self.steps, "records": self.source, "window": window}
        if self._stopped_early:
            progress["stopped_early"] = True
        if self.selection and self.selection.best.step:
            progress["best"] = asdict(self.selection.best)
        progress["recipe"] = self.recipe.shape
        save_state(state, self.accelerator, self.model, self.optimiser, progress, self.average)

    def _rescue(self, state: Path, step: int, window: list[float] | None) -> str:
        """Save the weights of before a step that failed, unless they are damaged, too; says what can be done now."""
        whole = (p.to_local() if hasattr(p, "to_local") else p for p in self.learned)
        damaged = sum(not torch.isfinite(p).all() for p in whole)
        if self.accelerator.reduce(torch.tensor(float(damaged), device=self.accelerator.device)).item():
            return f"the weights are damaged, and {state} is of an earlier step: a smaller learning_rate may help"
        self._save(state, step, window)
        return (
            f"the state before this step is saved in {state}: the same command tries again from there. If that fails, "
            "start again with a smaller learning_rate (--restart)"
        )

    def step(self, step: int, batches: list[dict], stop: bool) -> Done:
        """One optimiser step over all passes of all processes.

        Raises:
            FloatingPointError: the loss or its gradient has NaN or Inf; no weight has changed yet.
        """
        accelerator, recipe = self.accelerator, self.recipe
        self.optimiser.zero_grad()
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * rate(step, self.steps, recipe)
        sums = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
        for place, batch in enumerate(batches):
            # Noise depends on the pass alone: runs that were resumed, or that more processes share, equal others.
            torch.manual_seed(int(np.random.SeedSequence([recipe.seed, step, batch["number"]]).generate_state(1)[0]))
            with self._exchange(last=place == len(batches) - 1):
                loss, right, answer_tokens = self.loss(batch)
                accelerator.backward(loss * accelerator.num_processes)  # gradients are averaged over processes
            sums += torch.stack([loss.detach().double(), right.double(), answer_tokens.double()])
        norm = accelerator.clip_grad_norm_(self.learned, recipe.clip)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        unreadable = self.batches.unreadable
        counts = torch.tensor([unreadable.failed, unreadable.read, stop], dtype=torch.float64)
        total, hits, written, failed, read, stop = accelerator.reduce(
            torch.cat([sums, counts.to(sums)]), reduction="sum"
        ).tolist()
        norm = float(norm)
        # A dynamic loss scale may overflow the gradients now and then, which skips a step; the loss itself may not.
        self.skipped = 0 if math.isfinite(norm) else self.skipped + 1
        if not math.isfinite(total):
            raise FloatingPointError(f"the loss is {total} at step {step}")
        if self.skipped and accelerator.scaler is None:
            raise FloatingPointError(f"the gradient's norm is {norm} at step {step}")
        if self.skipped >= PATIENCE:
            raise FloatingPointError(
                f"the gradients overflowed in {PATIENCE} steps in a row, up to step {step}, and nothing is learned:"
                " precision: bf16 (or no) has the range that fp16 lacks"
            )
        unreadable.check(int(read), int(failed))
        self.optimiser.step()
        numbers = (total, norm if math.isfinite(norm) else 0.0, hits, written)
        return Done(numbers, len(self.batches.sampler(step)), stop > 0)

    def loss(self, batch: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The share of the step's loss in one batch, its right answer tokens, and its answer tokens."""
        batch = send_to_device(batch, self.accelerator.device)
        inputs = {key: value for key, value in batch.items() if key not in OUTSIDE}
        labels, scales, rehearsal = (batch[key] for key in ("labels", "scales", "rehearsal"))
        with self.accelerator.autocast():
            logits = self.model(**inputs).logits
        labels = labels[:, -logits.shape[1] :][:, 1:]  # a network may give the last logits alone
        places = labels != IGNORE
        rows = places.nonzero()[:, 0]
        logits, labels = logits[:, :-1][places].float() / self.recipe.temperature, labels[places]
        losses = F.cross_entropy(logits, labels, reduction="none")
        if self.teacher is not None and rehearsal.any():
            with torch.no_grad(), self.accelerator.autocast():
                wanted = (self.teacher(**inputs).logits[:, :-1][places].float() / self.recipe.temperature).softmax(-1)
            gap = F.kl_div(logits.log_softmax(-1), wanted, reduction="none").sum(-1)
            losses = torch.where(rehearsal[rows], gap, losses)
        counted = scales[rows] > 0
        right = (logits.argmax(-1) == labels)[counted].sum()
        return (losses * scales[rows]).sum(), right, counted.sum()

    @contextlib.contextmanager
    def _exchange(self, last: bool):
        """Processes exchange gradients in a step's last pass only."""
        if self.sharded:
            self.model.set_requires_gradient_sync(last)
        alone = contextlib.nullcontext() if last or self.sharded else self.accelerator.no_sync(self.model)
        with alone:
            yield


def rate(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate of a step as a share of the recipe's highest (method.md 7.1 for "warmup_decay")."""
    warm = max(10, round(steps / 10)) if recipe.warm_steps is None else recipe.warm_steps
    done = min(1.0, max(0, step - warm) / max(1, steps - warm))
    if recipe.schedule == "cosine":
        if step < warm:
            return (step + 1) / warm
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))
    low = LEAST_RATE / recipe.learning_rate
    grown = math.log(step + 1) / math.log(max(2, warm)) if step < warm else 1 - done
    return low + (1 - low) * grown


def shard(model: DepictQAModel, accelerator: Accelerator) -> nn.Module:
    """Spread all weights of a model over the processes (FSDP).

    A layer of the language model is whole on a device only while it works, all else during a whole pass: the tower runs
    as often as a batch has sizes of images, so processes could not gather its layers in step.
    """
    if accelerator.num_processes < 2:
        raise RecipeError("sharding is full, but there is one process: launch several, or set sharding: none")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    kinds = model._no_split_modules or ()
    for layer in [m for m in model.language.modules() if type(m).__name__ in kinds]:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return nn.Module.to(model, accelerator.device)


@contextlib.contextmanager
def _signals():
    """An event that is set by Ctrl-C or a termination signal; a second Ctrl-C interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number, frame):
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
