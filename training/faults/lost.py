"""What is lost: a missing region, and frames that failed altogether."""

import math

import cv2
import numpy as np

from training.random_choice import pick

from .base import Fault, Look, blurred, box, ellipse, grid, smooth_noise

# -- missing region --------------------------------------------------------------------------------------------------


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


def _strokes(image, share, rng):
    """The strokes of a mask are left: thick lines of one colour."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    for _ in range(40):
        points = rng.uniform(0, 1, (int(rng.integers(2, 5)), 2)) * (width, height)
        line = max(3, int(min(height, width) * rng.uniform(0.02, 0.08)))
        cv2.polylines(mask, [points.astype(np.int32)], False, 255, line)
        if mask.mean() / 255 > share * 0.7:
            break
    return np.where(mask[..., None] > 0, _fill(rng), image)


def _static_part(image, share, rng):
    """A part that holds static, or a few random colours in blocks."""
    height, width = image.shape[:2]
    cell = pick((1, 1, 8, 16), rng)
    noise = rng.integers(0, 256, (-(-height // cell), -(-width // cell), 3), dtype=np.uint8)
    noise = np.repeat(np.repeat(noise, cell, 0), cell, 1)[:height, :width]
    result = image.copy()
    where = box(height, width, share, rng)
    result[where] = noise[where]
    return result


def _copied_part(image, share, rng):
    """A part was lost and shows another part of the image instead."""
    height, width = image.shape[:2]
    rows, columns = box(height, width, share, rng)
    other = np.roll(image, (int(rng.integers(height // 4, height)), int(rng.integers(width // 4, width))), (0, 1))
    result = image.copy()
    result[rows, columns] = other[rows, columns]
    return result


# -- failed frame ----------------------------------------------------------------------------------------------------


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


def _colored_blocks(image, _, rng):
    """Blocks of random colours, as of a file whose data are lost."""
    height, width = image.shape[:2]
    cell = max(4, min(height, width) // int(rng.integers(4, 40)))
    blocks = rng.integers(0, 256, (-(-height // cell), -(-width // cell), 3), dtype=np.uint8)
    return np.repeat(np.repeat(blocks, cell, 0), cell, 1)[:height, :width]


def _clouds(image, _, rng):
    """Clouds without any structure: a sample that never took shape."""
    height, width = image.shape[:2]
    base = rng.uniform(40, 215, 3).astype(np.float32)
    strength = rng.uniform(8, 45)
    cell = min(height, width) * rng.uniform(0.05, 0.2)
    return base + strength * smooth_noise(height, width, cell, pick((1, 3), rng), rng)


def _veiled(image, _, rng):
    """One colour with a trace of the image, or of noise, in it."""
    color = rng.integers(0, 256, 3).astype(np.float32)
    trace = image if rng.random() < 0.5 else rng.integers(0, 256, image.shape).astype(np.float32)
    share = rng.uniform(0.01, 0.05)
    return color * (1 - share) + trace * share


_HOLES = (0.02, 0.05, 0.1, 0.2, 0.35)
_ONCE = (None,) * 5
_FAILED: Look = {"label": None, "cost": 5.0}

FAULTS = (
    Fault("missing_rectangle", "missing region", _rectangle, _HOLES),
    Fault("missing_rest", "missing region", _cut_off, (0.05, 0.1, 0.2, 0.35, 0.55)),
    Fault("missing_blocks", "missing region", _blocks, (0.01, 0.03, 0.07, 0.14, 0.25)),
    Fault("missing_strokes", "missing region", _strokes, _HOLES),
    Fault("missing_static", "missing region", _static_part, _HOLES),
    Fault("missing_copied", "missing region", _copied_part, _HOLES),
    Fault("missing_hole", "missing region", _hole, _HOLES, held_out=True),
    Fault("missing_transparent", "missing region", _transparent, _HOLES, held_out=True),
    Fault("failed_color", "failed frame", _one_color, _ONCE, **_FAILED),
    Fault("failed_static", "failed frame", _static, _ONCE, **_FAILED),
    Fault("failed_latent", "failed frame", _latent_static, _ONCE, **_FAILED),
    Fault("failed_black", "failed frame", _nearly_black, _ONCE, **_FAILED),
    Fault("failed_blocks", "failed frame", _colored_blocks, _ONCE, **_FAILED),
    Fault("failed_clouds", "failed frame", _clouds, _ONCE, **_FAILED),
    Fault("failed_veiled", "failed frame", _veiled, _ONCE, **_FAILED),
    Fault("failed_ramp", "failed frame", _color_ramp, _ONCE, held_out=True, **_FAILED),
    Fault("failed_stripes", "failed frame", _test_stripes, _ONCE, held_out=True, **_FAILED),
)
