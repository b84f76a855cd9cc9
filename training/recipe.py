"""Recipes: everything that a training run depends on, in one YAML file that is checked before anything starts."""

from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml


class RecipeError(ValueError):
    """A recipe that cannot be run: an unknown key, a missing one, or an impossible value."""


@dataclass
class Recipe:
    """One training run.

    Attributes:
        name: name of the checkpoint.
        version, license, trained_on: what the checkpoint's card says.
        output: folder of the finished checkpoint; the run's state is kept beside it in ``<output>.run``.
        data: root folder of pictures and records.
        parts: file name under ``data``/records -> share of the training samples (relative).
        start: checkpoint folder to start from, or None to build ``network``.
        network: DepictQAConfig fields with ``vocabulary`` and ``cnn_weights`` (see ``training.network``).
        trainable: which parts learn: any of vision, connector, language, lora.
        warmup_epochs: passes over all pictures in which the connector alone learns to name distortions (0 = none).
        steps, batch: optimiser steps and samples in each.
        learning_rate, weight_decay, betas, clip: AdamW with gradient clipping.
        warm_steps: steps of linear warm-up, before a cosine decay to a twentieth.
        save_every: steps between resumable states.
        seed: seed of everything random.
        precision: "no", "fp16" or "bf16".
        cache_features: keep what a frozen tower saw in a file (needs the pooling connector).
    """

    name: str
    output: str
    data: str
    parts: dict[str, float]
    version: str = "0.1.0"
    license: str = "Apache-2.0"
    trained_on: str = ""
    start: str | None = None
    network: dict | None = None
    trainable: list[str] = field(default_factory=lambda: ["connector", "lora"])
    warmup_epochs: int = 0
    steps: int = 1000
    batch: int = 16
    learning_rate: float = 2e-4
    weight_decay: float = 0.001
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    clip: float = 1.0
    warm_steps: int = 100
    save_every: int = 1000
    seed: int = 131
    precision: str = "no"
    cache_features: bool = False

    def check(self) -> None:
        """Raise RecipeError for impossible values."""
        positive = ("steps", "batch", "learning_rate", "save_every", "clip")
        for name in positive:
            if not getattr(self, name) > 0:
                raise RecipeError(f"recipe: {name} must be above 0, not {getattr(self, name)}")
        if bool(self.start) == bool(self.network):
            raise RecipeError("recipe: give either start (a checkpoint folder) or network (its own parts)")
        if not self.parts or any(share <= 0 for share in self.parts.values()):
            raise RecipeError("recipe: parts needs at least one file, each with a share above 0")
        unknown = set(self.trainable) - {"vision", "connector", "language", "lora"}
        if unknown or not self.trainable:
            raise RecipeError(f"recipe: trainable takes vision, connector, language, lora, not {sorted(unknown)}")
        if self.precision not in ("no", "fp16", "bf16"):
            raise RecipeError(f"recipe: precision must be no, fp16 or bf16, not {self.precision}")


def read_recipe(path: str | Path, **changes) -> Recipe:
    """Read and check a recipe; ``changes`` (those that are not None) replace values of the file."""
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise RecipeError(f"{path} is no recipe: it must hold keys and values")
    content.update({key: value for key, value in changes.items() if value is not None})
    known = {item.name for item in fields(Recipe)}
    unknown = sorted(set(content) - known)
    if unknown:
        raise RecipeError(f"{path}: unknown key {unknown[0]}; known keys are {', '.join(sorted(known))}")
    try:
        recipe = Recipe(**content)
        recipe.check()
    except TypeError as error:
        raise RecipeError(f"{path}: {error}") from error
    return recipe
