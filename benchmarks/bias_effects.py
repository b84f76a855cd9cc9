"""The effects that ``benchmarks.bias`` measures: each part yields rows of signed values, one per photograph."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import linregress, spearmanr

from depictqa_core.images.colour_profiles import profile_of
from depictqa_core.images.image import as_image
from depictqa_core.images.pixels import LUMA
from depictqa_core.judge import Judge
from depictqa_core.prompts import A, B
from depictqa_core.runtime.byte_cache import ByteCache
from depictqa_core.runtime.progress import ProgressCounter
from depictqa_core.tasks import LEVELS, RATING, SCORE
from training import distortions, drawn

from .colour_profiles import SPACES, stored_in
from .everyday import SIDE, chunks, scaled, scores
from .severity_levels import saved
from .shares import bootstrap, mean

SEVERITY = 2
SIZES = (256, 384, 768, 1024)
ASPECTS = {"16:9": 16 / 9, "9:16": 9 / 16, "3:1": 3.0, "1:3": 1 / 3}
CROPS = (0.9, 0.75, 0.5)
LOSSLESS = {"BMP": {}, "TIFF": {}, "WebP, lossless": {"lossless": True}}
LOSSY = {"JPEG 95": ("JPEG", 95), "WebP 90": ("WEBP", 90), "AVIF 90": ("AVIF", 90)}
NAMES = (
    "blurry, noisy, low quality.png",
    "masterpiece, best quality, sharp.png",
    "unscharf und verrauscht.png",
    "模糊的低质量照片.png",
    "高品質な写真.png",
    "صورة رديئة.png",
    "плохое качество.png",
    "📷.png",
)

Row = dict
Rows = Iterator[tuple[str, Row]]
Pairs = Sequence[tuple[np.ndarray, np.ndarray]]
"""(clean, damaged) photographs."""


@dataclass(frozen=True)
class Shown:
    """The images of a report.

    Attributes:
        pairs: clean photographs with a short side of `SIDE` px at most, and their damaged copies.
        full: the same photographs at full size.
        drawings: clean drawings.
    """

    pairs: list[tuple[np.ndarray, np.ndarray]]
    full: list[np.ndarray]
    drawings: list[np.ndarray]

    @property
    def clean(self) -> list[np.ndarray]:
        """The clean photographs."""
        return [clean for clean, _ in self.pairs]


def shown_of(photographs: Sequence[np.ndarray], seed: int, side: int = SIDE) -> Shown:
    """Scale and damage photographs uint8 [H, W, 3], and make as many drawings."""
    rng = np.random.default_rng(seed)
    pairs = []
    for image in photographs:
        clean = scaled(image, min(side, *image.shape[:2]))
        name = distortions.sample_one(rng)[0]
        pairs.append((clean, distortions.apply(name, clean, SEVERITY, rng)))
    kinds = drawn.VALIDATION_KINDS
    drawings = [drawn.draw(kinds[i % len(kinds)], side, side * 4 // 3, rng) for i in range(len(pairs))]
    return Shown(pairs, list(photographs), drawings)


# ---------------------------------------------------------------------- parts


def effect(values: Sequence[float], unit: str = "points") -> Row:
    """The row of one signed value per photograph; values may be means of several images of it."""
    digits = 3 if unit == "points" else 4
    found = np.asarray(values, float)
    size = np.abs(found)
    return {
        "images": len(found),
        "unit": unit,
        "effect": mean(found, digits),
        "mean absolute": round(float(size.mean()), digits),
        "largest": round(float(size.max()), digits),
    }


def changed(judge: Judge, pairs: Pairs, change: Callable[[np.ndarray], object]) -> Row:
    """The row of scores of changed images minus those of the images as they are."""
    return moved(judge, [(image, change(image)) for pair in pairs for image in pair])


def moved(judge: Judge, before_after: Sequence[tuple[np.ndarray, object]]) -> Row:
    """The row of the scores of the second images minus those of the first; two neighbours are of one photograph."""
    before = every_score(judge, [one for one, _ in before_after])
    after = every_score(judge, [other for _, other in before_after])
    return effect(np.subtract(after, before).reshape(-1, 2).mean(1))


def every_score(judge: Judge, images: Sequence) -> list[float]:
    """Scores in points, of arrays in calls of limited size; of files in one."""
    if not isinstance(images[0], np.ndarray):
        return scores(judge, list(images))
    return [point for some in chunks(images) for point in scores(judge, some)]


def order(judge: Judge, shown: Shown) -> Rows:
    """Position of the two images of a comparison."""

    def chosen(pairs: Pairs) -> np.ndarray:
        roles = [{A: as_image(a), B: as_image(b)} for a, b in pairs]
        return judge.ask(roles, RATING, RATING.question)[1][:, 0]

    clean, swapped = shown.clean, [(damaged, clean) for clean, damaged in shown.pairs]
    yield "equal images: the first one", effect(chosen([(one, one) for one in clean]) - 0.5, "probability")
    both = (chosen(shown.pairs) + chosen(swapped)) / 2 - 0.5
    yield "clean and damaged: the first one", effect(both, "probability")
    forward, backward = judge.compare_many(shown.pairs), judge.compare_many(swapped)
    left = [one.probability_a + other.probability_a - 1 for one, other in zip(forward, backward)]
    yield "compare, both orders averaged", effect(np.array(left) / 2, "probability")


def option(judge: Judge, shown: Shown) -> Rows:
    """Position of the options of a closed question."""
    answers = [level.capitalize() for level in LEVELS]
    sets = [(as_image(image), None) for pair in shown.pairs for image in pair]
    points = np.linspace(100, 0, len(LEVELS))

    def asked(options: list[str], worth: np.ndarray) -> np.ndarray:
        found = judge.backend.choose(SCORE, None, sets, ProgressCounter(None, len(sets)), options=options)
        return (found.probabilities @ worth).reshape(-1, 2).mean(1)

    yield "levels in reverse", effect(asked(answers[::-1], points[::-1]) - asked(answers, points))


def size(judge: Judge, shown: Shown) -> Rows:
    """Other sizes of the same photograph."""
    for short in SIZES:
        large = [
            (full, pair)
            for full, pair in zip(shown.full, shown.pairs)
            if min(full.shape[:2]) >= short and short != min(pair[0].shape[:2])
        ]
        if large:  # damage depends on the size in pixels: clean images alone
            some = [(pair[0], scaled(full, short)) for full, pair in large]
            before, after = (every_score(judge, [one[place] for one in some]) for place in (0, 1))
            yield f"short side of {short} px (clean images)", effect(np.subtract(after, before))


def aspect(judge: Judge, shown: Shown) -> Rows:
    """Crops from the middle with the same area."""
    for words, ratio in ASPECTS.items():
        some = []
        for image in (image for pair in shown.pairs for image in pair):
            side = min(image.shape[:2]) / max(ratio, 1 / ratio) ** 0.5
            wide, high = (round(side * ratio**0.5), round(side / ratio**0.5))
            some.append((middle(image, round(side), round(side)), middle(image, high, wide)))
        yield f"aspect {words} against 1:1", moved(judge, some)


def middle(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of an image with this size in pixels, or what there is of it."""
    top, left = max(0, (image.shape[0] - height) // 2), max(0, (image.shape[1] - width) // 2)
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def crop(judge: Judge, shown: Shown) -> Rows:
    """The middle of a photograph."""
    for share in CROPS:
        cut = lambda image, share=share: middle(image, *(round(share * side) for side in image.shape[:2]))  # noqa: E731
        yield f"middle {100 * share:g} % of the sides", changed(judge, shown.pairs, cut)


def file_format(judge: Judge, shown: Shown) -> Rows:
    """The same pixels in other files, and lossy formats at high quality."""
    with tempfile.TemporaryDirectory() as folder:
        for words, settings in LOSSLESS.items():
            before_after, kind = [], words.split(",")[0]
            for number, image in enumerate(image for pair in shown.pairs for image in pair):
                path = Path(folder) / f"{number}.{kind.lower()}"
                Image.fromarray(image).save(path, **settings)
                before_after.append((image, path))
            yield words, moved(judge, before_after)
    for words, (kind, quality) in LOSSY.items():
        try:
            row = changed(judge, shown.pairs, lambda image, k=kind, q=quality: saved(image, k, q))
        except KeyError:  # this Pillow has no AVIF
            continue
        yield words, row


def profile(judge: Judge, shown: Shown) -> Rows:
    """The same colours in wider spaces, with the profile."""
    with tempfile.TemporaryDirectory() as folder:
        for words, space in SPACES.items():
            before_after = []
            for number, image in enumerate(image for pair in shown.pairs for image in pair):
                path = Path(folder) / f"{words} {number}.png"
                stored = Image.fromarray(stored_in(Image.fromarray(image), *space))
                stored.save(path, icc_profile=profile_of(*space))
                before_after.append((image, path))
            yield words, moved(judge, before_after)


def brightness(judge: Judge, shown: Shown) -> Rows:
    """Score of clean photographs against their mean luma."""
    points = every_score(judge, shown.clean)
    luma = np.array([(image @ np.array(LUMA)).mean() for image in shown.clean])
    if len(points) > 2 and np.ptp(luma) > 0:
        row = effect([0.0] * len(points))
        row["effect"] = bootstrap(_slope, luma, points, digits=3)
        row["unit"], row["mean absolute"], row["largest"] = "points per 64 grey levels", None, None
        row["SRCC"] = bootstrap(lambda x, y: float(spearmanr(x, y).statistic) if np.ptp(y) else 0.0, luma, points)
        yield "mean luma of the scene (clean photographs)", row


def _slope(luma: np.ndarray, points: np.ndarray) -> float:
    return float(64 * linregress(luma, points).slope) if np.ptp(luma) > 0 else float("nan")


def drawing(judge: Judge, shown: Shown) -> Rows:
    """Clean drawings against clean photographs."""
    some, others = (every_score(judge, images) for images in (shown.drawings, shown.clean))
    none = [
        [float(one.labels == ()) for part in chunks(images) for one in judge.identify(part, faults=False)]
        for images in (shown.drawings, shown.clean)
    ]
    for words, unit, digits, (new, old) in (
        ("drawings against photographs: score", "points", 3, (some, others)),
        ('drawings against photographs: called "none"', "share of images", 4, none),
    ):
        row = effect([0.0] * len(old))
        found = bootstrap(lambda x, y: float(x.mean() - y.mean()), new, old, digits=digits, paired=False)
        yield words, {**row, "unit": unit, "effect": found, "mean absolute": None, "largest": None}


def names(judge: Judge, shown: Shown) -> Rows:
    """File names, which no judge should read."""
    some = [image for pair in shown.pairs[:2] for image in pair]
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            before_after = []
            for number, image in enumerate(some):
                path = Path(folder) / str(number) / name
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(image).save(path)
                before_after.append((image, path))
            before = every_score(judge, some)
            forget(judge)
            after = scores(judge, [path for _, path in before_after])
            yield f"named '{name}'", effect(np.subtract(after, before).reshape(-1, 2).mean(1))


def batch(judge: Judge, shown: Shown) -> Rows:
    """Position in a batch; nothing is taken from a cache."""
    some = [image for pair in shown.pairs[:2] for image in pair]

    def fresh(images: list[np.ndarray]) -> list[float]:
        forget(judge)
        return scores(judge, images)

    alone = [fresh([image])[0] for image in some]
    for words, turn in (("first", 0), ("in the middle", len(some) // 2), ("last", len(some) - 1)):
        # turn the list so that each image once has this place
        turned = [
            [some[(index + place - turn) % len(some)] for place in range(len(some))] for index in range(len(some))
        ]
        after = [fresh(images)[turn] for images in turned]
        yield f"{words} of {len(some)}", effect(np.subtract(after, alone).reshape(-1, 2).mean(1))


def forget(judge: Judge) -> None:
    """Empty all caches of a judge in this process, so that the same images are judged again."""
    waiting, known = [judge.backend], set()
    while waiting:
        one = waiting.pop()
        if id(one) in known or not type(one).__module__.startswith("depictqa_core"):
            continue
        known.add(id(one))
        if isinstance(one, ByteCache):
            one.clear()
        else:
            waiting += list(getattr(one, "__dict__", {}).values())


PARTS: dict[str, Callable[[Judge, Shown], Rows]] = {
    "order": order,
    "option": option,
    "size": size,
    "aspect": aspect,
    "crop": crop,
    "format": file_format,
    "profile": profile,
    "brightness": brightness,
    "drawing": drawing,
    "names": names,
    "batch": batch,
}
"""Name -> measurement."""
