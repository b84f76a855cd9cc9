"""Drawn scenes of information: text pages, charts, user interfaces, diagrams and maps."""

import math

import numpy as np
from PIL import Image

from training.random_choice import pick
from training.typefaces import any_family

from .canvas import Canvas, blob, curve, hsv, palette, shade, word, words


def text_page(height, width, rng, smooth):
    """A page of text in one to three columns, with headings, lists and rules."""
    dark = rng.random() < 0.2
    paper = (24, 26, 30) if dark else pick(((255, 255, 255), (252, 250, 242), (244, 244, 246)), rng)
    ink = (226, 226, 222) if dark else pick(((0, 0, 0), (30, 30, 34), (50, 40, 36)), rng)
    canvas = Canvas(height, width, paper, True)
    family, size = any_family(rng), max(9.0, canvas.unit * rng.uniform(1.6, 4))
    columns, margin = int(rng.integers(1, 4)), canvas.unit * rng.uniform(3, 9)
    span = (width - margin * (columns + 1)) / columns
    for column in range(columns):
        x, y = margin + column * (span + margin), margin
        while y < height - margin:
            kind = rng.random()
            if kind < 0.12:
                canvas.text(x, y, words(rng, 2)[: int(1.1 * span / size)], size * 1.7, ink, family, True)
                y += size * 2.6
                continue
            if kind < 0.18:
                canvas.line([(x, y), (x + span, y)], shade(ink, 0.8 if dark else 1.5), max(1, size * 0.06))
                y += size
                continue
            bullet = kind < 0.3
            for _ in range(int(rng.integers(2, 9))):
                if y > height - margin:
                    break
                used = size * 1.4 if bullet else 0.0
                if bullet:
                    canvas.ellipse(x + size * 0.5, y + size * 0.65, size * 0.15, fill=ink)
                while used < span * rng.uniform(0.86, 0.97):
                    token = word(rng)
                    if used + len(token) * size * 0.62 > span:
                        break
                    used += canvas.text(x + used, y, token, size, ink, family) + size * 0.3
                y += size * 1.4
            y += size * 0.9
    return canvas.done()


