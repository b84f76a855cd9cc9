"""Whether a damage can be seen at 100 %, how severe it then is, and metrics of large images from a sample."""

import math
from dataclasses import replace

import cv2
import numpy as np

from training import distortions as catalogue

from . import measures
from .native_options import SPATIAL
from .regions import Region

_CROP = 384  # side in pixels of what is looked at to measure a severity
_SAMPLE = 256  # side in pixels of the sample of an image on which the metrics are measured
_CELL = 8  # side in pixels of the cells in which a change is measured
_SMALL = 0.002  # share of an image that a fault must change at least: a date in a corner is enough


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


def visible_change(before, after, region, options) -> np.ndarray | None:
    return after if change(after, before, region) >= options.min_change else None


def visible_fault(after, before, options) -> np.ndarray | None:
    return after if change(after, before, share=_SMALL) >= options.min_fault else None


def visible_severity(name, severity, scaled, clean, region, rng) -> int:
    """The severity of a distortion after scaling: 1 to what it was, or 0 where it is not visible any more.

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
    ladder = [0.0] + [size(catalogue.apply(name, window, step, rng)) for step in catalogue.severities_of(name)]
    nearest = float(np.interp(measured, np.maximum.accumulate(ladder), range(len(ladder))))
    return min(severity, round(nearest)) if nearest >= 0.6 else 0  # what is more comes from a second damage


def scaled_region(region: Region | None, shape: tuple[int, int]) -> Region | None:
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
