"""Drawn scenes of shapes: flat vector images, line art, cel shading, comics, logos and posters."""

import math

import numpy as np

from training.random_choice import pick
from training.typefaces import any_family

from .canvas import Canvas, blob, curve, hsv, palette, ridge, shade, word, words


def flat_vector(height, width, rng, smooth):
    """A landscape or a still life in flat colours."""
    colors = palette(rng, 8)
    canvas = Canvas(height, width, shade(colors[0], 1.6), smooth)
    return (_landscape if rng.random() < 0.6 else _still_life)(canvas, colors, rng).done()


def _landscape(canvas: Canvas, colors, rng) -> Canvas:
    h, w, u = canvas.height, canvas.width, canvas.unit
    bands = int(rng.integers(1, 5))
    for i in range(bands):
        canvas.rectangle(0, h * 0.6 * i / bands, w, h, fill=shade(colors[0], 1.75 - 0.15 * i))
    canvas.ellipse(w * rng.uniform(0.15, 0.85), h * rng.uniform(0.12, 0.4), u * rng.uniform(5, 13), fill=colors[1])
    for _ in range(int(rng.integers(0, 5))):
        x, y = w * rng.random(), h * rng.uniform(0.05, 0.35)
        for _ in range(4):
            canvas.ellipse(
                x + u * rng.uniform(-8, 8), y, u * rng.uniform(3, 6), u * rng.uniform(2, 3.5), fill=(250, 250, 252)
            )
    layers = int(rng.integers(2, 6))
    for i in range(layers):
        level = h * (0.45 + 0.5 * i / layers)
        line = ridge(w, level, h * 0.09, rng)
        color = shade(colors[2 + i % 4], 1.3 - 0.5 * i / layers)
        canvas.polygon([*line, (w, h), (0, h)], fill=color)
        for _ in range(int(rng.integers(0, 9))):
            x, y = line[int(rng.integers(len(line)))]
            _tree(canvas, x, y + u, u * rng.uniform(4, 11), colors[6], rng)
        if rng.random() < 0.4:
            x, y = line[int(rng.integers(10, len(line) - 10))]
            _house(canvas, x, y, u * rng.uniform(6, 14), colors[7], rng)
    return canvas


def _tree(canvas, x, y, size, color, rng):
    canvas.rectangle(x - size * 0.06, y - size * 0.4, size * 0.12, size * 0.45, fill=(96, 68, 48))
    if rng.random() < 0.5:
        for i in range(3):
            base, top = y - size * (0.25 + 0.28 * i), y - size * (0.75 + 0.28 * i)
            half = size * (0.36 - 0.08 * i)
            canvas.polygon([(x - half, base), (x + half, base), (x, top)], fill=shade(color, 0.75 + 0.12 * i))
    else:
        canvas.ellipse(x, y - size * 0.75, size * 0.36, size * 0.42, fill=color)


def _house(canvas, x, y, size, color, rng):
    canvas.rectangle(x, y - size * 0.7, size, size * 0.75, fill=color)
    roof = [(x - size * 0.1, y - size * 0.7), (x + size * 1.1, y - size * 0.7), (x + size / 2, y - size * 1.2)]
    canvas.polygon(roof, fill=shade(color, 0.55))
    for i in (0.15, 0.6):
        canvas.rectangle(x + size * i, y - size * 0.55, size * 0.22, size * 0.22, fill=(250, 240, 190))
    canvas.rectangle(x + size * 0.4, y - size * 0.28, size * 0.18, size * 0.32, fill=shade(color, 0.4))


