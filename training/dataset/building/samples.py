"""Make the samples of DQ-495K: one or two distorted images, drawn and resized like the published ones (method.md 6.2).

The published faults are left out: a pristine image gets the same resizing as the distorted ones (here it *is* the
reference file), and nothing is drawn from a generator that the seed does not reach.
"""

import hashlib
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image

from depictqa_core.errors import DepictQAError
from depictqa_core.images.image import as_image
from depictqa_core.storage.rules import SWITCH, number, whole
from training import distortions as catalogue
from training.output_files import write_file
from training.validation import Allowed, data_model

from ..records import labels
from . import measures
from .measures import MIN_SIDE
from .shard import Store
from .synthesis import SceneError, distort

TRIES = 200
ATTEMPTS = 1000
Steps = tuple[tuple[str, int], ...]
"""Distortions of one image in order of application: (name, severity) each; () is pristine."""


@dataclass(frozen=True)
class Kind:
    """What the samples of a set show: ``task`` of their records, one or two images, one or two distortions each."""

    task: str
    double: bool

    @property
    def pair(self) -> bool:
        return self.task in ("rating", "comparison")

    @property
    def measured(self) -> bool:
        """Whether answers need the metrics: all but identification, whose answer is the distortion itself."""
        return self.task != "identification"


KINDS: dict[str, Kind] = {
    f"{task}_{'double' if double else 'single'}": Kind(task, double)
    for task in ("identification", "assessment", "rating", "comparison")
    for double in (False, True)
}
"""The sets of distorted images, by name."""


@data_model
class Drawing:
    """How samples are drawn.

    Attributes:
        pristine: share of images without a distortion.
        short: short side in pixels to which larger sources are scaled down (Pillow bicubic), pristine ones too.
        long: longest side in pixels after that; sources that are longer are skipped.
        min_change: root mean square difference in grey levels that every distortion must make, or it is drawn again.
        decided: pairs that the metrics cannot decide (``labels.better``) are drawn again.
        png_level: zlib level of the PNG files, 0..9.
    """

    pristine: Annotated[float, Allowed(number(0, 0.99))] = 0.05
    short: Annotated[int, Allowed(whole(MIN_SIDE, 16_384))] = 224
    long: Annotated[int, Allowed(whole(MIN_SIDE, 16_384))] = 672
    min_change: Annotated[float, Allowed(number(0, 100))] = 1.5
    decided: Annotated[bool, Allowed(SWITCH)] = True
    png_level: Annotated[int, Allowed(whole(0, 9))] = 1

    def __post_init__(self):
        if self.short > self.long:
            raise ValueError(f"short must not be above long, which is {self.long}; got {self.short}")


@dataclass(frozen=True)
class SampleMaker:
    """Makes sample ``index`` of one set: ``maker(index, skipped)`` writes its images and returns its line.

    The sample depends on (seed, set, index), the source images and the drawing alone. Lines look like scenes with one
    or two variants: {"scene": index, "source", "reference", "height", "width", "variants": [...]}.
    """

    set_name: str
    pictures: str
    sources: tuple[str, ...] = field(repr=False)
    out: str
    seed: int
    drawing: Drawing

    @property
    def kind(self) -> Kind:
        return KINDS[self.set_name]

    def __call__(self, index: int, skipped: dict[str, str]) -> dict:
        for attempt in range(ATTEMPTS):
            # A fresh generator per attempt: how far a failed one got must not matter for the next.
            rng = np.random.default_rng([self.seed, zlib.crc32(self.set_name.encode()), index, attempt])
            source = self.sources[int(rng.integers(len(self.sources)))]
            try:
                name, reference = self._reference(source)
                return self._sample(index, source, name, reference, rng)
            except (DepictQAError, SceneError) as error:
                skipped.setdefault(source, str(error))
        reason = next(iter(skipped.values()))
        raise SceneError(f"none of the images in {self.pictures} can be used; one was skipped because: {reason}")

    def _reference(self, source: str) -> tuple[str, np.ndarray]:
        """File name and pixels of the reference of a source, which is written the first time."""
        digest = hashlib.sha1(source.encode()).hexdigest()
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).stem)[:40]
        name = f"references/{digest[:2]}/{stem}-{digest[:10]}.png"
        file = Path(self.out) / name
        if file.exists():
            return name, as_image(file, name=source).rgb
        rgb = scaled(as_image(Path(self.pictures) / source, name=source).rgb, self.drawing)
        self._write(name, rgb)
        return name, rgb

    def _sample(self, index: int, source: str, name: str, reference: np.ndarray, rng: np.random.Generator) -> dict:
        drawn = _draw(self.kind, reference, self.drawing, rng)
        stem = f"{self.set_name}/{index // 1000:03d}/{index:06d}"
        for side, (rgb, variant) in zip("AB", drawn):
            variant["image"] = f"{stem}_{side}.png" if variant["distortions"] else name
            if variant["distortions"]:
                self._write(variant["image"], rgb)
        height, width = reference.shape[:2]
        variants = [{"image": variant.pop("image"), **variant} for _, variant in drawn]
        return {
            "scene": index, "source": source, "reference": name, "height": height, "width": width, "variants": variants,
        }  # fmt: skip

    def _write(self, name: str, rgb: np.ndarray) -> None:
        level = self.drawing.png_level
        write_file(Path(self.out) / name, lambda part: Image.fromarray(rgb).save(part, "PNG", compress_level=level))


