"""How a judge sees what people make and receive: clean images of all kinds and sizes, damage to a region, faults.

`PARTS` are the parts of ``python -m benchmarks.quality``. Everything is asked without a reference. Rows of clean images
have the shares that are called "none", that get another label with a probability of 0.9 or more, and whose score is
below 50, and the median score. Rows of pairs have the share of pairs in which the clean image is preferred to its
damaged copy, by ``compare`` and by ``score``, and the mean of the points that the copy loses.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from depictqa_core import tasks
from depictqa_core.judge import Judge
from training import distortions, drawn, faults
from training.dataset.building import looks
from training.dataset.building.scenes import find_sources

from .shares import share

Rows = Iterator[tuple[str, dict]]
"""(name of a row, its values): the number of images, shares with their intervals, other numbers."""
SIZES = (256, 512, 1024, 2048, 4096)
"""Short sides in pixels. Images are scaled down, never up: large sizes have fewer images."""
LOCAL = {
    "blur": "blur_gaussian",
    "brightness": "brightness_brighten_shfit_HSV",
    "noise": "noise_gaussian_RGB",
    "JPEG": "compression_jpeg",
}
OF_DRAWINGS = (
    "compression_jpeg",
    "blur_gaussian",
    "noise_gaussian_RGB",
    "pixelate",
    "quantization_otsu",
    "brightness_brighten_shfit_HSV",
)
"""Distortions of drawings, in turn."""
SEVERITY = 4
"""Of damage to a region."""
FAULT_SEVERITIES = (2, 4)
SIDE = 512
"""Short side in pixels of photographs where nothing else is stated."""
CHUNK = 12_000_000
"""Pixels that are asked about in one call."""
BORDERS = ("overlay_border", "overlay_letterbox", "overlay_caption", "overlay_date", "overlay_frame")
"""Faults that are no distortion and may cost `BORDER_COST` points."""
BORDER_COST = 15


def saved(image: np.ndarray, kind: str, quality: int) -> np.ndarray:
    """An image as it is after it was saved in a lossy format."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def scaled(image: np.ndarray, short: int) -> np.ndarray:
    """An image with another short side in pixels, by Lanczos."""
    height, width = image.shape[:2]
    factor = short / min(height, width)
    size = (round(width * factor), round(height * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def in_part(image: np.ndarray, damage: Callable, share: float, rng: np.random.Generator) -> np.ndarray:
    """Damage a square of a share of the area."""
    height, width = image.shape[:2]
    h, w = round(height * share**0.5), round(width * share**0.5)
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    result = image.copy()
    result[top : top + h, left : left + w] = damage(image)[top : top + h, left : left + w]
    return result


@dataclass(frozen=True)
class Material:
    """The images of a table; they are read when they are needed.

    Attributes:
        photographs: folder of pristine photographs that the judge was not trained on, the larger the better.
        drawings: folder of pristine images that are not photographs. Their style is the name of their subfolder, or of
            the package that ``python -m training images prepare`` puts before "__" in their names.
        count: images in a row.
        seed: of the choice of images, and of all that is drawn by program.
    """

    photographs: Path | None
    drawings: Path | None
    count: int
    seed: int

    def photographs_of(self, short: int = SIDE, count: int | None = None) -> Iterator[np.ndarray]:
        """Up to ``count`` photographs with this short side, of those that are at least as large."""
        for image in self.large(short, count):
            yield scaled(image, short)

    def large(self, least: int, count: int | None = None) -> Iterator[np.ndarray]:
        """Up to ``count`` photographs at full size with a short side of at least ``least`` px."""
        files = _shuffled(self.photographs, self.seed) if self.photographs else []
        yield from islice(_images(files, least), count or self.count)

    def styles(self) -> dict[str, list[Path]]:
        """Files of the folder of drawings by style."""
        found: dict[str, list[Path]] = {}
        for file in _shuffled(self.drawings, self.seed) if self.drawings else []:
            inner = file.relative_to(self.drawings)
            style = inner.parts[0] if len(inner.parts) > 1 else inner.name.partition("__")[0]
            found.setdefault(style, []).append(file)
        return {style: files[: self.count] for style, files in sorted(found.items())}

    def drawn(self, kind: str, count: int) -> Iterator[np.ndarray]:
        """Scenes of one kind drawn by program, 480 x 640 px."""
        rng = np.random.default_rng([self.seed, *kind.encode()])
        return (drawn.draw(kind, 480, 640, rng) for _ in range(count))


def _shuffled(folder: Path, seed: int) -> list[Path]:
    files = find_sources(folder)
    return [folder / files[index] for index in np.random.default_rng(seed).permutation(len(files))]


def _images(files: Iterable[Path], least: int) -> Iterator[np.ndarray]:
    for file in files:
        with Image.open(file) as image:
            if min(image.size) >= least:
                yield np.asarray(image.convert("RGB"))


def small(files: Iterable[Path]) -> Iterator[np.ndarray]:
    """Images with a short side of at most 768 px, larger ones scaled down."""
    return (scaled(image, min(768, *image.shape[:2])) for image in _images(files, 64))


def chunks(images: Iterable) -> Iterator[list]:
    """Split images, or tuples that begin with an image, into lists of up to `CHUNK` pixels."""
    some, pixels = [], 0
    for one in images:
        some.append(one)
        pixels += (one[0] if isinstance(one, tuple) else one).size // 3
        if pixels >= CHUNK:
            yield some
            some, pixels = [], 0
    if some:
        yield some


def scores(judge: Judge, images: list[np.ndarray]) -> list[float]:
    """Scores in points."""
    return [one.score for one in judge.score(images)]


def clean_row(judge: Judge, images: Iterable[np.ndarray]) -> dict:
    """The row of clean images; empty without any."""
    found, points = [], []
    for some in chunks(images):
        found += judge.identify(some)
        points += scores(judge, some)
    if not found:
        return {}
    row = {
        "images": len(found),
        "none": share(one.labels == () for one in found),
        "wrong at 0.9": share(one.labels != () and one.probabilities[0].probability >= 0.9 for one in found),
        "median score": round(float(np.median(points)), 2),
        "score below 50": share(point < 50 for point in points),
    }
    if found[0].faults is not None:
        row["false fault"] = share(bool(one.probable_faults) for one in found)
    return row


def pair_row(judge: Judge, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict:
    """The row of clean images and their damaged copies; empty without any."""
    wins, gaps = [], []
    for some in chunks(pairs):
        wins += [answer.probability_a > 0.5 for answer in judge.compare_many(some)]
        gaps += np.subtract(*(scores(judge, list(images)) for images in zip(*some))).tolist()
    if not wins:
        return {}
    return {
        "images": len(wins),
        "preferred": share(wins),
        "preferred by score": share(gap > 0 for gap in gaps),
        "points lost": round(float(np.mean(gaps)), 2),
    }


def change_row(judge: Judge, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict:
    """The row of scores that should not change, before and after; empty without any."""
    gaps = []
    for some in chunks(pairs):
        gaps += np.subtract(*(scores(judge, list(images)) for images in zip(*some))).tolist()
    if not gaps:
        return {}
    size = np.abs(gaps)
    return {
        "images": len(gaps),
        "points lost": round(float(np.mean(gaps)), 2),
        "mean change": round(float(np.mean(size)), 2),
        "within 5 points": share(size <= 5),
    }


def label_row(judge: Judge, damaged: Iterable[tuple[np.ndarray, str]]) -> dict:
    """The row of images with one distortion and its true label; empty without any."""
    hits = []
    for some in chunks(damaged):
        found = judge.identify([image for image, _ in some], faults=False)
        hits += [one.labels == (truth,) for one, (_, truth) in zip(found, some)]
    return {"images": len(hits), "right": share(hits)} if hits else {}


def sizes(judge: Judge, material: Material, rng: np.random.Generator) -> Rows:
    """Clean photographs and damaged ones by size."""
    names = [distortions.sample_one(rng)[0] for _ in range(material.count)]
    for short in SIZES:
        yield f"clean photographs, {short} px", clean_row(judge, material.photographs_of(short))
        for severity in (2, 4):
            damaged = (
                (distortions.apply(name, image, severity, rng), distortions.ANSWER[distortions.CATEGORY[name]])
                for name, image in zip(names, material.photographs_of(short))
            )
            yield f"severity {severity}, {short} px", label_row(judge, damaged)


def clean_looks(judge: Judge, material: Material, rng: np.random.Generator) -> Rows:
    """Looks that images are meant to have, and greyscale images against damaged ones."""
    for look in looks.LOOKS:
        yield look, clean_row(judge, (looks.apply(look, image, rng) for image in material.photographs_of()))
    for name in ("compression_jpeg", "blur_gaussian"):
        grey = (looks.apply("greyscale", image, rng) for image in material.photographs_of())
        pairs = ((image, distortions.apply(name, image, 3, rng)) for image in grey)
        yield f"greyscale against {name}", pair_row(judge, pairs)


def drawings(judge: Judge, material: Material, rng: np.random.Generator) -> Rows:
    """Scenes drawn by program, by kind; kinds that no training image shows are marked."""
    for kind in drawn.VALIDATION_KINDS + drawn.TRAINING_KINDS:
        held_out = kind in drawn.VALIDATION_KINDS
        count, words = (material.count, " (no training kind)") if held_out else (-(-material.count // 3), "")
        yield f"drawing: {kind}{words}", clean_row(judge, material.drawn(kind, count))
        pairs = _with_damage(material.drawn(kind, count), rng)
        yield f"drawing: {kind}{words}, against damaged", pair_row(judge, pairs)


def styles(judge: Judge, material: Material, rng: np.random.Generator) -> Rows:
    """Images of the folder of drawings, by style and all together."""
    found = material.styles()
    every = [file for files in found.values() for file in files]
    for name, files in {"all styles": every, **found}.items():
        yield f"non-photographs: {name}", clean_row(judge, small(files))
        yield f"non-photographs: {name}, against damaged", pair_row(judge, _with_damage(small(files), rng))


def _with_damage(images: Iterable[np.ndarray], rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for index, image in enumerate(images):
        yield image, distortions.apply(OF_DRAWINGS[index % len(OF_DRAWINGS)], image, 3, rng)


def local_damage(judge: Judge, material: Material, rng: np.random.Generator) -> Rows:
    """Damage in a quarter and in a tenth of the area."""
    for area, words in ((0.25, "a quarter"), (0.1, "a tenth")):
        for kind, name in LOCAL.items():

            def damage(image: np.ndarray, name: str = name) -> np.ndarray:
                return distortions.apply(name, image, SEVERITY, rng)

            pairs = ((image, in_part(image, damage, area, rng)) for image in material.photographs_of())
            yield f"{kind} in {words}", pair_row(judge, pairs)


def delivery_faults(judge: Judge, material: Material, rng: np.random.Generator) -> Rows:
    """Faults of generation and delivery, by implementations that no training image has."""
    for fault in tasks.FAULTS:
        names = [name for name in faults.BY_FAULT[fault] if faults.REGISTRY[name].held_out]
        yield f"fault: {fault}", fault_row(judge, material, names, fault, FAULT_SEVERITIES, rng)


def borders(judge: Judge, material: Material, rng: np.random.Generator) -> Rows:
    """Borders, bars and captions: no distortion, and few points lost."""
    for name in BORDERS:
        row = fault_row(judge, material, [name], "overlay", (3,), rng)
        yield name.replace("overlay_", "border or caption: "), row


def fault_row(
    judge: Judge,
    material: Material,
    names: list[str],
    fault: str,
    severities: tuple[int, ...],
    rng: np.random.Generator,
) -> dict:
    """A ``pair_row`` of photographs with a fault, what is named in the copies, and how many lose little."""
    pairs = [
        (image, faults.apply(names[i % len(names)], image, severities[i % len(severities)], rng))
        for i, image in enumerate(material.photographs_of())
    ]
    row = pair_row(judge, pairs)
    if not row:
        return row
    damaged = [copy for _, copy in pairs]
    found = [one for some in chunks(damaged) for one in judge.identify(some)]
    lost = np.subtract(*(sum((scores(judge, s) for s in chunks(images)), []) for images in map(list, zip(*pairs))))
    row["none"] = share(one.labels == () for one in found)
    row[f"at most {BORDER_COST} points lost"] = share(lost <= BORDER_COST)
    if found[0].faults is not None:
        row["named"] = share(fault in [known.label for known in one.probable_faults] for one in found)
    return row


def saved_again(judge: Judge, material: Material, rng: np.random.Generator) -> Rows:
    """Clean photographs saved again or scaled: the scores should stay."""
    for words, change in (
        ("JPEG 95", lambda x: saved(x, "JPEG", 95)),
        ("WebP 90", lambda x: saved(x, "WEBP", 90)),
        ("90 % of the size", lambda x: scaled(x, round(min(x.shape[:2]) * 0.9))),
    ):
        yield (
            f"clean, after {words}",
            change_row(judge, ((image, change(image)) for image in material.photographs_of())),
        )
    pairs = ((scaled(image, SIDE), image) for image in material.large(1440))
    yield f"{SIDE} px against full size", change_row(judge, pairs)


Part = Callable[[Judge, Material, np.random.Generator], Rows]
PARTS: dict[str, Part] = {
    "sizes": sizes,
    "looks": clean_looks,
    "drawings": drawings,
    "non-photographs": styles,
    "local damage": local_damage,
    "faults": delivery_faults,
    "borders and captions": borders,
    "saved again": saved_again,
}
"""Name -> measurement of a judge on the images of a table."""
