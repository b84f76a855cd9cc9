"""Crops at native resolution with the truth of every cell: what the local tower learns from.

A crop is a part of a pristine image or of a drawn scene, clean or damaged as scenes are, as a whole or in a region.
For each kind of damage and each cell of 32 x 32 pixels the truth is yes, no, or undecided (the edge of a region, or a
change too small to be seen). One crop so teaches as much as fifty labels of whole images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from depictqa_core.images.image import as_image
from depictqa_core.network.local_vision import CELL
from depictqa_core.tasks import DISTORTIONS, FAULTS
from training import distortions as catalogue
from training import drawn, faults

from . import looks
from .delivery import FILTERS, draw_delivery
from .native import _confusable
from .regions import draw_region
from .scenes import find_sources

KINDS = (*DISTORTIONS, *FAULTS)
"""Channels of the truth: the distortions, then the faults."""
SCALED_PIXELS = 16e6
"""Larger images are scaled down."""
UNDECIDED = 255
VISIBLE, HIDDEN = 1.5, 0.25
"""A cell whose pixels change by more, in mean grey levels, is damaged; by less, it is not; between, nobody asks."""
FORMATS = {"jpeg": 0.45, "webp": 0.2, "avif": 0.05, "png": 0.3}


@dataclass(frozen=True)
class CropOptions:
    """What shapes the crops; shares are 0..1, lengths pixels.

    Attributes:
        side: side of a crop, a multiple of ``CELL``.
        clean, double, fault: shares of crops without damage, with two distortions, and with a fault; the others have
            one distortion.
        local: share of the distorted crops that are distorted in a region only.
        drawn, looks: shares of the crops of drawn scenes, and of those with a look.
        delivered: share that is saved again in a lossy format.
    """

    side: int = 224
    clean: float = 0.3
    double: float = 0.12
    fault: float = 0.25
    local: float = 0.45
    drawn: float = 0.25
    looks: float = 0.2
    delivered: float = 0.6


class CropMaker:
    """Draws crops from pristine images.

    Args:
        groups: paths of images; each group (a package, a style) is as likely as the root of its size.
        options: see there.
        held_out: held-out faults and drawings only, for validation.
    """

    def __init__(self, groups: Sequence[Sequence[Path]], options: CropOptions, held_out: bool = False):
        self.groups, self.options, self.held_out = groups, options, held_out
        weights = np.array([math.sqrt(len(group)) for group in groups])
        self.shares = weights / weights.sum()

    def __call__(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw one crop.

        Returns:
            (uint8 [side, side, 3]; truth uint8 [len(KINDS), cells, cells] of 0, 1 and ``UNDECIDED``;
            severity uint8 [len(KINDS)], 0 for kinds that are not there)
        """
        clean = self._clean(rng)
        while True:
            found = self._damaged(clean, rng)
            if found is not None:
                return found

    def _clean(self, rng) -> np.ndarray:
        options, side = self.options, self.options.side
        look = None
        allowed: tuple[str, ...]
        while True:
            if rng.random() < options.drawn:
                kinds = drawn.VALIDATION_KINDS if self.held_out else drawn.TRAINING_KINDS
                kind = kinds[int(rng.integers(len(kinds)))]
                short = int(np.exp(rng.uniform(math.log(256), math.log(1024))))
                image = drawn.draw(kind, short, round(short * rng.uniform(1, 1.5)), rng)
                scale, allowed = 1.0, looks.FOR_DRAWINGS
            else:
                group = self.groups[int(rng.choice(len(self.groups), p=self.shares))]
                image = read(group[int(rng.integers(len(group)))])
                least, most = min(side * 1.15, min(image.shape[:2])), min(image.shape[:2])
                shown = float(np.exp(rng.uniform(math.log(least), math.log(max(least + 1, min(2500, most))))))
                scale, allowed = shown / most, tuple(looks.LOOKS)
            need = math.ceil(side / scale)
            if need > min(image.shape[:2]):
                need, scale = min(image.shape[:2]), 1.0
            top, left = (int(rng.integers(size - need + 1)) for size in image.shape[:2])
            crop = np.ascontiguousarray(image[top : top + need, left : left + need])
            if need != side:
                crop = np.asarray(Image.fromarray(crop).resize((side, side), list(FILTERS.values())[rng.integers(5)]))
            if crop.std() > 4 or rng.random() < 0.05:
                break
        if rng.random() < options.looks:
            look = looks.draw(allowed, rng)
            crop = looks.apply(look, crop, rng)
        self._look = look
        return crop

    def _damaged(self, clean: np.ndarray, rng):
        options, kind = self.options, rng.random()
        steps, marks = [], []
        if kind < options.clean:
            pass
        elif kind < options.clean + options.fault:
            marks = [faults.sample(rng, self.held_out)]
        elif kind < options.clean + options.fault + options.double:
            steps = list(catalogue.sample_two(rng))
        else:
            steps = [catalogue.sample_native(rng)]
        if any(_confusable(name, severity, self._look) for name, severity in steps):
            return None
        cells = options.side // CELL
        truth = np.zeros((len(KINDS), cells, cells), np.uint8)
        severities = np.zeros(len(KINDS), np.uint8)
        region = draw_region(clean, rng) if steps and rng.random() < options.local else None
        image = clean
        for name, severity in marks:
            changed = faults.apply(name, image, severity, rng)
            _tell(truth, severities, KINDS.index(faults.REGISTRY[name].fault), severity, image, changed)
            label = faults.REGISTRY[name].label
            if label in DISTORTIONS:
                _tell(truth, severities, KINDS.index(label), severity, image, changed)
            elif label is None:
                truth[: len(DISTORTIONS)] = UNDECIDED
            image = changed
        for name, severity in steps:
            changed = catalogue.apply(name, image, severity, rng)
            changed = region.blend(changed, image) if region else changed
            place = KINDS.index(catalogue.ANSWER[catalogue.CATEGORY[name]])
            _tell(truth, severities, place, severity, image, changed)
            image = changed
        if (marks or steps) and not severities.any():
            return None
        if rng.random() < options.delivered:
            image, _ = draw_delivery(rng, FORMATS, 0.0, (1.0, 1.0)).encode(image)
        return image, truth, severities


