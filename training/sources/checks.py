"""Decides from pixels whether a file is a natural, pristine picture, and hashes it perceptually."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy.ndimage import laplace, maximum_filter, minimum_filter

from .manifest import Rules

MAX_CANDIDATE_PIXELS = 200_000_000  # a wallpaper of 16k x 9k still opens, a decompression bomb does not
OPAQUE = 250  # alpha from which a pixel counts as opaque
WORK_SIDE = 512  # long side on which the measures are taken, so that thresholds do not depend on the resolution
Image.MAX_IMAGE_PIXELS = MAX_CANDIDATE_PIXELS
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises for a damaged file


def load_rgb(file: Path) -> Image.Image:
    """Decodes a picture fully, upright, as RGB; transparent parts become white.

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: it cannot be decoded, or it is too large; see
            `UNREADABLE`.
    """
    with Image.open(file) as opened:
        if opened.width * opened.height > MAX_CANDIDATE_PIXELS:
            raise ValueError(f"{opened.width}x{opened.height} pixels is too many")
        opened.load()
        upright = ImageOps.exif_transpose(opened)
        if _has_alpha(upright):
            rgba = upright.convert("RGBA")
            if rgba.getextrema()[3][0] < OPAQUE:
                return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
        return upright.convert("RGB")


def _has_alpha(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def open_checked(file: Path, rules: Rules) -> tuple[Image.Image | None, str | None]:
    """Opens a candidate as upright RGB, or says why it is unfit.

    Returns:
        (picture, None) for a fit picture, (None, reason) for an unfit one.

    Raises:
        the exceptions of `UNREADABLE`: the file is damaged or no picture.
    """
    with Image.open(file) as opened:
        if min(opened.size) < rules.min_short:
            return None, f"short side {min(opened.size)} is below {rules.min_short}"
        if getattr(opened, "n_frames", 1) > 1:
            return None, "animation or several pages"
        if opened.mode in ("I", "F", "1") or opened.mode.startswith("I;"):
            return None, "grey"
        if opened.mode in ("L", "LA") and rules.min_chroma > 0:
            return None, "grey"
        quality = jpeg_quality(opened)
        if quality is not None and quality < rules.min_jpeg_quality:
            return None, f"JPEG quality about {quality} is below {rules.min_jpeg_quality}"
        if _has_alpha(opened) and opened.width * opened.height <= MAX_CANDIDATE_PIXELS:
            alpha = np.asarray(opened.convert("RGBA"))[..., 3]
            if float((alpha < OPAQUE).mean()) > rules.max_transparent:
                return None, "transparent areas"
    rgb = load_rgb(file)
    reason = unfit(rgb, rules)
    return (None, reason) if reason else (rgb, None)


def jpeg_quality(image: Image.Image) -> int | None:
    """Estimates the IJG quality (1..100) of a JPEG from its luminance quantisation table; None for other formats."""
    tables = getattr(image, "quantization", None)
    if image.format != "JPEG" or not tables:
        return None
    scale = (
        float(np.mean(tables[min(tables)])) / 57.625 * 100.0
    )  # 57.625: mean of the standard luminance table at quality 50
    return round(min(100.0, max(1.0, 5000.0 / scale if scale > 100.0 else (200.0 - scale) / 2.0)))


def unfit(rgb: Image.Image, rules: Rules) -> str | None:
    """Measures an RGB picture and returns the reason why it is not a natural pristine picture, or None.

    Posters, diagrams, masks, depth and edge maps, line art and user interfaces have few colours or large exactly flat
    areas; depth and edge maps have no chroma. A picture that is itself dark, pale, flat or blurred would be labelled
    wrongly as pristine. A source of drawings, of greyscale or night pictures states wider limits in its rules:
    `min_chroma: 0` lets greyscale in, `max_transparent: 1` cut-outs, which get a white ground.
    """
    found = measure(rgb)
    limits = (
        (found["mean"] < rules.min_mean, f"too dark (mean {found['mean']:.0f})"),
        (found["mean"] > rules.max_mean, f"too bright (mean {found['mean']:.0f})"),
        (found["std"] < rules.min_std, f"nearly constant (standard deviation {found['std']:.0f})"),
        (found["chroma"] < rules.min_chroma, f"grey (chroma {found['chroma']:.0f})"),
        (found["colours"] < rules.min_colours, f"few colours ({found['colours']:.0f})"),
        (found["flat"] > rules.max_flat, f"flat areas ({found['flat']:.0%})"),
        (found["detail"] < rules.min_detail, f"little detail (Laplacian {found['detail']:.1f})"),
    )
    return next((reason for broken, reason in limits if broken), None)


def measure(rgb: Image.Image) -> dict[str, float]:
    """mean, std (grey values), chroma, colours, flat (share), detail of a picture at the working size; see `Rules`."""
    small = rgb.copy()
    small.thumbnail((WORK_SIDE, WORK_SIDE), Image.Resampling.BICUBIC)
    pixels = np.asarray(small, dtype=np.uint8)  # [H, W, 3]
    grey = np.asarray(small.convert("L"), dtype=np.float32)
    spread = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)
    codes = (pixels >> 3).astype(np.uint32)
    flat = (maximum_filter(pixels, size=(3, 3, 1)) == minimum_filter(pixels, size=(3, 3, 1))).all(axis=2)
    return {
        "mean": float(grey.mean()),
        "std": float(grey.std()),
        "chroma": float(np.percentile(spread, 99)),
        "colours": float(len(np.unique(codes[..., 0] << 10 | codes[..., 1] << 5 | codes[..., 2]))),
        "flat": float(flat.mean()),
        "detail": float(laplace(grey).std()),
    }


def difference_hash(rgb: Image.Image) -> str:
    """Perceptual hash of 128 bits in hex: signs of horizontal and vertical grey differences on an 8 x 8 grid (dHash).

    Survives resizing, compression and changes of tone; not cropping, rotation or mirroring.
    """
    grey = rgb.convert("L")
    across = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    down = np.asarray(grey.resize((8, 9), Image.Resampling.BOX), dtype=np.int16)
    bits = np.concatenate([(across[:, 1:] > across[:, :-1]).ravel(), (down[1:] > down[:-1]).ravel()])
    return np.packbits(bits).tobytes().hex()


class HashIndex:
    """Hashes of ``difference_hash`` by name, in which the first one within some bits of another is found, exactly.

    Hashes are cut into ``PARTS`` parts. Of two that differ in at most ``bits`` bits, at least one part differs in at
    most ``bits // PARTS``: only hashes that share such a part are compared (multi-index hashing, Norouzi et al. 2012).

    Args:
        bits: largest distance, 0..128.
    """

    PARTS, WIDTH = 8, 16

    def __init__(self, bits: int):
        self.bits = bits
        flips = range(bits // self.PARTS + 1)
        self._masks = [sum(1 << bit for bit in some) for n in flips for some in combinations(range(self.WIDTH), n)]
        self._found: list[tuple[int, str]] = []
        self._buckets: list[dict[int, list[int]]] = [{} for _ in range(self.PARTS)]

    def add(self, code: str, name: str) -> None:
        """Add a hash, in hex."""
        number = int(code, 16)
        for bucket, part in zip(self._buckets, self._parts(number)):
            bucket.setdefault(part, []).append(len(self._found))
        self._found.append((number, name))

    def first(self, code: str) -> str | None:
        """The name that was added first of those within ``bits`` bits of a hash, or None."""
        number = int(code, 16)
        near = (row for row in self._candidates(number) if (self._found[row][0] ^ number).bit_count() <= self.bits)
        row = min(near, default=None)
        return None if row is None else self._found[row][1]

    def _candidates(self, number: int) -> Iterable[int]:
        if len(self._masks) * self.PARTS >= len(self._found):  # comparing with all is less work
            return range(len(self._found))
        return (
            row
            for bucket, part in zip(self._buckets, self._parts(number))
            for mask in self._masks
            for row in bucket.get(part ^ mask, ())
        )

    def _parts(self, number: int) -> list[int]:
        return [number >> (self.WIDTH * place) & 0xFFFF for place in range(self.PARTS)]


def hash_distance(a: str, b: str) -> int:
    """Number of differing bits (0..128) of two hashes of `difference_hash`."""
    return (int(a, 16) ^ int(b, 16)).bit_count()
