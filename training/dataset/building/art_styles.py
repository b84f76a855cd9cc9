"""Art styles: an image as if it were painted, drawn, printed or built of pixels. They are clean, not damaged.

Real drawings are few. A photograph in a style has the flat areas, outlines, hatching and dots of art, and there can be
any number of them. The styles are made by filters, so they teach what is no damage, not what good art is.
"""

from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage

from depictqa_core.images.pixels import LUMA
from training.faults.base import blurred, smooth_noise
from training.random_choice import pick

Style = Callable[[np.ndarray, np.random.Generator], np.ndarray]

_LUMA = np.array(LUMA, np.float32)
_LONGEST = 1024
"""Styles are made at most this long and enlarged then: strokes and areas grow with the image, as in art."""


def apply(name: str, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw an image in a style.

    Args:
        name: one of `STYLES`.
        image: uint8 [H, W, 3], RGB; not written to.
        rng: source of all randomness; the same state gives the same bytes.

    Returns:
        A new uint8 array of the same shape.

    Raises:
        ValueError: unknown style.
    """
    if name not in STYLES:
        raise ValueError(f"unknown style '{name}': choose one of {', '.join(STYLES)}")
    height, width = image.shape[:2]
    if name == "pixels":  # its blocks must end at whole pixels
        return _uint8(STYLES[name](image.astype(np.float32) / 255, rng))
    scale = min(1.0, _LONGEST / max(height, width)) * (1.0 if rng.random() < 0.4 else rng.uniform(1.2, 1.8))
    size = (max(96, round(width * scale)), max(96, round(height * scale)))
    work = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    x = np.clip(STYLES[name](work.astype(np.float32) / 255, rng), 0, 1)
    back = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    return _uint8(cv2.resize(x.astype(np.float32), (width, height), interpolation=back))


def _uint8(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x * 255), 0, 255).astype(np.uint8)


def _unit(x: np.ndarray) -> float:
    """A hundredth of the short side, in pixels."""
    return min(x.shape[:2]) / 100


def _oil(x, rng):
    """Brush dabs by the filter of Kuwahara, sometimes on canvas."""
    done = _kuwahara(x, max(2, round(_unit(x) * rng.uniform(0.5, 1.4))))
    done = _richer(done, rng.uniform(1.0, 1.4))
    if rng.random() < 0.4:
        rows, columns = np.indices(x.shape[:2])
        period = rng.uniform(2.5, 5)
        weave = np.sin(2 * np.pi * rows / period) * np.sin(2 * np.pi * columns / period)
        done = done * (1 + rng.uniform(0.01, 0.04) * weave[..., None])
    return done


def _strokes(x, rng):
    """Layers of brush strokes, coarse ones first, along the edges of what they show."""
    canvas = np.empty(x.shape, np.uint8)  # OpenCV draws smooth edges in 8 bits only
    canvas[:] = np.clip(255 * x.mean((0, 1)) * rng.uniform(0.6, 1.2), 0, 255)
    height, width = x.shape[:2]
    soft = blurred(x, 2 * _unit(x))
    luma = soft @ _LUMA
    angle = np.degrees(np.arctan2(cv2.Sobel(luma, cv2.CV_32F, 0, 1), cv2.Sobel(luma, cv2.CV_32F, 1, 0))) + 90
    for radius, share in ((5.0, 1.0), (2.5, 1.0), (1.2, 0.7)):
        brush = max(1.5, radius * _unit(x) * rng.uniform(0.8, 1.2))
        count = int(share * 1.6 * height * width / (brush * brush * 3))
        source = blurred(x, brush / 2)
        wrong = np.abs(blurred(canvas.astype(np.float32) / 255, brush / 2) - source).sum(2)
        least = 0.0 if radius == 5.0 else rng.uniform(0.08, 0.16)
        jitter = rng.normal(0, 0.03, (count, 3))
        for (cy, cx), shift in zip(rng.integers(0, (height, width), (count, 2)), jitter):
            if wrong[cy, cx] >= least:
                axes = (max(1, round(brush * 2)), max(1, round(brush * 0.7)))
                turned = float(angle[cy, cx] + shift[0] * 300)
                color = np.clip(255 * (source[cy, cx] + shift), 0, 255).tolist()
                cv2.ellipse(canvas, (int(cx), int(cy)), axes, turned, 0, 360, color, -1, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def _watercolor(x, rng):
    """Washes with darker rims on paper."""
    done = _kuwahara(blurred(x, 0.4 * _unit(x)), max(2, round(_unit(x))))
    rims = np.abs(cv2.Laplacian(blurred(done @ _LUMA, 0.4 * _unit(x)), cv2.CV_32F, ksize=5))
    rims = np.clip(rims / max(float(np.quantile(rims, 0.98)), 1e-3), 0, 1)[..., None]
    wash = smooth_noise(x.shape[0], x.shape[1], 12 * _unit(x), 1, rng)
    paper = rng.uniform(0.25, 0.45)
    done = paper + (1 - paper) * done**0.9
    done = done * (1 - rng.uniform(0.1, 0.25) * rims) * (1 + 0.05 * np.clip(wash, -2, 2))
    grain = blurred(rng.standard_normal(x.shape[:2]).astype(np.float32), 0.8)
    return done * (1 + rng.uniform(0.01, 0.05) * grain[..., None])


def _cel(x, rng):
    """Flat steps of light with outlines, as in animation."""
    smooth = _smoothed(x, int(rng.integers(2, 5)))
    y = (smooth @ _LUMA)[..., None]
    steps = rng.integers(3, 7)
    done = _richer(smooth * ((_steps(y, steps) + 0.02) / (y + 0.02)), rng.uniform(1.1, 1.6))
    return done * (1 - rng.uniform(0.5, 1) * _ink(x, rng)) if rng.random() < 0.8 else done


def _anime(x, rng):
    """Smooth airbrush shading with thin outlines and a soft glow."""
    done = _richer(_smoothed(x, int(rng.integers(3, 6))), rng.uniform(1.1, 1.5))
    done = done * (1 - rng.uniform(0.3, 0.8) * _ink(x, rng))
    glow = blurred(np.clip(done - 0.6, 0, 1), 3 * _unit(x))
    return done + rng.uniform(0.1, 0.5) * glow


def _ink_drawing(x, rng):
    """Lines of ink on paper, sometimes with black areas."""
    ink = _ink(x, rng)
    if rng.random() < 0.5:
        ink = np.maximum(ink, _soft_step(rng.uniform(0.15, 0.3) - blurred(x @ _LUMA, 0.5), 0.02)[..., None])
    paper, color = _paper(rng), rng.uniform(0, 0.2, 3)
    return paper * (1 - ink) + color * ink


def _pencil(x, rng):
    """Graphite or coloured pencil by a color dodge, with the grain of paper."""
    y = (x @ _LUMA)[..., None] if rng.random() < 0.6 else x
    dodge = y / np.maximum(blurred(y, rng.uniform(0.6, 2.5) * _unit(x)).reshape(y.shape), 0.05)
    grain = blurred(rng.standard_normal(x.shape[:2]).astype(np.float32), 0.6)[..., None]
    shade = np.clip(dodge, 0, 1) ** rng.uniform(1.5, 4)
    return np.clip(shade + rng.uniform(0.02, 0.08) * grain * (1 - shade), 0, 1) * _paper(rng)


def _engraving(x, rng):
    """Lines whose width follows the light, as in copper plates and on banknotes."""
    y = blurred(x @ _LUMA, 0.3 * _unit(x))
    rows, columns = np.indices(y.shape).astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(3.5, 8)
    wave = smooth_noise(y.shape[0], y.shape[1], 15 * _unit(x), 1, rng)[..., 0] * rng.uniform(0, period)
    phase = (rows * np.cos(angle) + columns * np.sin(angle) + wave) / period
    ink = _soft_step(np.abs(phase % 1 - 0.5) * 2 - y * rng.uniform(0.95, 1.15), 1.5 / period)
    if rng.random() < 0.5:
        crossed = (columns * np.cos(angle) - rows * np.sin(angle) + wave) / period
        second = _soft_step(np.abs(crossed % 1 - 0.5) * 2 - 2 * y, 1.5 / period)
        ink = np.maximum(ink, second)
    ink = ink[..., None]
    return _paper(rng) * (1 - ink) + rng.uniform(0, 0.25, 3) * ink


def _flat(x, rng):
    """Flat areas of few colors with smooth borders, as in vector art."""
    count = int(rng.integers(5, 20))
    label, colors = _quantized(_smoothed(x, 3), count, rng)
    votes = [blurred((label == k).astype(np.float32), rng.uniform(0.5, 1.2) * _unit(x)) for k in range(count)]
    stacked = np.stack(votes)
    best = stacked.argmax(0)
    colors = colors if rng.random() < 0.6 else np.clip(colors + rng.normal(0, 0.12, colors.shape), 0, 1)
    return blurred(colors[best].astype(np.float32), 0.6)


def _comic(x, rng):
    """Few colors, ink and a screen of dots."""
    done = _richer(_steps(_smoothed(x, 2), rng.integers(3, 6)), rng.uniform(1.2, 1.6))
    period, angle = rng.uniform(4, 9), rng.uniform(0, np.pi / 2)
    rows, columns = np.indices(x.shape[:2]).astype(np.float32)
    u = rows * np.cos(angle) + columns * np.sin(angle)
    v = columns * np.cos(angle) - rows * np.sin(angle)
    dots = (np.cos(2 * np.pi * u / period) + np.cos(2 * np.pi * v / period)) / 2
    y = blurred(x @ _LUMA, 0.5 * _unit(x))
    screen = _soft_step(dots - (2 * y - 0.6), 0.5 / period * 2)[..., None]
    return done * (1 - rng.uniform(0.2, 0.5) * screen) * (1 - _ink(x, rng))


def _pixel_art(x, rng):
    """Large square pixels of a small palette, enlarged by a whole factor."""
    height, width = x.shape[:2]
    factor = int(rng.integers(2, max(3, min(12, min(height, width) // 48) + 1)))
    rows, columns = -(-height // factor), -(-width // factor)
    small = cv2.resize(_richer(x, rng.uniform(1.0, 1.5)), (columns, rows), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.4:
        bayer = np.array([[0, 2], [3, 1]], np.float32) / 4 - 0.375
        small = (
            small + rng.uniform(0.05, 0.2) * np.tile(bayer, (rows // 2 + 1, columns // 2 + 1))[:rows, :columns, None]
        )
    label, colors = _quantized(small, int(rng.integers(6, 40)), rng)
    return colors[label].repeat(factor, 0).repeat(factor, 1)[:height, :width]


def _low_poly(x, rng):
    """Triangles of one color each, more of them where there are edges."""
    height, width = x.shape[:2]
    edges = np.abs(cv2.Laplacian(blurred(x @ _LUMA, 0.5 * _unit(x)), cv2.CV_32F))
    weight = np.cumsum(blurred(edges, _unit(x)) + 0.2 * float(edges.mean()) + 1e-6, dtype=np.float64)
    found = np.searchsorted(weight, rng.random(int(rng.integers(250, 1600))) * weight[-1])
    plane = cv2.Subdiv2D((-width, -height, 3 * width, 3 * height))
    for corner in ((-0.5, -0.5), (1.5, -0.5), (-0.5, 1.5), (1.5, 1.5)):  # outside, so that triangles cover the border
        plane.insert((corner[0] * width, corner[1] * height))
    for place in np.unique(found):
        plane.insert((float(place % width), float(place // width)))
    soft = np.clip(255 * blurred(x, 0.5 * _unit(x)), 0, 255).astype(np.uint8)
    done = soft.copy()
    for triangle in np.asarray(plane.getTriangleList()).reshape(-1, 3, 2):
        cy, cx = np.clip(triangle.mean(0)[::-1], 0, (height - 1, width - 1)).astype(int)
        cv2.fillConvexPoly(done, np.rint(triangle).astype(np.int32), soft[cy, cx].tolist(), cv2.LINE_AA)
    return done.astype(np.float32) / 255


def _cells(x, rng):
    """Cells of one color each: stained glass with leads, or dots of paint on a ground."""
    height, width = x.shape[:2]
    size = _unit(x) * rng.uniform(1.5, 5)
    count = max(60, int(height * width / (size * size)))
    seeds = np.ones((height, width), np.uint8)
    at = rng.integers(0, (height, width), (count, 2))
    seeds[at[:, 0], at[:, 1]] = 0
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    index = np.arange(1, label.max() + 1)
    colors = np.stack([ndimage.mean(x[..., c], label, index) for c in range(3)], 1)
    done = colors[label - 1].astype(np.float32)
    if rng.random() < 0.5:
        border = (ndimage.maximum_filter(label, 3) != ndimage.minimum_filter(label, 3)).astype(np.float32)
        lead = np.clip(blurred(border, max(0.6, size * 0.06)) * 2, 0, 1)[..., None]
        return _richer(done, 1.4) * (1 - lead)
    dot = _soft_step(size * rng.uniform(0.35, 0.6) - distance, 1.0)[..., None]
    return _paper(rng) * (1 - dot) + _richer(done, rng.uniform(1, 1.5)) * dot


def _print(x, rng):
    """A poster in two to four inks, as by silk screen or linocut."""
    count = int(rng.integers(2, 5))
    y = blurred(x @ _LUMA, rng.uniform(0.3, 1.0) * _unit(x))
    inks = np.sort(rng.uniform(0, 1, (count, 1)), 0) * 0.5 + np.linspace(0, 0.5, count)[:, None]
    inks = np.clip(inks + rng.normal(0, 0.18, (count, 3)), 0, 1)
    done = np.broadcast_to(inks[0], x.shape).astype(np.float32)
    for k, level in enumerate(np.quantile(y, np.linspace(0, 1, count + 1)[1:-1]), 1):
        share = _soft_step(y - level, 0.02)[..., None]
        done = done * (1 - share) + inks[k] * share
    return done


def _kuwahara(x: np.ndarray, radius: int) -> np.ndarray:
    """The mean of that of four squares around each pixel that varies least."""
    side = radius + 1
    mean = cv2.blur(x, (side, side), borderType=cv2.BORDER_REFLECT_101)
    y = x @ _LUMA
    spread = cv2.blur(y * y, (side, side)) - cv2.blur(y, (side, side)) ** 2
    half = radius / 2
    best, least = mean, np.full(y.shape, np.inf, np.float32)
    for dy, dx in ((-half, -half), (-half, half), (half, -half), (half, half)):
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        size = (x.shape[1], x.shape[0])
        there = cv2.warpAffine(spread, move, size, borderMode=cv2.BORDER_REFLECT_101)
        color = cv2.warpAffine(mean, move, size, borderMode=cv2.BORDER_REFLECT_101)
        better = there < least
        best = np.where(better[..., None], color, best)
        least = np.minimum(there, least)
    return best


def _smoothed(x: np.ndarray, times: int) -> np.ndarray:
    """Areas without texture and with their edges."""
    done: np.ndarray = x.astype(np.float32)
    for _ in range(times):
        done = cv2.bilateralFilter(done, 7, 0.12, max(2.0, 0.6 * _unit(x)))
    return done


def _ink(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Outlines [H, W, 1], 0..1, by a difference of Gaussians."""
    y = x @ _LUMA
    sigma = max(0.7, _unit(x) * rng.uniform(0.12, 0.35))
    gap = blurred(y, sigma) - rng.uniform(0.96, 0.99) * blurred(y, 1.6 * sigma)
    return _soft_step(-gap - rng.uniform(0.0, 0.01), 0.012)[..., None]


def _quantized(x: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The number of the color of each pixel [H, W], and the colors [count, 3], by k-means on some of the pixels."""
    pixels = x.reshape(-1, 3).astype(np.float32)
    some = pixels[rng.integers(0, len(pixels), min(len(pixels), 4000))]
    cv2.setRNGSeed(int(rng.integers(1 << 30)))
    ends = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 0.005)
    _, _, colors = cv2.kmeans(some, count, None, ends, 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    far = np.stack([((x - color) ** 2).sum(2) for color in colors])
    return far.argmin(0), np.clip(colors, 0, 1)


def _steps(x: np.ndarray, count: int) -> np.ndarray:
    """Values in some levels, with a short slope between two of them."""
    scaled = np.clip(x, 0, 1) * count
    part = scaled % 1
    return (np.floor(scaled) + np.clip((part - 0.42) / 0.16, 0, 1)) / count


def _soft_step(x: np.ndarray, width: float) -> np.ndarray:
    """0 below 0 and 1 above it, with a slope of some width."""
    return np.clip(x / width + 0.5, 0, 1).astype(np.float32)


def _richer(x: np.ndarray, by: float) -> np.ndarray:
    """Colors that are further from grey."""
    y = (x @ _LUMA)[..., None]
    return np.clip(y + (x - y) * by, 0, 1)


def _paper(rng: np.random.Generator) -> np.ndarray:
    """White, cream or grey paper."""
    return np.asarray(pick(([1, 1, 1], [0.98, 0.95, 0.88], [0.93, 0.93, 0.92]), rng), np.float32)


STYLES: dict[str, Style] = {
    "oil": _oil,
    "brush strokes": _strokes,
    "watercolor": _watercolor,
    "cel shading": _cel,
    "anime": _anime,
    "ink": _ink_drawing,
    "pencil": _pencil,
    "engraving": _engraving,
    "flat colors": _flat,
    "halftone comic": _comic,
    "pixels": _pixel_art,
    "low poly": _low_poly,
    "cells": _cells,
    "print": _print,
}
"""Name -> function of an image in 0..1, float32 [H, W, 3]."""

EXCLUDED = {
    "oil": ("blur", "contrast_weaken"),
    "brush strokes": ("blur", "quantization"),
    "watercolor": ("blur", "brighten", "contrast_weaken", "saturate_weaken"),
    "cel shading": ("quantization", "contrast_strengthen", "saturate_strengthen"),
    "anime": ("blur", "contrast_strengthen", "saturate_strengthen"),
    "ink": ("quantization", "oversharpen", "contrast_strengthen", "saturate_weaken", "saturate_strengthen"),
    "pencil": ("oversharpen", "brighten", "contrast_weaken", "saturate_weaken", "saturate_strengthen", "noise"),
    "engraving": ("oversharpen", "contrast_weaken", "saturate_weaken", "saturate_strengthen"),
    "flat colors": ("quantization", "saturate_strengthen", "contrast_strengthen"),
    "halftone comic": ("quantization", "saturate_strengthen", "contrast_strengthen", "noise", "oversharpen"),
    "pixels": ("pixelate", "quantization", "compression"),
    "low poly": ("quantization", "blur"),
    "cells": ("quantization", "saturate_strengthen", "pixelate"),
    "print": ("quantization", "saturate_strengthen", "contrast_strengthen", "blur"),
}
"""Style -> categories whose severities 1 and 2 nobody could tell from the style without the reference."""
_FLAT = ("cel shading", "flat colors", "halftone comic", "low poly", "cells", "print", "ink")
EXCLUDED_FAULTS = {
    "waxy smoothing": ("oil", "brush strokes", "watercolor", "anime", *_FLAT),
    "banding": (*_FLAT, "pixels"),
    "burned contrast": (*_FLAT, "pencil", "anime", "engraving"),
    "sharpening halos": ("ink", "pencil", "anime", "cel shading", "halftone comic"),
    "moire": ("halftone comic", "engraving"),
    "grid pattern": ("halftone comic", "engraving", "pixels", "oil"),
    "latent noise": ("pencil", "watercolor", "halftone comic"),
    "color cast": ("print", "ink", "pencil", "engraving"),
    "color fringing": ("pixels", "halftone comic", "brush strokes"),
    "seams": ("cells", "low poly", "pixels", "print"),
    "row glitches": ("pixels", "engraving"),
    "ghosting": ("pencil",),
}
"""Fault -> styles with which nobody could tell its severities 1 and 2 without the reference."""
