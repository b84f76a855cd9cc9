"""The images of a study: found, checked, grouped, and as the page shows them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ..errors import ImageError, TaskError
from ..images.equal_names import equal_names
from ..images.image import RGBImage
from ..images.image_files import FileImage, load_images
from ..images.search import left_out_lines, search
from ..results import Failure
from .votes import StudyImage, relative

SHRUNK = 16
"""By this factor the damaged copy of an attention check loses resolution."""


@dataclass(frozen=True)
class Collection:
    """What a study may compare.

    Attributes:
        images, references: as the plan stores them.
        groups: indexes of the images of each group.
        notices: about files that are left out.
        failures: images that cannot be read.
    """

    images: tuple[StudyImage, ...]
    references: tuple[StudyImage, ...]
    groups: tuple[tuple[int, ...], ...]
    notices: tuple[str, ...]
    failures: tuple[Failure, ...]


def collect_images(
    folders: Sequence[str],
    votes: Path,
    reference: str | None = None,
    recursive: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Collection:
    """Find and check the images of a study.

    Args:
        folders: one folder: any two of its images are compared. Several: images with the same file name are.
        votes: the file of the study, to whose folder paths are relative.
        reference: the undistorted original of all images, or, with several folders, a folder of originals with the same
            file names.
        recursive: whether subfolders are searched, for one folder.
        progress: is called with the number of checked files.

    Raises:
        ImageError: nothing is found, or a folder is none.
        TaskError: a folder of references without several folders of images.
    """
    for folder in folders:
        if not os.path.isdir(folder):
            raise ImageError(f"{folder}: is not a folder; give the folder with the images")
    several = len(folders) > 1
    originals = None
    if reference is not None and os.path.isdir(reference):
        if not several:
            raise TaskError("--reference: a folder of references is for several folders of images with the same names")
        originals = reference.rstrip("/\\")
    labels: dict[str, str] = {}
    notices: list[str] = []
    for folder in [*folders, *([originals] if originals else [])]:
        found = search([folder], recursive and not several)
        notices += left_out_lines(found.left_out)
        labels |= dict.fromkeys(found.names, folder.rstrip("/\\") or folder)
    checked, failures = _checked([*labels, *([reference] if reference and not originals else [])], progress)
    names = [name for name in labels if name in checked]
    if several:
        matched, twins = equal_names([labels[name] for name in names], [os.path.basename(name) for name in names])
        notices += left_out_lines(twins)
    else:
        matched = [""] * len(names)
    home = votes.absolute().parent
    references: list[StudyImage] = []
    reference_of: dict[str | None, int] = {}
    if reference is not None and not originals:
        if reference not in checked:
            raise ImageError(f"--reference {failures[-1].picture}: {failures[-1].error}")
        references.append(StudyImage(os.path.basename(reference), relative(reference, home), checked[reference].key))
    for name, group in zip(names, matched):
        if originals and labels[name] == originals and group is not None:
            reference_of[group] = len(references)
            references.append(StudyImage(os.path.basename(name), relative(name, home), checked[name].key))
    images: list[StudyImage] = []
    groups: dict[str, list[int]] = {}
    known: dict[tuple[str, str], str] = {}
    for name, group in zip(names, matched):
        if group is None or (originals and labels[name] == originals):
            continue
        shown = os.path.relpath(name, folders[0]).replace(os.sep, "/") if not several else name.replace(os.sep, "/")
        key = checked[name].key
        first = known.setdefault((group, key), shown)
        if first != shown:
            notices.append(f"{shown}: left out, because it has the pixels of {first}")
            continue
        its_reference = reference_of.get(group) if originals else (0 if references else None)
        if originals and its_reference is None:
            notices.append(f"{shown}: left out, because {originals} has no reference of this name")
            continue
        groups.setdefault(group, []).append(len(images))
        images.append(
            StudyImage(shown, relative(name, home), key, group, labels[name] if several else "", its_reference)
        )
    alone = [images[group[0]].name for group in groups.values() if len(group) == 1]
    if several and alone:
        notices.append(f"not compared, because no other folder has an image of this name: {', '.join(alone[:20])}")
    return Collection(
        tuple(images), tuple(references), tuple(map(tuple, groups.values())), tuple(notices), tuple(failures)
    )


def _checked(names: Sequence[str], progress: Callable[[int, int], None]) -> tuple[dict[str, RGBImage], list[Failure]]:
    """Decode every file once, so that no participant meets an image that cannot be shown."""
    found: dict[str, RGBImage] = {}
    failures: list[Failure] = []
    for images, unreadable in load_images(names):
        found |= {image.name: image for image in images}
        failures += unreadable
        progress(len(found) + len(failures), len(names))
    return found, failures


def open_image(image: StudyImage, votes: Path) -> RGBImage:
    """Open an image of a study.

    Raises:
        ImageError: it cannot be read, or is another one than when the study began.
    """
    path = os.path.normpath(os.path.join(votes.absolute().parent, image.path))
    opened = FileImage(path)
    if opened.key != image.key:
        raise ImageError(f"{path}: was changed since the study began; restore it")
    return opened


def as_png(rgb: np.ndarray) -> bytes:
    """Encode pixels without loss, as the judge gets them; of the file nothing else is passed on."""
    data = io.BytesIO()
    Image.fromarray(rgb).save(data, "PNG", compress_level=1)
    return data.getvalue()


def damaged(rgb: np.ndarray) -> np.ndarray:
    """Damage an image so that everybody sees it: almost no detail, and strong noise.

    Args:
        rgb: uint8 [H, W, 3].

    Returns:
        the same for the same pixels, of the same size.
    """
    image = Image.fromarray(rgb)
    small = image.resize([max(1, side // SHRUNK) for side in image.size], Image.Resampling.BOX)
    coarse = small.resize(image.size, Image.Resampling.NEAREST).filter(ImageFilter.GaussianBlur(2))
    noise = np.random.default_rng(rgb.shape[:2])
    grains = noise.normal(0, 45, (*rgb.shape[:2], 1)).astype(np.float32)
    return np.clip(np.asarray(coarse, np.float32) + grains, 0, 255).astype(np.uint8)
