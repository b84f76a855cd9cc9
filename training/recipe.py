"""Recipes: everything that a training run depends on, in one YAML file that is checked before anything starts."""

import math
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path

import yaml

from depictqa_core.model import PARTS

from .network import check_changes, check_network

FREE = {
    *("name", "version", "license", "trained_on", "output", "data"),  # the records are compared by what they hold
    *("steps", "epochs", "save_every", "log_every", "workers", "unreadable_share"),
    *("micro_tokens", "gradient_checkpointing", "sharding"),  # how the same steps fit into memory
}
"""Keys that may change between a stop and going on: they say how far and with what effort, not what is learned."""


class RecipeError(ValueError):
    """A recipe that cannot be run: an unknown key, a missing one, or an impossible value."""


def _key(allowed: str, fits: Callable, default=MISSING, make=MISSING):
    """One key of a recipe: what is allowed in words, the test for it, and the default."""
    return field(default=default, default_factory=make, metadata={"allowed": allowed, "fits": fits})


def _is(kind, value) -> bool:
    """isinstance, but True and False are no numbers, and NaN and infinity are none either."""
    return isinstance(value, kind) and not isinstance(value, bool) and (kind is str or math.isfinite(value))


def _text(default=MISSING):
    return _key("text", lambda value: _is(str, value), default)


def _name(allowed: str):
    return _key(allowed, lambda value: _is(str, value) and bool(value.strip()))


def _folder():
    return _key("a folder with a name", lambda value: _is(str, value) and Path(value).name not in ("", ".."))


def _switch(default: bool):
    return _key("true or false", lambda value: isinstance(value, bool), default)


def _whole(least: int, default=MISSING, optional: bool = False):
    allowed = f"a whole number from {least}" + (", or nothing" if optional else "")
    return _key(allowed, lambda value: optional and value is None or _is(int, value) and value >= least, default)


def _number(low: float, high: float, default, low_too: bool = False):
    allowed = f"a number from {low:g} to {high:g}" if low_too else f"a number above {low:g}, at most {high:g}"
    return _key(allowed, lambda v: _is((int, float), v) and (low < v <= high or low_too and v == low), default)


def _choice(*options, default):
    return _key(f"one of {', '.join(map(str, options))}", lambda value: value in options, default)


@dataclass
class Rehearsal:
    """How a tuned judge keeps what it knew: it is held to the start's answers about the user's own pictures.

    Attributes:
        share: share of the samples that are rehearsal.
        pictures: how many pictures are distorted and asked about.
    """

    share: float = _number(0, 0.95, 0.5)
    pictures: int = _whole(1, 200)


@dataclass
class PublishedStart:
    """Published weights to start from (facts 2): they are imported first, as ``depictqa import`` does.

    Attributes:
        clip, llm: OpenAI's ViT-L-14.pt (or a CLIPVisionModel folder) and the folder of Vicuna-7B-v1.5.
        delta: a published ckpt.pt to go on from; without it LoRA, projector and abstractor start fresh.
        abstractor: whether the fresh connector has an abstractor.
    """

    clip: str = _text()
    llm: str = _text()
    delta: str | None = _key("a path, or nothing", lambda value: value is None or _is(str, value), None)
    abstractor: bool = _switch(False)


