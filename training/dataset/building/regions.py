"""Random regions of local damage, with their location and area."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from training.faults.base import box, smooth_noise
from training.random_choice import pick

from .measures import REGIONS

KINDS = ("rectangle", "blob", "object", "gradient", "border")
BORDER, PART = "border", "part"
PLACES = (*REGIONS, BORDER, PART)
"""Words for the place of a region: a cell of the 3 x 3 grid or a whole side, along the border, or some part."""

AREA = (0.05, 0.6)
"""Share of the image that a region covers."""

_NAMED = 0.6  # a third of the image is named when this share of the region lies in it


@dataclass(frozen=True, eq=False)
class Region:
    """Where a damage is.

    Attributes:
        mask: float32 [H, W], how much of the damage is applied: 0 outside, 1 inside, between at a soft edge.
        kind: one of `KINDS`.
        area: mean of the mask, 0..1.
        place: one of `PLACES`.
    """

    mask: np.ndarray
    kind: str
    area: float
    place: str

    def blend(self, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        """Put ``inside`` into ``outside``, both uint8 [H, W, 3]; where the mask is 0, nothing changes."""
        mask = self.mask[..., None]
        return np.rint(outside + mask * (inside.astype(np.float32) - outside)).astype(np.uint8)


def draw_region(image: np.ndarray, rng: np.random.Generator) -> Region:
    """Draw a region of an image, uint8 [H, W, 3]; its area lies within `AREA`.

    A rectangle, a blob, an object (a connected area of similar colours), a gradient from one side, or the border.
    Half of the edges are hard, the others soft.
    """
    height, width = image.shape[:2]
    while True:
        kind = pick(KINDS, rng)
        share = float(np.exp(rng.uniform(math.log(AREA[0] * 1.2), math.log(AREA[1] * 0.9))))
        mask = _DRAW[kind](image, share, rng)
        if mask is None:
            continue
        if kind != "gradient" and rng.random() < 0.5:
            mask = cv2.GaussianBlur(mask, (0, 0), min(height, width) * rng.uniform(0.004, 0.025))
            mask[mask < 0.01], mask[mask > 0.99] = 0, 1
        area = float(mask.mean())
        if AREA[0] <= area <= AREA[1]:
            return Region(mask, kind, round(area, 4), BORDER if kind == "border" else place_of(mask))


def place_of(mask: np.ndarray) -> str:
    """Name the place of a mask: a third of the height or the width counts when `_NAMED` of the mask lies in it."""
    cells = cv2.resize(mask.astype(np.float32), (3, 3), interpolation=cv2.INTER_AREA)
    mass = cells / max(float(cells.sum()), 1e-9)
    row, column = (_third(mass.sum(axis=axis)) for axis in (1, 0))
    if row is None or column is None:
        if row in (0, 2):
            return REGIONS[row * 3 + 1]
        return REGIONS[3 + column] if column in (0, 2) else PART
    return REGIONS[row * 3 + column]


def _third(shares: np.ndarray) -> int | None:
    best = int(shares.argmax())
    return best if shares[best] >= _NAMED else None


def _rectangle(image, share, rng):
    mask = np.zeros(image.shape[:2], np.float32)
    mask[box(image.shape[0], image.shape[1], share, rng)] = 1
    return mask


def _blob(image, share, rng):
    height, width = image.shape[:2]
    field = smooth_noise(height, width, min(height, width) / rng.uniform(2, 5), 1, rng)[..., 0]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    cy, cx = rng.uniform(0.15, 0.85) * height, rng.uniform(0.15, 0.85) * width
    field -= 3 * np.hypot(rows - cy, columns - cx) / math.sqrt(height * width)
    level = np.quantile(field[::4, ::4], 1 - share)
    return (field >= level).astype(np.float32)


def _object(image, share, rng):
    """The connected area of one of a few colours whose size is nearest to the wanted one; None if there is none."""
    height, width = image.shape[:2]
    scale = 128 / min(height, width)
    small = cv2.resize(
        image, (max(8, round(width * scale)), max(8, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    lab = cv2.cvtColor(cv2.medianBlur(small, 5), cv2.COLOR_RGB2LAB).astype(np.float32)
    points = lab.reshape(-1, 3)
    centers = points[rng.choice(len(points), 5, replace=False)]
    for _ in range(4):
        nearest = ((points[:, None] - centers) ** 2).sum(-1).argmin(1)
        centers = np.stack([points[nearest == k].mean(0) if (nearest == k).any() else centers[k] for k in range(5)])
    found = []
    for k in range(5):
        part = cv2.morphologyEx(
            (nearest == k).reshape(lab.shape[:2]).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5))
        )
        count, labels, stats, _ = cv2.connectedComponentsWithStats(part)
        found += [(stats[i, cv2.CC_STAT_AREA] / part.size, labels == i) for i in range(1, count)]
    found = [(area, part) for area, part in found if AREA[0] <= area <= AREA[1]]
    if not found:
        return None
    _, part = min(found, key=lambda one: abs(math.log(one[0] / share)))
    grown = cv2.resize(part.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return (grown >= 0.5).astype(np.float32)


def _gradient(image, share, rng):
    """From full damage at one side or corner to none, along a straight ramp."""
    height, width = image.shape[:2]
    angle = rng.uniform(0, 2 * math.pi)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    along = rows * math.sin(angle) + columns * math.cos(angle)
    low, high = np.quantile(along[::4, ::4], (1 - min(0.95, 1.5 * share), 1 - 0.4 * share))
    return np.clip((along - low) / max(high - low, 1e-3), 0, 1)


def _border(image, share, rng):
    height, width = image.shape[:2]
    # (h - 2d)(w - 2d) = (1 - share) h w
    total, product = (height + width) / 2, share * height * width / 4
    size = round((total - math.sqrt(total**2 - 4 * product)) / 2)
    mask = np.ones((height, width), np.float32)
    mask[size : height - size, size : width - size] = 0
    return mask


_DRAW = {"rectangle": _rectangle, "blob": _blob, "object": _object, "gradient": _gradient, "border": _border}
