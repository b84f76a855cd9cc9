"""Recipes: everything that a training run depends on, in one YAML file that is checked before anything starts."""

from collections.abc import Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated

from depictqa_core.errors import DepictQAError
from depictqa_core.network.model import PARTS
from depictqa_core.storage.documents import named
from depictqa_core.storage.rules import OBJECT, SWITCH, Rule, above, is_number, list_of, number, one_of, whole

from ..validation import NAME, TEXT, Allowed, checked, data_model, instance_of, optional, read_yaml
from .overrides import with_overrides
from .recipe_parts import Adapter, PublishedStart, Rehearsal, Validation, is_pattern
from .start_network import check_changes, check_network

FREE = {
    *("name", "version", "license", "trained_on", "output", "data"),  # the records are compared by what they hold
    *("steps", "epochs", "save_every", "log_every", "trackers", "workers", "unreadable_share"),
    *("micro_tokens", "gradient_checkpointing", "sharding"),  # how the same steps fit into memory
}
"""Keys that may change before a run is resumed: they set its length and cost, not what is learned."""


_WEIGHTS = {"local": "local_weights", "tiles": "tile_weights"}
"""The settings with the weights of the towers for native size."""
_WARM_UPS = ("warmup_epochs", "comparison_epochs", "evidence_epochs", "finding_epochs", "pair_epochs")


class RecipeError(DepictQAError, ValueError):
    """A recipe that cannot be run: an unknown key, a missing one, or an impossible value."""


FOLDER = Rule("a folder with a name", lambda v: TEXT.fits(v) and Path(v).name not in ("", ".."))
BELOW_ONE = Rule("a number above 0, below 1", lambda v: is_number(v) and 0 < v < 1)
TRACKERS = ("wandb", "mlflow")
PARTS_RULE = Rule(
    "files below records (names or patterns) and their weights above 0, at most 10,000",
    lambda v: isinstance(v, dict) and bool(v) and all(is_pattern(p) and above(0, 10_000).fits(v[p]) for p in v),
)


