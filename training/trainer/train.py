"""One training loop on accelerate, for a CPU, one GPU, DDP and FSDP: from a recipe to a checkpoint folder."""

import importlib.util
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, set_seed

from depictqa_core.prompts import REFERENCE

from ..dataset.building.scenes import read_scenes
from .batches import Batches, Unreadable
from .evidence import crop_evidence, scene_evidence, warm_up_evidence
from .feature_store import FeatureStore
from .finding_warmup import warm_up_findings
from .image_features import ImageFiles
from .loop import Loop, Stopped
from .pair_warmup import warm_up_pairs
from .provenance import described
from .recipe import Recipe, RecipeError
from .recipe_parts import Rehearsal
from .record_files import picture_paths, read_parts
from .rehearsal import make_rehearsal
from .selection import validation_recipe
from .starts import NativeStart, VlmStart, start_of
from .state import can_resume, digest, keep_other, recover, refuse_foreign
from .warmup import standardise_native, warm_up, warm_up_comparison
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
    run, data, output = recipe.run, Path(recipe.data), Path(recipe.output)
    accelerator = Accelerator(mixed_precision=recipe.precision, **_trackers(recipe))
    if accelerator.distributed_type not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise RecipeError(
            f"launched for {accelerator.distributed_type.value}: launch plain processes (accelerate launch"
            " --multi_gpu); the recipe's sharding: full spreads the weights over them"
        )
    refuse_foreign(output)
    run.mkdir(parents=True, exist_ok=True)
    restarted = not resume
    if restarted and accelerator.is_main_process:
        for name in ("state", "state.old", "best", "features", "rehearsal", "start"):
            shutil.rmtree(run / name, ignore_errors=True)
    recover(run / "state")
    recover(run / "best")
    parts, weights = read_parts(data, recipe.parts)
    source = digest([recipe.parts, parts])
    trained_on = recipe.trained_on or described(data, parts, recipe.pair_scenes, recipe.finding_scenes)
    resume = resume and can_resume(run / "state", source, recipe.shape, accelerator.print)
    if not resume and accelerator.is_main_process:
        (run / "unreadable.csv").unlink(missing_ok=True)
        (run / "validation.csv").unlink(missing_ok=True)
    with accelerator.main_process_first():
        texts = (turn["value"] for part in parts for record in part for turn in record["conversations"])
        start = start_of(recipe, texts)
    parts = start.records(parts)
    held_out = _held_out(accelerator, recipe, start)
    if recipe.rehearsal:
        parts, weights = _rehearse(accelerator, recipe, recipe.rehearsal, start.tasks, parts, weights)
    batches = _batches(accelerator, recipe, start, parts, weights)
    if not resume:
        _warm_up(accelerator, recipe, start.model, parts, batches.views)
    teacher = start.teacher() if recipe.rehearsal else None
    model = start.model
    if recipe.steps != 0:
        loop = Loop(accelerator, recipe, model, batches, source, teacher, held_out)
        accelerator.print(_first_line(accelerator, recipe, loop, parts, held_out))
        settings = {k: str(v)[:250] for k, v in asdict(recipe).items() if v is not None}
        accelerator.init_trackers(recipe.name, config=settings)
        try:
            loop.go(run, resume)
        except Stopped:
            for tracker in accelerator.trackers:
                tracker.finish()
            raise
        model = loop.model
    card = {key: getattr(recipe, key) for key in ("name", "version", "license")}
    mark = digest([source, recipe.shape])
    card |= {"trained_on": trained_on, "trained_at": time.strftime("%Y-%m-%d"), "run": mark}
    if start.card is not None:
        card["started_from"] = {key: start.card.get(key) for key in ("name", "version", "license", "trained_on")}
    recover(output)
    if accelerator.is_main_process and not restarted and (kept := keep_other(output, mark)):
        accelerator.print(f"{output} was another checkpoint: it is kept as {kept}")
    accelerator.wait_for_everyone()
    start.save(output, accelerator, model, card)
    accelerator.end_training()  # threads of a process group that is still open abort a process that exits before others
    return output


def _trackers(recipe: Recipe) -> dict:
    """The arguments of the accelerator for the trackers of a recipe."""
    for name in recipe.trackers:
        if importlib.util.find_spec(name) is None:
            raise RecipeError(f"trackers names {name}, which is not installed: pip install {name}, or leave it out")
    return {"log_with": recipe.trackers, "project_dir": str(recipe.run)} if recipe.trackers else {}


def _first_line(accelerator, recipe: Recipe, loop: Loop, parts: list[list[dict]], held_out: Batches | None) -> str:
    """What is trained, on what, and how."""
    numbers = [p.numel() for p in loop.learned], [p.numel() for p in loop.model.parameters()]
    learned, total = map(sum, numbers)
    count = accelerator.num_processes
    device = f"{count} x {accelerator.device}" if count > 1 else accelerator.device
    threads = f" ({torch.get_num_threads()} threads)" if accelerator.device.type == "cpu" else ""
    found = [f"device {device}{threads}", f"{learned:,} of {total:,} parameters learn"]
    found.append(f"{sum(map(len, parts)):,} records in {len(parts)} files")
    if held_out:
        found.append(f"{sum(map(len, held_out.parts)):,} validation records")
    found.append(f"{loop.steps:,} steps of {recipe.batch} records")
    return f"{recipe.name}: {'; '.join(found)}; precision {recipe.precision}"


