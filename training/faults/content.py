"""Faults of content: a missing region, something laid over the image, and frames that failed altogether."""

import math

import numpy as np
from PIL import Image, ImageDraw

from training.random_choice import pick
from training.typefaces import face

from .base import Fault, Look, blurred, box, ellipse, grid, smooth_noise

_WORDS = (
    "SAMPLE", "PREVIEW", "DRAFT", "stock photo", "Demo version", "COPY", "do not use", "example.com", "Studio North",
    "evaluation only", "PROOF", "watermark", "(c) 2024", "trial", "Your Logo",
)  # fmt: skip
_LINES = (
    "I told you we should have turned left.", "Breaking news", "Episode 4: the long way home", "Figure 2",
    "Subscribe for more", "When the coffee finally works", "Shot on a rainy day", "[music]", "Chapter One",
    "This is fine.", "Live from the harbour", "Two days later",
)  # fmt: skip

# -- missing region ------------------------------------------------------------------------------------------------


def _fill(rng: np.random.Generator) -> np.ndarray:
    """Draw the colour of a hole: black, white, grey, the grey of decoders, magenta, or any."""
    known = ([0, 0, 0], [255, 255, 255], [128, 128, 128], [255, 0, 255], list(rng.integers(0, 256, 3)))
    return np.array(pick(known, rng), np.uint8)


def _rectangle(image, share, rng):
    """A rectangle of one colour."""
    result = image.copy()
    result[box(image.shape[0], image.shape[1], share, rng)] = _fill(rng)
    return result


