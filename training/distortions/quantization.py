"""Colour quantization: multi-level Otsu, median cut and a coarse histogram equalisation (method.md 5.1)."""

import cv2
import numpy as np
from PIL import Image

from .base import Distortion

_OTSU_BINS = 30


def _otsu(image: np.ndarray, classes: int) -> np.ndarray:
    """Per channel: class k of n of the multi-level Otsu method becomes the level k (max - min) / n + min.

    A channel with fewer occupied histogram bins than n is cut into as many classes as it has occupied bins (a flat
    channel stays as it is); there the published algorithm fails.
    """
    planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(image, 2, 0)]
    return np.stack([cv2.LUT(plane, _otsu_table(plane, classes)) for plane in planes], axis=-1)


def _otsu_table(plane: np.ndarray, classes: int) -> np.ndarray:
    """New uint8 level of each of the 256 values of one channel; levels of values that do not occur are arbitrary."""
    values = np.arange(256)
    counts = np.bincount(plane.reshape(-1), minlength=256)
    low, high = np.flatnonzero(counts)[[0, -1]].tolist()
    if low == high:
        return values.astype(np.uint8)
    present = slice(low, high + 1)
    histogram, edges = np.histogram(values[present], _OTSU_BINS, weights=counts[present])
    centres = (edges[:-1] + edges[1:]) / 2
    classes = min(classes, int(np.count_nonzero(histogram)))
    thresholds = centres[multi_otsu(histogram / histogram.sum(), classes)]
    return (np.digitize(values, thresholds) * (high - low) / classes + low).astype(np.uint8)


def multi_otsu(histogram: np.ndarray, classes: int) -> np.ndarray:
    """The last bin of each class but the last, so that the variance between classes is largest.

    Dynamic programme over (classes left, first bin) instead of a search over all cuts; of several best cuts the one
    with the earliest bins wins. As in scikit-image, which made the published data, bin 0 counts at position 1, and at
    0 when it is a class of its own.

    Args:
        histogram: float [B], sums to 1.
        classes: n, at most the number of bins that are not empty.

    Returns:
        int [n - 1], strictly increasing.
    """
    occupied = np.flatnonzero(histogram)
    if classes == len(occupied):
        return occupied[:-1]
    bins = len(histogram)
    position = np.maximum(np.arange(bins), 1)
    zeroth = np.concatenate([[0], np.cumsum(histogram)])
    first = np.concatenate([[0], np.cumsum(histogram * position)])
    weight = zeroth[None, 1:] - zeroth[:-1, None]  # [first bin, last bin]
    moment = first[None, 1:] - first[:-1, None]
    moment[0, 0] = 0
    gain = np.where(weight > 0, moment**2 / np.where(weight > 0, weight, 1), 0)
    gain[np.tril_indices(bins, -1)] = -np.inf  # a class has at least one bin

    best = gain[:, -1]  # best[i]: gain of bins i.. in one class
    cuts = []
    for _ in range(classes - 1):
        total = gain + np.append(best[1:], -np.inf)[None]  # class i..j, then the best of j + 1..
        cuts.append(total.argmax(axis=1))
        best = total.max(axis=1)
    thresholds, start = [], 0
    for cut in reversed(cuts):
        thresholds.append(cut[start])
        start = cut[start] + 1
    return np.array(thresholds, dtype=np.intp)


def _median(image: np.ndarray, colors: int) -> np.ndarray:
    """Per channel, as a grey image: Pillow's median cut to `colors` levels."""
    result = np.empty_like(image)
    for channel in range(image.shape[2]):
        grey = Image.fromarray(np.ascontiguousarray(image[..., channel]))
        result[..., channel] = grey.quantize(colors, Image.Quantize.MEDIANCUT).convert("L")
    return result


def _hist(image: np.ndarray, bins: int) -> np.ndarray:
    """All three channels together: each value, rounded to one of `bins` steps, becomes its cumulative frequency.

    So it equalises too. If all values lie in one bin there is nothing to equalise, and the image stays as it is
    (the formula would be 0 / 0).
    """
    values = np.arange(256)
    counts = np.bincount(image.reshape(-1), minlength=256)
    histogram, _ = np.histogram(values, bins, range=(0, 255), weights=counts)
    cumulative = histogram.cumsum()
    lowest = cumulative[cumulative > 0][0]
    if lowest == cumulative[-1]:
        return image.copy()
    levels = np.clip((cumulative - lowest) * 255 / (cumulative[-1] - lowest), 0, 255).astype(np.uint8)
    return cv2.LUT(image, levels[np.round(values / 255 * (bins - 1)).astype(np.intp)])


DISTORTIONS = (
    Distortion("quantization_otsu", "quantization", _otsu, (15, 11, 8, 5, 3)),
    Distortion("quantization_median", "quantization", _median, (20, 15, 10, 6, 3)),
    Distortion("quantization_hist", "quantization", _hist, (24, 16, 8, 6, 4)),
)