def _held_out(accelerator, recipe: Recipe, start: NativeStart | VlmStart) -> Batches | None:
    """The batches of the validation records, if the recipe has such."""
    if recipe.validate is None:
        return None
    parts, _ = read_parts(recipe.validate.data or recipe.data, recipe.validate.parts)
    parts = start.records(parts)
    return _batches(accelerator, validation_recipe(recipe), start, parts, [1.0] * len(parts), "features/validation")


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
    accelerator,
    recipe: Recipe,
    start: NativeStart | VlmStart,
    parts: list[list[dict]],
    weights: list[float],
    features: str = "features",
) -> Batches:
    """Records in the order of a run; images that the feature store could not read are counted at once.

    Args:
        features: folder of the run for the features of the images.
    """
    data, run = Path(recipe.data), recipe.run
    shown = [picture_paths(record, record["task_type"]) for part in parts for record in part]
    paths = sorted({path for pictures in shown for path in pictures.values()})
    beside = ((p[role], p[REFERENCE]) for p in shown if REFERENCE in p for role in p if role != REFERENCE)
    pairs = sorted(set(beside))
    if recipe.cache_features and isinstance(start, NativeStart):
        with accelerator.main_process_first():
            store = FeatureStore(run / features, start.model.eval(), data, run / "rehearsal").fill(paths, pairs)
        views: FeatureStore | ImageFiles = store
        unreadable = _note_unreadable(recipe, store, paths)
    else:
        unreadable = Unreadable(run / "unreadable.csv", len(paths), recipe.unreadable_share)
        views = start.images(data, run / "rehearsal")
    sampler = WeightedSampler([len(part) for part in parts], weights, recipe.sampling, recipe.batch, recipe.seed)
    rehearsed = len(parts) - 1 if recipe.rehearsal else None
    return Batches(recipe, parts, sampler, views, start.form_of(recipe), unreadable, rehearsed)


def _note_unreadable(recipe: Recipe, store: FeatureStore, paths: list[str]) -> Unreadable:
    """Count the images of which a store has no features; raise ImageError if they are too many."""
    unreadable = Unreadable(recipe.run / "unreadable.csv", len(paths), recipe.unreadable_share)
    unreadable.read = len(paths)
    for path in paths:
        if path in store.unreadable:
            unreadable.note(path, store.unreadable[path])
    unreadable.check(unreadable.read, unreadable.failed)
    return unreadable


def _warm_up(accelerator, recipe: Recipe, model, parts: list[list[dict]], features: FeatureStore) -> None:
    if (recipe.warmup_epochs or recipe.evidence_epochs) and not recipe.pair_epochs and model.connector.pairs:
        raise RecipeError(
            "warmup_epochs and evidence_epochs change what the comparison of two images sees: give pair_epochs, too"
        )
    changed = recipe.warmup_epochs or recipe.native_weights or "vision" in recipe.trainable
    if changed and not recipe.finding_epochs and getattr(model.connector, "heads", None) is not None:
        raise RecipeError(
            "warmup_epochs, new weights of towers and trainable: vision change the inputs of the heads: give"
            " finding_epochs, too, or start from a checkpoint without heads"
        )
    if recipe.native_weights:
        rows = torch.stack([features[path] for path in sorted(features.index)])
        for tower in recipe.native_weights:
            standardise_native(model.connector, tower, rows)
    if recipe.warmup_epochs:
        beside = [record for part in parts for record in part if record.get("image_ref")]
        known = {record["image_A"]: record for record in beside if "severity" in record or "severities" in record}
        readable = [r for r in known.values() if r["image_A"] in features.index and r["image_ref"] in features.index]
        loss = warm_up(model, readable, features, recipe.warmup_epochs, recipe.seed)
        accelerator.print(f"connector warm-up: loss {loss:.4f}")
    if recipe.comparison_epochs:
        loss = warm_up_comparison(
            model.connector, read_scenes(recipe.data), features, recipe.comparison_epochs, recipe.seed
        )
        accelerator.print(f"comparison warm-up: loss {loss:.4f}")
    if recipe.evidence_epochs:
        found = scene_evidence(read_scenes(recipe.data), features)
        if recipe.evidence_crops:
            found = found.joined(crop_evidence(Path(recipe.evidence_crops), model, recipe.run / "features"))
        loss, _ = warm_up_evidence(model.connector, found, recipe.evidence_epochs, recipe.seed)
        accelerator.print(f"evidence warm-up: loss {loss:.4f}")
    if recipe.finding_epochs:
        scenes, store = _scenes(recipe, recipe.finding_scenes, model, features)
        found = scene_evidence(scenes, store, "finding_epochs")
        loss = warm_up_findings(model.connector, found, recipe.finding_epochs, recipe.seed)
        accelerator.print(f"finding warm-up: loss {loss:.4f}")
    if recipe.pair_epochs:
        scenes, store = _scenes(recipe, recipe.pair_scenes, model, features)
        loss = warm_up_pairs(model.connector, scenes, store, recipe.pair_epochs, recipe.seed)
        accelerator.print(f"pair warm-up: loss {loss:.4f}")


def _scenes(recipe: Recipe, root: str | None, model, features: FeatureStore) -> tuple[list[dict], FeatureStore]:
    """The scenes of another data root, or those of the run, and the features of their images."""
    scenes = list(read_scenes(root or recipe.data))
    paths = sorted({variant["image"] for scene in scenes for variant in scene["variants"]})
    store = FeatureStore(recipe.run / "features", model, root) if root else features
    _note_unreadable(recipe, store.fill(paths), paths)
    return scenes, store
