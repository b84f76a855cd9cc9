"""Make one scene in memory: a crop of a pristine image as the reference, and its distorted variants."""

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from training import distortions as catalogue

from ..records import labels
from . import measures
from .option_checks import freeze_lists, is_distribution, require_shares

if TYPE_CHECKING:
    from .regions import Region

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
}
_TRIES = 100


class SceneError(ValueError):
    """An image of which no scene can be made; the message says why."""


@dataclass(frozen=True)
class SceneOptions:
    """Everything that shapes a scene; shares are 0..1, lengths pixels. A recipe sets them by name.

    Attributes:
        variants: distorted images per scene.
        pristine, single, double, ladder: shares of the kinds of variant; sum 1. A ladder mate repeats an implementation
            of the scene at another severity. A scene has at most one pristine copy, so `pristine * variants` is at
            most 1.
        resaved: share of all variants that are saved again afterwards, as a user's image has been: `resaved_jpeg` of
            them as JPEG of `jpeg_quality`, the others resized by `resize_factor` (bicubic or lanczos).
        crop_area: share of the source's area.
        crop_aspect: width / height; `wide` of the crops go up to `max_aspect` either way.
        short: short side of `fixed_short` of the scenes; the others are uniform in short..max_short, as far as the crop
            has the pixels.
        filters: shares of the filters of the downscaling that reference and variants share.
        min_change: root mean square difference, in grey levels, that every single distortion must make; otherwise it
            is drawn again.
        png_level: zlib level of the PNG files, 0..9.
    """

    variants: int = 6
    pristine: float = 0.08
    single: float = 0.57
    double: float = 0.20
    ladder: float = 0.15
    resaved: float = 0.25
    resaved_jpeg: float = 2 / 3
    jpeg_quality: tuple[int, int] = (88, 97)
    resize_factor: tuple[float, float] = (0.8, 0.97)
    crop_area: tuple[float, float] = (0.4, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    wide: float = 0.15
    max_aspect: float = 2.2
    short: int = 224
    max_short: int = 448
    fixed_short: float = 0.65
    filters: tuple[tuple[str, float], ...] = (("bicubic", 0.5), ("lanczos", 0.2), ("box", 0.2), ("bilinear", 0.1))
    min_change: float = 1.5
    png_level: int = 1

    def __post_init__(self):
        freeze_lists(self)
        kinds = (self.pristine, self.single, self.double, self.ladder)
        if not is_distribution(kinds):
            raise ValueError(f"pristine, single, double and ladder must be shares with the sum 1, got {kinds}")
        if self.variants < 1 or self.pristine * self.variants > 1 + 1e-9:
            raise ValueError(
                "variants must be at least 1 and pristine * variants at most 1 (one pristine copy per scene)"
            )
        require_shares(self, "resaved", "resaved_jpeg", "wide", "fixed_short")
        for name, low, high in (
            ("jpeg_quality", 1, 100),
            ("resize_factor", 0.1, 1),
            ("crop_area", 0.01, 1),
            ("crop_aspect", 0.1, 10),
        ):
            first, last = getattr(self, name)
            if not low <= first <= last <= high:
                raise ValueError(f"{name} must be a rising range within {low}..{high}, got {first}..{last}")
        if not 161 <= self.short <= self.max_short:
            raise ValueError(
                f"short must be from 161 (the metrics need it) to max_short, got {self.short} and {self.max_short}"
            )
        tall, wide = self.crop_aspect
        if self.max_aspect < max(wide, 1 / tall):
            raise ValueError(f"max_aspect {self.max_aspect} is below the crop aspects {tall:.3g}..{wide:.3g}")
        unknown = [name for name, _ in self.filters if name not in _FILTERS]
        if unknown or not is_distribution([share for _, share in self.filters]):
            raise ValueError(f"filters must be shares with the sum 1 of {', '.join(_FILTERS)}, got {self.filters}")


@dataclass(frozen=True, eq=False)
class Variant:
    """One distorted image: `rgb` uint8 [H', W', 3] as saved; the other fields as in scenes.jsonl.

    Variants at native resolution also have ``faults`` (an empty tuple for none), the region of a local damage, and the
    file that was saved in a lossy format.
    """

    rgb: np.ndarray
    distortions: tuple[dict, ...]
    resaved: str | None
    metrics: dict[str, float]
    where: dict[str, str | None]
    quality: float
    faults: tuple[dict, ...] | None = None
    region: "Region | None" = None
    file: bytes | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """`reference` uint8 [H, W, 3] and its variants; those resized afterwards are smaller than the reference.

    At native resolution: ``look`` of the reference, and the ``kind`` of a drawn one.
    """

    reference: np.ndarray
    variants: tuple[Variant, ...]
    look: str | None = None
    kind: str | None = None


def make_scene(picture: np.ndarray, rng: np.random.Generator, options: SceneOptions | None = None) -> Scene:
    """Makes the scene that `rng` draws; the same state, image and options give the same scene.

    Args:
        picture: pristine uint8 [H, W, 3], both sides at least `options.short`.
        rng: source of all randomness.

    Raises:
        SceneError: the image is too small, or nearly no distortion changes it (for example a plain colour).
    """
    options = options or SceneOptions()
    reference = _reference(picture, rng, options)
    variants = []
    for done, steps in _draw_variants(reference, rng, options):
        rgb, full, resaved = _resave(done, rng, options)
        items = tuple({"category": catalogue.CATEGORY[name], "name": name, "severity": step} for name, step in steps)
        metrics = measures.metrics(full, reference)
        where = measures.where(full if items else reference, reference)  # a resaved pristine copy has no fault to place
        variants.append(Variant(rgb, items, resaved, metrics, where, labels.quality(items, metrics)))
    return Scene(reference, tuple(variants[i] for i in rng.permutation(len(variants))))


def _reference(picture: np.ndarray, rng: np.random.Generator, options: SceneOptions) -> np.ndarray:
    height, width = picture.shape[:2]
    if min(height, width) < options.short:
        raise SceneError(
            f"{width} x {height} px is too small: scenes need a short side of {options.short} px and never enlarge"
        )
    h, w = _crop_size(height, width, rng, options)
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    most = min(options.max_short, h, w)
    short = options.short if rng.random() < options.fixed_short else int(rng.integers(options.short, most + 1))
    scale = short / min(h, w)
    size = (short, max(short, round(w * scale))) if h <= w else (max(short, round(h * scale)), short)  # (height, width)
    names, shares = zip(*options.filters, strict=True)
    resample = _FILTERS[names[int(rng.choice(len(names), p=np.array(shares) / sum(shares)))]]
    crop = Image.fromarray(np.ascontiguousarray(picture[top : top + h, left : left + w]))
    return np.asarray(crop.resize(size[::-1], resample))


def _crop_size(height: int, width: int, rng: np.random.Generator, options: SceneOptions) -> tuple[int, int]:
    low, high = options.crop_aspect
    for _ in range(_TRIES):
        area = rng.uniform(*options.crop_area) * height * width
        if rng.random() < options.wide:
            aspect = math.exp(rng.uniform(0, math.log(options.max_aspect)))
            aspect = aspect if rng.random() < 0.5 else 1 / aspect
        else:
            aspect = math.exp(rng.uniform(math.log(low), math.log(high)))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if options.short <= h <= height and options.short <= w <= width:
            return h, w
    return min(height, int(width * options.max_aspect)), min(width, int(height * options.max_aspect))


def _draw_variants(reference: np.ndarray, rng: np.random.Generator, options: SceneOptions) -> list:
    """[(image, ((name, severity), ...))], all different; ladder mates come last, so that there is a ladder."""
    rest = np.array([options.single, options.double, options.ladder])
    has_pristine = rng.random() < options.pristine * options.variants
    number = options.variants - has_pristine
    kinds = np.sort(rng.choice(3, size=number, p=rest / rest.sum())) if number and rest.sum() else np.zeros(number, int)
    found: list[tuple[np.ndarray, tuple[tuple[str, int], ...]]] = [(reference, ())] if has_pristine else []
    for kind in kinds:
        for _ in range(_TRIES):
            steps = _draw_steps(kind, [steps for _, steps in found], rng)
            if any(steps == other for _, other in found):
                continue
            done = distort(reference, steps, rng, options.min_change)
            if done is not None:
                found.append((done, steps))
                break
        else:
            raise SceneError("almost no distortion is visible in it; it has too little contrast and colour")
    return found


def _draw_steps(kind: int, used: list, rng: np.random.Generator) -> tuple[tuple[str, int], ...]:
    if kind == 1:
        return tuple(catalogue.sample_two(rng))
    names = sorted({steps[0][0] for steps in used if len(steps) == 1})
    if kind == 2 and names:
        return ((names[int(rng.integers(len(names)))], int(rng.integers(1, 6))),)
    return (catalogue.sample_one(rng),)


def distort(reference: np.ndarray, steps, rng: np.random.Generator, min_change: float) -> np.ndarray | None:
    """The distorted image, or None if one of the steps changes next to nothing: its label could not be seen."""
    picture = reference
    for name, step in steps:
        changed = catalogue.apply(name, picture, step, rng)
        if cv2.norm(changed, picture, cv2.NORM_L2) / math.sqrt(picture.size) < min_change:
            return None
        picture = changed
    return picture


def _resave(
    picture: np.ndarray, rng: np.random.Generator, options: SceneOptions
) -> tuple[np.ndarray, np.ndarray, str | None]:
    """(image as saved, image at the size of the reference for the metrics, what was done)."""
    if rng.random() >= options.resaved:
        return picture, picture, None
    if rng.random() < options.resaved_jpeg:
        quality = int(rng.integers(options.jpeg_quality[0], options.jpeg_quality[1] + 1))
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
        again = np.asarray(Image.open(buffer).convert("RGB"))
        return again, again, f"jpeg {quality}"
    factor = round(float(rng.uniform(*options.resize_factor)), 2)
    height, width = picture.shape[:2]
    resample = _FILTERS["bicubic" if rng.random() < 0.5 else "lanczos"]
    small = Image.fromarray(picture).resize((max(1, round(width * factor)), max(1, round(height * factor))), resample)
    return np.asarray(small), picture, f"resize {factor:g}"
