"""Makes scenes at native resolution: images as people make and receive them, 256 to 4096 px on the short side.

The reference is a crop of a pristine image or a drawn scene, sometimes with a look (greyscale, film, fog). Its variants
are pristine, distorted as a whole or in a region, or have faults of generation and delivery. Everything is done at full
size. Then a variant is delivered: scaled down, saved again.

No parameter of a distortion scales with the size of the image: a severity is what the published parameters do to the
pixels, seen at 100 %. Where a delivery scales a distorted image down, the severity is measured again as it is then
seen, and a damage that is no longer visible is drawn again: what the labels say can be seen in the saved file.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image

from training import distortions as catalogue
from training import drawn, faults

from ..records import labels
from . import looks, measures
from .delivery import FILTERS, Delivery, draw_delivery, missing_formats
from .regions import Region, draw_region
from .synthesis import Scene, SceneError, SceneOptions, Variant, make_scene

_TRIES = 200
_CROP = 384  # side in pixels of what is looked at to measure a severity
_SAMPLE = 256  # side in pixels of the sample of an image on which the metrics are measured
_CELL = 8  # side in pixels of the cells in which a change is measured
_SMALL = 0.002  # share of an image that a fault must change at least: a date in a corner is enough
_PUBLISHED = SceneOptions(pristine=1 / 6, single=0.5, double=0.2, ladder=0.4 / 3, resaved=0.4)
SPATIAL = ("blur", "noise", "compression", "oversharpen", "pixelate", "quantization")
"""Categories whose visible severity changes when the image is scaled down; the others change tones alone."""


@dataclass(frozen=True)
class NativeOptions:
    """Everything that shapes a scene at native resolution; shares are 0..1, lengths pixels.

    Attributes:
        variants: images per scene.
        pristine: share of the variants without damage; they differ in their delivery.
        single, double, ladder, local, fault: shares of the kinds of damaged variants; sum 1. A ladder mate repeats an
            implementation of the scene at another severity; a local one is distorted in a region only.
        second_fault, fault_and_distortion: shares of the fault variants with two faults, and with a fault and a
            distortion.
        drawn: share of the scenes that are drawn by program.
        looks: share of the scenes with a look.
        published: share of the scenes of pictures that are made as for the published task (``synthesis.make_scene``); a
            judge that learns from the others alone forgets it.
        held_out: faults and drawings of the held-out kinds only (for validation), instead of those for training.
        sizes: (least short side, greatest short side, share) of each band of sizes; a photograph is never enlarged.
        crop_area: share of the source's area.
        max_aspect: longest side / shortest side.
        delivered: share of the variants that are delivered; the others are saved as they are.
        resized, factors: share of deliveries that scale down, and by how much.
        formats: shares of the formats of a delivery.
        dithered: share of the tone distortions that are rounded with dither, as programs that compute in float do; the
            published functions of 8 bits leave gaps in the histogram, which a network must not take for the damage.
        min_change: grey levels by which a distortion must change an image (see ``change``), or it is drawn again.
        min_fault: the same for a fault: a regular pattern is seen earlier, and a date in a corner is enough.
        png_level: zlib level of the PNG files, 0..9.
    """

    variants: int = 6
    pristine: float = 0.5
    single: float = 0.34
    double: float = 0.10
    ladder: float = 0.12
    local: float = 0.22
    fault: float = 0.22
    second_fault: float = 0.12
    fault_and_distortion: float = 0.1
    drawn: float = 0.35
    looks: float = 0.3
    published: float = 0.0
    held_out: bool = False
    sizes: tuple[tuple[int, int, float], ...] = (
        (256, 384, 0.18), (384, 512, 0.22), (512, 768, 0.26), (768, 1024, 0.18), (1024, 1536, 0.09),
        (1536, 2048, 0.04), (2048, 4096, 0.03),
    )  # fmt: skip
    crop_area: tuple[float, float] = (0.45, 1.0)
    max_aspect: float = 2.0
    delivered: float = 0.6
    resized: float = 0.35
    factors: tuple[float, float] = (0.5, 0.97)
    formats: tuple[tuple[str, float], ...] = (("jpeg", 0.5), ("webp", 0.22), ("avif", 0.08), ("png", 0.2))
    dithered: float = 0.6
    min_change: float = 5.0
    min_fault: float = 2.0
    png_level: int = 1

    def __post_init__(self):
        for name, value in vars(self).items():  # a YAML recipe gives lists and mappings
            if isinstance(value, dict):
                value = list(value.items())
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(tuple(v) if isinstance(v, list) else v for v in value))
        kinds = (self.single, self.double, self.ladder, self.local, self.fault)
        if min(kinds) < 0 or not math.isclose(sum(kinds), 1, abs_tol=1e-6):
            raise ValueError(f"single, double, ladder, local and fault must be shares with the sum 1, got {kinds}")
        for name in (
            "pristine",
            "drawn",
            "looks",
            "published",
            "delivered",
            "resized",
            "second_fault",
            "fault_and_distortion",
            "dithered",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1, got {getattr(self, name)}")
        if self.variants < 1 or self.second_fault + self.fault_and_distortion > 1:
            raise ValueError("variants must be at least 1, second_fault + fault_and_distortion at most 1")
        if any(not measures.MIN_SIDE <= low <= high <= drawn.MAX_SIDE or share < 0 for low, high, share in self.sizes):
            raise ValueError(
                f"sizes must be (low, high, share) with {measures.MIN_SIDE} <= low <= high, got {self.sizes}"
            )
        if not math.isclose(sum(share for *_, share in self.sizes), 1, abs_tol=1e-6):
            raise ValueError(f"the shares of sizes must have the sum 1, got {self.sizes}")
        if not 0.3 <= self.factors[0] <= self.factors[1] <= 1:
            raise ValueError(f"factors must be a rising range within 0.3..1, got {self.factors}")
        if missing := missing_formats(dict(self.formats)):
            raise ValueError(f"this Pillow cannot write {' and '.join(missing)}: install a newer one, or leave it out")

    @property
    def least(self) -> int:
        """Least short side of a source."""
        return min(low for low, *_ in self.sizes)


def photograph_scene(image: np.ndarray, rng: np.random.Generator, options: NativeOptions) -> Scene:
    """Make a scene of a pristine image, uint8 [H, W, 3].

    Raises:
        SceneError: the image is too small, or nearly no damage changes it.
    """
    height, width = image.shape[:2]
    if min(height, width) < options.least:
        raise SceneError(
            f"{width} x {height} px is too small: scenes need a short side of {options.least} px and never enlarge"
        )
    return _scene(_crop(image, rng, options), rng, options, tuple(looks.LOOKS), None)


def published_scene(image: np.ndarray, rng: np.random.Generator) -> Scene:
    """Make a scene of the published task, of whose images one is pristine and none has faults.

    Raises:
        SceneError: the image is too small or too uniform.
    """
    scene = make_scene(image, rng, _PUBLISHED)
    return replace(scene, variants=tuple(replace(variant, faults=()) for variant in scene.variants))


def drawn_scene(rng: np.random.Generator, options: NativeOptions) -> Scene:
    """Make a scene of a drawing; its kind is ``Scene.kind``.

    Raises:
        SceneError: nearly no damage changes the drawing.
    """
    kind = _pick(drawn.VALIDATION_KINDS if options.held_out else drawn.TRAINING_KINDS, rng)
    short = _short(rng, options)
    long = round(short * _pick((1, 1, 5 / 4, 4 / 3, 3 / 2, 16 / 9), rng))
    height, width = (short, long) if rng.random() < 0.6 else (long, short)
    return _scene(drawn.draw(kind, height, width, rng), rng, options, looks.FOR_DRAWINGS, kind)


def _short(rng: np.random.Generator, options: NativeOptions) -> int:
    low, high, _ = options.sizes[int(rng.choice(len(options.sizes), p=[share for *_, share in options.sizes]))]
    return int(rng.integers(low, high + 1))


def _crop(image: np.ndarray, rng: np.random.Generator, options: NativeOptions) -> np.ndarray:
    """A part of an image at a drawn size, never enlarged."""
    height, width = image.shape[:2]
    for _ in range(_TRIES):
        area = rng.uniform(*options.crop_area) * height * width
        aspect = width / height * math.exp(rng.uniform(-0.35, 0.35))
        h, w = min(height, round(math.sqrt(area / aspect))), min(width, round(math.sqrt(area * aspect)))
        if min(h, w) >= options.least and max(h, w) <= options.max_aspect * min(h, w):
            break
    else:
        side = min(height, width)
        h, w = min(height, int(side * options.max_aspect)), min(width, int(side * options.max_aspect))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    crop = np.ascontiguousarray(image[top : top + h, left : left + w])
    short = _short(rng, options)
    if short >= min(h, w):
        return crop
    scale = short / min(h, w)
    size = (max(short, round(w * scale)), max(short, round(h * scale)))
    return np.asarray(Image.fromarray(crop).resize(size, _pick(tuple(FILTERS.values()), rng)))


def _scene(reference, rng, options, allowed: tuple[str, ...], kind: str | None) -> Scene:
    look = None
    if rng.random() < options.looks:
        look = looks.draw(allowed, rng)
        reference = looks.apply(look, reference, rng)
    wanted = options.pristine * options.variants
    clean = min(options.variants, int(wanted) + int(rng.random() < wanted % 1))
    variants: list[Variant] = []
    for _ in range(clean):
        variants.append(_pristine(reference, variants, rng, options))
    shares = (options.single, options.double, options.ladder, options.local, options.fault)
    kinds = ("single", "double", "ladder", "local", "fault")
    for number in np.sort(rng.choice(5, size=options.variants - clean, p=shares)).tolist():
        variants.append(_damaged(kinds[number], reference, variants, look, rng, options))
    order = rng.permutation(len(variants))
    return Scene(reference, tuple(variants[i] for i in order), look=look, kind=kind)


def _delivery(rng, options: NativeOptions, short: int) -> Delivery:
    if rng.random() >= options.delivered:
        return Delivery()
    found = draw_delivery(rng, dict(options.formats), options.resized, options.factors)
    least = measures.MIN_SIDE / short
    return replace(found, factor=1.0) if found.factor < least else found


def _pristine(reference, others: list[Variant], rng, options) -> Variant:
    """A copy without damage, in another delivery than the other copies."""
    taken = {one.resaved for one in others}
    for _ in range(_TRIES):
        delivery = _delivery(rng, options, min(reference.shape[:2]))
        if delivery.words not in taken:
            break
    scaled = delivery.scale(reference)
    rgb, file = delivery.encode(scaled)
    where = {"region": "everywhere", "tone": None, "texture": None}
    return Variant(rgb, (), delivery.words, sampled_metrics(rgb, scaled), where, 1.0, faults=(), file=file)


def _damaged(kind: str, reference, others: list[Variant], look: str | None, rng, options) -> Variant:
    """Draw a damage until it can be seen in what is delivered, and no other variant has it."""
    used = [(one.distortions, one.faults, one.region) for one in others]
    for _ in range(_TRIES):
        delivery = _delivery(rng, options, min(reference.shape[:2]))
        early = delivery.factor < 1 and (kind == "double" or rng.random() < 0.5)  # scaled before it is damaged
        base = delivery.scale(reference) if early else reference
        later = replace(delivery, factor=1.0) if early else delivery
        steps, marks = _draw(kind, others, rng, options)
        if any(_confusable(name, severity, look) for name, severity in (*steps, *marks)):
            continue
        region = draw_region(base, rng) if kind == "local" else None
        done = base
        for name, severity in marks:
            done = _seen_fault(faults.apply(name, done, severity, rng), done, options)
            if done is None:
                break
        for name, severity in steps if done is not None else ():
            changed = _distorted(name, done, severity, rng, options)
            changed = region.blend(changed, done) if region else changed
            done = _changed(done, changed, region, options)
            if done is None:
                break
        if done is None:
            continue
        scaled, clean = later.scale(done), later.scale(base)
        if later.factor < 1:
            region = _scaled_region(region, clean.shape[:2])
            if (
                _seen_fault(scaled, clean, options) is None
                if marks
                else _changed(clean, scaled, region, options) is None
            ):
                continue
            steps = tuple((name, seen_severity(name, severity, scaled, clean, region, rng)) for name, severity in steps)
            if any(severity == 0 for _, severity in steps):
                continue
        items = tuple(
            {"category": catalogue.CATEGORY[name], "name": name, "severity": severity}
            | ({"area": region.area} if region else {})
            for name, severity in steps
        )
        found = tuple({"fault": faults.REGISTRY[name].fault, "name": name, "severity": s} for name, s in marks)
        if any(items == other[0] and found == other[1] and region is None and other[2] is None for other in used):
            continue
        rgb, file = later.encode(scaled)
        metrics = sampled_metrics(rgb, clean, region)
        where = {"region": "everywhere", "tone": None, "texture": None}
        if region:
            where["region"] = region.place if region.place in measures.REGIONS else "everywhere"
        elif items:
            where = measures.where_seen(rgb, clean)
        quality = labels.quality(items, metrics, found)
        return Variant(rgb, items, delivery.words, metrics, where, quality, faults=found, region=region, file=file)
    raise SceneError("nearly no damage changes it visibly; it has too little contrast and colour")


def _distorted(name, image, severity, rng, options) -> np.ndarray:
    """A distorted image; tones are sometimes dithered over the gap that the distortion opens between two levels."""
    done = catalogue.apply(name, image, severity, rng)
    if catalogue.CATEGORY[name] in SPATIAL or rng.random() >= options.dithered:
        return done
    step = rng.integers(0, 2, (*image.shape[:2], 1), dtype=np.int8) * np.int16(2) - 1  # the mean stays what it is
    below, above = (
        catalogue.apply(name, np.clip(image + sign * step, 0, 255).astype(np.uint8), severity, rng) for sign in (-1, 1)
    )
    gap = (above.astype(np.float32) - below) / 2
    gap *= rng.random((*image.shape[:2], 1), np.float32) - 0.5
    return np.clip(np.rint(done + gap), 0, 255).astype(np.uint8)


def _draw(kind, others, rng, options) -> tuple[tuple, tuple]:
    """(distortions, faults) of a variant, each as ((name, severity), ...)."""
    if kind == "double":
        return tuple(catalogue.sample_two(rng)), ()
    if kind == "ladder":
        names = sorted({one.distortions[0]["name"] for one in others if len(one.distortions) == 1 and not one.region})
        if names:
            return ((_pick(names, rng), int(rng.integers(1, 6))),), ()
    if kind != "fault":
        return (catalogue.sample_one(rng),), ()
    mark, draw = faults.sample(rng, options.held_out), rng.random()
    if faults.REGISTRY[mark[0]].fault == "failed frame" or draw >= options.second_fault + options.fault_and_distortion:
        return (), (mark,)
    mark = (mark[0], min(3, mark[1]))
    if draw < options.fault_and_distortion:
        name, severity = catalogue.sample_one(rng)
        category = catalogue.ANSWER[catalogue.CATEGORY[name]]
        clash = category == faults.REGISTRY[mark[0]].label
        return ((), (mark,)) if clash else (((name, min(3, severity)),), (mark,))
    other, severity = faults.sample(rng, options.held_out)
    if faults.REGISTRY[other].fault in (faults.REGISTRY[mark[0]].fault, "failed frame"):
        return (), (mark,)
    return (), (mark, (other, min(3, severity)))


def _confusable(name: str, severity: int, look: str | None) -> bool:
    """Whether a distortion or a fault could be taken for the look of its scene."""
    if severity > 2:
        return False
    if name in faults.REGISTRY:
        return look in looks.EXCLUDED_FAULTS.get(faults.REGISTRY[name].fault, ())
    return catalogue.CATEGORY[name] in looks.EXCLUDED.get(look, ())


def change(changed: np.ndarray, image: np.ndarray, region: Region | None = None, share: float = 0.02) -> float:
    """Return how much two images of one size differ where they differ most, in grey levels.

    That is the least of the root mean square differences of the most changed ``share`` of all cells of 8 x 8 pixels,
    within the region if there is one. So a damage counts that can be seen somewhere, such as blur in a drawing that is
    mostly empty.
    """
    squared = cv2.absdiff(changed, image).astype(np.float32)
    squared *= squared
    height, width = image.shape[:2]
    size = (max(1, width // _CELL), max(1, height // _CELL))
    cells = cv2.resize(squared, size, interpolation=cv2.INTER_AREA).mean(axis=2)
    if region is not None:
        inside = cv2.resize(region.mask, size, interpolation=cv2.INTER_AREA) > 0.5
        cells = cells[inside] if inside.any() else cells
    return math.sqrt(float(np.quantile(cells, 1 - share)))


def _changed(before, after, region, options) -> np.ndarray | None:
    return after if change(after, before, region) >= options.min_change else None


def _seen_fault(after, before, options) -> np.ndarray | None:
    return after if change(after, before, share=_SMALL) >= options.min_fault else None


def seen_severity(name, severity, scaled, clean, region, rng) -> int:
    """The severity of a distortion after scaling: 1..5, or 0 where it is not visible any more.

    That of the same implementation whose change of the scaled reference is nearest in root mean square, measured on
    a crop; categories that change tones alone keep their severity.

    Args:
        name, severity: what was applied before scaling.
        scaled, clean: the distorted image and the reference after scaling, uint8 [H, W, 3].
        region: where it was applied, at the scaled size.
    """
    if catalogue.CATEGORY[name] not in SPATIAL:
        return severity
    height, width = clean.shape[:2]
    h, w = min(height, _CROP), min(width, _CROP)
    top, left = (height - h) // 2, (width - w) // 2
    weight = np.ones((h, w), np.float32)
    if region is not None:
        rows, columns = np.nonzero(region.mask > 0.5)
        top = int(np.clip(int(np.median(rows)) - h // 2, 0, height - h)) if len(rows) else top
        left = int(np.clip(int(np.median(columns)) - w // 2, 0, width - w)) if len(columns) else left
        weight = region.mask[top : top + h, left : left + w]
    window = np.ascontiguousarray(clean[top : top + h, left : left + w])

    def size(image: np.ndarray) -> float:
        error = np.abs(image.astype(np.float32) - window).mean(axis=2)
        return float((error**2 * weight).sum() / max(float(weight.sum()), 1e-6)) ** 0.5

    measured = size(scaled[top : top + h, left : left + w])
    ladder = [0.0] + [size(catalogue.apply(name, window, step, rng)) for step in catalogue.SEVERITIES]
    nearest = float(np.interp(measured, np.maximum.accumulate(ladder), range(6)))
    return min(5, round(nearest)) if nearest >= 0.6 else 0


def _scaled_region(region: Region | None, shape: tuple[int, int]) -> Region | None:
    if region is None:
        return None
    mask = cv2.resize(region.mask, shape[::-1], interpolation=cv2.INTER_AREA)
    return replace(region, mask=mask)


def sampled_metrics(image: np.ndarray, reference: np.ndarray, region: Region | None = None) -> dict[str, float]:
    """Return the metrics of ``measures.metrics`` from a sample of a large image, seen at 100 %.

    ssim, mdsi and vsi average an image down before they look, the more the larger it is; on a sample of constant size
    they see the same in images of all sizes. Images up to 256 px are measured whole, others on a mosaic of nine crops
    from a 3 x 3 grid. For a damage within a region, the crops lie in the region, and the values of the whole follow
    from its area (the rest is untouched but for the delivery): means are mixed by area, of PSNR the mean square error.
    """
    height, width = image.shape[:2]
    if region is None and height * width <= (1.3 * _SAMPLE) ** 2:
        return measures.metrics(image, reference)
    side = min(_SAMPLE, min(height, width)) // 3
    if region is None:
        centers = [(height * (2 * i + 1) // 6, width * (2 * j + 1) // 6) for i in range(3) for j in range(3)]
    else:
        rows, columns = np.nonzero(region.mask > 0.5)
        if not len(rows):
            rows, columns = np.nonzero(region.mask >= region.mask.max() * 0.5)
        step = np.linspace(0, len(rows) - 1, 11).astype(int)[1:-1]
        centers = list(zip(rows[step], columns[step]))
    corners = [
        (int(np.clip(y - side // 2, 0, height - side)), int(np.clip(x - side // 2, 0, width - side)))
        for y, x in centers
    ]

    def mosaic(rgb: np.ndarray) -> np.ndarray:
        parts = [rgb[y : y + side, x : x + side] for y, x in corners]
        return np.concatenate([np.concatenate(parts[i : i + 3], axis=1) for i in (0, 3, 6)])

    found = measures.metrics(mosaic(image), mosaic(reference))
    if region is None:
        return found
    inside = min(1.0, float(np.mean([region.mask[y : y + side, x : x + side].mean() for y, x in corners])))
    share = min(1.0, region.area / max(inside, 0.05))
    mixed = {name: best + share * (found[name] - best) for name, best in measures.BEST.items()}
    error = share * 10 ** (-found["psnr"] / 10)
    mixed["psnr"] = min(measures.BEST["psnr"], -10 * math.log10(max(error, 1e-8)))
    return {name: round(value, 6) for name, value in mixed.items()}


def _pick(options, rng: np.random.Generator):
    return options[int(rng.integers(len(options)))]