@data_model
class Recipe:
    """One training run.

    Attributes:
        name: name of the checkpoint.
        version, license, trained_on: texts of the checkpoint's card; where trained_on is left out, it is composed of
            what the data root says of itself (``provenance``).
        output: folder of the finished checkpoint; the run's state and logs are next to it in ``<output>.run``.
        data: root folder of images and records.
        parts: file below ``data``/records or below ``data``, or a pattern such as "*.json", -> its weight.
        sampling: meaning of the weights: "shares" draws samples at random, in proportion to the weights; "repeat"
            repeats a file that many times per epoch, in shuffled order (method.md 6.6).
        steps, epochs: length of the run; ``epochs`` needs "repeat". With 0 steps only the warm-ups train.
        batch: samples per optimizer step, over all processes.
        micro_tokens: maximum number of tokens (with images and padding) of one forward pass; a batch is sorted by
            length and split accordingly. None: the whole share of a process in one pass.
        average: what the loss is averaged over: every "token" of the step's answers has the same weight, or every
            "record", independent of its length.
        start: the start: a checkpoint folder, "bundled", published weights (``PublishedStart``), or, with ``adapter``,
            the folder of a vision-language model of transformers; or ...
        network: ... a new network: DepictQAConfig fields with ``vocabulary`` and ``cnn_weights``.
        changes: DepictQAConfig fields that differ from those of the start; settings of the connector are merged, and
            new parts of it are initialized.
        adapter: settings of ``Adapter``: a LoRA adapter of a vision-language model is trained, and the output is an
            adapter folder; None for checkpoints of DepictQA.
        local_weights: weights of the local tower that ``changes`` add to the start (``python -m training tower``).
        tile_weights: weights of the tile tower that ``changes`` add to the start (``python -m training tiles``).
        trainable: trainable parts: any of vision, connector, language, lora, or pair, by which the connector tells the
            language model which of two images is better; none of them with ``steps: 0``; with ``adapter`` lora, and
            connector if the projector is to learn as well.
        frozen_precision: dtype of frozen weights; trainable weights are always float32.
        warmup_epochs: epochs in which the connector alone is trained to identify distortions (0 = none).
        comparison_epochs: epochs in which the connector's comparison alone is trained on severities and metrics (0 =
            none).
        evidence_epochs: epochs in which the connector's hidden layers are trained on what one image alone shows (0 =
            none).
        evidence_crops: folder of crops (``python -m training crops``) that these epochs use, too.
        finding_epochs: epochs in which the connector's heads are trained on what one image alone shows (0 = none).
        finding_scenes: data root of the scenes of these epochs; None is ``data``.
        pair_epochs: epochs in which the connector's comparison of two images without a reference is trained on which
            of them is better (0 = none).
        pair_scenes: data root of the scenes of these epochs; None is ``data``. Other scenes are better: of those that
            it learned from, its evidence is overconfident, and the language model would trust it too much.
        temperature: the logits are divided by it in every loss. Give the temperature of a frozen network that is
            overconfident: at 1, the loss would hold back evidence that a new part adds.
        learning_rate, weight_decay, betas, clip: AdamW with gradient clipping.
        schedule: "cosine" (linear warm-up, then a cosine to a twentieth) or "warmup_decay" (logarithmic warm-up from
            1e-8, then linear decay to it, method.md 7.1).
        warm_steps: steps of warm-up; None is a tenth of all steps, at least 10.
        precision: "no" (float32), "fp16" (with dynamic loss scale) or "bf16".
        gradient_checkpointing: compute activations again in the backward pass instead of storing them.
        sharding: "full" splits all weights over the processes (FSDP); "none" has all of them on each (DDP).
        crop: range of the shares of height and width that a random centred crop keeps (method.md 7.3), None for none.
            The shares are drawn once for a record: its reference and its images stay aligned.
        hide_separators: mask ``</s>`` in questions and answers, as the published weights were trained (method.md 1.6).
        max_tokens: maximum length of question and answer together, in tokens; longer ones are cut.
        unreadable_share: maximum share of unreadable images; their records are skipped and listed.
        cache_features: store the features of a frozen tower in a file (needs the pooling connector).
        rehearsal: settings of ``Rehearsal``, None for none.
        validate: settings of ``Validation``: loss on other records, best weights, early stopping; None for none.
        ema: decay of an exponential moving average of the weights that learn, which is validated and stored in their
            place (smaller in the first steps: at most (1 + steps) / (10 + steps)); None for the weights themselves.
        save_every, log_every: steps between resumable states, and between lines of the log.
        trackers: where the log goes as well, by accelerate: "wandb", "mlflow". Each needs its package.
        workers: threads that read images ahead, in each process.
        seed: seed of everything random.
    """

    name: Annotated[str, Allowed(NAME)]
    output: Annotated[str, Allowed(FOLDER)]
    data: Annotated[str, Allowed(NAME)]
    parts: Annotated[dict, Allowed(PARTS_RULE)]
    version: Annotated[str, Allowed(TEXT)] = "0.1.0"
    license: Annotated[str, Allowed(TEXT)] = "Apache-2.0"
    trained_on: Annotated[str, Allowed(TEXT)] = ""
    start: Annotated[
        str | PublishedStart | None,
        Allowed(
            Rule(
                "a folder, or clip and llm",
                lambda v: v is None or isinstance(v, PublishedStart) or TEXT.fits(v),
            )
        ),
    ] = None
    network: Annotated[dict | None, Allowed(optional(OBJECT))] = None
    changes: Annotated[dict | None, Allowed(optional(OBJECT))] = None
    adapter: Annotated[
        Adapter | None, Allowed(optional(instance_of(Adapter, ", ".join(Adapter.__dataclass_fields__))))
    ] = None
    local_weights: Annotated[str | None, Allowed(optional(NAME))] = None
    tile_weights: Annotated[str | None, Allowed(optional(NAME))] = None
    trainable: Annotated[
        list,
        Allowed(
            Rule(
                f"a list of any of {', '.join(PARTS)}, each once",
                list_of(one_of(*PARTS), 0, len(PARTS), unique=True).fits,
            )
        ),
    ] = field(default_factory=lambda: ["connector", "lora"])
    frozen_precision: Annotated[str, Allowed(one_of("float32", "float16", "bfloat16"))] = "float32"
    warmup_epochs: Annotated[int, Allowed(whole(0, 10**6))] = 0
    comparison_epochs: Annotated[int, Allowed(whole(0, 10**6))] = 0
    evidence_epochs: Annotated[int, Allowed(whole(0, 10**6))] = 0
    evidence_crops: Annotated[str | None, Allowed(optional(NAME))] = None
    finding_epochs: Annotated[int, Allowed(whole(0, 10**6))] = 0
    finding_scenes: Annotated[str | None, Allowed(optional(NAME))] = None
    pair_epochs: Annotated[int, Allowed(whole(0, 10**6))] = 0
    pair_scenes: Annotated[str | None, Allowed(optional(NAME))] = None
    sampling: Annotated[str, Allowed(one_of("shares", "repeat"))] = "shares"
    steps: Annotated[int | None, Allowed(optional(whole(0, 10**9)))] = None
    epochs: Annotated[int | None, Allowed(optional(whole(1, 10**6)))] = None
    batch: Annotated[int, Allowed(whole(1, 10**6))] = 16
    micro_tokens: Annotated[int | None, Allowed(optional(whole(1, 10**9)))] = None
    average: Annotated[str, Allowed(one_of("token", "record"))] = "token"
    temperature: Annotated[float, Allowed(above(0, 100))] = 1.0
    learning_rate: Annotated[float, Allowed(above(0, 1))] = 2e-4
    weight_decay: Annotated[float, Allowed(number(0, 1))] = 0.001
    betas: Annotated[
        list,
        Allowed(
            Rule(
                "two numbers from 0, below 1",
                lambda v: isinstance(v, list) and len(v) == 2 and all(is_number(beta) and 0 <= beta < 1 for beta in v),
            )
        ),
    ] = field(default_factory=lambda: [0.9, 0.95])
    clip: Annotated[float, Allowed(above(0, 1e6))] = 1.0
    schedule: Annotated[str, Allowed(one_of("cosine", "warmup_decay"))] = "cosine"
    warm_steps: Annotated[int | None, Allowed(optional(whole(0, 10**9)))] = None
    precision: Annotated[str, Allowed(one_of("no", "fp16", "bf16"))] = "no"
    gradient_checkpointing: Annotated[bool, Allowed(SWITCH)] = False
    sharding: Annotated[str, Allowed(one_of("none", "full"))] = "none"
    crop: Annotated[
        list | None,
        Allowed(
            Rule(
                "two shares, smallest and largest, above 0 and at most 1, or nothing",
                lambda v: (
                    v is None
                    or (isinstance(v, list) and len(v) == 2 and all(map(above(0, 1).fits, v)) and v[0] <= v[1])
                ),
            )
        ),
    ] = None
    hide_separators: Annotated[bool, Allowed(SWITCH)] = False
    max_tokens: Annotated[int | None, Allowed(optional(whole(8, 10**6)))] = None
    unreadable_share: Annotated[float, Allowed(number(0, 1))] = 0.01
    cache_features: Annotated[bool, Allowed(SWITCH)] = False
    rehearsal: Annotated[
        Rehearsal | None, Allowed(optional(instance_of(Rehearsal, " and ".join(Rehearsal.__dataclass_fields__))))
    ] = None
    validate: Annotated[
        Validation | None, Allowed(optional(instance_of(Validation, ", ".join(Validation.__dataclass_fields__))))
    ] = None
    ema: Annotated[float | None, Allowed(optional(BELOW_ONE))] = None
    save_every: Annotated[int, Allowed(whole(1, 10**9))] = 1000
    log_every: Annotated[int, Allowed(whole(1, 10**9))] = 50
    trackers: Annotated[list, Allowed(list_of(one_of(*TRACKERS), 0, len(TRACKERS), unique=True))] = field(
        default_factory=list
    )
    workers: Annotated[int, Allowed(whole(1, 256))] = 2
    seed: Annotated[int, Allowed(whole(0, 2**31 - 1))] = 131

    @property
    def run(self) -> Path:
        """Folder of the state and the logs of the run."""
        output = Path(self.output)
        return output.with_name(output.name + ".run")

    @property
    def native_weights(self) -> dict[str, str]:
        """Files of the weights of the towers for native size that are added, by the names of the towers."""
        return {tower: file for tower, name in _WEIGHTS.items() if (file := getattr(self, name))}

    @property
    def shape(self) -> dict:
        """The settings that define the run: a state with other settings belongs to another run."""
        return {key: value for key, value in asdict(self).items() if key not in FREE}

    def steps_of(self, epoch: int) -> int:
        """Return the number of steps of the run, where an epoch has ``epoch`` steps."""
        return (self.epochs or 1) * epoch if self.steps is None else self.steps

    def check(self) -> None:
        """Raise RecipeError for values that are incompatible."""
        problems = [
            (bool(self.start) == bool(self.network), "give either start (weights to start from) or network"),
            ((self.steps is None) == (self.epochs is None), "give either steps or epochs"),
            (
                (self.steps == 0) != (not self.trainable),
                "steps: 0 and trainable: [] go together: then only the warm-ups train",
            ),
            (self.steps == 0 and not any(getattr(self, name) for name in _WARM_UPS), "steps: 0 needs a warm-up"),
            (self.steps == 0 and (self.validate or self.rehearsal), "validate and rehearsal need steps"),
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
                "cache_features stores the features of the tower: neither crop nor trainable: vision goes with it",
            ),
            (bool(self.changes) and not isinstance(self.start, str), "changes needs start: a checkpoint folder"),
            *(
                (
                    not (self.changes or {}).get("vision", {}).get(tower),
                    f"{_WEIGHTS[tower]} needs changes: vision: {tower}: the settings of that tower",
                )
                for tower in self.native_weights
            ),
            (
                any(getattr(self, name) for name in _WARM_UPS) and not self.cache_features,
                f"{', '.join(_WARM_UPS)} need cache_features: true",
            ),
            (self.evidence_crops and not self.evidence_epochs, "evidence_crops needs evidence_epochs"),
            (self.finding_scenes and not self.finding_epochs, "finding_scenes needs finding_epochs"),
            (self.pair_scenes and not self.pair_epochs, "pair_scenes needs pair_epochs"),
            *(
                (
                    trained and self.frozen_precision != "float32",
                    f"{part} needs frozen_precision: float32{remedy}",
                )
                for part, trained, remedy in (
                    ("finding_epochs", self.finding_epochs, ""),
                    (
                        "pair",
                        (self.pair_epochs or "pair" in self.trainable) and "connector" not in self.trainable,
                        ", or trainable: connector",
                    ),
                )
            ),
            (
                (self.changes or {}).get("connector", {}).get("pair") and not self.pair_epochs,
                "changes: connector: pair: true needs pair_epochs, in which it learns which of two images is better",
            ),
            (
                (self.changes or {}).get("connector", {}).get("findings") and not self.finding_epochs,
                "changes: connector: findings: true needs finding_epochs, in which they learn what an image shows",
            ),
            (self.rehearsal and not isinstance(self.start, str), "rehearsal needs start: a checkpoint folder"),
            (self.rehearsal and self.sampling != "shares", "rehearsal needs sampling: shares"),
            (self.rehearsal and self.sharding == "full", "rehearsal does not go with sharding: full"),
        ]
        for wrong, message in [*self._adapter_problems(), *problems]:
            if wrong:
                raise RecipeError(message)
        for name, check in (("network", check_network), ("changes", check_changes)):
            if getattr(self, name):
                try:
                    check(getattr(self, name))
                except ValueError as error:
                    raise RecipeError(f"{name}: {error}") from error

    def _adapter_problems(self) -> list[tuple[bool, str]]:
        """What does not go with an adapter of a vision-language model."""
        if self.adapter is None:
            return []
        none = {
            "crop",
            "hide_separators",
            "cache_features",
            *_WEIGHTS.values(),
            *_WARM_UPS,
            "evidence_crops",
            "finding_scenes",
            "pair_scenes",
        }
        odd = sorted(name for name in none if getattr(self, name))
        more = sorted(set(self.changes or {}) - {"personal"})
        half = self.frozen_precision != "float32" and self.precision == "no"
        return [
            (not isinstance(self.start, str), "adapter needs start: the folder of a vision-language model"),
            (
                "lora" not in self.trainable or not {"lora", "connector"}.issuperset(self.trainable),
                "with adapter, trainable is [lora] or [lora, connector]",
            ),
            (bool(odd), f"{(odd or [''])[0]} is for checkpoints of DepictQA and does not go with adapter"),
            (bool(more), f"changes: {(more or [''])[0]} does not go with adapter; only personal does"),
            (half, f"adapter with frozen_precision: {self.frozen_precision} needs precision: bf16 or fp16"),
        ]


