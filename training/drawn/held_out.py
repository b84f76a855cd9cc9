"""Drawn scenes for validation alone: ornaments, isometric blocks and sheet music."""

import math

import numpy as np

from training.random_choice import pick

from .canvas import Canvas, blob, palette, shade, words


def ornament(height, width, rng, smooth):
    """A round ornament of repeated shapes."""
    colors = palette(rng, 6)
    canvas = Canvas(height, width, pick(((255, 255, 255), shade(colors[0], 0.3)), rng), smooth)
    x, y, u = width / 2, height / 2, canvas.unit
    for ring in range(int(rng.integers(4, 9)), 0, -1):
        count, radius = int(rng.integers(6, 25)), u * 6 * ring
        color, sides = pick(colors, rng), rng.random() < 0.5
        for k in range(count):
            a = 2 * math.pi * k / count
            cx, cy = x + radius * math.cos(a), y + radius * math.sin(a)
            if sides:
                tip = (x + (radius + 6 * u) * math.cos(a), y + (radius + 6 * u) * math.sin(a))
                left, right = ((x + radius * math.cos(a + d), y + radius * math.sin(a + d)) for d in (-0.12, 0.12))
                canvas.polygon([left, tip, right], fill=color, outline=shade(color, 0.5), line=u * 0.2)
            else:
                canvas.ellipse(cx, cy, u * 2.2, fill=color, outline=shade(color, 0.5), line=u * 0.2)
    return canvas.done()


def isometric(height, width, rng, smooth):
    """A town of isometric blocks."""
    colors = palette(rng, 6)
    canvas = Canvas(height, width, shade(colors[0], 1.6), smooth)
    s = canvas.unit * rng.uniform(5, 9)
    cells = int(max(height, width) / s) + 4
    for i in range(-cells // 2, cells):
        for j in range(-cells // 2, cells):
            x, y = width / 2 + (i - j) * s, height * 0.1 + (i + j) * s / 2
            if not (-2 * s < x < width + 2 * s and -s < y < height + 8 * s) or rng.random() < 0.35:
                continue
            h, color = s * rng.uniform(0.2, 3), pick(colors[1:], rng)
            top = [(x, y - h - s / 2), (x + s, y - h), (x, y - h + s / 2), (x - s, y - h)]
            canvas.polygon(top, fill=shade(color, 1.3))
            canvas.polygon([top[3], top[2], (x, y + s / 2), (x - s, y)], fill=color)
            canvas.polygon([top[2], top[1], (x + s, y), (x, y + s / 2)], fill=shade(color, 0.65))
    return canvas.done()


def sheet_music(height, width, rng, smooth):
    """Staves with notes and words under them."""
    paper = pick(((255, 255, 255), (250, 246, 230)), rng)
    canvas = Canvas(height, width, paper, True)
    ink, u = (15, 15, 18), canvas.unit
    gap, y = u * rng.uniform(1.2, 2.2), 8 * u
    canvas.text(width / 2, 4 * u, words(rng, 2), 3.5 * u, ink, "times", True, anchor="mm")
    while y < height - 8 * gap:
        for k in range(5):
            canvas.line([(4 * u, y + k * gap), (width - 4 * u, y + k * gap)], ink, max(1, gap * 0.08))
        canvas.polygon(blob(7 * u, y + 2 * gap, gap * 1.2, rng, 0.5), outline=ink, line=gap * 0.25)
        for x in np.arange(11 * u, width - 5 * u, gap * rng.uniform(1.8, 3.2)):
            level = y + gap * rng.integers(-1, 10) / 2
            hollow = rng.random() < 0.25
            canvas.ellipse(x, level, gap * 0.6, gap * 0.42, fill=paper if hollow else ink, outline=ink, line=gap * 0.15)
            up = -1 if level > y + 2 * gap else 1
            canvas.line(
                [(x - up * gap * 0.55, level), (x - up * gap * 0.55, level + up * 3.2 * gap)], ink, max(1, gap * 0.12)
            )
        canvas.text(11 * u, y + 6.5 * gap, words(rng, 6), gap * 1.3, ink, "times")
        y += 10 * gap
    return canvas.done()
