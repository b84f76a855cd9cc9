"""Deliveries: how an image is scaled down and saved again between its maker and its viewer."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, features

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
}

# What programs use: generators and editors (90 to 100), browsers and stores (80 to 92), chat programs (75 to 85).
# Lower qualities are damage, and belong to the distortion "compression".
QUALITIES = {"jpeg": (75, 98), "webp": (78, 98), "avif": (70, 95)}
"""Format -> range of its quality."""

SUFFIXES = {"jpeg": ".jpg", "webp": ".webp", "avif": ".avif"}


@dataclass(frozen=True)
class Delivery:
    """One way from the maker to the viewer.

    Attributes:
        factor: scale of both sides, at most 1.
        filter: name of the filter, see `FILTERS`; of no meaning at factor 1.
        format: jpeg, webp or avif, or None for no lossy step.
        quality: quality of that format.
    """

    factor: float = 1.0
    filter: str = "lanczos"
    format: str | None = None
    quality: int = 0

    @property
    def words(self) -> str | None:
        """What was done, such as "resize 0.8 lanczos, webp 90"; None for nothing."""
        done = [f"resize {self.factor:g} {self.filter}"] if self.factor < 1 else []
        done += [f"{self.format} {self.quality}"] if self.format else []
        return ", ".join(done) or None

    def scale(self, image: np.ndarray) -> np.ndarray:
        """Scale an image, uint8 [H, W, 3], as the delivery does."""
        if self.factor >= 1:
            return image
        height, width = image.shape[:2]
        size = (max(1, round(width * self.factor)), max(1, round(height * self.factor)))
        return np.asarray(Image.fromarray(image).resize(size, FILTERS[self.filter]))

    def encode(self, image: np.ndarray) -> tuple[np.ndarray, bytes | None]:
        """Save an image: (what is decoded from the file, the file); (image, None) where nothing is lossy."""
        if self.format is None:
            return image, None
        buffer = io.BytesIO()
        options = {"webp": {"method": 2}, "avif": {"speed": 9, "max_threads": 1}}.get(self.format, {})
        if self.format == "jpeg" and self.quality >= 95:
            options["subsampling"] = 0  # as most editors do at their best quality
        Image.fromarray(image).save(buffer, self.format.upper(), quality=self.quality, **options)
        return np.asarray(Image.open(buffer).convert("RGB")), buffer.getvalue()


def draw_delivery(
    rng: np.random.Generator, formats: dict[str, float], resized: float, factors: tuple[float, float]
) -> Delivery:
    """Draw a delivery.

    Args:
        formats: shares of the formats, "png" for no lossy step.
        resized: share that is scaled down, by a factor from ``factors``.
    """
    factor, name = 1.0, "lanczos"
    if rng.random() < resized:
        factor = round(float(rng.uniform(*factors)), 2)
        name = list(FILTERS)[int(rng.integers(len(FILTERS)))]
    shares = np.array(list(formats.values()))
    chosen = list(formats)[int(rng.choice(len(formats), p=shares / shares.sum()))]
    if chosen == "png":
        return Delivery(factor, name)
    low, high = QUALITIES[chosen]
    return Delivery(factor, name, chosen, int(rng.integers(low, high + 1)))


def missing_formats(formats: dict[str, float]) -> list[str]:
    """The wanted formats that this Pillow cannot write."""
    return [name for name in ("webp", "avif") if formats.get(name) and not features.check(name)]
