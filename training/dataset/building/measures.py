"""Measurement of a distorted image against its reference: metrics and the location of the error."""

import cv2
import numpy as np
import piq
import torch

METRICS = ("ssim", "gmsd", "haarpsi", "mdsi", "psnr", "vsi")
"""Metrics of piq, on RGB except gmsd (which takes luma itself): together about 50 ms for 224 x 299 px on one core."""

BEST = {"ssim": 1.0, "gmsd": 0.0, "haarpsi": 1.0, "mdsi": 0.0, "psnr": 80.0, "vsi": 1.0}
"""The value of two identical images; piq ends psnr at 80 dB."""

MIN_SIDE = 161
"""Short side in pixels that the metrics need."""

REGIONS = (
    "upper left", "top", "upper right",
    "left", "center", "right",
    "lower left", "bottom", "lower right",
)  # fmt: skip
TONES = ("dark areas", "midtones", "bright areas")
TEXTURES = ("smooth areas", "textured areas", "edges")

REGION_RATIO = 1.6  # a cell of the 3 x 3 grid is named if its mean error is this many times that of the whole image
MASK_RATIO = 1.6  # a kind of area is named if its mean error is this many times that of all the rest
MASK_SHARES = (
    0.06,
    0.85,
)  # ... and if it covers this share of the image, so that "the rest" and it both mean something
FAINT = 0.75  # mean error in grey levels below which no location is given


def metrics(distorted: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Compares two uint8 [H, W, 3] RGB images of one size; values as piq gives them, to 6 decimals.

    ssim, haarpsi, vsi (0..1) and psnr (dB) rise with quality; gmsd and mdsi fall, 0 is best. Sides of at least 161 px.

    Raises:
        ValueError: the sizes differ.
    """
    if distorted.shape != reference.shape:
        raise ValueError(f"metrics need two images of one size, got {distorted.shape[:2]} and {reference.shape[:2]}")
    if np.array_equal(distorted, reference):
        return dict(BEST)
    x, y = _tensor(distorted), _tensor(reference)
    with torch.inference_mode():
        return {name: round(float(getattr(piq, name)(x, y, data_range=1.0)), 6) for name in METRICS}


def where(distorted: np.ndarray, reference: np.ndarray) -> dict[str, str | None]:
    """Says where the error of a distorted image is strongest.

    The error is the absolute difference, averaged over R, G and B (luma alone would not see a change of saturation)
    and blurred a little. "region" is a cell of a 3 x 3 grid if its mean error is at least `REGION_RATIO` times that of
    the image, else "everywhere"; "tone" and "texture" name a kind of area of the *reference* if its mean error is at
    least `MASK_RATIO` times that of the rest of the image, else None. Below `FAINT` nothing is named.

    Args:
        distorted, reference: uint8 [H, W, 3].

    Returns:
        {"region": one of `REGIONS` or "everywhere", "tone": one of `TONES` or None,
        "texture": one of `TEXTURES` or None}.
    """
    error = cv2.absdiff(distorted, reference).astype(np.float32).mean(axis=2)
    return _place(error, reference)


def where_seen(distorted: np.ndarray, reference: np.ndarray, short: int = 448) -> dict[str, str | None]:
    """Return the same as ``where`` for a larger image: the error is computed at full size and then averaged down to a
    short side of ``short`` pixels, at which tones and textures are classified."""
    scale = short / min(reference.shape[:2])
    if scale >= 1:
        return where(distorted, reference)
    error = cv2.absdiff(distorted, reference).astype(np.float32).mean(axis=2)
    size = (round(reference.shape[1] * scale), round(reference.shape[0] * scale))
    small = cv2.resize(reference, size, interpolation=cv2.INTER_AREA)
    return _place(cv2.resize(error, size, interpolation=cv2.INTER_AREA), small)


def _place(error: np.ndarray, reference: np.ndarray) -> dict[str, str | None]:
    error = cv2.GaussianBlur(error, (0, 0), min(error.shape) / 112)  # sigma 2 at 224 px
    mean = float(error.mean())
    if mean < FAINT:
        return {"region": "everywhere", "tone": None, "texture": None}
    cells = cv2.resize(error, (3, 3), interpolation=cv2.INTER_AREA).ravel()
    strongest = int(cells.argmax())
    region = REGIONS[strongest] if cells[strongest] >= REGION_RATIO * mean else "everywhere"
    texture = _strongest(error, dict(zip(TEXTURES, texture_masks(reference), strict=True)))
    tone = _strongest(error, dict(zip(TONES, tone_masks(reference), strict=True)))
    if (
        texture == "edges" and tone == "midtones"
    ):  # an edge between dark and bright is a midtone: the same thing said twice
        tone = None
    return {"region": region, "tone": tone, "texture": texture}


def tone_masks(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dark, middle and bright pixels of a uint8 [H, W, 3] image as bool [H, W]: luma below 80, between, from 176."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    luma = cv2.GaussianBlur(luma, (0, 0), min(luma.shape) / 112)
    return luma < 80, (luma >= 80) & (luma < 176), luma >= 176


def texture_masks(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth, textured and edge pixels of a uint8 [H, W, 3] image as bool [H, W]; they do not overlap.

    Smooth: standard deviation of luma below 5 levels within a neighbourhood of about 4 % of the short side. Edges: a
    gradient among the strongest tenth of the image and of at least 6 levels per pixel, widened by a pixel.
    """
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    side = max(3, int(min(luma.shape) * 0.04) | 1)
    mean = cv2.blur(luma, (side, side))
    deviation = np.sqrt(np.maximum(cv2.blur(luma * luma, (side, side)) - mean * mean, 0))
    soft = cv2.GaussianBlur(luma, (0, 0), min(luma.shape) / 112)
    gradient = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=1 / 8))
    strong = (gradient >= max(6.0, float(np.quantile(gradient, 0.9)))).astype(np.uint8)
    edges = cv2.dilate(strong, np.ones((3, 3), np.uint8)).astype(bool)
    smooth = (deviation < 5) & ~edges
    return smooth, ~smooth & ~edges, edges


def _strongest(error: np.ndarray, masks: dict[str, np.ndarray]) -> str | None:
    best, name = MASK_RATIO, None
    for label, mask in masks.items():
        if not MASK_SHARES[0] <= float(mask.mean()) <= MASK_SHARES[1]:
            continue
        ratio = float(error[mask].mean()) / max(float(error[~mask].mean()), 1e-6)
        if ratio >= best:
            best, name = ratio, label
    return name


def _tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None].contiguous()  # [1, 3, H, W]
