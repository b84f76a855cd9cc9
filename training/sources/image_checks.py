"""Check by its pixels whether a file is a natural, pristine image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy.ndimage import laplace, maximum_filter, minimum_filter

from .manifest import Rules

MAX_CANDIDATE_PIXELS = 200_000_000  # a wallpaper of 16k x 9k still opens, a decompression bomb does not
OPAQUE = 250  # alpha from which a pixel counts as opaque
WORK_SIDE = 512  # long side on which the measures are taken, so that thresholds do not depend on the resolution
Image.MAX_IMAGE_PIXELS = MAX_CANDIDATE_PIXELS
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises for a damaged file


def load_rgb(file: Path) -> Image.Image:
    """Decodes an image fully, upright, as RGB; transparent parts become white.

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: it cannot be decoded, or it is too large; see
            `UNREADABLE`.
    """
    with Image.open(file) as opened:
        if opened.width * opened.height > MAX_CANDIDATE_PIXELS:
            raise ValueError(f"{opened.width}x{opened.height} pixels is too many")
        opened.load()
        upright = ImageOps.exif_transpose(opened)
        if _has_alpha(upright):
            rgba = upright.convert("RGBA")
            if np.asarray(rgba.getchannel("A")).min() < OPAQUE:
                return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
        return upright.convert("RGB")


def _has_alpha(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def open_checked(file: Path, rules: Rules) -> tuple[Image.Image | None, str | None]:
    """Opens a candidate as upright RGB, or says why it is unfit.

    Returns:
        (image, None) for a fit image, (None, reason) for an unfit one.

    Raises:
        the exceptions of `UNREADABLE`: the file is damaged or no image.
    """
    with Image.open(file) as opened:
        if min(opened.size) < rules.min_short:
            return None, f"short side {min(opened.size)} is below {rules.min_short}"
        if getattr(opened, "n_frames", 1) > 1:
            return None, "animation or several pages"
        if opened.mode in ("I", "F", "1") or opened.mode.startswith("I;"):
            return None, "grey"
        if opened.mode in ("L", "LA") and rules.min_chroma > 0:
            return None, "grey"
        quality = jpeg_quality(opened)
        if quality is not None and quality < rules.min_jpeg_quality:
            return None, f"JPEG quality about {quality} is below {rules.min_jpeg_quality}"
        if _has_alpha(opened) and opened.width * opened.height <= MAX_CANDIDATE_PIXELS:
            alpha = np.asarray(opened.convert("RGBA"))[..., 3]
            if float((alpha < OPAQUE).mean()) > rules.max_transparent:
                return None, "transparent areas"
    rgb = load_rgb(file)
    reason = unfit(rgb, rules)
    return (None, reason) if reason else (rgb, None)


def jpeg_quality(image: Image.Image) -> int | None:
    """Estimates the IJG quality (1..100) of a JPEG from its luminance quantisation table; None for other formats."""
    tables = getattr(image, "quantization", None)
    if image.format != "JPEG" or not tables:
        return None
    scale = (
        float(np.mean(tables[min(tables)])) / 57.625 * 100.0
    )  # 57.625: mean of the standard luminance table at quality 50
    return round(min(100.0, max(1.0, 5000.0 / scale if scale > 100.0 else (200.0 - scale) / 2.0)))


def unfit(rgb: Image.Image, rules: Rules) -> str | None:
    """Measures an RGB image and returns the reason why it is not a natural pristine image, or None.

    Posters, diagrams, masks, depth and edge maps, line art and user interfaces have few colours or large exactly flat
    areas; depth and edge maps have no chroma. An image that is itself dark, pale, flat or blurred would be labelled
    wrongly as pristine. A source of drawings, of greyscale or night images states wider limits in its rules:
    `min_chroma: 0` lets greyscale in, `max_transparent: 1` cut-outs, which get a white ground.
    """
    found = measure(rgb)
    limits = (
        (found["mean"] < rules.min_mean, f"too dark (mean {found['mean']:.0f})"),
        (found["mean"] > rules.max_mean, f"too bright (mean {found['mean']:.0f})"),
        (found["std"] < rules.min_std, f"nearly constant (standard deviation {found['std']:.0f})"),
        (found["chroma"] < rules.min_chroma, f"grey (chroma {found['chroma']:.0f})"),
        (found["colours"] < rules.min_colours, f"few colours ({found['colours']:.0f})"),
        (found["flat"] > rules.max_flat, f"flat areas ({found['flat']:.0%})"),
        (found["detail"] < rules.min_detail, f"little detail (Laplacian {found['detail']:.1f})"),
    )
    return next((reason for broken, reason in limits if broken), None)


def measure(rgb: Image.Image) -> dict[str, float]:
    """mean, std (grey values), chroma, colours, flat (share), detail of an image at the working size; see `Rules`."""
    small = rgb.copy()
    small.thumbnail((WORK_SIDE, WORK_SIDE), Image.Resampling.BICUBIC)
    pixels = np.asarray(small, dtype=np.uint8)  # [H, W, 3]
    grey = np.asarray(small.convert("L"), dtype=np.float32)
    spread = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)
    codes = (pixels >> 3).astype(np.uint32)
    flat = (maximum_filter(pixels, size=(3, 3, 1)) == minimum_filter(pixels, size=(3, 3, 1))).all(axis=2)
    return {
        "mean": float(grey.mean()),
        "std": float(grey.std()),
        "chroma": float(np.percentile(spread, 99)),
        "colours": float(len(np.unique(codes[..., 0] << 10 | codes[..., 1] << 5 | codes[..., 2]))),
        "flat": float(flat.mean()),
        "detail": float(laplace(grey).std()),
    }