def chart(height, width, rng, smooth):
    """A chart by Matplotlib: lines, bars, points, pie, heat map, areas or a histogram."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    dpi = max(40, min(height, width) / rng.uniform(3.2, 5.5))
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi)
    colors = [tuple(c / 255 for c in color) for color in palette(rng, 6)]
    rows, columns = pick(((1, 1), (1, 1), (1, 2), (2, 1), (2, 2)), rng)
    dark = rng.random() < 0.2
    figure.set_facecolor("#1c1f26" if dark else "white")
    for axes in figure.subplots(rows, columns, squeeze=False).ravel():
        _axes(axes, colors, dark, rng)
    figure.tight_layout()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[..., :3]
    return np.array(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.NEAREST))


def _axes(axes, colors, dark, rng):
    x, kind = np.arange(int(rng.integers(5, 30))), int(rng.integers(7))
    axes.set_facecolor("#1c1f26" if dark else pick(("white", "white", "#f2f2f2"), rng))
    if kind == 0:
        for color in colors[: int(rng.integers(1, 5))]:
            axes.plot(
                x, np.cumsum(rng.normal(size=len(x))), color=color, marker=pick(("", "o", "s"), rng), label=word(rng)
            )
        axes.legend(fontsize="small")
    elif kind == 1:
        axes.bar(x[:9], rng.uniform(1, 9, len(x[:9])), color=colors[: len(x[:9])])
    elif kind == 2:
        for color in colors[:3]:
            axes.scatter(
                *rng.normal(rng.uniform(-2, 2), 1, (2, 60)),
                s=rng.uniform(4, 40),
                color=color,
                alpha=pick((1, 0.6), rng),
            )
    elif kind == 3:
        axes.pie(
            rng.uniform(1, 5, 5), colors=colors, labels=[word(rng) for _ in range(5)], textprops={"fontsize": "small"}
        )
    elif kind == 4:
        axes.imshow(
            rng.normal(size=(8, 10)).cumsum(1), cmap=pick(("viridis", "magma", "coolwarm", "Greys"), rng), aspect="auto"
        )
    elif kind == 5:
        axes.stackplot(x, *rng.uniform(1, 5, (3, len(x))), colors=colors[:3])
    else:
        axes.hist(rng.normal(size=400), bins=int(rng.integers(8, 40)), color=colors[0], edgecolor="white")
    axes.set_title(words(rng, 2), color="white" if dark else "black")
    if kind != 3:
        axes.set_xlabel(word(rng), color="white" if dark else "black")
        if rng.random() < 0.5:
            axes.grid(alpha=0.4)
        axes.tick_params(colors="white" if dark else "black")


def interface(height, width, rng, smooth):
    """A screen of a program or a web page: bar, side list, cards, buttons, tables and icons."""
    dark, accent = rng.random() < 0.4, hsv(rng.random(), rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.9))
    ground, panel, ink = (
        ((30, 32, 38), (44, 47, 55), (224, 226, 230)) if dark else ((243, 244, 246), (255, 255, 255), (36, 38, 44))
    )
    soft = shade(ink, 0.6 if dark else 1.55)
    canvas = Canvas(height, width, ground, smooth)
    u = max(3.0, canvas.unit * rng.uniform(0.5, 1.1))
    size, radius = max(8.0, 2.6 * u), pick((0, u, 2 * u), rng)
    canvas.rectangle(0, 0, width, 7 * u, fill=pick((accent, panel, shade(ink, 0.3)), rng))
    canvas.text(3 * u, 3.5 * u, words(rng, 1), size * 1.1, accent if dark else ink, "sans", True, "lm")
    for i in range(int(rng.integers(2, 6))):
        canvas.ellipse(width - 4 * u - 6 * u * i, 3.5 * u, 1.8 * u, fill=pick((soft, accent, panel), rng))
    left = pick((0, 18 * u, 24 * u), rng)
    if left:
        canvas.rectangle(0, 7 * u, left, height, fill=panel)
        for i, y in enumerate(np.arange(10 * u, height - 4 * u, 5 * u)):
            if i == 1:
                canvas.rectangle(u, y - 2 * u, left - 2 * u, 4.4 * u, fill=accent, radius=radius)
            canvas.rectangle(2 * u, y - 0.9 * u, 2 * u, 2 * u, fill=soft, radius=u * 0.4)
            canvas.text(5.5 * u, y, word(rng)[:9], size * 0.9, (255, 255, 255) if i == 1 else ink, anchor="lm")
    y = 9 * u
    while y < height:
        block, x, room = int(rng.integers(4)), left + 3 * u, width - left - 6 * u
        if block == 0:
            count = int(rng.integers(2, 5))
            w, h = (room - 2 * u * (count - 1)) / count, u * rng.uniform(14, 24)
            for i in range(count):
                cx = x + i * (w + 2 * u)
                canvas.rectangle(
                    cx, y, w, h, fill=panel, outline=shade(ground, 0.9), line=max(1, u * 0.12), radius=radius
                )
                canvas.rectangle(cx, y, w, h * 0.45, fill=hsv(rng.random(), 0.4, 0.75), radius=radius)
                canvas.text(cx + u, y + h * 0.52, words(rng, 2)[: int(w / size * 1.5)], size, ink, bold=True)
                canvas.text(cx + u, y + h * 0.75, words(rng, 3)[: int(w / size * 1.8)], size * 0.8, soft)
        elif block == 1:
            rows, h = int(rng.integers(3, 9)), 0.0
            h = rows * 4 * u
            canvas.rectangle(x, y, room, h, fill=panel, radius=radius)
            for row in range(rows):
                canvas.line([(x, y + row * 4 * u), (x + room, y + row * 4 * u)], shade(ground, 0.92), max(1, u * 0.12))
                for column in range(4):
                    text = word(rng)[:8] if column % 2 == 0 else f"{rng.uniform(0, 999):.1f}"
                    canvas.text(
                        x + u + room * column / 4,
                        y + (row + 0.5) * 4 * u,
                        text,
                        size * 0.85,
                        ink,
                        anchor="lm",
                        bold=row == 0,
                    )
        elif block == 2:
            h = 6 * u
            for i in range(int(rng.integers(2, 5))):
                fill = accent if i == 0 else panel
                canvas.rectangle(
                    x + i * 16 * u, y, 14 * u, 4.6 * u, fill=fill, outline=accent, line=max(1, u * 0.15), radius=radius
                )
                canvas.text(
                    x + i * 16 * u + 7 * u,
                    y + 2.3 * u,
                    word(rng)[:8],
                    size * 0.9,
                    (255, 255, 255) if i == 0 else ink,
                    anchor="mm",
                )
        else:
            h = u * rng.uniform(12, 22)
            canvas.rectangle(x, y, room, h, fill=panel, radius=radius)
            points = [
                (x + room * t, y + h * (0.5 + 0.35 * math.sin(7 * t + y) * rng.uniform(0.5, 1)))
                for t in np.linspace(0.02, 0.98, 26)
            ]
            canvas.line(points, accent, max(1, u * 0.3))
        y += h + 3 * u
    return canvas.done()


def diagram(height, width, rng, smooth):
    """Boxes with names and arrows, on a plain ground or squared paper."""
    colors = palette(rng, 5)
    ground = pick(((255, 255, 255), (255, 255, 255), (250, 250, 245), (26, 30, 40)), rng)
    ink = (30, 32, 40) if sum(ground) > 380 else (220, 225, 235)
    canvas = Canvas(height, width, ground, smooth)
    u, line = canvas.unit, max(1.0, canvas.unit * rng.uniform(0.2, 0.5))
    if rng.random() < 0.3:
        for k in np.arange(0, max(height, width), 5 * u):
            canvas.line([(k, 0), (k, height)], shade(ground, 0.93), max(1, line * 0.4))
            canvas.line([(0, k), (width, k)], shade(ground, 0.93), max(1, line * 0.4))
    columns, rows = int(rng.integers(2, 6)), int(rng.integers(2, 6))
    places = [
        (width * (c + 0.5) / columns, height * (r + 0.5) / rows)
        for r in range(rows)
        for c in range(columns)
        if rng.random() < 0.8
    ]
    for (x1, y1), (x2, y2) in zip(places, places[1:]):
        canvas.line([(x1, y1), (x2, y1), (x2, y2)], ink, line)
        mx, my = x2, (y1 + y2) / 2
        way = 1 if y2 > y1 else -1
        if y1 != y2:
            canvas.polygon([(mx - u, my), (mx + u, my), (mx, my + way * 2 * u)], fill=ink)
    w, h = width / columns * 0.62, height / rows * 0.45
    for x, y in places:
        fill, shape = shade(pick(colors, rng), 1.45), int(rng.integers(4))
        if shape == 0:
            canvas.ellipse(x, y, w / 2, h / 2, fill=fill, outline=ink, line=line)
        elif shape == 1:
            canvas.polygon(
                [(x - w / 2, y), (x, y - h / 2), (x + w / 2, y), (x, y + h / 2)], fill=fill, outline=ink, line=line
            )
        else:
            canvas.rectangle(
                x - w / 2, y - h / 2, w, h, fill=fill, outline=ink, line=line, radius=pick((0, u * 2), rng)
            )
        text = words(rng, 1)[:12]
        dark = (25, 26, 32) if sum(fill) > 330 else (245, 245, 245)
        canvas.text(x, y, text, min(h * 0.35, 1.2 * w / max(4, len(text))), dark, anchor="mm")
    return canvas.done()


def street_map(height, width, rng, smooth):
    """A map: land, water, parks, blocks of houses, roads and names."""
    land, water, park = pick(
        (((242, 239, 233), (170, 211, 223), (200, 225, 180)), ((36, 40, 52), (24, 32, 58), (38, 56, 48))), rng
    )
    canvas = Canvas(height, width, land, smooth)
    u, dark = canvas.unit, sum(land) < 380
    for color in (water, park, park):
        for _ in range(int(rng.integers(1, 3))):
            canvas.polygon(
                blob(width * rng.random(), height * rng.random(), u * rng.uniform(8, 30), rng, 0.5), fill=color
            )
    for _ in range(int(rng.integers(40, 160))):
        x, y, s = width * rng.random(), height * rng.random(), u * rng.uniform(1, 3.5)
        canvas.rectangle(x, y, s, s * rng.uniform(0.5, 1.5), fill=shade(land, 0.9 if not dark else 1.12))
    for level in (0, 1, 2):
        for _ in range((14, 7, 2)[level]):
            walk = rng.uniform(0, 1, 2) * (width, height) + np.cumsum(
                rng.normal(0, u * (8 + 14 * level), (6, 2)), axis=0
            )
            points, size = curve(walk), u * (0.7, 1.3, 2.2)[level]
            canvas.line(points, shade(land, 0.75 if not dark else 1.3), size * 1.35)
            canvas.line(
                points,
                ((255, 255, 255), (255, 242, 190), (250, 200, 120))[level]
                if not dark
                else shade(land, 1.2 + 0.12 * level),
                size,
            )
    for _ in range(int(rng.integers(6, 22))):
        x, y, size = width * rng.random(), height * rng.random(), max(7, u * rng.uniform(1.6, 3.6))
        canvas.text(
            x,
            y,
            words(rng, 1),
            size,
            (60, 60, 70) if not dark else (200, 204, 214),
            bold=rng.random() < 0.3,
            anchor="mm",
        )
    return canvas.done()
