"""Something laid over the image: marks, captions, borders."""

import math

import numpy as np
from PIL import Image, ImageDraw

from training.random_choice import pick
from training.typefaces import face

from .base import Fault, box

_WORDS = (
    "SAMPLE", "PREVIEW", "DRAFT", "stock photo", "Demo version", "COPY", "do not use", "example.com", "Studio North",
    "evaluation only", "PROOF", "watermark", "(c) 2024", "trial", "Your Logo",
)  # fmt: skip
_LINES = (
    "I told you we should have turned left.", "Breaking news", "Episode 4: the long way home", "Figure 2",
    "Subscribe for more", "When the coffee finally works", "Shot on a rainy day", "[music]", "Chapter One",
    "This is fine.", "Live from the harbour", "Two days later",
)  # fmt: skip


def _text_layer(height: int, width: int, text: str, size: int, angle: float = 0.0) -> Image.Image:
    """Draw a text as a mask of its own size, turned by an angle."""
    font = face(size, bold=True)
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    layer = Image.new("L", (max(1, right - left + 4), max(1, bottom - top + 4)))
    ImageDraw.Draw(layer).text((2 - left, 2 - top), text, fill=255, font=font)
    return layer.rotate(angle, expand=True, resample=Image.Resampling.BICUBIC) if angle else layer


def _laid(image: np.ndarray, mask: np.ndarray, color, opacity: float) -> np.ndarray:
    weight = (mask.astype(np.float32) / 255 * opacity)[..., None]
    return image * (1 - weight) + np.float32(color) * weight


