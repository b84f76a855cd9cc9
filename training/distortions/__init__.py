"""The 35 distortions of the data set in 12 categories, at severities 1 to 5, behind one function: `apply`."""

import operator

import numpy as np

from . import blur, brightness, compression, contrast, noise, oversharpen, pixelate, quantization, saturation
from .base import Distortion
from .pairs import ALLOWED_PAIRS, PAIRS

__all__ = [
    "ALLOWED_PAIRS", "ANSWER", "CATEGORIES", "CATEGORY", "MIN_SIDE", "NAMES", "RANDOM", "REGISTRY", "SEVERITIES",
    "WEB_FORMATS", "apply", "sample_native", "sample_one", "sample_two", "severities_of",
]  # fmt: skip

MIN_SIDE = 32
"""Shortest side in pixels of an image that can be distorted."""

SEVERITIES = (1, 2, 3, 4, 5)

_MODULES = (blur, noise, compression, brightness, contrast, saturation, oversharpen, pixelate, quantization)

_PUBLISHED = {entry.name: entry for module in _MODULES for entry in module.DISTORTIONS}

REGISTRY: dict[str, Distortion] = {**_PUBLISHED, **{entry.name: entry for entry in compression.WEB_FORMATS}}
"""All implementations: the 35 of the published data, and the web formats of today."""

NAMES: tuple[str, ...] = tuple(_PUBLISHED)
"""The 35 names, as the published data spells them."""

WEB_FORMATS: tuple[str, ...] = tuple(entry.name for entry in compression.WEB_FORMATS)
"""Names of compressions that the published data does not have: scenes at native resolution use them."""

CATEGORY: dict[str, str] = {name: entry.category for name, entry in REGISTRY.items()}
"""Name -> category."""

CATEGORIES: dict[str, tuple[str, ...]] = {
    category: tuple(name for name in NAMES if CATEGORY[name] == category)
    for category in dict.fromkeys(CATEGORY.values())
}
"""Category -> its names; 12 categories."""

RANDOM: frozenset[str] = frozenset(name for name, entry in REGISTRY.items() if entry.random)
"""Names whose result depends on `rng`."""

ANSWER: dict[str, str] = {
    "blur": "blur",
    "noise": "noise",
    "compression": "compression",
    "brighten": "overly high brightness",
    "darken": "insufficient brightness",
    "contrast_strengthen": "overly high contrast",
    "contrast_weaken": "insufficient contrast",
    "saturate_strengthen": "overly high saturation",
    "saturate_weaken": "insufficient saturation",
    "oversharpen": "oversharpening",
    "pixelate": "pixelation",
    "quantization": "color quantization",
}
"""Category -> its name in an answer, lower case (method.md 5.5)."""


def apply(name: str, image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Put one distortion on an image.

    Args:
        name: one of `REGISTRY`.
        image: uint8 [H, W, 3], RGB, H and W at least `MIN_SIDE`. Never written to.
        severity: 1 (slight) to 5 (catastrophic), one of `severities_of(name)`.
        rng: source of all randomness; used by the names in `RANDOM` only. The same state gives the same bytes.

    Returns:
        A new, writable, C-contiguous uint8 array of the same shape.

    Raises:
        ValueError: unknown name, severity outside 1..5, or an image of another dtype, shape or size.
        TypeError: `rng` is something else, such as a bare seed.
    """
    entry = REGISTRY.get(name)
    if entry is None:
        raise ValueError(f"unknown distortion {name!r}; known are: {', '.join(REGISTRY)}")
    severity = _checked_severity(severity)
    if severity > len(entry.parameters):
        raise ValueError(f"{name} has severities up to {len(entry.parameters)}, got {severity}")
    parameter = entry.parameters[severity - 1]
    image = np.ascontiguousarray(_checked_image(image))
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a generator such as numpy.random.default_rng(seed), got {type(rng).__name__}")
    result = entry.function(image, parameter, rng) if entry.random else entry.function(image, parameter)
    result = np.ascontiguousarray(result)
    return result.copy() if np.may_share_memory(result, image) else result


def sample_one(rng: np.random.Generator) -> tuple[str, int]:
    """Draw (name, severity 1..5): category, then implementation, then severity, each uniformly."""
    return _draw(_choice(tuple(CATEGORIES), rng), SEVERITIES, rng)


def sample_native(rng: np.random.Generator) -> tuple[str, int]:
    """Draw as `sample_one`, with a web format, at most as severe as it gets, in place of half of the compressions."""
    name, severity = sample_one(rng)
    if CATEGORY[name] == "compression" and rng.random() < 0.5:
        name = _choice(WEB_FORMATS, rng)
        severity = min(severity, len(REGISTRY[name].parameters))
    return name, severity


def severities_of(name: str) -> tuple[int, ...]:
    """The severities that an implementation has: 1 to 5, or fewer."""
    return SEVERITIES[: len(REGISTRY[name].parameters)]


def sample_two(rng: np.random.Generator) -> tuple[tuple[str, int], tuple[str, int]]:
    """Draw two (name, severity 1..3) in order of application: uniform over `ALLOWED_PAIRS`, then as `sample_one`."""
    first, second = _choice(PAIRS, rng)
    return _draw(first, SEVERITIES[:3], rng), _draw(second, SEVERITIES[:3], rng)


def _draw(category: str, severities: tuple[int, ...], rng: np.random.Generator) -> tuple[str, int]:
    return _choice(CATEGORIES[category], rng), _choice(severities, rng)


def _choice(options: tuple, rng: np.random.Generator):
    return options[int(rng.integers(len(options)))]


def _checked_severity(severity: int) -> int:
    try:
        value = operator.index(severity)
    except TypeError:
        raise ValueError(f"severity must be a whole number from 1 to 5, got {severity!r}") from None
    if value not in SEVERITIES:
        raise ValueError(f"severity must be from 1 to 5, got {value}")
    return value


def _checked_image(image: np.ndarray) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"an image to distort must be a NumPy array of uint8 (RGB, 0..255), got {kind}")
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image to distort must have the shape [height, width, 3], got {list(image.shape)}")
    if min(image.shape[:2]) < MIN_SIDE:
        height, width = image.shape[:2]
        raise ValueError(f"an image to distort must have at least {MIN_SIDE} px on a side, got {width} x {height}")
    return image