def _tell(truth, severities, place: int, severity: int, before: np.ndarray, after: np.ndarray) -> None:
    """Write down where one damage changed a crop visibly, and how severe it is if it did anywhere."""
    size = truth.shape[1:]
    difference = cv2.resize(cv2.absdiff(before, after).astype(np.float32), size, interpolation=cv2.INTER_AREA).mean(2)
    found = np.where(difference > VISIBLE, 1, np.where(difference < HIDDEN, 0, UNDECIDED)).astype(np.uint8)
    truth[place] = np.maximum(truth[place] * (truth[place] != UNDECIDED), found)
    if (found == 1).any():
        severities[place] = max(severities[place], severity)


def groups_of(folder: Path) -> list[list[Path]]:
    """Pictures of a folder by their sources: what stands before the two underscores of their names."""
    groups: dict[str, list[Path]] = {}
    for name in find_sources(folder):
        groups.setdefault(name.partition("__")[0], []).append(folder / name)
    return list(groups.values())


@lru_cache(maxsize=150)
def read(path: Path) -> np.ndarray:
    """Read a pristine image as RGB, uint8; images of more than 16 megapixels are scaled down."""
    rgb = as_image(path).rgb
    if rgb.shape[0] * rgb.shape[1] <= SCALED_PIXELS:
        return rgb
    image = Image.fromarray(rgb)
    image.thumbnail((4000, 4000))
    return np.asarray(image)


def make_shard(maker: CropMaker, count: int, seed: Sequence[int], path: Path) -> None:
    """Write ``count`` crops to an .npz file with ``crops``, ``truth`` and ``severities``; the seed decides them."""
    rng = np.random.default_rng(seed)
    crops, truth, severities = zip(*(maker(rng) for _ in range(count)))
    partial = path.with_suffix(".part.npz")
    np.savez(partial, crops=np.stack(crops), truth=np.stack(truth), severities=np.stack(severities))
    partial.rename(path)