def _cut_off(image, share, rng):
    """The rest of a file that ended early: one colour from some row on, with a step inside the last row of blocks."""
    result = image.copy()
    height, width = image.shape[:2]
    start = int(height * (1 - share))
    color = _fill(rng)
    result[start:] = color
    block = max(8, height // 64)
    result[max(0, start - block) : start, int(width * rng.random()) :] = color
    return result


def _blocks(image, share, rng):
    """Blocks of 16 to 64 pixels are lost at random places."""
    height, width = image.shape[:2]
    size = max(8, pick((16, 32, 64), rng) * min(height, width) // 512)
    lost = rng.random((-(-height // size), -(-width // size))) < share
    mask = np.repeat(np.repeat(lost, size, 0), size, 1)[:height, :width]
    return np.where(mask[..., None], _fill(rng), image)


def _hole(image, share, rng):
    """A hole that was filled with a smear of its surroundings."""
    height, width = image.shape[:2]
    mask = ellipse(height, width, share, rng)[..., None]
    return np.where(mask, blurred(image, min(height, width) / 6), image)


def _transparent(image, share, rng):
    """A cut-out that shows the grey chequers of transparency."""
    height, width = image.shape[:2]
    y, x = grid(height, width)
    side = max(6, min(height, width) // 50)
    board = np.where((y // side + x // side) % 2, 204, 255)[..., None]
    mask = ellipse(height, width, share, rng)[..., None]
    return np.where(mask, board, image).astype(np.uint8)


# -- overlay -------------------------------------------------------------------------------------------------------


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
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
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
    return np.asarray(picture)


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
    picture = Image.fromarray(image)
    text = f"{int(rng.integers(1, 13)):02d}/{int(rng.integers(1, 29)):02d}/{int(rng.integers(1996, 2031))}"
    font = face(max(10, int(height * share)), mono=True)
    right = font.getbbox(text)[2]
    draw = ImageDraw.Draw(picture)
    draw.text((width - right - height * 0.04, height * (0.95 - share)), text, font=font, fill=(255, 140, 40))
    return np.asarray(picture)


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


# -- failed frame --------------------------------------------------------------------------------------------------


def _one_color(image, _, rng):
    """One colour and nothing else."""
    known = ([0, 0, 0], [255, 255, 255], [127, 127, 127], list(rng.integers(0, 256, 3)))
    return np.broadcast_to(np.array(pick(known, rng), np.uint8), image.shape).copy()


def _static(image, _, rng):
    """Static: noise in every pixel, grey or coloured."""
    channels = pick((1, 3), rng)
    noise = rng.integers(0, 256, (*image.shape[:2], channels), dtype=np.uint8)
    return np.broadcast_to(noise, image.shape).copy()


def _latent_static(image, _, rng):
    """What a latent image of pure noise decodes to: coloured blotches."""
    height, width = image.shape[:2]
    noise = 60 * smooth_noise(height, width, 8, 3, rng) + 25 * smooth_noise(height, width, 2, 3, rng)
    return 127 + noise


def _nearly_black(image, _, rng):
    """Black but for a trace of noise, as safety filters and overflows leave it."""
    return np.abs(rng.normal(0, 1.5, image.shape)).astype(np.float32)


def _color_ramp(image, _, rng):
    """A smooth ramp between two colours."""
    height, width = image.shape[:2]
    y, x = grid(height, width)
    angle = rng.uniform(0, 2 * math.pi)
    along = (x / width - 0.5) * math.cos(angle) + (y / height - 0.5) * math.sin(angle) + 0.5
    a, b = rng.integers(0, 256, (2, 3)).astype(np.float32)
    return a + (b - a) * np.clip(along, 0, 1)[..., None]


def _test_stripes(image, _, rng):
    """Vertical bars of full colours."""
    colors = rng.permutation(np.array(np.meshgrid([0, 255], [0, 255], [0, 255])).reshape(3, -1).T).astype(np.uint8)
    index = np.arange(image.shape[1]) * len(colors) // image.shape[1]
    return np.broadcast_to(colors[index][None], image.shape).copy()


_HOLES = (0.02, 0.05, 0.1, 0.2, 0.35)
_OPACITY = (0.12, 0.2, 0.3, 0.45, 0.7)
_ONCE = (None,) * 5
_SLIGHT = 0.15  # a border, a bar or a caption takes 3 points of 100 a step, 14 at most
_MARK = 0.4  # a watermark takes 7 points a step
_FAILED: Look = {"label": None, "cost": 5.0}

FAULTS = (
    Fault("missing_rectangle", "missing region", _rectangle, _HOLES),
    Fault("missing_rest", "missing region", _cut_off, (0.05, 0.1, 0.2, 0.35, 0.55)),
    Fault("missing_blocks", "missing region", _blocks, (0.01, 0.03, 0.07, 0.14, 0.25)),
    Fault("missing_hole", "missing region", _hole, _HOLES, held_out=True),
    Fault("missing_transparent", "missing region", _transparent, _HOLES, held_out=True),
    Fault("overlay_watermark", "overlay", _watermark, _OPACITY, cost=_MARK),
    Fault("overlay_mark", "overlay", _one_mark, _OPACITY, cost=_MARK),
    Fault("overlay_caption", "overlay", _caption, (0.035, 0.05, 0.07, 0.09, 0.12), cost=_SLIGHT),
    Fault("overlay_border", "overlay", _border, (0.015, 0.025, 0.04, 0.06, 0.09), cost=_SLIGHT),
    Fault("overlay_letterbox", "overlay", _letterbox, (0.04, 0.07, 0.1, 0.14, 0.18), cost=_SLIGHT),
    Fault("overlay_date", "overlay", _date_stamp, (0.03, 0.04, 0.05, 0.065, 0.08), cost=_SLIGHT, held_out=True),
    Fault("overlay_frame", "overlay", _rounded_frame, (0.015, 0.03, 0.045, 0.06, 0.08), cost=_SLIGHT, held_out=True),
    Fault("overlay_interface", "overlay", _interface, (0.3, 0.45, 0.6, 0.75, 0.9), cost=_MARK, held_out=True),
    Fault("failed_color", "failed frame", _one_color, _ONCE, **_FAILED),
    Fault("failed_static", "failed frame", _static, _ONCE, **_FAILED),
    Fault("failed_latent", "failed frame", _latent_static, _ONCE, **_FAILED),
    Fault("failed_black", "failed frame", _nearly_black, _ONCE, **_FAILED),
    Fault("failed_ramp", "failed frame", _color_ramp, _ONCE, held_out=True, **_FAILED),
    Fault("failed_stripes", "failed frame", _test_stripes, _ONCE, held_out=True, **_FAILED),
)
