"""Draws the icon and the banner of the Comfy registry: one scene that is sharp on the left and pixelated on the right.

python docs/draw_logo.py    # writes web/icon.png and web/banner.png
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WEB = Path(__file__).resolve().parents[1] / "web"
FINE = 4  # everything is drawn this much larger and scaled down, for smooth edges
NIGHT, DUSK, SUN = (22, 26, 66), (238, 108, 108), (255, 214, 102)
FAR, NEAR, WHITE = (112, 72, 160), (40, 30, 92), (255, 255, 255)


def scene(width: int, height: int, centre: float) -> Image.Image:
    """A sunset behind two ranges of mountains.

    Args:
        width, height: size in pixels.
        centre: x of the sun in pixels; mountains repeat to both sides of it.
    """
    fade = np.linspace(0, 1, height)[:, None, None] ** 1.3
    sky = np.array(NIGHT) * (1 - fade) + np.array(DUSK) * fade
    image = Image.fromarray(np.broadcast_to(sky, (height, width, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    radius = 0.235 * height
    draw.ellipse((centre - radius, 0.37 * height - radius, centre + radius, 0.37 * height + radius), fill=SUN)
    for colour, base, steps in (
        (FAR, 0.74, [(-1.2, 0.5), (-0.78, 0.72), (-0.42, 0.46), (-0.1, 0.7), (0.3, 0.5), (0.62, 0.74), (1.1, 0.48)]),
        (NEAR, 0.9, [(-1.0, 0.72), (-0.62, 0.9), (-0.2, 0.64), (0.12, 0.84), (0.4, 0.7), (0.8, 0.9), (1.3, 0.68)]),
    ):
        ridge = [(centre + x * height, y * height) for x, y in steps]
        ends = [(width, base * height), (width, height), (0, height), (0, base * height)]
        draw.polygon([*ridge, *ends], fill=colour)
    return image


def half_pixelated(image: Image.Image, split: int, block: int) -> Image.Image:
    """The image with squares of ``block`` pixels from column ``split`` on, and a white line between the halves."""
    right = image.crop((split, 0, image.width, image.height))
    small = right.resize((max(1, -(-right.width // block)), -(-right.height // block)), Image.Resampling.BOX)
    squares = small.resize((small.width * block, small.height * block), Image.Resampling.NEAREST)
    image.paste(squares, (split, 0))
    line = image.height // 50
    ImageDraw.Draw(image).rectangle((split - line, 0, split + line - 1, image.height), fill=WHITE)
    return image


def rounded(image: Image.Image, radius: int) -> Image.Image:
    """The image with round, transparent corners."""
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, image.width - 1, image.height - 1), radius, fill=255)
    image.putalpha(mask)
    return image


def icon(side: int = 400) -> Image.Image:
    """The icon, ``side`` pixels square, RGBA."""
    large = side * FINE
    image = half_pixelated(scene(large, large, large / 2), large // 2, large // 8)
    return rounded(image, large // 5).resize((side, side), Image.Resampling.LANCZOS)


def banner(width: int = 1260, height: int = 540) -> Image.Image:
    """The banner, 21:9: the scene on the right, the name and what the pack does on the left."""
    w, h = width * FINE, height * FINE
    image = half_pixelated(scene(w, h, 0.74 * w), round(0.74 * w), h // 9)
    shade = np.clip(np.linspace(2.3, -1.4, w), 0, 1)[None, :]
    veil = Image.fromarray(np.broadcast_to(255 * shade, (h, w)).astype(np.uint8))
    image.paste(NIGHT, (0, 0), veil)
    draw = ImageDraw.Draw(image)
    left = round(0.055 * w)
    draw.text((left, 0.44 * h), "DepictQA", WHITE, ImageFont.load_default(0.235 * h), "ls", stroke_width=h // 220)
    draw.text((left, 0.59 * h), "Which image is best, and why?", WHITE, ImageFont.load_default(0.075 * h), "ls")
    verbs = "identify  ·  describe  ·  compare  ·  score  ·  rank"
    draw.text((left, 0.72 * h), verbs, SUN, ImageFont.load_default(0.052 * h), "ls")
    return image.resize((width, height), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    icon().save(WEB / "icon.png", optimize=True)
    banner().save(WEB / "banner.png", optimize=True)
