"""Make scenes at native resolution: images as people make and receive them, 256 to 4096 px on the short side.

The reference is a crop of a pristine image or a drawn scene, sometimes with a look (greyscale, film, fog) or in an art
style. Its variants are pristine, distorted as a whole or in a region, or have faults of generation and delivery.
Everything is done at full size. Then a variant is delivered: scaled down, saved again.

No parameter of a distortion scales with the size of the image: a severity is what the published parameters do to the
pixels, seen at 100 %. Where a delivery scales a distorted image down, the severity is measured again as it is then
seen, and a damage that is no longer visible is drawn again: what the labels say can be seen in the saved file.
"""

import math
from dataclasses import replace

import numpy as np
from PIL import Image

from training import distortions as catalogue
from training import drawn, faults
from training.random_choice import pick

from ..records import labels
from . import art_styles, looks, measures
from .delivery import FILTERS, Delivery, draw_delivery
from .native_options import SPATIAL, NativeOptions
from .regions import draw_region
from .synthesis import Scene, SceneError, SceneOptions, Variant, make_scene
from .visibility import sampled_metrics, scaled_region, visible_change, visible_fault, visible_severity

_TRIES = 200
_PUBLISHED = SceneOptions(pristine=1 / 6, single=0.5, double=0.2, ladder=0.4 / 3, resaved=0.4)


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
    reference = _crop(image, rng, options)
    if options.styled and rng.random() < options.styled:
        style = pick(tuple(art_styles.STYLES), rng)
        return _scene(art_styles.apply(style, reference, rng), rng, options, (), None, style)
    return _scene(reference, rng, options, tuple(looks.LOOKS), None)


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
    kind = pick(drawn.VALIDATION_KINDS if options.held_out else drawn.TRAINING_KINDS, rng)
    short = _short(rng, options)
    long = round(short * pick((1, 1, 5 / 4, 4 / 3, 3 / 2, 16 / 9), rng))
    height, width = (short, long) if rng.random() < 0.6 else (long, short)
    return _scene(drawn.draw(kind, height, width, rng), rng, options, looks.FOR_DRAWINGS, kind)


def _short(rng: np.random.Generator, options: NativeOptions) -> int:
    low, high, _ = options.sizes[int(rng.choice(len(options.sizes), p=[share for *_, share in options.sizes]))]
    return int(rng.integers(low, high + 1))


def _crop(image: np.ndarray, rng: np.random.Generator, options: NativeOptions) -> np.ndarray:
    """Crop an image at a random size, without upscaling."""
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
    return np.asarray(Image.fromarray(crop).resize(size, pick(tuple(FILTERS.values()), rng)))


def _scene(reference, rng, options, allowed: tuple[str, ...], kind: str | None, look: str | None = None) -> Scene:
    """``look`` is a look or a style that the reference has already; else it may get one of the allowed looks."""
    if look is None and rng.random() < options.looks:
        look = looks.draw([name for name in allowed if name in options.look_names] or allowed, rng)
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
        steps, marks = _draw(kind, others, look, rng, options)
        if any(_confusable(name, severity, look) for name, severity in (*steps, *marks)):
            continue
        region = draw_region(base, rng) if kind == "local" else None
        done = base
        for name, severity in marks:
            done = visible_fault(faults.apply(name, done, severity, rng), done, options)
            if done is None:
                break
        for name, severity in steps if done is not None else ():
            changed = _distorted(name, done, severity, rng, options)
            changed = region.blend(changed, done) if region else changed
            done = visible_change(done, changed, region, options)
            if done is None:
                break
        if done is None:
            continue
        scaled, clean = later.scale(done), later.scale(base)
        if later.factor < 1:
            region = scaled_region(region, clean.shape[:2])
            if (
                visible_fault(scaled, clean, options) is None
                if marks
                else visible_change(clean, scaled, region, options) is None
            ):
                continue
            steps = tuple(
                (name, visible_severity(name, severity, scaled, clean, region, rng)) for name, severity in steps
            )
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
    raise SceneError("almost no damage is visible in it; it has too little contrast and colour")


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


def _draw(kind, others, look: str | None, rng, options) -> tuple[tuple, tuple]:
    """(distortions, faults) of a variant, each as ((name, severity), ...)."""
    too_far = looks.EXCLUDED.get(look or "", ())
    if kind == "single" and options.pushed and too_far and rng.random() < options.pushed:
        name = pick(catalogue.CATEGORIES[pick(too_far, rng)], rng)
        return ((name, pick(catalogue.severities_of(name)[2:], rng)),), ()
    if kind == "double":
        return tuple(catalogue.sample_two(rng)), ()
    if kind == "ladder":
        names = sorted({one.distortions[0]["name"] for one in others if len(one.distortions) == 1 and not one.region})
        if names:
            name = pick(names, rng)
            return ((name, pick(catalogue.severities_of(name), rng)),), ()
    if kind != "fault":
        return (catalogue.sample_native(rng),), ()
    mark, draw = faults.sample(rng, options.held_out), rng.random()
    if faults.REGISTRY[mark[0]].fault == "failed frame" or draw >= options.second_fault + options.fault_and_distortion:
        return (), (mark,)
    mark = (mark[0], min(3, mark[1]))
    if draw < options.fault_and_distortion:
        name, severity = catalogue.sample_native(rng)
        category = catalogue.ANSWER[catalogue.CATEGORY[name]]
        clash = category == faults.REGISTRY[mark[0]].label
        return ((), (mark,)) if clash else (((name, min(3, severity)),), (mark,))
    other, severity = faults.sample(rng, options.held_out)
    if faults.REGISTRY[other].fault in (faults.REGISTRY[mark[0]].fault, "failed frame"):
        return (), (mark,)
    return (), (mark, (other, min(3, severity)))


def _confusable(name: str, severity: int, look: str | None) -> bool:
    """Whether a distortion or a fault could be taken for the look or the style of its scene."""
    if severity > 2:
        return False
    if name in faults.REGISTRY:
        fault = faults.REGISTRY[name].fault
        return any(look in meant.EXCLUDED_FAULTS.get(fault, ()) for meant in (looks, art_styles))
    return any(catalogue.CATEGORY[name] in meant.EXCLUDED.get(look or "", ()) for meant in (looks, art_styles))