@dataclass
class Recipe:
    """One training run.

    Attributes:
        name: name of the checkpoint.
        version, license, trained_on: what the checkpoint's card says.
        output: folder of the finished checkpoint; the run's state and logs are kept beside it in ``<output>.run``.
        data: root folder of pictures and records.
        parts: file below ``data``/records or below ``data``, or a pattern such as "*.json", -> its weight.
        sampling: what a weight means: "shares" draws samples at random, in proportion to the weights; "repeat" repeats
            a file that many times in a list that is shuffled and gone through once per epoch (facts 6.6).
        steps, epochs: how long; ``epochs`` needs "repeat".
        batch: samples in one optimiser step, over all processes together.
        micro_tokens: most tokens (pictures included, padded) that one forward pass takes; a batch is sorted by length
            and cut into as many passes as that needs. None takes a process's whole share of the batch at once.
        average: what the loss is averaged over: every "token" of the step's answers counts the same, or every
            "record", however long its answer.
        start: what to start from: a checkpoint folder, "bundled", or published weights (``PublishedStart``); or ...
        network: ... parts of the recipe's own: DepictQAConfig fields with ``vocabulary`` and ``cnn_weights``.
        changes: DepictQAConfig fields that differ from those of the start; settings of the connector are merged, and
            parts that they add to it begin untrained.
        trainable: which parts learn: any of vision, connector, language, lora.
        frozen_precision: number format in which frozen weights are kept; what learns is always float32.
        warmup_epochs: passes over all pictures in which the connector alone learns to name distortions (0 = none).
        comparison_epochs: passes in which the connector's comparison alone learns severities and metrics (0 = none).
        learning_rate, weight_decay, betas, clip: AdamW with gradient clipping.
        schedule: "cosine" (linear warm-up, then a cosine to a twentieth) or "warmup_decay" (logarithmic warm-up from
            1e-8, then linear decay to it, facts 7.1).
        warm_steps: steps of warm-up; None is a tenth of all steps, at least 10.
        precision: "no" (float32), "fp16" (with dynamic loss scale) or "bf16".
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them.
        sharding: "full" spreads all weights over the processes (FSDP); "none" keeps them whole on each (DDP).
        crop: range of the shares of height and width that a random centred crop keeps (facts 7.3), None for no crop.
            The shares are drawn once for a record: its reference and its pictures stay aligned.
        hide_separators: mask ``</s>`` in questions and answers, as the published weights were trained (facts 1.6).
        max_tokens: longest question and answer together, in tokens; more is cut off.
        unreadable_share: largest share of the pictures that may be unreadable; their records are skipped and named.
        cache_features: keep what a frozen tower saw in a file (needs the pooling connector).
        rehearsal: settings of ``Rehearsal``, None for none.
        save_every, log_every: steps between resumable states, and between lines of the log.
        workers: threads that read pictures ahead, in each process.
        seed: seed of everything random.
    """

    name: str = _name("a name")
    output: str = _folder()
    data: str = _name("a folder")
    parts: dict = _key(
        "files and their weights above 0",
        lambda value: (
            isinstance(value, dict)
            and bool(value)
            and all(_is(str, name) and _is((int, float), weight) and weight > 0 for name, weight in value.items())
        ),
    )
    version: str = _text("0.1.0")
    license: str = _text("Apache-2.0")
    trained_on: str = _text("")
    start: str | PublishedStart | None = _key("a folder, or clip and llm", lambda v: not v or _is(str, v), None)
    network: dict | None = _key("settings of a network", lambda value: value is None or isinstance(value, dict), None)
    changes: dict | None = _key("settings of a network", lambda value: value is None or isinstance(value, dict), None)
    trainable: list = _key(
        f"a list of any of {', '.join(PARTS)}, each once",
        lambda value: (
            isinstance(value, list)
            and bool(value)
            and all(part in PARTS for part in value)
            and len({*value}) == len(value)
        ),
        make=lambda: ["connector", "lora"],
    )
    frozen_precision: str = _choice("float32", "float16", "bfloat16", default="float32")
    warmup_epochs: int = _whole(0, 0)
    comparison_epochs: int = _whole(0, 0)
    sampling: str = _choice("shares", "repeat", default="shares")
    steps: int | None = _whole(1, None, optional=True)
    epochs: int | None = _whole(1, None, optional=True)
    batch: int = _whole(1, 16)
    micro_tokens: int | None = _whole(1, None, optional=True)
    average: str = _choice("token", "record", default="token")
    learning_rate: float = _number(0, 1, 2e-4)
    weight_decay: float = _number(0, 1, 0.001, low_too=True)
    betas: list = _key(
        "two numbers from 0, below 1",
        lambda v: isinstance(v, list) and len(v) == 2 and all(_is((int, float), beta) and 0 <= beta < 1 for beta in v),
        make=lambda: [0.9, 0.95],
    )
    clip: float = _number(0, 1e6, 1.0)
    schedule: str = _choice("cosine", "warmup_decay", default="cosine")
    warm_steps: int | None = _whole(0, None, optional=True)
    precision: str = _choice("no", "fp16", "bf16", default="no")
    gradient_checkpointing: bool = _switch(False)
    sharding: str = _choice("none", "full", default="none")
    crop: list | None = _key(
        "two shares, smallest and largest, above 0 and at most 1, or nothing",
        lambda v: (
            v is None
            or (isinstance(v, list) and len(v) == 2 and all(_is((int, float), x) for x in v) and 0 < v[0] <= v[1] <= 1)
        ),
        None,
    )
    hide_separators: bool = _switch(False)
    max_tokens: int | None = _whole(8, None, optional=True)
    unreadable_share: float = _number(0, 1, 0.01, low_too=True)
    cache_features: bool = _switch(False)
    rehearsal: Rehearsal | None = _key("share and pictures, or nothing", lambda value: value is None, None)
    save_every: int = _whole(1, 1000)
    log_every: int = _whole(1, 50)
    workers: int = _whole(1, 2)
    seed: int = _key("a whole number from 0, below 2^31", lambda v: _is(int, v) and 0 <= v < 2**31, 131)

    @property
    def run(self) -> Path:
        """Where the state and the logs of the run are kept."""
        output = Path(self.output)
        return output.with_name(output.name + ".run")

    @property
    def shape(self) -> dict:
        """What shapes the run: a state that was saved under another shape is that of another run."""
        return {key: value for key, value in asdict(self).items() if key not in FREE}

    def check(self) -> None:
        """Raise RecipeError for values that do not go together."""
        problems = [
            (bool(self.start) == bool(self.network), "give either start (weights to go on from) or network"),
            ((self.steps is None) == (self.epochs is None), "give either steps or epochs"),
            (self.epochs and self.sampling != "repeat", "epochs needs sampling: repeat; shares are drawn without end"),
            (
                self.steps and (self.warm_steps or 0) >= self.steps,
                f"warm_steps is {self.warm_steps}, but the run has {self.steps} steps: give fewer warm_steps, or more "
                "steps",
            ),
            (
                self.sampling == "repeat" and any(weight != int(weight) for weight in self.parts.values()),
                "sampling: repeat needs whole numbers as weights of parts",
            ),
            (
                self.cache_features and (self.crop or "vision" in self.trainable),
                "cache_features keeps what the tower saw once: neither crop nor trainable: vision goes with it",
            ),
            (self.changes and not isinstance(self.start, str), "changes needs start: a checkpoint folder"),
            (
                (self.warmup_epochs or self.comparison_epochs) and not self.cache_features,
                "warmup_epochs and comparison_epochs need cache_features: true",
            ),
            (self.rehearsal and not isinstance(self.start, str), "rehearsal needs start: a checkpoint folder"),
            (self.rehearsal and self.sampling != "shares", "rehearsal needs sampling: shares"),
            (self.rehearsal and self.sharding == "full", "rehearsal does not go with sharding: full"),
        ]
        for wrong, message in problems:
            if wrong:
                raise RecipeError(message)
        for name, check in (("network", check_network), ("changes", check_changes)):
            if getattr(self, name):
                try:
                    check(getattr(self, name))
                except ValueError as error:
                    raise RecipeError(f"{name}: {error}") from error


