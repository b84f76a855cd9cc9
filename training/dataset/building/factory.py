"""Build the samples of all sets of a plan, resumably; splits of the source images."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from depictqa_core.storage.documents import named, read_json
from training.dataset.records.record_models import RECORD_BYTES
from training.output_files import write_text

from .engines import run_shards
from .ledger import Ledger, contents_digest, names_digest
from .plan import Plan, PlanError
from .samples import SampleMaker, sample_store
from .scenes import find_sources
from .shard import Shard

SHARD_SAMPLES = 100
_SETTINGS = "dataset.json"


@dataclass(frozen=True)
class Sources:
    """Pristine images of one split: ``names`` relative to ``folder``, sorted."""

    folder: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class BuiltPlan:
    """samples: in the data root; made: by this call; skipped: source image -> reason (of all calls so far)."""

    samples: int
    made: int
    skipped: dict[str, str]


def find_split(pictures: str | Path, split: str, splits: str | Path | None = None) -> Sources:
    """The source images of a split.

    Args:
        pictures: folder of pristine images, searched recursively.
        split: name of the split.
        splits: JSON with lists of image names under the names of the splits (method.md 6.1); without it, the split is
            the subfolder of that name, or, where there is none, the whole folder.

    Raises:
        PlanError: the file of splits cannot be used, or names images that are not there.
        SceneError: there are no images.
    """
    folder = Path(pictures)
    if splits is None:
        folder = folder / split if (folder / split).is_dir() else folder
        return Sources(str(folder), find_sources(folder))
    listed = read_json(splits, where=f"the file of --splits, {named(splits)},", limit=RECORD_BYTES, error=PlanError)
    names = listed.get(split)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PlanError(f"{named(splits)} holds no list of images for the split '{split}'")
    names = tuple(sorted(names))
    missing = set(names) - set(find_sources(folder))
    if missing or not names:
        what = (
            f"names {len(missing)} images that are not in {folder}, such as {min(missing)}" if missing else "is empty"
        )
        raise PlanError(f"{splits}: the split '{split}' {what}")
    return Sources(str(folder), names)


def write_splits(pictures: str | Path, out: str | Path, test: float, seed: int) -> dict[str, int]:
    """Divide the images of a folder at random into "train" and "test" and write their names as JSON.

    Args:
        test: images in the test split: a share below 1, or a number from 1.

    Raises:
        PlanError: no image would be left for training, or for tests.
    """
    names = find_sources(Path(pictures))
    number = round(test * len(names)) if test < 1 else int(test)
    if not 0 < number < len(names):
        raise PlanError(f"a test split of {test} leaves one side without images: there are {len(names)}")
    order = np.random.default_rng(seed).permutation(len(names))
    found = {
        "train": sorted(names[i] for i in order[number:]),
        "test": sorted(names[i] for i in order[:number]),
    }
    write_text(out, json.dumps(found, indent=0, ensure_ascii=False))
    return {name: len(listed) for name, listed in found.items()}


def build_samples(
    plan: Plan,
    sources: Sources,
    root: str | Path,
    workers: int = 1,
    engine: str = "processes",
    progress: Callable[[int, int], None] | None = None,
    shard_samples: int = SHARD_SAMPLES,
) -> BuiltPlan:
    """Make the samples of all sets of a plan; called again, it resumes, or makes more samples if counts were increased.

    Args:
        root: data root; receives samples/, references/, one folder of images per set, and dataset.json.
        workers, engine: see ``engines.run_shards``.
        progress: called with (samples done, samples wanted) at the start and after every shard.
        shard_samples: samples per shard; fixed for a root.

    Raises:
        SceneError: none of the source images can be used.
        BuildError: the root was started with other settings, or a worker process died.
        StorageError: a file cannot be written.
    """
    ledger = Ledger(Path(root) / _SETTINGS)
    settings = {"seed": plan.seed, "pictures": names_digest(sources.names), "drawing": asdict(plan.drawing)}
    settings["contents"] = contents_digest(sources.folder, sources.names)
    ledger.open({**settings, "shard_samples": shard_samples})
    todo = []
    for set_name, wanted in plan.sets.items():
        store = sample_store(root, set_name, shard_samples)
        maker = SampleMaker(set_name, sources.folder, sources.names, str(root), plan.seed, plan.drawing)
        todo += [Shard(store, span, maker) for span in store.missing(wanted.samples)]
    total = sum(wanted.samples for wanted in plan.sets.values())
    made = sum(len(shard.span) for shard in todo)
    done = total - made
    if progress:
        progress(done, total)
    for shard, skipped in run_shards(todo, workers, engine):
        ledger.note(skipped)
        done += len(shard.span)
        if progress:
            progress(done, total)
    ledger.close()
    return BuiltPlan(total, made, dict(sorted(ledger.skipped.items())))
