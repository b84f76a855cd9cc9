"""Faults of generation and delivery at severities 1 to 5, several implementations each, behind one function: `apply`.

The faults are ``depictqa_core.tasks.FAULTS``. Amplitudes are grey levels and periods of regular patterns are pixels;
extents of things (tiles, holes, borders, letters, ghost offsets) are shares of the image's sides, so that they look the
same at every size.
"""

import numpy as np

from depictqa_core.tasks import FAULTS

from . import color, detail, lost, overlay, patterns, rows, seams, texture, tone
from .base import Fault, finished

__all__ = ["BY_FAULT", "HELD_OUT", "NAMES", "REGISTRY", "TRAINING", "Fault", "apply", "sample"]

MIN_SIDE = 64
"""Shortest side in pixels of an image that can get a fault."""

_MODULES = (seams, patterns, rows, tone, color, detail, texture, lost, overlay)

REGISTRY: dict[str, Fault] = {entry.name: entry for module in _MODULES for entry in module.FAULTS}
NAMES: tuple[str, ...] = tuple(REGISTRY)
TRAINING: tuple[str, ...] = tuple(name for name, entry in REGISTRY.items() if not entry.held_out)
"""Implementations for training."""

HELD_OUT: tuple[str, ...] = tuple(name for name, entry in REGISTRY.items() if entry.held_out)
"""Implementations that tests alone use, so that a test does not ask for what was practised."""

BY_FAULT: dict[str, tuple[str, ...]] = {
    fault: tuple(name for name in NAMES if REGISTRY[name].fault == fault) for fault in FAULTS
}
"""Fault -> its implementations."""


def apply(name: str, image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Put one fault on an image.

    Args:
        name: one of `NAMES`.
        image: uint8 [H, W, 3], RGB, sides of at least `MIN_SIDE`. Never written to.
        severity: 1 (slight) to 5 (catastrophic); a failed frame is the same at every severity.
        rng: source of all randomness; the same state gives the same bytes.

    Returns:
        A new uint8 array of the same shape.

    Raises:
        ValueError: unknown name, severity outside 1..5, or an image of another dtype, shape or size.
    """
    if name not in REGISTRY:
        raise ValueError(f"unknown fault {name!r}; known are: {', '.join(NAMES)}")
    if severity not in range(1, 6):
        raise ValueError(f"severity must be a whole number from 1 to 5, got {severity!r}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f"an image must be uint8 [H, W, 3] with sides of at least {MIN_SIDE} px, got {image.dtype} "
            f"{list(image.shape)}"
        )
    entry = REGISTRY[name]
    result = finished(entry.function(np.ascontiguousarray(image), entry.parameters[int(severity) - 1], rng))
    return result if result.flags.writeable and not np.may_share_memory(result, image) else result.copy()


def sample(rng: np.random.Generator, held_out: bool = False) -> tuple[str, int]:
    """Draw (name, severity 1..5): fault, then implementation, then severity, each uniformly.

    Args:
        held_out: draw the held-out implementations instead of those for training.
    """
    while True:
        fault = FAULTS[int(rng.integers(len(FAULTS)))]
        names = [name for name in BY_FAULT[fault] if REGISTRY[name].held_out == held_out]
        if names:
            name = names[int(rng.integers(len(names)))]
            return name, 5 if fault == "failed frame" else int(rng.integers(1, 6))
