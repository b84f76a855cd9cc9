"""Recipes: everything that a training run depends on, in one YAML file that is checked before anything starts."""

from dataclasses import asdict, field
from pathlib import Path, PurePath

from depictqa_core.errors import DepictQAError
from depictqa_core.network.model import PARTS
from depictqa_core.storage.documents import named
from depictqa_core.storage.rules import OBJECT, SWITCH, Rule, above, is_number, list_of, number, one_of, whole

from ..documents import NAME, TEXT, checked, data_model, field_of, instance_of, optional, read_yaml
from .network import check_changes, check_network

FREE = {
    *("name", "version", "license", "trained_on", "output", "data"),  # the records are compared by what they hold
    *("steps", "epochs", "save_every", "log_every", "workers", "unreadable_share"),
    *("micro_tokens", "gradient_checkpointing", "sharding"),  # how the same steps fit into memory
}
"""Keys that may change between a stop and going on: they say how far and with what effort, not what is learned."""


class RecipeError(DepictQAError, ValueError):
    """A recipe that cannot be run: an unknown key, a missing one, or an impossible value."""


FOLDER = Rule("a folder with a name", lambda v: TEXT.fits(v) and Path(v).name not in ("", ".."))
PARTS_RULE = Rule(
    "files below records (names or patterns) and their weights above 0, at most 10,000",
    lambda v: isinstance(v, dict) and bool(v) and all(_is_pattern(p) and above(0, 10_000).fits(v[p]) for p in v),
)


def _is_pattern(value) -> bool:
    """Whether a value is the name of a file, or a pattern for such names, that stays below a folder."""
    return NAME.fits(value) and not PurePath(value).is_absolute() and ".." not in PurePath(value).parts


@data_model
class Rehearsal:
    """How a tuned judge keeps what it knew: it is held to the start's answers about the user's own pictures.

    Attributes:
        share: share of the samples that are rehearsal.
        pictures: how many pictures are distorted and asked about.
    """

    share: field_of(float, above(0, 0.95)) = 0.5
    pictures: field_of(int, whole(1, 10**6)) = 200


@data_model
class PublishedStart:
    """Published weights to start from (facts 2): they are imported first, as ``depictqa import`` does.

    Attributes:
        clip, llm: OpenAI's ViT-L-14.pt (or a CLIPVisionModel folder) and the folder of Vicuna-7B-v1.5.
        delta: a published ckpt.pt to go on from; without it LoRA, projector and abstractor start fresh.
        abstractor: whether the fresh connector has an abstractor.
    """

    clip: field_of(str, NAME)
    llm: field_of(str, NAME)
    delta: field_of(str | None, optional(NAME)) = None
    abstractor: field_of(bool, SWITCH) = False


@data_model
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
        local_weights: weights of the local tower that ``changes`` add to the start (``python -m training tower``).
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

    name: field_of(str, NAME)
    output: field_of(str, FOLDER)
    data: field_of(str, NAME)
    parts: field_of(dict, PARTS_RULE)
    version: field_of(str, TEXT) = "0.1.0"
    license: field_of(str, TEXT) = "Apache-2.0"
    trained_on: field_of(str, TEXT) = ""
    start: field_of(
        str | PublishedStart | None,
        Rule("a folder, or clip and llm", lambda v: v is None or isinstance(v, PublishedStart) or TEXT.fits(v)),
    ) = None
    network: field_of(dict | None, optional(OBJECT)) = None
    changes: field_of(dict | None, optional(OBJECT)) = None
    local_weights: field_of(str | None, optional(NAME)) = None
    trainable: field_of(
        list,
        Rule(
            f"a list of any of {', '.join(PARTS)}, each once", list_of(one_of(*PARTS), 1, len(PARTS), unique=True).fits
        ),
    ) = field(default_factory=lambda: ["connector", "lora"])
    frozen_precision: field_of(str, one_of("float32", "float16", "bfloat16")) = "float32"
    warmup_epochs: field_of(int, whole(0, 10**6)) = 0
    comparison_epochs: field_of(int, whole(0, 10**6)) = 0
    sampling: field_of(str, one_of("shares", "repeat")) = "shares"
    steps: field_of(int | None, optional(whole(1, 10**9))) = None
    epochs: field_of(int | None, optional(whole(1, 10**6))) = None
    batch: field_of(int, whole(1, 10**6)) = 16
    micro_tokens: field_of(int | None, optional(whole(1, 10**9))) = None
    average: field_of(str, one_of("token", "record")) = "token"
    learning_rate: field_of(float, above(0, 1)) = 2e-4
    weight_decay: field_of(float, number(0, 1)) = 0.001
    betas: field_of(
        list,
        Rule(
            "two numbers from 0, below 1",
            lambda v: isinstance(v, list) and len(v) == 2 and all(is_number(beta) and 0 <= beta < 1 for beta in v),
        ),
    ) = field(default_factory=lambda: [0.9, 0.95])
    clip: field_of(float, above(0, 1e6)) = 1.0
    schedule: field_of(str, one_of("cosine", "warmup_decay")) = "cosine"
    warm_steps: field_of(int | None, optional(whole(0, 10**9))) = None
    precision: field_of(str, one_of("no", "fp16", "bf16")) = "no"
    gradient_checkpointing: field_of(bool, SWITCH) = False
    sharding: field_of(str, one_of("none", "full")) = "none"
    crop: field_of(
        list | None,
        Rule(
            "two shares, smallest and largest, above 0 and at most 1, or nothing",
            lambda v: (
                v is None or (isinstance(v, list) and len(v) == 2 and all(map(above(0, 1).fits, v)) and v[0] <= v[1])
            ),
        ),
    ) = None
    hide_separators: field_of(bool, SWITCH) = False
    max_tokens: field_of(int | None, optional(whole(8, 10**6))) = None
    unreadable_share: field_of(float, number(0, 1)) = 0.01
    cache_features: field_of(bool, SWITCH) = False
    rehearsal: field_of(Rehearsal | None, optional(instance_of(Rehearsal, "share and pictures"))) = None
    save_every: field_of(int, whole(1, 10**9)) = 1000
    log_every: field_of(int, whole(1, 10**9)) = 50
    workers: field_of(int, whole(1, 256)) = 2
    seed: field_of(int, whole(0, 2**31 - 1)) = 131

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
                self.local_weights and not (self.changes or {}).get("vision", {}).get("local"),
                "local_weights needs changes: vision: local: the settings of the local tower",
            ),
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
    content = read_yaml(path, where=f"the recipe {named(path)}", error=RecipeError)
    changes = {key: value for key, value in changes.items() if value is not None}
    if "steps" in changes:
        content.pop("epochs", None)
    content.update(changes)
    if content.get("precision") is False:
        content["precision"] = "no"  # YAML reads a bare no as false
    where = named(path)
    for key, kind in (("start", PublishedStart), ("rehearsal", Rehearsal)):
        if isinstance(content.get(key), dict):
            content[key] = checked(kind, content[key], where, RecipeError, f"{key}.")
    recipe = checked(Recipe, content, where, RecipeError)
    try:
        recipe.check()
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error
    return recipe
