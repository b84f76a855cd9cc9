"""One training loop on accelerate: from a recipe to a checkpoint folder, resumable at any moment."""

import csv
import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, set_seed
from tqdm import tqdm

from depictqa_core.checkpoints import save_checkpoint

from .loader import Example, FeatureStore, LiveFeatures, collate, make_example, read_records
from .network import start_network
from .recipe import Recipe
from .warmup import warm_up

POOL = 16
"""Batches drawn together and cut by length, so that a batch pads little."""


class Sampler:
    """Which examples make up each step: drawn by the parts' shares, a function of (seed, step, process) alone."""

    def __init__(self, parts: list[list[Example]], shares: list[float], batch: int, seed: int, process: int = 0):
        self.parts, self.batch, self.seed, self.process = parts, batch, seed, process
        self.shares = np.array(shares) / sum(shares)

    def __call__(self, step: int) -> list[Example]:
        rng = np.random.default_rng([self.seed, step // POOL, self.process])
        chosen = rng.choice(len(self.parts), self.batch * POOL, p=self.shares)
        drawn = [self.parts[part][rng.integers(len(self.parts[part]))] for part in chosen]
        drawn.sort(key=lambda example: (len(example.pictures), example.words))
        batches = [drawn[i : i + self.batch] for i in range(0, len(drawn), self.batch)]
        return batches[rng.permutation(POOL)[step % POOL]]


def train(recipe: Recipe, resume: bool = True) -> Path:
    """Run a recipe and return the checkpoint folder.

    A run that was interrupted goes on from its last saved state, with the same samples as if it had never stopped.

    Raises:
        RecipeError, ImageError, FileNotFoundError: bad recipe, unreadable picture, missing records.
        FloatingPointError: the loss is not finite; the last saved state is left as it was.
    """
    set_seed(recipe.seed)
    accelerator = Accelerator(mixed_precision=recipe.precision)
    data, output = Path(recipe.data), Path(recipe.output)
    run = output.with_name(output.name + ".run")
    run.mkdir(parents=True, exist_ok=True)
    _mend(run)
    records = {name: read_records(data / "records" / name) for name in recipe.parts}
    texts = [turn["value"] for part in records.values() for record in part for turn in record["conversations"]]
    model, tokenizer = start_network(vars(recipe), texts)
    parts = [[make_example(record, tokenizer) for record in part] for part in records.values()]
    model.freeze(tuple(recipe.trainable))
    paths = sorted({path for part in parts for example in part for path in example.pictures})
    features = LiveFeatures(model, data)
    if recipe.cache_features:
        with accelerator.main_process_first():
            features = FeatureStore(run / "features").fill(model.eval(), data, paths)
    if recipe.warmup_epochs and not (resume and (run / "state").exists()):
        known = [record for part in records.values() for record in part if record.get("image_ref")]
        known = {record["image_A"]: record for record in known if "severity" in record or "severities" in record}
        loss = warm_up(model, list(known.values()), features, recipe.warmup_epochs, recipe.seed)
        accelerator.print(f"connector warm-up: loss {loss:.4f}")
    sampler = Sampler(parts, list(recipe.parts.values()), recipe.batch, recipe.seed, accelerator.process_index)
    _loop(accelerator, recipe, model, tokenizer, sampler, features, run, resume)
    card = {key: getattr(recipe, key) for key in ("name", "version", "license", "trained_on")}
    if accelerator.is_main_process:
        save_checkpoint(output, accelerator.unwrap_model(model).eval(), tokenizer, card)
    return output


def _loop(accelerator, recipe, model, tokenizer, sampler, features, run: Path, resume: bool) -> None:
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(
        learned, lr=recipe.learning_rate, betas=tuple(recipe.betas), weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, recipe))
    model, optimiser, schedule = accelerator.prepare(model, optimiser, schedule)
    first = 0
    if resume and (run / "state").exists():
        accelerator.load_state(str(run / "state"))
        first = json.loads((run / "state" / "step.json").read_text())["step"]
    elif (run / "loss.csv").exists():
        (run / "loss.csv").unlink()
    model.train()
    plain = accelerator.unwrap_model(model)
    if "vision" not in recipe.trainable:
        plain.vision.eval()
    bar = tqdm(range(first, recipe.steps), initial=first, total=recipe.steps, desc=recipe.name, mininterval=10)
    losses, started = [], time.time()
    for step in bar:
        batch = collate(sampler(step), features, plain, tokenizer.pad_token_id)
        batch = {key: send_to_device(value, accelerator.device) for key, value in batch.items()}
        # Noise of one step must not depend on how many steps this process has made: resumed runs equal unbroken ones.
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        loss = model(**batch).loss
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {step}; the last saved state is in {run / 'state'}"
            )
        optimiser.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(learned, recipe.clip)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 50 == 0 and accelerator.is_main_process:
            _log(run / "loss.csv", step + 1, float(np.mean(losses[-50:])), schedule.get_last_lr()[0])
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}", minutes=f"{(time.time() - started) / 60:.1f}")
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps:
            _save(accelerator, run, step + 1)


def _rate(step: int, recipe: Recipe) -> float:
    if step < recipe.warm_steps:
        return (step + 1) / recipe.warm_steps
    done = (step - recipe.warm_steps) / max(1, recipe.steps - recipe.warm_steps)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _log(path: Path, step: int, loss: float, rate: float) -> None:
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "loss", "learning_rate"])
        writer.writerow([step, f"{loss:.6f}", f"{rate:.3e}"])


def _save(accelerator: Accelerator, run: Path, step: int) -> None:
    """Replace the saved state only once the new one is complete."""
    new, state, old = (run / name for name in ("state.new", "state", "state.old"))
    accelerator.save_state(str(new))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (new / "step.json").write_text(json.dumps({"step": step}))
        shutil.rmtree(old, ignore_errors=True)
        if state.exists():
            state.rename(old)
        new.rename(state)
        shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def _mend(run: Path) -> None:
    """Undo what a stop in the middle of ``_save`` left behind: the last complete state is the one to go on from."""
    if not (run / "state").exists() and (run / "state.old").exists():
        (run / "state.old").rename(run / "state")