def _still_life(canvas: Canvas, colors, rng) -> Canvas:
    h, w, u = canvas.height, canvas.width, canvas.unit
    canvas.rectangle(0, h * rng.uniform(0.5, 0.75), w, h, fill=colors[1])
    for _ in range(int(rng.integers(5, 18))):
        x, y, size = w * rng.random(), h * rng.random(), u * rng.uniform(6, 24)
        color = pick(colors, rng)
        shape = int(rng.integers(5))
        if shape == 0:
            canvas.ellipse(x, y, size / 2, fill=color)
            canvas.ellipse(x - size * 0.15, y - size * 0.15, size * 0.1, fill=shade(color, 1.5))
        elif shape == 1:
            canvas.rectangle(x, y, size, size * rng.uniform(0.5, 1.5), fill=color, radius=size * 0.1)
        elif shape == 2:
            canvas.polygon(blob(x, y, size / 2, rng, 0.5), fill=color)
        elif shape == 3:
            n, turn = int(rng.integers(3, 9)), rng.uniform(0, 6)
            corners = [
                (
                    x + size / 2 * math.cos(turn + 2 * math.pi * k / n),
                    y + size / 2 * math.sin(turn + 2 * math.pi * k / n),
                )
                for k in range(n)
            ]
            canvas.polygon(corners, fill=color)
        else:
            _face(canvas, x, y, size * 0.5, color, None, 0, rng)
    return canvas


def _face(canvas, x, y, r, skin, ink, line, rng, tones=1):
    """A simple head: hair, eyes, mouth; ``tones`` above 1 adds a shadow and a light."""
    hair = hsv(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.15, 0.9))
    canvas.polygon(blob(x, y - r * 0.15, r * 1.22, rng, 0.15), fill=hair, outline=ink, line=line)
    if tones > 1:
        canvas.polygon(blob(x + r * 0.25, y - r * 0.1, r * 0.95, rng, 0.1), fill=shade(hair, 0.7))
    canvas.ellipse(x, y + r * 0.1, r * 0.82, r * 0.95, fill=skin, outline=ink, line=line)
    if tones > 1:
        cheek = [(x + r * 0.82 * math.cos(a), y + r * 0.1 + r * 0.95 * math.sin(a)) for a in np.linspace(-0.9, 1.9, 24)]
        canvas.polygon([*cheek, *[(px - r * 0.28, py) for px, py in cheek[::-1]]], fill=shade(skin, 0.8))
    fringe = [(x + r * 0.85 * t, y - r * (0.75 - 0.3 * abs(math.sin(5 * t + x)))) for t in np.linspace(-1, 1, 13)]
    canvas.polygon(
        [*fringe, (x + r * 0.6, y - r), (x, y - r * 1.12), (x - r * 0.6, y - r)], fill=hair, outline=ink, line=line
    )
    dark = ink or (30, 26, 34)
    iris = hsv(rng.random(), 0.7, 0.6)
    for side in (-1, 1):
        ex, ey = x + side * r * 0.33, y + r * 0.08
        canvas.ellipse(ex, ey, r * 0.17, r * 0.2, fill=(255, 255, 255), outline=dark, line=max(line, r * 0.02))
        canvas.ellipse(ex, ey + r * 0.02, r * 0.1, r * 0.15, fill=iris)
        canvas.ellipse(ex, ey + r * 0.02, r * 0.05, r * 0.08, fill=dark)
        canvas.ellipse(ex - r * 0.04, ey - r * 0.05, r * 0.03, fill=(255, 255, 255))
        canvas.line([(ex - r * 0.18, ey - r * 0.3), (ex + r * 0.18, ey - r * 0.32)], dark, max(line, r * 0.04))
    bend = rng.uniform(-0.12, 0.2)
    mouth = [(x + r * 0.3 * t, y + r * (0.62 - bend * t * t)) for t in np.linspace(-1, 1, 9)]
    canvas.line(mouth, dark, max(line, r * 0.035))