def read_recipe(path: str | Path, settings: Sequence[str] = (), **changes) -> Recipe:
    """Read and check a recipe; ``changes`` (those that are not None) replace values of the file.

    If ``steps`` is changed to no more than the warm-up of the file, that becomes as much shorter as the run does.

    Args:
        settings: "KEY=VALUE", see ``overrides.with_overrides``.

    Raises:
        RecipeError: names the file, the key, its value and what is allowed, or why the file cannot be read.
    """
    content = read_yaml(path, where=f"the recipe {named(path)}", error=RecipeError)
    before, where = dict(content), named(path)
    content = with_overrides(content, settings, Recipe.__dataclass_fields__, RecipeError)
    changes = {key: value for key, value in changes.items() if value is not None}
    content.update(changes)
    if content.get("steps") != before.get("steps"):
        if content.get("epochs") == before.get("epochs"):
            content.pop("epochs", None)
        if content.get("warm_steps") == before.get("warm_steps"):
            _shorten_warm_up(content, before.get("steps"))
    if content.get("precision") is False:
        content["precision"] = "no"  # YAML reads a bare no as false
    kinds = {"start": PublishedStart, "rehearsal": Rehearsal, "adapter": Adapter, "validate": Validation}
    for key, kind in kinds.items():
        if isinstance(content.get(key), dict):
            content[key] = checked(kind, content[key], where, RecipeError, f"{key}.")
    recipe = checked(Recipe, content, where, RecipeError)
    try:
        recipe.check()
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error
    return recipe


def _shorten_warm_up(content: dict, planned: object) -> None:
    """Shorten the warm-up of a run that is shorter than planned, if it would not fit."""
    steps, warm = content["steps"], content.get("warm_steps")
    if isinstance(steps, int) and isinstance(warm, int) and 0 < steps <= warm:
        share = warm / planned if isinstance(planned, int) and planned > warm else 0.1
        content["warm_steps"] = int(steps * share)
