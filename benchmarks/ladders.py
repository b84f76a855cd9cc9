"""Ranks one image and five increasingly distorted copies, with twelve distortions that no training image has.

    python -m benchmarks.ladders IMAGES... [--checkpoint DIR] [--reference]

Prints, per distortion, in how many of the images the whole order is right, and how many of the 15 pairs are wrong.
"""

import argparse
import io

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter


def _array(function):
    def distort(image: Image.Image, strength: float) -> Image.Image:
        rng = np.random.default_rng(0)
        values = function(np.asarray(image, dtype=np.float64), strength, rng)
        return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))

    return distort


def _uniform_noise(x, strength, rng):
    return x + rng.uniform(-strength, strength, x.shape)


def _colour_noise(x, strength, rng):
    noise = rng.normal(0, strength, x.shape)
    return x + noise - noise.mean(2, keepdims=True)  # brightness stays as it is


def _webp(image, strength):
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=int(strength), method=4)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def _resampled(down, up):
    def distort(image, strength):
        small = image.resize((max(1, int(image.width / strength)), max(1, int(image.height / strength))), down)
        return small.resize(image.size, up)

    return distort


def _posterize(x, strength, rng):
    step = 256 / strength
    return np.floor(x / step) * step + step / 2


def _fade(x, strength, rng):
    return 128 + (x - 128) * strength


_R = Image.Resampling
LADDERS = {
    "box blur": (lambda image, s: image.filter(ImageFilter.BoxBlur(s)), (0.7, 1.5, 2.5, 4, 7)),
    "median filter": (lambda image, s: image.filter(ImageFilter.MedianFilter(int(s))), (3, 5, 7, 9, 13)),
    "low resolution": (_resampled(_R.BILINEAR, _R.BICUBIC), (1.5, 2, 3, 4.5, 7)),
    "uniform noise": (_array(_uniform_noise), (10, 20, 35, 55, 85)),
    "colour noise": (_array(_colour_noise), (8, 16, 28, 42, 64)),
    "webp": (_webp, (45, 25, 12, 5, 0)),
    "nearest mosaic": (_resampled(_R.NEAREST, _R.NEAREST), (2, 2.8, 3.6, 4.6, 6)),
    "posterize": (_array(_posterize), (24, 14, 9, 6, 3)),
    "brightness up": (lambda image, s: ImageEnhance.Brightness(image).enhance(s), (1.2, 1.4, 1.65, 1.95, 2.4)),
    "brightness down": (lambda image, s: ImageEnhance.Brightness(image).enhance(s), (0.8, 0.62, 0.47, 0.34, 0.2)),
    "colour down": (lambda image, s: ImageEnhance.Color(image).enhance(s), (0.7, 0.5, 0.32, 0.15, 0.0)),
    "fade to grey": (_array(_fade), (0.75, 0.58, 0.43, 0.3, 0.17)),
}
"""Distortion -> (function of image and strength, five strengths from weak to strong)."""


def ladder(image: Image.Image, name: str) -> list[Image.Image]:
    """An image and its five copies, best first."""
    distort, strengths = LADDERS[name]
    return [image, *(distort(image, strength) for strength in strengths)]


def kendall_distance(order: tuple[int, ...]) -> int:
    """Count the pairs of an order that are reversed (0 = correct order)."""
    return sum(order[i] > order[j] for i in range(len(order)) for j in range(i + 1, len(order)))


def measure(judge, images: list[Image.Image], reference: bool = False) -> dict[str, list[int]]:
    """Distortion -> the number of reversed pairs (0..15) in the ranking of each image's ladder."""
    found: dict[str, list[int]] = {name: [] for name in LADDERS}
    for image in images:
        for name in LADDERS:
            shuffled = np.random.default_rng(len(name)).permutation(6)
            steps = ladder(image, name)
            ranking = judge.rank([steps[i] for i in shuffled], image if reference else None, reasons=False)
            found[name].append(kendall_distance(tuple(int(shuffled[i]) for i in ranking.order)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="+", metavar="IMAGE", help="pristine images")
    parser.add_argument("--checkpoint", help="checkpoint folder (default: the bundled one)")
    parser.add_argument("--reference", action="store_true", help="give the pristine image as reference")
    parser.add_argument("--long", type=int, default=640, help="scale images down to this long side first")
    arguments = parser.parse_args()
    from depictqa_core.judge import load_judge

    images = []
    for path in arguments.pictures:
        image = Image.open(path).convert("RGB")
        image.thumbnail((arguments.long, arguments.long), Image.Resampling.LANCZOS)
        images.append(image)
    found = measure(load_judge(arguments.checkpoint), images, arguments.reference)
    print(f"{'distortion':18s} {'all six right':>14s} {'wrong pairs of 15':>18s}")
    for name, distances in found.items():
        print(f"{name:18s} {np.mean(np.equal(distances, 0)):14.2f} {np.mean(distances):18.2f}")
    print(f"{'mean':18s} {np.mean([np.equal(distances, 0) for distances in found.values()]):14.2f}")


if __name__ == "__main__":
    main()