def sample_store(root: str | Path, set_name: str, size: int = 100) -> Store:
    """The lines of a set in a data root; ``size`` matters for writing only."""
    return Store(str(Path(root) / "samples"), set_name, size)


def scaled(rgb: np.ndarray, drawing: Drawing) -> np.ndarray:
    """A source image, uint8 [H, W, 3], at the size of the data set: never larger than it was.

    Raises:
        SceneError: it is too small for the metrics, or too long for its height.
    """
    height, width = rgb.shape[:2]
    if min(height, width) > drawing.short:
        scale = drawing.short / min(height, width)
        height, width = max(drawing.short, round(height * scale)), max(drawing.short, round(width * scale))
    if min(height, width) < MIN_SIDE:
        raise SceneError(f"{width} x {height} px is too small: a short side of {MIN_SIDE} px is needed")
    if max(height, width) > drawing.long:
        raise SceneError(f"{width} x {height} px (scaled) is too elongated: the long side may have {drawing.long} px")
    if (height, width) == rgb.shape[:2]:
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))


def draw_steps(kind: Kind, pristine: float, rng: np.random.Generator) -> tuple[Steps, ...]:
    """The distortions of the one or two images of a sample (method.md 6.2).

    One image: pristine, or one distortion (severity 1..5), or two (1..3 each). Pairs of singles: both as above, B
    drawn again while its classes and severities are A's. Pairs of doubles: each pristine, or half one and half two
    distortions; drawn again until at least one has two and the images differ.
    """
    if not kind.pair:
        return (_draw_one(kind.double, pristine, rng),)
    while True:
        if kind.double:
            pair = tuple(_draw_one(rng.random() < 0.5, pristine, rng) for _ in "AB")
        else:
            a = b = _draw_one(False, pristine, rng)
            while _classes(a) == _classes(b):
                b = _draw_one(False, pristine, rng)
            pair = (a, b)
        if _classes(pair[0]) != _classes(pair[1]) and (not kind.double or max(map(len, pair)) == 2):
            return pair


def _draw_one(double: bool, pristine: float, rng: np.random.Generator) -> Steps:
    if rng.random() < pristine:
        return ()
    return tuple(catalogue.sample_two(rng)) if double else (catalogue.sample_one(rng),)


def _classes(steps: Steps) -> tuple:
    return tuple((catalogue.CATEGORY[name], severity) for name, severity in steps)


def _draw(
    kind: Kind, reference: np.ndarray, drawing: Drawing, rng: np.random.Generator
) -> list[tuple[np.ndarray, dict]]:
    """[(image, variant without its file name)], drawn until every distortion can be seen and a pair is decided."""
    for _ in range(TRIES):
        steps = draw_steps(kind, drawing.pristine, rng)
        made = [distort(reference, one, rng, drawing.min_change) for one in steps]
        pictures = [picture for picture in made if picture is not None]
        if len(pictures) < len(made):
            continue
        variants = [_variant(picture, reference, one, kind.measured) for picture, one in zip(pictures, steps)]
        if kind.pair and drawing.decided and labels.better(*variants) is None:
            continue
        return list(zip(pictures, variants))
    raise SceneError("almost no distortion is visible in it; it has too little contrast and colour")


def _variant(picture: np.ndarray, reference: np.ndarray, steps: Steps, measured: bool) -> dict:
    items = [{"category": catalogue.CATEGORY[name], "name": name, "severity": step} for name, step in steps]
    if not measured:
        return {"distortions": items}
    values = measures.metrics(picture, reference)
    return {
        "distortions": items,
        "metrics": values,
        "where": measures.where(picture, reference),
        "quality": labels.quality(items, values),
    }
