"""What drawn scenes share: a canvas in output pixels, colours that fit together, curves, and words."""

import colorsys
import math

import numpy as np
from PIL import Image, ImageDraw

from training.typefaces import face

_SYLLABLES = (
    "ba be bo da de di do fa fe ga go ha he ka ke ki la le li lo lu ma me mi mo na ne ni no pa pe po ra re ri ro sa se "
    "si so ta te ti to va ve vi za an en in on er ar or is us um el al ing tion ment ness ly st nd th ch sh br tr gr"
).split()


class Canvas:
    """A canvas whose coordinates are pixels of the finished image.

    Args:
        height, width: size of the finished image.
        background: colour, RGB 0..255.
        smooth: antialiased (drawn at twice the size); otherwise edges are hard.
    """

    def __init__(self, height: int, width: int, background, smooth: bool = True):
        self.height, self.width, self.unit = height, width, min(height, width) / 100
        self.scale = 2 if smooth else 1
        size = (width * self.scale, height * self.scale)
        self.image = Image.new("RGB", size, tuple(int(c) for c in background))
        self.draw = ImageDraw.Draw(self.image)

    def _points(self, points) -> list[tuple[float, float]]:
        return [(float(x) * self.scale, float(y) * self.scale) for x, y in points]

    def polygon(self, points, fill=None, outline=None, line: float = 0) -> None:
        """Draw a filled polygon, with an outline of ``line`` pixels."""
        points = self._points(points)
        if fill is not None:
            self.draw.polygon(points, fill=rgb(fill))
        if outline is not None and line > 0:
            self._stroke([*points, points[0]], outline, line)

    def line(self, points, fill, line: float = 1) -> None:
        """Draw a polyline with round joints."""
        self._stroke(self._points(points), fill, line)

    def _stroke(self, points, fill, line: float) -> None:
        width = max(1, round(line * self.scale))
        self.draw.line(points, fill=rgb(fill), width=width, joint="curve" if width > 2 else None)
        if width > 2:
            for x, y in (points[0], points[-1]):
                self.draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=rgb(fill))

    def ellipse(self, x, y, rx, ry=None, fill=None, outline=None, line: float = 0) -> None:
        """Draw an ellipse about (x, y)."""
        ry = rx if ry is None else ry
        box = [v * self.scale for v in (x - rx, y - ry, x + rx, y + ry)]
        width = max(1, round(line * self.scale)) if outline is not None else 0
        self.draw.ellipse(box, fill=rgb(fill), outline=rgb(outline), width=width)

    def rectangle(self, x, y, w, h, fill=None, outline=None, line: float = 0, radius: float = 0) -> None:
        """Draw a rectangle with its top left at (x, y), with rounded corners where ``radius`` is above 0."""
        if w < 1 or h < 1:
            return
        box = [v * self.scale for v in (x, y, x + w, y + h)]
        width = max(1, round(line * self.scale)) if outline is not None else 0
        options = {"fill": rgb(fill), "outline": rgb(outline), "width": width}
        if radius:
            self.draw.rounded_rectangle(box, radius=min(radius, w / 2, h / 2) * self.scale, **options)
        else:
            self.draw.rectangle(box, **options)

    def text(self, x, y, text: str, size: float, fill, family: str = "sans", bold: bool = False, anchor="la") -> float:
        """Draw a line of text of ``size`` pixels; returns its width."""
        font = face(max(5, round(size * self.scale)), family, bold)
        self.draw.text((x * self.scale, y * self.scale), text, font=font, fill=rgb(fill), anchor=anchor)
        return font.getlength(text) / self.scale

    def paste(self, image: np.ndarray, x: float, y: float) -> None:
        """Put an image, uint8 [H, W, 3] in finished pixels, with its top left at (x, y)."""
        picture = Image.fromarray(image)
        if self.scale > 1:
            size = (picture.width * self.scale, picture.height * self.scale)
            picture = picture.resize(size, Image.Resampling.NEAREST)
        self.image.paste(picture, (round(x * self.scale), round(y * self.scale)))

    def done(self) -> np.ndarray:
        """Return the finished image, uint8 [H, W, 3]."""
        return np.array(self.image.reduce(self.scale) if self.scale > 1 else self.image)