def line_art(height, width, rng, smooth):
    """Ink on paper: contours of varying width, hatching, no fill."""
    paper = pick(((255, 255, 255), (255, 255, 255), (250, 246, 232), (20, 22, 28)), rng)
    ink = (235, 235, 240) if sum(paper) < 300 else pick(((0, 0, 0), (25, 25, 35), (60, 40, 30), (20, 40, 90)), rng)
    canvas = Canvas(height, width, paper, smooth)
    u, line = canvas.unit, max(1.0, canvas.unit * rng.uniform(0.15, 0.7))
    kind = int(rng.integers(4))
    if kind == 0:
        for i in range(int(rng.integers(4, 9))):
            canvas.line(ridge(width, height * (0.2 + 0.1 * i), height * 0.08, rng), ink, line * rng.uniform(0.6, 1.3))
        for _ in range(int(rng.integers(5, 20))):
            x, y, s = width * rng.random(), height * rng.uniform(0.4, 0.95), u * rng.uniform(3, 10)
            canvas.polygon(blob(x, y, s, rng, 0.25), fill=paper, outline=ink, line=line)
            canvas.line([(x, y + s), (x, y + 2 * s)], ink, line)
    elif kind == 1:
        for _ in range(int(rng.integers(3, 9))):
            _flower(canvas, width * rng.random(), height * rng.random(), u * rng.uniform(8, 24), ink, paper, line, rng)
    elif kind == 2:
        for _ in range(int(rng.integers(1, 5))):
            r = u * rng.uniform(12, 32)
            _face_lines(
                canvas, width * rng.uniform(0.2, 0.8), height * rng.uniform(0.25, 0.75), r, ink, paper, line, rng
            )
    else:
        for _ in range(int(rng.integers(10, 40))):
            start = rng.uniform(0, 1, 2) * (width, height)
            walk = start + np.cumsum(rng.normal(0, 9 * u, (int(rng.integers(3, 8)), 2)), axis=0)
            canvas.line(curve(walk), ink, line * rng.uniform(0.5, 2))
    for _ in range(int(rng.integers(0, 6))):
        x, y, size, step = width * rng.random(), height * rng.random(), u * rng.uniform(8, 25), u * rng.uniform(0.8, 2)
        for k in np.arange(0, size, step):
            canvas.line([(x + k, y), (x + k - size * 0.5, y + size)], ink, line * 0.5)
    return canvas.done()


def _flower(canvas, x, y, size, ink, paper, line, rng):
    canvas.line(curve([(x, y), (x + size * rng.uniform(-0.4, 0.4), y + size), (x, y + 2 * size)]), ink, line)
    petals = int(rng.integers(5, 12))
    for k in range(petals):
        a = 2 * math.pi * k / petals
        cx, cy = x + size * 0.5 * math.cos(a), y + size * 0.5 * math.sin(a)
        canvas.polygon(blob(cx, cy, size * 0.33, rng, 0.15), fill=paper, outline=ink, line=line)
        canvas.line([(x, y), (cx, cy)], ink, line * 0.5)
    canvas.ellipse(x, y, size * 0.2, fill=paper, outline=ink, line=line)


def _face_lines(canvas, x, y, r, ink, paper, line, rng):
    canvas.polygon(blob(x, y - r * 0.15, r * 1.2, rng, 0.2), fill=paper, outline=ink, line=line)
    for k in np.linspace(-1, 1, int(rng.integers(8, 22))):
        canvas.line(
            curve([(x + k * r * 0.5, y - r), (x + k * r, y - r * 0.4), (x + k * r * 1.2, y + r * rng.uniform(0, 0.8))]),
            ink,
            line * 0.6,
        )
    canvas.ellipse(x, y + r * 0.1, r * 0.8, r * 0.95, fill=paper, outline=ink, line=line)
    for side in (-1, 1):
        ex, ey = x + side * r * 0.33, y
        canvas.ellipse(ex, ey, r * 0.17, r * 0.1, outline=ink, line=line)
        canvas.ellipse(ex, ey, r * 0.06, fill=ink)
        canvas.line([(ex - r * 0.2, ey - r * 0.22), (ex + r * 0.2, ey - r * 0.26)], ink, line * 1.4)
    canvas.line(curve([(x, y), (x + r * 0.1, y + r * 0.35), (x - r * 0.05, y + r * 0.38)]), ink, line)
    canvas.line(curve([(x - r * 0.28, y + r * 0.6), (x, y + r * 0.68), (x + r * 0.28, y + r * 0.58)]), ink, line)