def read_recipe(path: str | Path, **changes) -> Recipe:
    """Read and check a recipe; ``changes`` (those that are not None) replace values of the file.

    Raises:
        RecipeError: names the file, the key, its value and what is allowed, or why the file cannot be read.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"the recipe {path} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is no YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} is no recipe: it must hold keys and values")
    changes = {key: value for key, value in changes.items() if value is not None}
    if "steps" in changes:
        content.pop("epochs", None)
    content.update(changes)
    if content.get("precision") is False:
        content["precision"] = "no"  # YAML reads a bare no as false
    try:
        for key, kind in (("start", PublishedStart), ("rehearsal", Rehearsal)):
            if isinstance(content.get(key), dict):
                content[key] = _fill(kind, content[key], f"{key}.")
        recipe = _fill(Recipe, content)
        recipe.check()
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error
    return recipe


def _fill(kind: type, content: dict, prefix: str = ""):
    """A dataclass of checked values."""
    known = {item.name: item for item in fields(kind)}
    if unknown := [key for key in content if key not in known]:
        raise RecipeError(f"unknown key {prefix}{unknown[0]}; known keys are {', '.join(sorted(known))}")
    for name, item in known.items():
        required = item.default is MISSING and item.default_factory is MISSING
        if name not in content:
            if required:
                raise RecipeError(f"{prefix}{name} is missing: {item.metadata['allowed']}")
        elif not isinstance(content[name], PublishedStart | Rehearsal) and not item.metadata["fits"](content[name]):
            raise RecipeError(f"{prefix}{name} is {content[name]!r}{_hint(content[name])}; allowed: "
                              f"{item.metadata['allowed']}")  # fmt: skip
    return kind(**content)


def _hint(value) -> str:
    """YAML takes 2e-4 for text."""
    try:
        return f" (text; write {float(value):.1e})" if isinstance(value, str) else ""
    except ValueError:
        return ""
