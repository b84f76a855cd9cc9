"""Drawing of the differences of two images, or of two images and their reference."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..images.difference import comparable, difference
from ..images.image import RGBImage
from . import drawing
from .heat_map import COLOURS, OPACITY, colours_between

LONGEST = 1024
"""Maximum side of an image in pixels."""
LEAST_RANGE = 16.0
"""Minimum difference in 8-bit levels that has the strongest color, so that invisible differences stay weak."""
GAP, TEXT = 8, 14
Panel = tuple[str, RGBImage, RGBImage]


def difference_map(a: RGBImage, b: RGBImage, reference: RGBImage | None = None) -> Image.Image | None:
    """Draw where two images differ, or where each differs from the reference.

    Args:
        a, b: the images.
        reference: the undistorted original, if there is one.

    Returns:
        An RGB image: without a reference A with its differences from B; with one A and B side by side, each with its
        differences from the reference, in one scale. None if the aspect ratios are too different to compare pixels.
    """
    panels = [("A and B", a, b)]
    if reference is not None:
        panels = [("A and reference", a, reference), ("B and reference", b, reference)]
    if not all(comparable(image, other) for _, image, other in panels):
        return None
    found = [(name, *difference(image, other, LONGEST)) for name, image, other in panels]
    high = max(LEAST_RANGE, *(float(levels.max()) for _, _, levels in found))
    return _page([_panel(image, levels, high) for _, image, levels in found], [name for name, *_ in found], high)


def _panel(image: np.ndarray, levels: np.ndarray, high: float) -> Image.Image:
    """Draw differences as colors over the greyscale image."""
    grey = Image.fromarray(image).convert("L").convert("RGB")
    colours = colours_between(COLOURS[::-1])[np.clip(np.rint(levels * (255 / high)), 0, 255).astype(np.uint8)]
    return Image.blend(grey, Image.fromarray(colours), OPACITY)


def _page(panels: Sequence[Image.Image], names: Sequence[str], high: float) -> Image.Image:
    """Put panels next to each other, with their names and the legend below."""
    width = sum(panel.width for panel in panels) + GAP * (len(panels) - 1)
    height = max(panel.height for panel in panels)
    page = Image.new("RGB", (width, height + 3 * TEXT + 8), drawing.PAPER)
    bar = Image.fromarray(colours_between(COLOURS[::-1])[None]).resize((width, TEXT), Image.Resampling.BILINEAR)
    left = 0
    for panel, name in zip(panels, names):
        page.paste(panel, (left, 0))
        text = drawing.shortened(name, TEXT, panel.width)
        drawing.write(page, (left + panel.width / 2, height + TEXT / 2 + 2), text, TEXT, drawing.INK, "mm")
        left += panel.width + GAP
    page.paste(bar, (0, height + TEXT + 4))
    for words in ("equal", f"differs by {high:.0f} of 255 levels"), ("", f"{high:.0f}"):
        if drawing.width("   ".join(words), TEXT) < width - 8:
            below = height + 5 * TEXT / 2 + 4
            drawing.write(page, (4, below), words[0], TEXT, drawing.INK, "lm")
            drawing.write(page, (width - 4, below), words[1], TEXT, drawing.INK, "rm")
            break
    return page
