"""Typicality: the distribution of the vision features of training images, stored in a checkpoint folder."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from depictqa_core.backends.native import NativeBackend
from depictqa_core.errors import TaskError
from depictqa_core.images.image import RGBImage
from depictqa_core.judge import Judge
from depictqa_core.prompts import A
from depictqa_core.runtime.progress import ProgressCounter
from depictqa_core.typicality import TYPICALITY, TypicalityModel, fit, store, summarize

from ..dataset.building.scenes import find_sources, read_scenes
from ..dataset.records.image_paths import read_image

LIMIT = 4000
"""Maximum number of images; more hardly move mean and components."""
CHUNK = 8
"""Images that are in memory at a time."""


def training_images(roots: Sequence[Path], limit: int = LIMIT) -> list[tuple[Path, str, str]]:
    """Choose images of data roots (``python -m training build``) or folders, evenly over all of them.

    Returns:
        (root, path relative to it, group) of up to ``limit`` images; all images of one source have one group.

    Raises:
        TaskError: there are no images.
    """
    found = []
    for number, root in enumerate(roots):
        if any(root.glob("scenes-*.jsonl")):
            for scene in read_scenes(root):
                names = [scene["reference"], *(variant["image"] for variant in scene["variants"])]
                found += [(root, name, f"{number}/{scene['source']}") for name in names]
        elif root.is_dir():
            found += [(root, name, f"{number}/{name}") for name in find_sources(root)]
        else:
            raise TaskError(f"typicality: {root} is not a folder; give data roots, or folders of images")
    if not found:
        raise TaskError("typicality: no images in the given folders; give data roots, or folders of images")
    places = np.unique(np.linspace(0, len(found) - 1, limit).astype(int)) if len(found) > limit else range(len(found))
    return [found[place] for place in places]


def fit_typicality(judge: Judge, images: Sequence[tuple[Path, str, str]]) -> TypicalityModel:
    """Fit the distribution of the features of images, as ``training_images`` gives them.

    Raises:
        TaskError: the judge has no network of ours.
        ValueError: there are too few images.
    """
    if not isinstance(judge.backend, NativeBackend):
        raise TaskError(f"typicality: {judge.backend.name} has no vision features of its own; give a checkpoint folder")
    vision, rows = judge.backend.runner.features, []
    with tqdm(total=len(images), desc="vision features", mininterval=5) as bar:
        for start in range(0, len(images), CHUNK):
            some = images[start : start + CHUNK]
            shown: list[RGBImage] = [read_image(root, name) for root, name, _ in some]
            features = vision.encode([{A: image} for image in shown], ProgressCounter(None, 0).check)
            rows += [summarize(features[image.key]) for image in shown]
            bar.update(len(some))
    return fit(np.stack(rows), np.array([group for *_, group in images]))


def add_typicality(parser: argparse.ArgumentParser) -> None:
    """``typicality``: how typical images are of the training images of a checkpoint."""
    parser.add_argument("checkpoint", help="checkpoint folder; it gets the file typicality.safetensors")
    parser.add_argument("roots", nargs="+", type=Path, help="data roots of its training, or folders of images")
    parser.add_argument("--limit", type=int, default=LIMIT, help="maximum number of images (default: %(default)s)")
    parser.add_argument("--device", default="auto")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from depictqa_core.judge import load_judge
    from depictqa_core.loading.checkpoint_folder import checkpoint_folder

    images, folder = training_images(arguments.roots, arguments.limit), checkpoint_folder(arguments.checkpoint)
    (folder / TYPICALITY).unlink(missing_ok=True)  # one of another network could not be loaded
    model = fit_typicality(load_judge(folder, arguments.device), images)
    path = store(model, folder)
    print(f"{len(images)} images, {len(model.variances)} components; written: {path}")
