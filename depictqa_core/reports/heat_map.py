"""Drawing of quality maps over their images."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..images.image import RGBImage
from ..ranking.quality_map import SMALLEST, Box, QualityMap
from . import drawing

COLOURS = ("#a50026", "#f46d43", "#fee090", "#74add1", "#313695")  # worst to best; readable with color blindness
OPACITY = 0.55
SHADE = 5
"""Of the 256 colors an overlay has every fifth, so that it takes half the bytes: they are two points apart."""
MARKED = 100
"""Minimum width of an image in pixels for readable text on it."""


def heat_image(
    picture: RGBImage, found: QualityMap, relative: bool = False, marked: bool = True, legend: bool = True
) -> Image.Image:
    """Draw the map as colors over the greyscale image.

    Args:
        relative: as in ``QualityMap.badness``.
        marked: draw boxes around the worst and the best tile (not in images smaller than a tile).
        legend: add a color legend below; without it the size is that of the image.

    Returns:
        An RGB image with the width of the image.
    """
    low, high = found.limits(relative)
    colours = colours_between(COLOURS)[_shades(found.points, low, high, 255)]  # [H, W, 3]
    grey = Image.fromarray(picture.rgb).convert("L").convert("RGB")
    heat = Image.blend(grey, Image.fromarray(colours), OPACITY)
    if marked and min(heat.size) >= SMALLEST:
        for best in (True, False):
            _mark(heat, *found.tile(best), best)
    if not legend:
        return heat
    strip = _legend(heat.width, low, high)
    page = Image.new("RGB", (heat.width, heat.height + strip.height), drawing.PAPER)
    page.paste(heat, (0, 0))
    page.paste(strip, (0, heat.height))
    return page


def overlay(found: QualityMap, size: tuple[int, int]) -> Image.Image:
    """Draw the map alone, to lie over a smaller copy of its image; its colors are absolute, from 0 to 100 points.

    Args:
        size: (width, height) of that copy in pixels.

    Returns:
        An image with a palette and the alpha ``OPACITY``: over the greyscale copy it looks like ``heat_image``.
    """
    points = np.asarray(Image.fromarray(found.points).resize(size, Image.Resampling.BOX))
    colours = colours_between(COLOURS)[::SHADE]
    drawn = Image.fromarray(_shades(points, *found.limits(relative=False), len(colours) - 1))
    drawn.putpalette(colours.tobytes())
    drawn.info["transparency"] = bytes([round(255 * OPACITY)] * len(colours))
    return drawn


def colours_between(colours: Sequence[str]) -> np.ndarray:
    """Return 256 colors from the first of some colors over the others to the last, uint8 ``[256, 3]``."""
    stops = np.array([drawing.rgb(colour) for colour in colours], np.float64)
    at = np.linspace(0, len(stops) - 1, 256)
    return np.stack([np.interp(at, range(len(stops)), stops[:, c]) for c in range(3)], axis=1).round().astype(np.uint8)


def _shades(points: np.ndarray, low: float, high: float, last: int) -> np.ndarray:
    """Return which color each point has, uint8: 0 is that of ``low``, ``last`` that of ``high``."""
    return np.clip(np.rint((points - low) * (last / (high - low))), 0, last).astype(np.uint8)


def _mark(heat: Image.Image, box: Box, score: float, best: bool) -> None:
    """Draw a box around a tile, with its score if the image is large enough to read it."""
    draw, width = drawing.on(heat), max(1, round(min(heat.size) / 200))
    left, top, right, bottom = box
    draw.rectangle((left, top, right - 1, bottom - 1), outline="#ffffff", width=3 * width)
    draw.rectangle(
        (left + width, top + width, right - 1 - width, bottom - 1 - width),
        outline=COLOURS[-1] if best else COLOURS[0],
        width=width,
    )
    size = max(round(min(heat.size) / 28), 11)
    text = f"{'best' if best else 'worst'} {score:.0f}"
    wide, high = math.ceil(drawing.width(text, size)) + size, round(size * 1.5)
    if wide <= right - left and high <= bottom - top:
        at = (left + 3 * width, top + 3 * width)
        drawing.rounded(heat, (*at, at[0] + wide, at[1] + high), high / 4, "#ffffff")
        colour = COLOURS[-1] if best else COLOURS[0]
        drawing.write(heat, (at[0] + wide / 2, at[1] + high / 2), text, size, colour, "mm")


def _legend(width: int, low: float, high: float) -> Image.Image:
    """Draw a legend with the colors from worst to best and their scores."""
    size = min(22, max(9, width // 34))
    strip = Image.new("RGB", (width, 3 * size + 8), drawing.PAPER)
    left = size if width > 4 * size else 0
    length = width - 2 * left
    bar = Image.fromarray(colours_between(COLOURS)[None]).resize((length, size), Image.Resampling.BILINEAR)
    strip.paste(bar, (left, size // 2))
    if width < MARKED:
        return strip
    words = [f"{low:.0f} worst", f"{(low + high) / 2:.0f}", f"{high:.0f} best"]
    if drawing.width("  ".join(words), size) > length:
        words = [words[0].split()[0], "", words[2].split()[0]]
    middle = 2 * size + 4
    drawing.write(strip, (left, middle), words[0], size, drawing.INK, "lm")
    drawing.write(strip, (width / 2, middle), words[1], size, drawing.SOFT, "mm")
    drawing.write(strip, (width - size, middle), words[2], size, drawing.INK, "rm")
    return strip
