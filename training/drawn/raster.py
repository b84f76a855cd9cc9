"""Drawn scenes made of pixels: pixel art, gradients and painted strokes."""

import math

import cv2
import numpy as np

from training.random_choice import pick

from .canvas import Canvas, palette, shade
from .vector import flat_vector


def pixel_art(height, width, rng, smooth):
    """Tiles, sprites and scenery on a small grid, enlarged without smoothing by a whole factor."""
    short = int(rng.integers(40, 200))
    factor = max(2, round(min(height, width) / short))
    h, w = -(-height // factor), -(-width // factor)
    colors = [np.array(c, np.uint8) for c in palette(rng, 8)]
    if rng.random() < 0.5:
        small = flat_vector(h, w, rng, False)
        small = _to_palette(small, colors, rng)
    else:
        small = np.empty((h, w, 3), np.uint8)
        small[:] = colors[0]
        side = int(rng.integers(8, 17))
        tiles = [_sprite(side, pick(colors, rng), colors[0], rng) for _ in range(5)]
        for y in range(0, h, side):
            for x in range(0, w, side):
                if rng.random() < 0.7:
                    part = pick(tiles, rng)[: h - y, : w - x]
                    small[y : y + side, x : x + side] = part
    return np.repeat(np.repeat(small, factor, 0), factor, 1)[:height, :width].copy()


def _sprite(side, color, ground, rng):
    """A small figure that is mirrored left to right, with an outline."""
    half = (rng.random((side, (side + 1) // 2)) < 0.5).astype(np.uint8)
    half[:, 0] &= rng.random(side) < 0.3
    full = np.concatenate([half, half[:, : side // 2][:, ::-1]], axis=1)
    edge = cv2.dilate(full, np.ones((3, 3), np.uint8)) & ~full & 1
    tile = np.empty((side, side, 3), np.uint8)
    tile[:] = ground
    tile[full == 1] = color
    tile[edge == 1] = (color * 0.35).astype(np.uint8)
    lit = (full == 1) & (rng.random((side, side)) < 0.25)
    tile[lit] = np.minimum(255, color.astype(int) + 50)
    return tile


def _to_palette(image, colors, rng):
    """The nearest of some colours for every pixel, with or without an ordered dither."""
    extra = np.array([image[int(rng.integers(len(image))), int(rng.integers(image.shape[1]))] for _ in range(12)])
    table = np.concatenate([np.array(colors), extra]).astype(np.int32)
    x = image.astype(np.int32)
    if rng.random() < 0.5:
        bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) * 3 - 22
        x = x + np.tile(bayer, (len(x) // 4 + 1, x.shape[1] // 4 + 1))[: len(x), : x.shape[1], None]
    nearest = ((x[:, :, None] - table) ** 2).sum(-1).argmin(-1)
    return table[nearest].astype(np.uint8)


def gradient(height, width, rng, smooth):
    """Smooth colour fields with dither, alone or with a few shapes of glass."""
    colors = np.array(palette(rng, 9), np.float32)
    rows, columns = int(rng.integers(2, 4)), int(rng.integers(2, 4))
    mesh = colors[rng.integers(0, 9, (rows, columns))]
    field = cv2.resize(mesh, (width, height), interpolation=pick((cv2.INTER_CUBIC, cv2.INTER_LINEAR), rng))
    if rng.random() < 0.4:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        r = np.hypot(y - height * rng.random(), x - width * rng.random()) / min(height, width)
        glow = np.exp(-((r / rng.uniform(0.2, 0.6)) ** 2))[..., None]
        field = field * (1 - glow) + colors[0] * glow
    if rng.random() < 0.5:
        canvas = Canvas(height, width, (0, 0, 0), True)
        for _ in range(int(rng.integers(1, 6))):
            canvas.ellipse(
                width * rng.random(), height * rng.random(), canvas.unit * rng.uniform(8, 35), fill=(255, 255, 255)
            )
        mask = canvas.done()[..., :1].astype(np.float32) / 255 * rng.uniform(0.15, 0.5)
        field = field * (1 - mask) + 255 * mask
    field += rng.uniform(-0.5, 0.5, field.shape).astype(np.float32)
    return np.clip(np.rint(field), 0, 255).astype(np.uint8)


def painting(height, width, rng, smooth):
    """Brush strokes along a flow over a simple scene, coarse ones first, with the grain of a canvas."""
    small_h, small_w = (max(48, round(v * 300 / min(height, width))) for v in (height, width))
    model = cv2.GaussianBlur(flat_vector(small_h, small_w, rng, True), (0, 0), rng.uniform(1, 4))
    ground = model.reshape(-1, 3).mean(0)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = ground
    flow = cv2.GaussianBlur(rng.normal(size=(small_h, small_w)).astype(np.float32), (0, 0), small_h / 6)
    flow = flow / (np.abs(flow).max() + 1e-6) * math.pi
    u, scale = min(height, width) / 100, small_h / height
    for size, count in ((6, 700), (3, 2200), (1.4, 5200)):
        at = rng.random((count, 2)) * (height, width)
        rows, columns = np.minimum((at * scale).astype(int), (small_h - 1, small_w - 1)).T
        colors = np.clip(model[rows, columns] + rng.normal(0, 9, (count, 3)), 0, 255)
        angle, length = flow[rows, columns], u * size * rng.uniform(1, 2.5, count)
        along = np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1)
        at = at[:, ::-1]
        bend = rng.normal(0, 0.4 * u, (count, 2))
        strokes = np.rint(np.stack([at - along, at + bend, at + along], axis=1)).astype(np.int32)
        for points, color in zip(strokes, colors):
            cv2.polylines(image, [points], False, color.tolist(), max(1, round(u * size * 0.55)), cv2.LINE_AA)
    image = image.astype(np.float32)
    relief = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), max(0.8, u * 0.12))
    image += (relief / relief.std() * rng.uniform(1, 4))[..., None]
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def pattern(height, width, rng, smooth):
    """A regular pattern of a fabric or a wallpaper: stripes, checks, dots, scales or waves."""
    colors = palette(rng, 4)
    canvas = Canvas(height, width, colors[0], smooth)
    step, kind = canvas.unit * rng.uniform(3, 12), int(rng.integers(5))
    for i, y in enumerate(np.arange(-step, height + step, step)):
        if kind == 0:
            canvas.rectangle(0, y, width, step * rng.uniform(0.4, 0.6), fill=colors[1 + i % 3])
            continue
        if kind == 4:
            points = [
                (x, y + step * 0.4 * math.sin(2 * math.pi * x / step / 3)) for x in np.arange(0, width + step, step / 4)
            ]
            canvas.line(points, colors[1 + i % 3], step * 0.3)
            continue
        for j, x in enumerate(np.arange(-step, width + step, step)):
            color = colors[1 + (i + j) % 3]
            if kind == 1 and (i + j) % 2:
                canvas.rectangle(x, y, step, step, fill=colors[1])
            elif kind == 2:
                canvas.ellipse(x + (i % 2) * step / 2, y, step * 0.3, fill=color)
            elif kind == 3:
                canvas.ellipse(
                    x + (i % 2) * step / 2,
                    y,
                    step * 0.56,
                    fill=color,
                    outline=shade(color, 0.6),
                    line=max(1, step * 0.05),
                )
    return canvas.done()