def rgb(color):
    """A colour as Pillow takes it; None stays None."""
    return None if color is None else tuple(int(np.clip(c, 0, 255)) for c in color)


def hsv(h: float, s: float, v: float) -> tuple[float, float, float]:
    """A colour from hue, saturation and value in 0..1 (the hue goes round) to RGB 0..255."""
    red, green, blue = colorsys.hsv_to_rgb(h % 1, min(1, max(0, s)), min(1, max(0, v)))
    return 255 * red, 255 * green, 255 * blue


def palette(rng: np.random.Generator, count: int = 6) -> list[tuple[float, float, float]]:
    """Draw colours that fit together: near hues, opposite hues, three hues, pastel, dark, or greys with an accent."""
    scheme, hue = int(rng.integers(6)), rng.random()
    colors = []
    for i in range(count):
        if scheme == 0:
            colors.append(hsv(hue + rng.uniform(-0.08, 0.08), rng.uniform(0.3, 0.9), rng.uniform(0.35, 1)))
        elif scheme == 1:
            colors.append(hsv(hue + 0.5 * (i % 2), rng.uniform(0.4, 0.9), rng.uniform(0.4, 1)))
        elif scheme == 2:
            colors.append(hsv(hue + (i % 3) / 3, rng.uniform(0.5, 0.95), rng.uniform(0.5, 1)))
        elif scheme == 3:
            colors.append(hsv(rng.random(), rng.uniform(0.15, 0.4), rng.uniform(0.85, 1)))
        elif scheme == 4:
            colors.append(hsv(hue + rng.uniform(-0.2, 0.2), rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.6)))
        else:
            grey = rng.uniform(0.1, 0.95)
            colors.append(hsv(hue, 0.85, 0.85) if i == 0 else hsv(hue, 0.06, grey))
    return colors


def shade(color, factor: float) -> tuple[float, ...]:
    """Darken (below 1) or lighten (above 1, towards white) a colour."""
    if factor <= 1:
        return tuple(c * factor for c in color)
    return tuple(c + (255 - c) * min(1, factor - 1) for c in color)


def blob(
    x: float, y: float, radius: float, rng: np.random.Generator, rough: float = 0.2, points: int = 72
) -> np.ndarray:
    """A closed smooth curve about (x, y): float [points, 2]."""
    angle = np.linspace(0, 2 * math.pi, points, endpoint=False)
    r = np.ones(points)
    for k in range(2, 6):
        r += rough / k * rng.normal() * np.cos(k * angle + rng.uniform(0, 2 * math.pi))
    r = np.maximum(r, 0.2) * radius
    return np.stack([x + r * np.cos(angle), y + r * np.sin(angle)], axis=1)


def ridge(width: float, level: float, height: float, rng: np.random.Generator, points: int = 120) -> np.ndarray:
    """A line of hills across a width about ``level``: float [points, 2]."""
    x = np.linspace(0, width, points)
    y = np.full(points, float(level))
    for k in (1, 2, 3, 5, 9, 17):
        y += height / k * rng.normal() * np.sin(2 * math.pi * k * x / width + rng.uniform(0, 2 * math.pi)) / 2
    return np.stack([x, y], axis=1)


def curve(points, steps: int = 16) -> np.ndarray:
    """A Catmull-Rom curve through points: float [N, 2]."""
    p = np.asarray(points, float)
    p = np.concatenate([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:]):
        parts.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*parts, p[-1:]])


def word(rng: np.random.Generator) -> str:
    """Draw a word of one to four syllables."""
    return "".join(_SYLLABLES[int(rng.integers(len(_SYLLABLES)))] for _ in range(int(rng.integers(1, 5))))


def words(rng: np.random.Generator, count: int) -> str:
    """Draw words, the first with a capital letter."""
    text = " ".join(word(rng) for _ in range(count))
    return text[0].upper() + text[1:]
