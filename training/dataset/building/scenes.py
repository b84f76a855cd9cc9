"""Build a folder of scenes (scenes-*.jsonl and images/) in parallel, resumably, and read it again."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from depictqa_core.errors import DepictQAError
from depictqa_core.images.image import as_image
from depictqa_core.images.search import PHOTOGRAPH_EXTENSIONS
from training.output_files import write_file

from .delivery import SUFFIXES
from .engines import run_shards
from .ledger import Ledger, contents_digest, names_digest
from .native import drawn_scene, photograph_scene, published_scene
from .native_options import NativeOptions
from .shard import Shard, Store
from .synthesis import Scene, SceneError, SceneOptions, Variant, make_scene

__all__ = ["BuildReport", "Scene", "SceneError", "SceneOptions", "Variant", "build_scenes", "make_scene", "read_scenes"]

_SETTINGS = "build.json"


@dataclass(frozen=True)
class BuildReport:
    """scenes: in the folder; made: by this call; skipped: unusable source image -> reason (of all calls so far)."""

    scenes: int
    made: int
    skipped: dict[str, str]


@dataclass(frozen=True)
class _SceneBuild:
    pictures: str
    out: str
    files: tuple[str, ...]
    seed: int
    split: str
    options: SceneOptions | NativeOptions
    shard_scenes: int

    @property
    def store(self) -> Store:
        return Store(self.out, "scenes", self.shard_scenes)


def build_scenes(
    pictures_dir: str | Path,
    out_dir: str | Path,
    count: int,
    seed: int,
    split: str = "train",
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    options: SceneOptions | NativeOptions | None = None,
    shard_scenes: int = 100,
    engine: str = "processes",
) -> BuildReport:
    """Make scenes 0..count-1 of one split; called again, it resumes, or makes more scenes for a higher count.

    Scene i depends only on (seed, i), images and options, not on workers or interruptions. Scenes are written in
    shards: the file of a shard is written after all its images; a shard without its file is made again.

    Args:
        pictures_dir: pristine images, or a folder with a subfolder of the split's name that holds them (searched
            recursively).
        out_dir: data root that receives images/, scenes-00000.jsonl, ... and build.json; one root per split.
        count: number of scenes in the root; existing ones beyond it are not changed.
        options: properties of the scenes; ``NativeOptions`` makes scenes at native resolution (``native``).
        workers, engine: how the shards are made, see ``engines.run_shards``.
        progress: called with (scenes done, count) at the start and after every shard; an exception in it stops the
            build and passes through.
        shard_scenes: scenes per shard; fixed for a root.

    Raises:
        SceneError: no images, or none that can be used.
        BuildError: `out_dir` was started with other arguments, a file could not be written, or a worker process died.
    """
    folder = Path(pictures_dir)
    folder = folder / split if (folder / split).is_dir() else folder
    only_drawn = isinstance(options, NativeOptions) and options.drawn == 1
    files = () if only_drawn else find_sources(folder)
    build = _SceneBuild(str(folder), str(out_dir), files, int(seed), split, options or SceneOptions(), shard_scenes)
    if not (ledger := Ledger(Path(build.out) / _SETTINGS)).file.exists() and any(Path(out_dir).glob("scenes-*.jsonl")):
        raise SceneError(f"{build.out} holds scenes but no {_SETTINGS}; choose an empty folder")
    ledger.open(_settings(build))
    missing = [Shard(build.store, span, partial(_make_scene, build)) for span in build.store.missing(count)]
    made = sum(len(shard.span) for shard in missing)
    done = count - made
    if progress:
        progress(done, count)
    for shard, found in run_shards(missing, workers, engine):
        ledger.note(found)
        done += len(shard.span)
        if progress:
            progress(done, count)
    ledger.close()
    return BuildReport(count, made, dict(sorted(ledger.skipped.items())))


def read_scenes(root: str | Path) -> Iterator[dict]:
    """The scenes of a data root in order, as dictionaries; their image paths are relative to the root.

    Raises:
        SceneError: there are no scenes, or a line is damaged.
    """
    if not any(Path(root).glob("scenes-*.jsonl")):
        raise SceneError(f"no scenes in {root}: build them first")
    try:
        yield from Store(str(root), "scenes", 1).read()
    except ValueError as error:
        raise SceneError(str(error)) from error


def find_sources(folder: Path) -> tuple[str, ...]:
    """Names of the image files below a folder, sorted, relative to it; raises SceneError if there are none."""
    if not folder.is_dir():
        raise SceneError(f"there is no folder {folder}; check the path")
    files = tuple(
        sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.suffix.lower() in PHOTOGRAPH_EXTENSIONS)
    )
    if not files:
        raise SceneError(f"no images ({', '.join(PHOTOGRAPH_EXTENSIONS)}) in {folder}")
    return files


def _make_scene(build: _SceneBuild, index: int, skipped: dict[str, str]) -> dict:
    return _save(*_make(build, index, skipped), index, build, Path(build.out))


def _make(build: _SceneBuild, index: int, skipped: dict[str, str]) -> tuple[Scene, str]:
    for attempt in range(1000):
        # A fresh generator per attempt: how far a failed one got must not matter for the next.
        rng = np.random.default_rng([build.seed, index, attempt] if attempt else [build.seed, index])
        options = build.options
        if isinstance(options, NativeOptions) and rng.random() < options.drawn:
            try:
                scene = drawn_scene(rng, options)
                return scene, f"drawn/{scene.kind}/{index:06d}"
            except SceneError:
                continue
        source = build.files[int(rng.integers(len(build.files)))]
        try:
            picture = as_image(Path(build.pictures) / source, name=source).rgb
            if not isinstance(options, NativeOptions):
                return make_scene(picture, rng, options), source
            if rng.random() < options.published:
                return published_scene(picture, rng), source
            return photograph_scene(picture, rng, options), source
        except (DepictQAError, SceneError) as error:
            skipped.setdefault(source, str(error))
    reason = next(iter(skipped.values()), "almost no damage is visible in the drawings")
    raise SceneError(f"none of the images in {build.pictures} can be used; the first was skipped because: {reason}")


def _save(scene: Scene, source: str, index: int, build: _SceneBuild, out: Path) -> dict:
    stem = f"images/{index // 1000:02d}/{index:06d}"

    def write(name: str, rgb: np.ndarray) -> str:
        def save(part: Path) -> None:
            Image.fromarray(rgb).save(part, "PNG", compress_level=build.options.png_level)

        write_file(out / name, save)
        return name

    def write_variant(number: int, variant: Variant) -> str:
        data = variant.file
        if data is None or variant.resaved is None:
            return write(f"{stem}_{number}.png", variant.rgb)
        name = f"{stem}_{number}{SUFFIXES[variant.resaved.split()[-2]]}"
        write_file(out / name, lambda part: part.write_bytes(data))
        return name

    def more(number: int, variant: Variant) -> dict:
        """Fields of variants at native resolution."""
        if variant.faults is None:
            return {}
        found: dict[str, object] = {"faults": list(variant.faults)}
        if variant.region:
            mask = write(f"{stem}_{number}_mask.png", np.rint(variant.region.mask * 255).astype(np.uint8))
            region = variant.region
            found["region"] = {"kind": region.kind, "area": region.area, "place": region.place, "mask": mask}
        return found

    native = {"look": scene.look, "drawn": scene.kind} if isinstance(build.options, NativeOptions) else {}
    height, width = scene.reference.shape[:2]
    return {
        "scene": index, "source": source, "split": build.split,
        "reference": write(f"{stem}_ref.png", scene.reference), "height": height, "width": width,
        **native,
        "variants": [
            {
                "image": write_variant(number, variant),
                "distortions": list(variant.distortions), "resaved": variant.resaved,
                "metrics": variant.metrics, "where": variant.where, "quality": variant.quality,
                **more(number, variant),
            }
            for number, variant in enumerate(scene.variants)
        ],
    }  # fmt: skip


def _settings(build: _SceneBuild) -> dict:
    return {
        "seed": build.seed,
        "split": build.split,
        "pictures": names_digest(build.files),
        "contents": contents_digest(build.pictures, build.files),
        "shard_scenes": build.shard_scenes,
        "options": asdict(build.options),
    }