def _watermark(image, opacity, rng):
    """A slanted text, repeated over the whole image."""
    height, width = image.shape[:2]
    text = pick(_WORDS, rng)
    size = max(10, int(min(height, width) * rng.uniform(0.035, 0.09)))
    layer = _text_layer(height, width, text, size, pick((0, 20, 30, 45, -30), rng))
    mask = Image.new("L", (width, height))
    step_x, step_y = int(layer.width * rng.uniform(1.1, 1.6)), int(layer.height * rng.uniform(1.2, 2))
    for row, y in enumerate(range(-layer.height // 2, height, step_y)):
        for x in range(-layer.width + (row % 2) * step_x // 2, width, step_x):
            mask.paste(layer, (x, y), layer)
    return _laid(image, np.asarray(mask), pick(((255, 255, 255), (0, 0, 0), (128, 128, 128)), rng), opacity)


def _one_mark(image, opacity, rng):
    """One large text over the middle of the image, or one emblem."""
    height, width = image.shape[:2]
    mask = Image.new("L", (width, height))
    if rng.random() < 0.6:
        text = pick(_WORDS, rng)
        size = max(12, int(1.5 * width / len(text)))
        layer = _text_layer(height, width, text, min(size, height // 3), pick((0, 0, 25, 40), rng))
        mask.paste(layer, ((width - layer.width) // 2, (height - layer.height) // 2), layer)
    else:
        draw = ImageDraw.Draw(mask)
        radius, line = min(height, width) * rng.uniform(0.15, 0.3), max(2, min(height, width) // 60)
        cx, cy = width / 2, height / 2
        draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), outline=255, width=line)
        corners = [(cx + radius * math.sin(a), cy - radius * math.cos(a)) for a in np.arange(5) * 4 * math.pi / 5]
        draw.line([*corners, corners[0]], fill=255, width=line)
    return _laid(image, np.asarray(mask), pick(((255, 255, 255), (0, 0, 0)), rng), opacity)


def _caption(image, share, rng):
    """A line of text at the top or the bottom, on a bar or with an outline."""
    height, width = image.shape[:2]
    text = pick(_LINES, rng)
    size = max(9, int(min(share * height, 1.7 * width / len(text))))
    font = face(size, bold=rng.random() < 0.6)
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    at_top = rng.random() < 0.3
    y = int(size * 0.5) if at_top else height - int(size * 1.6)
    x = (width - (right - left)) // 2
    if rng.random() < 0.5:
        dark = rng.random() < 0.6
        bar = (0, y - size // 3, width, y + int(size * 1.4))
        draw.rectangle(bar, fill=(0, 0, 0) if dark else (255, 255, 255))
        draw.text((x, y), text, font=font, fill=(255, 255, 255) if dark else (0, 0, 0))
    else:
        fill = pick(((255, 255, 255), (255, 235, 60)), rng)
        draw.text((x, y), text, font=font, fill=fill, stroke_width=max(1, size // 12), stroke_fill=(0, 0, 0))
    return np.asarray(canvas)


def _border(image, share, rng):
    """A border of one colour on all four sides."""
    result = image.copy()
    size = max(2, int(min(image.shape[:2]) * share))
    color = pick(([255, 255, 255], [0, 0, 0], [235, 228, 210], list(rng.integers(0, 256, 3))), rng)
    result[:size], result[-size:], result[:, :size], result[:, -size:] = (np.array(color, np.uint8),) * 4
    return result


def _letterbox(image, share, rng):
    """Black or white bars at top and bottom, or at left and right."""
    result = image.copy()
    color = 0 if rng.random() < 0.8 else 255
    view = result if rng.random() < 0.7 else result.transpose(1, 0, 2)
    size = max(2, int(view.shape[0] * share))
    view[:size] = color
    view[-size:] = color
    return result


def _date_stamp(image, share, rng):
    """The date in a corner, as old cameras print it."""
    height, width = image.shape[:2]
    canvas = Image.fromarray(image)
    text = f"{int(rng.integers(1, 13)):02d}/{int(rng.integers(1, 29)):02d}/{int(rng.integers(1996, 2031))}"
    font = face(max(10, int(height * share)), mono=True)
    right = font.getbbox(text)[2]
    draw = ImageDraw.Draw(canvas)
    draw.text((width - right - height * 0.04, height * (0.95 - share)), text, font=font, fill=(255, 140, 40))
    return np.asarray(canvas)


def _rounded_frame(image, share, rng):
    """A frame with rounded corners and a shadow inside, as of a presentation."""
    height, width = image.shape[:2]
    size = int(min(height, width) * share)
    mask = Image.new("L", (width, height), 255)
    area = (size, size, width - size, height - size)
    ImageDraw.Draw(mask).rounded_rectangle(area, radius=2 * size + 4, fill=0)
    color = pick(((255, 255, 255), (24, 26, 30), (240, 240, 245)), rng)
    return _laid(image, np.asarray(mask), color, 1.0)


def _interface(image, opacity, rng):
    """Buttons and a progress bar of a player over the lower part."""
    height, width = image.shape[:2]
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    unit = min(height, width) / 20
    y = height - 2.2 * unit
    draw.rounded_rectangle((2 * unit, y, width - 2 * unit, y + unit / 3), radius=unit / 6, fill=255)
    cx, cy = width / 2, height / 2
    draw.ellipse((cx - 2 * unit, cy - 2 * unit, cx + 2 * unit, cy + 2 * unit), fill=150)
    draw.polygon([(cx - unit * 0.7, cy - unit), (cx - unit * 0.7, cy + unit), (cx + unit, cy)], fill=255)
    return _laid(image, np.asarray(mask), (255, 255, 255), opacity)


def _emblem(image, opacity, rng):
    """A small emblem with a name in a corner, as channels and studios have."""
    height, width = image.shape[:2]
    unit = max(10, int(min(height, width) * rng.uniform(0.05, 0.12)))
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    layer = _text_layer(height, width, pick(_WORDS, rng), max(8, int(unit * 0.45)))
    x = unit // 2 if rng.random() < 0.5 else max(0, width - layer.width - 2 * unit)
    y = unit // 2 if rng.random() < 0.5 else height - int(1.5 * unit)
    shape = pick((draw.ellipse, draw.rectangle), rng)
    shape((x, y, x + unit, y + unit), fill=255)
    shape((x + unit // 4, y + unit // 4, x + unit * 3 // 4, y + unit * 3 // 4), fill=0)
    mask.paste(layer, (x + unit + unit // 4, y + unit // 4), layer)
    color = pick(((255, 255, 255), (0, 0, 0), tuple(int(c) for c in rng.integers(0, 256, 3))), rng)
    return _laid(image, np.asarray(mask), color, min(1.0, opacity * 1.3))


def _crossed(image, opacity, rng):
    """Thin lines cross the whole image, as over a preview, with or without a word in the middle."""
    height, width = image.shape[:2]
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    line = max(1, int(min(height, width) * rng.uniform(0.004, 0.015)))
    count = int(rng.integers(1, 4))
    for step in range(count):
        at = (step + 0.5) / count - 0.5
        draw.line((at * width, 0, width + at * width, height), fill=255, width=line)
        draw.line((width - at * width, 0, -at * width, height), fill=255, width=line)
    if rng.random() < 0.5:
        layer = _text_layer(height, width, pick(_WORDS, rng), max(10, min(height, width) // 10))
        mask.paste(255, ((width - layer.width) // 2, (height - layer.height) // 2), layer)
    return _laid(image, np.asarray(mask), pick(((255, 255, 255), (0, 0, 0), (128, 128, 128)), rng), opacity)


def _lower_third(image, share, rng):
    """A coloured box with a name and a line of text in the lower third, as in the news."""
    height, width = image.shape[:2]
    size = max(8, int(height * share * 0.8))
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    text = pick(_LINES, rng)[: max(4, int(1.6 * width * 0.8 / size))]
    font = face(size, bold=True)
    color = tuple(int(c) for c in rng.integers(0, 256, 3))
    left, top = int(width * rng.uniform(0.02, 0.1)), int(height * 0.94 - 1.6 * size)
    draw.rectangle((left, top, left + font.getbbox(text)[2] + size, top + int(1.5 * size)), fill=color)
    draw.text(
        (left + size // 2, top + size // 5), text, font=font, fill=(0, 0, 0) if sum(color) > 380 else (255, 255, 255)
    )
    return np.asarray(canvas)


def _drawn_marks(image, share, rng):
    """Arrows, circles and boxes that someone drew on the image."""
    height, width = image.shape[:2]
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    line = max(2, int(min(height, width) * share * 0.2))
    for _ in range(int(rng.integers(1, 4))):
        rows, columns = box(height, width, rng.uniform(0.03, 0.15), rng)
        area = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
        color = pick(((255, 0, 0), (255, 230, 0), (0, 200, 60), (0, 90, 255)), rng)
        kind = int(rng.integers(3))
        if kind == 0:
            draw.ellipse(area, outline=color, width=line)
        elif kind == 1:
            draw.rectangle(area, outline=color, width=line)
        else:
            draw.line(area, fill=color, width=line)
            x, y, tip = area[2], area[3], 4 * line
            draw.polygon(((x + line, y + line), (x - tip, y), (x, y - tip)), fill=color)
    return np.asarray(canvas)


_OPACITY = (0.12, 0.2, 0.3, 0.45, 0.7)
_SLIGHT = 0.15  # a border, a bar or a caption takes 3 points of 100 a step, 14 at most
_MARK = 0.4  # a watermark takes 7 points a step

FAULTS = (
    Fault("overlay_watermark", "overlay", _watermark, _OPACITY, cost=_MARK),
    Fault("overlay_mark", "overlay", _one_mark, _OPACITY, cost=_MARK),
    Fault("overlay_emblem", "overlay", _emblem, _OPACITY, cost=_SLIGHT),
    Fault("overlay_crossed", "overlay", _crossed, _OPACITY, cost=_MARK),
    Fault("overlay_drawn", "overlay", _drawn_marks, (0.03, 0.045, 0.06, 0.08, 0.11), cost=_MARK),
    Fault("overlay_caption", "overlay", _caption, (0.035, 0.05, 0.07, 0.09, 0.12), cost=_SLIGHT),
    Fault("overlay_lower_third", "overlay", _lower_third, (0.035, 0.05, 0.07, 0.09, 0.12), cost=_SLIGHT),
    Fault("overlay_border", "overlay", _border, (0.015, 0.025, 0.04, 0.06, 0.09), cost=_SLIGHT),
    Fault("overlay_letterbox", "overlay", _letterbox, (0.04, 0.07, 0.1, 0.14, 0.18), cost=_SLIGHT),
    Fault("overlay_date", "overlay", _date_stamp, (0.03, 0.04, 0.05, 0.065, 0.08), cost=_SLIGHT, held_out=True),
    Fault("overlay_frame", "overlay", _rounded_frame, (0.015, 0.03, 0.045, 0.06, 0.08), cost=_SLIGHT, held_out=True),
    Fault("overlay_interface", "overlay", _interface, (0.3, 0.45, 0.6, 0.75, 0.9), cost=_MARK, held_out=True),
)
