"""Whether a faster way of running a model gives the same numbers: compared once, on small random images."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch

from ..engine.batching import is_out_of_memory
from ..images.image import RGBImage
from .vlm_prompts import Prompt

UNABLE = (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError)
"""What architectures raise that do not take their inputs in pieces, or together."""
SIDE = 64
"""Short side of the images in pixels."""

Found = TypeVar("Found")


class _Tokenizes(Protocol):
    def ids(self, text: str) -> list[int]: ...


def sample_images(count: int, wider: int = 0, seed: int = 0) -> list[RGBImage]:
    """Return random images, each ``wider`` pixels wider than the one before."""
    generator = np.random.default_rng(seed)
    shapes = [(SIDE, SIDE + wider * (index + 1), 3) for index in range(count)]
    return [RGBImage(generator.integers(0, 256, shape, np.uint8), str(i)) for i, shape in enumerate(shapes)]


def sample_prompts(layout: tuple[str, ...], images: Sequence[RGBImage]) -> list[Prompt]:
    """Return questions about each two neighbours, in the texts of a question about two images."""
    return [Prompt(layout, pair, pair=True) for pair in zip(images, images[1:])]


def sample_answers(network: _Tokenizes) -> list[list[int]]:
    """Return the tokens of two answers of different lengths."""
    return [network.ids("yes"), network.ids("no better")]


def attempt(run: Callable[[], Found]) -> Found | None:
    """Run a faster way; None where the architecture cannot. Short memory says nothing about it, and is raised."""
    try:
        return run()
    except UNABLE as error:
        if is_out_of_memory(error):
            raise
        return None


def agree(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor], tolerance: float) -> bool:
    """Whether log-probabilities are the same but for rounding.

    Args:
        tolerance: largest difference in probability that is rounding.
    """
    return all((a.exp() - b.exp()).abs().max() < tolerance for a, b in zip(found, wanted, strict=True))


def no_check() -> None:
    """The ``check`` of work that cannot be stopped."""
