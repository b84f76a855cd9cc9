"""Builds a folder of scenes in parallel, from where it stopped, and reads it again: scenes-*.jsonl beside images/."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from depictqa_core.errors import DepictQAError
from depictqa_core.images import as_picture

from .synthesis import Scene, SceneError, SceneOptions, Variant, make_scene

__all__ = ["BuildReport", "Scene", "SceneError", "SceneOptions", "Variant", "build_scenes", "make_scene", "read_scenes"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_SETTINGS = "build.json"


@dataclass(frozen=True)
class BuildReport:
    """scenes: in the folder; made: by this call; skipped: unusable source picture -> reason (of all calls so far)."""

    scenes: int
    made: int
    skipped: dict[str, str]


@dataclass(frozen=True)
class _Plan:
    pictures: str
    out: str
    files: tuple[str, ...]
    seed: int
    split: str
    options: SceneOptions
    shard_scenes: int


def build_scenes(
    pictures_dir: str | Path,
    out_dir: str | Path,
    count: int,
    seed: int,
    split: str = "train",
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    options: SceneOptions | None = None,
    shard_scenes: int = 100,
) -> BuildReport:
    """Makes scenes 0..count-1 of one split; called again, it goes on after a stop, or with a higher count makes more.

    Scene i depends on (seed, i), the pictures and the options alone, not on workers or stops. Scenes are written in
    shards: a shard file appears when all its pictures are there; a shard without its file is made again.

    Args:
        pictures_dir: pristine pictures, or a folder with a subfolder of the split's name that holds them (searched
            recursively).
        out_dir: data root that receives images/, scenes-00000.jsonl, ... and build.json; one root per split.
        count: scenes that the root shall have; those beyond it are left alone.
        workers: processes; each uses one thread.
        progress: called with (scenes done, count) at the start and after every shard; an exception in it stops the
            build and passes through.
        shard_scenes: scenes per shard; fixed for a root.

    Raises:
        SceneError: no pictures, none that can be used, or `out_dir` was begun with other arguments.
    """
    folder = Path(pictures_dir)
    folder = folder / split if (folder / split).is_dir() else folder
    files = tuple(sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES))
    if not files:
        raise SceneError(f"no pictures ({', '.join(SUFFIXES)}) in {folder}")
    plan = _Plan(str(folder), str(out_dir), files, int(seed), split, options or SceneOptions(), shard_scenes)
    skipped = _open_root(plan)
    shards = [range(start, min(start + shard_scenes, count)) for start in range(0, count, shard_scenes)]
    missing = [shard for shard in shards if _lines(_shard_file(plan, shard)) < len(shard)]
    made = sum(map(len, missing))
    done = count - made
    if progress:
        progress(done, count)
    for shard, found in _run(plan, missing, workers):
        if found.keys() - skipped.keys():
            skipped.update(found)
            _write_settings(plan, skipped)
        done += len(shard)
        if progress:
            progress(done, count)
    return BuildReport(count, made, dict(sorted(skipped.items())))


def read_scenes(root: str | Path) -> Iterator[dict]:
    """The scenes of a data root in order, as dictionaries; their picture paths are relative to the root.

    Raises:
        SceneError: there are no scenes, or a line is damaged.
    """
    shards = sorted(Path(root).glob("scenes-*.jsonl"))
    if not shards:
        raise SceneError(f"no scenes in {root}: build them first")
    for shard in shards:
        for number, line in enumerate(shard.read_text(encoding="utf-8").splitlines(), 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise SceneError(
                    f"{shard.name}, line {number}: not valid JSON ({error}); delete the file and build again"
                ) from error


def _run(plan: _Plan, shards: list[range], workers: int) -> Iterator[tuple[range, dict[str, str]]]:
    if workers <= 1 or len(shards) <= 1:
        threads = torch.get_num_threads(), cv2.getNumThreads()
        _one_thread()
        try:
            for shard in shards:
                yield shard, _make_shard(plan, shard)
        finally:
            torch.set_num_threads(threads[0])
            cv2.setNumThreads(threads[1])
        return
    # spawn: a forked torch can hang on the locks of its thread pool
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(shards)), mp_context=context, initializer=_one_thread)
    try:
        futures = {pool.submit(_make_shard, plan, shard): shard for shard in shards}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _make_shard(plan: _Plan, shard: range) -> dict[str, str]:
    """Makes the scenes of one shard and then its file; returns the source pictures that had to be skipped."""
    out, skipped, lines = Path(plan.out), {}, []
    for index in shard:
        scene, source = _make(plan, index, skipped)
        lines.append(json.dumps(_save(scene, source, index, plan, out), ensure_ascii=False))
    _replace(
        _shard_file(plan, shard), lambda part: part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    )
    return skipped


def _make(plan: _Plan, index: int, skipped: dict[str, str]) -> tuple[Scene, str]:
    for attempt in range(1000):
        # A fresh generator per attempt: how far a failed one got must not matter for the next.
        rng = np.random.default_rng([plan.seed, index, attempt] if attempt else [plan.seed, index])
        source = plan.files[int(rng.integers(len(plan.files)))]
        try:
            picture = as_picture(Path(plan.pictures) / source, name=source).rgb
            return make_scene(picture, rng, plan.options), source
        except (DepictQAError, SceneError) as error:
            skipped.setdefault(source, str(error))
    reason = next(iter(skipped.values()))
    raise SceneError(f"none of the pictures in {plan.pictures} can be used; the first was skipped because: {reason}")


def _save(scene: Scene, source: str, index: int, plan: _Plan, out: Path) -> dict:
    stem = f"images/{index // 1000:02d}/{index:06d}"
    (out / stem).parent.mkdir(parents=True, exist_ok=True)

    def write(name: str, rgb: np.ndarray) -> str:
        def save(part: Path) -> None:
            Image.fromarray(rgb).save(part, "PNG", compress_level=plan.options.png_level)

        _replace(out / name, save)
        return name

    height, width = scene.reference.shape[:2]
    return {
        "scene": index, "source": source, "split": plan.split,
        "reference": write(f"{stem}_ref.png", scene.reference), "height": height, "width": width,
        "variants": [
            {
                "image": write(f"{stem}_{number}.png", variant.rgb),
                "distortions": list(variant.distortions), "resaved": variant.resaved,
                "metrics": variant.metrics, "where": variant.where, "quality": variant.quality,
            }
            for number, variant in enumerate(scene.variants)
        ],
    }  # fmt: skip


def _shard_file(plan: _Plan, shard: range) -> Path:
    return Path(plan.out) / f"scenes-{shard.start // plan.shard_scenes:05d}.jsonl"


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _replace(file: Path, write: Callable[[Path], object]) -> None:
    """Writes a file under another name and renames it, so that it is never seen half written."""
    part = file.with_name(file.name + ".part")
    write(part)
    os.replace(part, file)


def _settings(plan: _Plan) -> dict:
    names = sha256("\n".join(plan.files).encode()).hexdigest()
    settings = {
        "seed": plan.seed,
        "split": plan.split,
        "pictures": names,
        "shard_scenes": plan.shard_scenes,
        "options": asdict(plan.options),
    }
    return json.loads(json.dumps(settings))  # tuples become lists, as they are read back


def _write_settings(plan: _Plan, skipped: dict[str, str]) -> None:
    document = json.dumps({**_settings(plan), "skipped": skipped}, indent=1, ensure_ascii=False)
    _replace(Path(plan.out) / _SETTINGS, lambda part: part.write_text(document + "\n", encoding="utf-8"))


def _open_root(plan: _Plan) -> dict[str, str]:
    """Begins or goes on with a data root; returns the pictures skipped so far."""
    file = Path(plan.out) / _SETTINGS
    if not file.exists():
        if any(Path(plan.out).glob("scenes-*.jsonl")):
            raise SceneError(f"{plan.out} holds scenes but no {_SETTINGS}; choose an empty folder")
        file.parent.mkdir(parents=True, exist_ok=True)
        _write_settings(plan, {})
        return {}
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SceneError(f"{file} is damaged ({error}); choose an empty folder") from error
    changed = [name for name, value in _settings(plan).items() if before.get(name) != value]
    if changed:
        raise SceneError(
            f"{plan.out} was begun with other {' and '.join(changed)}; choose an empty folder or the same arguments"
        )
    return before.get("skipped", {})