def cel_shading(height, width, rng, smooth):
    """Figures with contours and two or three hard tones, before a simple background."""
    colors = palette(rng, 8)
    canvas = Canvas(height, width, shade(colors[0], 1.5), smooth)
    u = canvas.unit
    if rng.random() < 0.5:
        _landscape(canvas, colors, rng)
    else:
        for i in range(24):
            canvas.rectangle(0, height * i / 24, width, height / 24 + 1, fill=shade(colors[0], 1.1 + 0.7 * i / 24))
    ink = pick(((20, 16, 24), (46, 30, 30), (24, 30, 60)), rng)
    for _ in range(int(rng.integers(1, 4))):
        r = u * rng.uniform(13, 30)
        x, y = width * rng.uniform(0.2, 0.8), height * rng.uniform(0.25, 0.6)
        _figure(canvas, x, y, r, ink, u * rng.uniform(0.3, 0.9), rng)
    return canvas.done()


def _figure(canvas, x, y, r, ink, line, rng):
    cloth = hsv(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.4, 0.95))
    bottom = canvas.height + r
    body = [
        (x - r * 0.4, y + r),
        (x - r * 1.3, y + r * 1.7),
        (x - r * 1.6, bottom),
        (x + r * 1.6, bottom),
        (x + r * 1.3, y + r * 1.7),
        (x + r * 0.4, y + r),
    ]
    canvas.polygon(body, fill=cloth, outline=ink, line=line)
    canvas.polygon(
        [(x + r * 0.3, y + r), (x + r * 1.3, y + r * 1.7), (x + r * 1.6, bottom), (x + r * 0.7, bottom)],
        fill=shade(cloth, 0.7),
    )
    canvas.polygon(
        [(x - r * 0.9, y + r * 1.5), (x - r * 0.7, y + r * 1.5), (x - r, bottom), (x - r * 1.2, bottom)],
        fill=shade(cloth, 1.35),
    )
    skin = pick(((255, 224, 196), (240, 196, 160), (198, 140, 100), (130, 86, 60), (222, 206, 240)), rng)
    canvas.rectangle(x - r * 0.22, y + r * 0.7, r * 0.44, r * 0.5, fill=shade(skin, 0.8))
    _face(canvas, x, y, r, skin, ink, line, rng, tones=2)


def comic(height, width, rng, smooth):
    """A page of panels with figures, halftone dots and speech bubbles."""
    canvas = Canvas(height, width, (250, 249, 244), smooth)
    u, gap = canvas.unit, canvas.unit * 2
    rows = int(rng.integers(1, 4))
    colored = rng.random() < 0.6
    for row in range(rows):
        columns = int(rng.integers(1, 4))
        for column in range(columns):
            w, h = (width - gap) / columns - gap, (height - gap) / rows - gap
            x, y = gap + column * (w + gap), gap + row * (h + gap)
            color = pick(palette(rng, 3), rng) if colored else (235, 235, 235)
            panel = Canvas(max(8, round(h)), max(8, round(w)), shade(color, 1.4), smooth)
            panel.unit = u
            step = u * rng.uniform(1, 2.5)
            for i in np.arange(0, w, step):
                for j in np.arange(0, h * rng.uniform(0.2, 0.7), step):
                    panel.ellipse(i, j, step * 0.33 * (1 - j / h), fill=shade(color, 0.8))
            r = min(w, h) * rng.uniform(0.16, 0.3)
            _figure(panel, w * rng.uniform(0.3, 0.7), h * rng.uniform(0.45, 0.65), r, (15, 15, 18), u * 0.5, rng)
            text = words(rng, int(rng.integers(2, 4)))
            size = min(h * 0.08, 1.5 * w / max(8, len(text)))
            panel.ellipse(
                w * 0.5, h * 0.14, w * 0.42, h * 0.1, fill=(255, 255, 255), outline=(10, 10, 10), line=u * 0.4
            )
            panel.text(w * 0.5, h * 0.14, text, size, (10, 10, 10), "sans", True, anchor="mm")
            canvas.paste(panel.done(), x, y)
            canvas.rectangle(x, y, w, h, outline=(10, 10, 10), line=u * 0.5)
    return canvas.done()


