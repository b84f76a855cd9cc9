"""One training loop on accelerate, for a CPU, one GPU, DDP and FSDP: from a recipe to a checkpoint folder."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, set_seed

from depictqa_core.prompts import REFERENCE

from ..dataset.building.scenes import read_scenes
from .batches import Batches, Unreadable
from .evidence import crop_evidence, scene_evidence, warm_up_evidence
from .feature_store import FeatureStore
from .image_features import ImageFiles
from .loop import Loop
from .recipe import Recipe, RecipeError, Rehearsal
from .record_files import picture_paths, read_parts
from .rehearsal import make_rehearsal
from .starts import NativeStart, VlmStart, start_of
from .state import can_resume, digest, recover
from .warmup import standardise_local, warm_up, warm_up_comparison
from .weighted_sampler import WeightedSampler


def train(recipe: Recipe, resume: bool = True) -> Path:
    """Run a recipe and return the checkpoint folder.

    An interrupted run resumes from its last saved state, with the same samples as an uninterrupted one.

    Args:
        resume: False starts from the beginning, without anything that an earlier run of this recipe has computed.

    Raises:
        RecipeError, ValueError, FileNotFoundError: bad recipe, missing or bad records.
        CheckpointError: the weights to start from are missing, damaged or do not fit.
        ImageError: too many images cannot be read.
        FloatingPointError: the loss or its gradient has NaN or Inf, under fp16 many times; the previous state is saved.
        OSError: a state or the checkpoint could not be written; the previous one is unchanged.
        Stopped: Ctrl-C or a termination signal; the state was saved.
    """
    set_seed(recipe.seed)
    accelerator = Accelerator(mixed_precision=recipe.precision)
    if accelerator.distributed_type not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise RecipeError(
            f"launched for {accelerator.distributed_type.value}: launch plain processes (accelerate launch"
            " --multi_gpu); the recipe's sharding: full spreads the weights over them"
        )
    run, data = recipe.run, Path(recipe.data)
    run.mkdir(parents=True, exist_ok=True)
    if not resume and accelerator.is_main_process:
        for name in ("state", "state.old", "features", "rehearsal", "start"):
            shutil.rmtree(run / name, ignore_errors=True)
    recover(run / "state")
    parts, weights = read_parts(data, recipe.parts)
    source = digest([recipe.parts, parts])
    resume = resume and can_resume(run / "state", source, recipe.shape, accelerator.print)
    if not resume and accelerator.is_main_process:
        (run / "unreadable.csv").unlink(missing_ok=True)
    with accelerator.main_process_first():
        texts = (turn["value"] for part in parts for record in part for turn in record["conversations"])
        start = start_of(recipe, texts)
    parts = start.records(parts)
    if recipe.rehearsal:
        parts, weights = _rehearse(accelerator, recipe, recipe.rehearsal, start.tasks, parts, weights)
    batches = _batches(accelerator, recipe, start, parts, weights)
    if not resume:
        _warm_up(accelerator, recipe, start.model, parts, batches.views)
    loop = Loop(accelerator, recipe, start.model, batches, source, start.teacher() if recipe.rehearsal else None)
    loop.go(run, resume)
    card = {key: getattr(recipe, key) for key in ("name", "version", "license", "trained_on")}
    if start.card is not None:
        card["started_from"] = {key: start.card.get(key) for key in ("name", "version", "license", "trained_on")}
    recover(Path(recipe.output))
    start.save(Path(recipe.output), accelerator, loop.model, card)
    accelerator.end_training()  # threads of a process group that is still open abort a process that exits before others
    return Path(recipe.output)


def _rehearse(
    accelerator, recipe: Recipe, wanted: Rehearsal, known: Sequence[str], parts: list[list[dict]], weights: list[float]
):
    """The parts and their weights with one more, last: what the start is to be held to."""
    paths = {path for part in parts for record in part for path in picture_paths(record, record["task_type"]).values()}
    with accelerator.main_process_first():
        records = make_rehearsal(
            recipe.run / "rehearsal", Path(recipe.data), sorted(paths), wanted.pictures, list(known), recipe.seed
        )
    return [*parts, records], [*weights, sum(weights) * wanted.share / (1 - wanted.share)]


def _batches(
    accelerator, recipe: Recipe, start: NativeStart | VlmStart, parts: list[list[dict]], weights: list[float]
) -> Batches:
    """What the run learns from, in order; images that the feature store could not read are counted at once."""
    data, run = Path(recipe.data), recipe.run
    shown = [picture_paths(record, record["task_type"]) for part in parts for record in part]
    paths = sorted({path for pictures in shown for path in pictures.values()})
    beside = ((p[role], p[REFERENCE]) for p in shown if REFERENCE in p for role in p if role != REFERENCE)
    pairs = sorted(set(beside))
    unreadable = Unreadable(run / "unreadable.csv", len(paths), recipe.unreadable_share)
    if recipe.cache_features and isinstance(start, NativeStart):
        with accelerator.main_process_first():
            store = FeatureStore(run / "features", start.model.eval(), data, run / "rehearsal").fill(paths, pairs)
        views: FeatureStore | ImageFiles = store
        unreadable.read = len(paths)
        for path, reason in store.unreadable.items():
            unreadable.note(path, reason)
        unreadable.check(unreadable.read, unreadable.failed)
    else:
        views = start.images(data, run / "rehearsal")
    sampler = WeightedSampler([len(part) for part in parts], weights, recipe.sampling, recipe.batch, recipe.seed)
    rehearsed = len(parts) - 1 if recipe.rehearsal else None
    return Batches(recipe, parts, sampler, views, start.form, unreadable, rehearsed)


def _warm_up(accelerator, recipe: Recipe, model, parts: list[list[dict]], features: FeatureStore) -> None:
    if recipe.local_weights:
        rows = torch.stack([features[path][model.connector.total :] for path in sorted(features.index)])
        standardise_local(model.connector, rows)
    if recipe.warmup_epochs:
        beside = [record for part in parts for record in part if record.get("image_ref")]
        known = {record["image_A"]: record for record in beside if "severity" in record or "severities" in record}
        readable = [r for r in known.values() if r["image_A"] in features.index and r["image_ref"] in features.index]
        loss = warm_up(model, readable, features, recipe.warmup_epochs, recipe.seed)
        accelerator.print(f"connector warm-up: loss {loss:.4f}")
    if recipe.comparison_epochs:
        scenes = read_scenes(recipe.data)
        loss = warm_up_comparison(model.connector, scenes, features, recipe.comparison_epochs, recipe.seed)
        accelerator.print(f"comparison warm-up: loss {loss:.4f}")
    if recipe.evidence_epochs:
        found = scene_evidence(read_scenes(recipe.data), features)
        if recipe.evidence_crops:
            found = found.joined(crop_evidence(Path(recipe.evidence_crops), model, recipe.run / "features"))
        loss, _ = warm_up_evidence(model.connector, found, recipe.evidence_epochs, recipe.seed)
        accelerator.print(f"evidence warm-up: loss {loss:.4f}")
