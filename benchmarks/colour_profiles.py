"""How much a score changes when the same colours are stored in a wider space with its profile.

    python -m benchmarks.colour_profiles [--checkpoint DIR]

29 clean images: the two undistorted samples and anchors, parts of these, and drawn gradients. Each is stored as PNG
with 8 bits: as sRGB, and as Display P3, Adobe RGB and Rec. 2020 with the ICC profile of that space. Printed are the
mean change of the score in points, the largest one, and how many images stay within 2 points.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from depictqa_core.images.colour_profiles import ADOBE_RGB, profile_of
from depictqa_core.judge import Judge, load_judge

ROOT = Path(__file__).resolve().parents[1]
CLEAN = (
    *(ROOT / "workflows" / "samples" / f"{name}_original.jpg" for name in ("balloons", "garage")),
    *(ROOT / "depictqa_core" / "anchor_pictures" / f"{name}_clean.png" for name in ("car", "wheat")),
)
D65 = (0.3127, 0.3290)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), D65, None
SPACES = {
    "Display P3": (((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), D65, None),
    "Adobe RGB": ADOBE_RGB,
    "Rec. 2020": (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), D65, 2.4),
}
PARTS = ((0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5))
"""Where parts of two thirds of each side begin, as shares of the rest."""


def clean_images() -> Iterator[Image.Image]:
    """The 29 images."""
    for path in CLEAN:
        whole = Image.open(path).convert("RGB")
        yield whole
        width, height = whole.width * 2 // 3, whole.height * 2 // 3
        for x, y in PARTS:
            left, top = round(x * (whole.width - width)), round(y * (whole.height - height))
            yield whole.crop((left, top, left + width, top + height))
    rng = np.random.default_rng(0)
    for _ in range(5):  # smooth ones, in which steps and gaps show most
        field = np.zeros((256, 320, 3))
        for cells, strength in ((3, 60), (9, 25), (40, 8)):
            noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
            field += strength * (np.asarray(noise.resize((320, 256), Image.Resampling.BICUBIC)) / 127.5 - 1)
        yield Image.fromarray(np.clip(rng.uniform(90, 165, 3) + field, 0, 255).astype(np.uint8))


def stored_in(image: Image.Image, primaries, white, gamma: float | None) -> np.ndarray:
    """The colours of an sRGB image as uint8 [H, W, 3] numbers of another space."""
    levels = np.asarray(image) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ (np.linalg.inv(_to_xyz(primaries, white)) @ _to_xyz(*SRGB[:2])).T, 0, 1)
    if gamma is None:
        coded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    else:
        coded = linear ** (1 / gamma)
    return np.rint(coded * 255).astype(np.uint8)


def _to_xyz(primaries, white) -> np.ndarray:
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    light = np.array([white[0] / white[1], 1, (1 - white[0] - white[1]) / white[1]])
    return columns * np.linalg.solve(columns, light)


def changes(judge: Judge) -> dict[str, np.ndarray]:
    """For each space the change of the score of every image, in points, against the same image as sRGB."""
    images = list(clean_images())
    with tempfile.TemporaryDirectory() as folder:

        def scores(name: str, pixels: Iterator[np.ndarray], profile: bytes | None) -> np.ndarray:
            paths = []
            for number, one in enumerate(pixels):
                paths.append(Path(folder) / f"{name} {number}.png")
                Image.fromarray(one).save(paths[-1], icc_profile=profile)
            return np.array([one.score for one in judge.score(paths)])

        plain = scores("sRGB", map(np.asarray, images), None)
        return {
            name: scores(name, (stored_in(image, *space) for image in images), profile_of(*space)) - plain
            for name, space in SPACES.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--checkpoint", help="a checkpoint folder; the bundled one by default")
    for name, found in changes(load_judge(parser.parse_args().checkpoint, "cpu")).items():
        print(
            f"{name}: mean {found.mean():+.2f}, largest {found[np.abs(found).argmax()]:+.2f} points, "
            f"{np.sum(np.abs(found) <= 2)} of {len(found)} images within 2 points"
        )


if __name__ == "__main__":
    main()
