"""What tells images of a large set apart without a judge: perceptual hashes, near duplicates, blank and cut frames."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from PIL import Image

BLANK_SHARE, BLANK_LEVELS = 0.995, 6
"""A frame is blank where this share of it is within ``BLANK_LEVELS`` grey levels of the median."""
CUT_SHARE, CUT_LEVELS = 1 / 16, 2
"""A frame is cut where this share of its height, at its lower end, has one colour within ``CUT_LEVELS`` grey levels."""
SIDE = 64
"""Side in pixels of the reduced image that blank and cut frames are told by."""


@dataclass(frozen=True)
class Fingerprint:
    """What one image is recognised by.

    Attributes:
        hash: ``difference_hash``.
        blank: whether nearly all of it has one colour.
        cut: whether its lower end has one colour and its upper end has not, as in a file that broke off.
    """

    hash: str
    blank: bool
    cut: bool


def fingerprint(rgb: np.ndarray) -> Fingerprint:
    """Take the fingerprint of an image.

    Args:
        rgb: uint8 ``[H, W, 3]``.
    """
    image = Image.fromarray(rgb)
    small = np.asarray(image.reduce(max(1, min(image.size) // SIDE)), np.int16)  # [h, w, 3], by means
    off = np.abs(small - np.median(small, axis=(0, 1))).max(2)
    blank = float((off <= BLANK_LEVELS).mean()) >= BLANK_SHARE
    return Fingerprint(difference_hash(image), blank, not blank and _is_cut(small))


def _is_cut(small: np.ndarray) -> bool:
    rows = max(2, round(len(small) * CUT_SHARE))
    return _one_colour(small[-rows:]) and not _one_colour(small[:rows])


def _one_colour(rows: np.ndarray) -> bool:
    return int((rows.max((0, 1)) - rows.min((0, 1))).max()) <= 2 * CUT_LEVELS


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