def logo(height, width, rng, smooth):
    """A mark and a name on a plain ground."""
    colors = palette(rng, 4)
    ground = pick(((255, 255, 255), (255, 255, 255), (18, 20, 26), shade(colors[0], 1.7), colors[1]), rng)
    canvas = Canvas(height, width, ground, smooth)
    u, x, y = canvas.unit, width / 2, height * 0.42
    size, color = canvas.unit * rng.uniform(16, 28), colors[2]
    if abs(sum(ground) - sum(color)) < 140:
        color = (245, 245, 245) if sum(ground) < 380 else (25, 25, 30)
    kind = int(rng.integers(5))
    if kind == 0:
        for i in range(int(rng.integers(2, 5))):
            canvas.ellipse(x, y, size * (1 - 0.25 * i), fill=color if i % 2 == 0 else ground)
    elif kind == 1:
        n, turn = int(rng.integers(3, 8)), rng.uniform(0, 6)
        for k in range(n):
            a = turn + 2 * math.pi * k / n
            tip = (x + size * math.cos(a), y + size * math.sin(a))
            left = (x + size * 0.5 * math.cos(a - 0.4), y + size * 0.5 * math.sin(a - 0.4))
            right = (x + size * 0.5 * math.cos(a + 0.4), y + size * 0.5 * math.sin(a + 0.4))
            canvas.polygon([(x, y), left, tip, right], fill=color if k % 2 else shade(color, 0.75))
    elif kind == 2:
        canvas.rectangle(x - size, y - size, 2 * size, 2 * size, fill=color, radius=size * rng.uniform(0, 1))
        canvas.text(x, y, word(rng)[0].upper(), size * 1.4, ground, any_family(rng), True, anchor="mm")
    elif kind == 3:
        canvas.polygon(blob(x, y, size, rng, 0.6), fill=color)
        canvas.polygon(blob(x + size * 0.2, y, size * 0.5, rng, 0.5), fill=ground)
    else:
        for k in range(int(rng.integers(3, 7))):
            canvas.line(
                curve(
                    [
                        (x - size, y + k * u * 3 - size / 2),
                        (x, y + k * u * 3 - size * rng.uniform(0, 1)),
                        (x + size, y + k * u * 3 - size / 2),
                    ]
                ),
                color,
                u * 1.4,
            )
    name = word(rng).capitalize() + pick(("", " " + word(rng), "."), rng)
    letter = min(u * 14, 1.5 * width / max(5, len(name)))
    canvas.text(x, height * 0.8, name, letter, color, any_family(rng), rng.random() < 0.5, anchor="mm")
    return canvas.done()


def poster(height, width, rng, smooth):
    """Large type over shapes."""
    colors = palette(rng, 6)
    canvas = Canvas(height, width, colors[0], smooth)
    u = canvas.unit
    for _ in range(int(rng.integers(2, 9))):
        x, y, r = width * rng.random(), height * rng.random(), u * rng.uniform(10, 45)
        if rng.random() < 0.5:
            canvas.ellipse(x, y, r, fill=pick(colors, rng))
        else:
            canvas.polygon(
                [(x, y), (x + r, y + r * rng.uniform(-1, 1)), (x + r * rng.uniform(-1, 1), y + r)],
                fill=pick(colors, rng),
            )
    dark = sum(colors[0]) < 380
    y, family = height * rng.uniform(0.05, 0.3), any_family(rng)
    for _ in range(int(rng.integers(1, 5))):
        text = words(rng, int(rng.integers(1, 3)))
        size = min(height * 0.16, 1.55 * width / max(4, len(text)))
        canvas.text(width * 0.06, y, text, size, (250, 250, 245) if dark else (20, 20, 25), family, True)
        y += size * 1.15
    for _ in range(int(rng.integers(1, 6))):
        canvas.text(width * 0.06, y, words(rng, 5), u * 2.6, (235, 235, 230) if dark else (40, 40, 45), family)
        y += u * 3.6
    return canvas.done()
