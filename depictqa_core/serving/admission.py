"""Back-pressure: how much work waits, and when a client that was refused should come back."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .limits import Limits, RequestError

LONGEST_RETRY = 60
"""Longest time in seconds that a refused client is asked to wait."""


class Admission:
    """Counts what waits or is being judged; for one event loop, so it takes no lock.

    Args:
        limits: of all requests together.
        seconds_per_image: how long one image takes, as measured lately.

    Attributes:
        images, pixels: admitted now.
    """

    def __init__(self, limits: Limits, seconds_per_image: Callable[[], float]):
        self.limits, self._seconds_per_image = limits, seconds_per_image
        self.images = self.pixels = 0

    @contextmanager
    def admitted(self, images: int, pixels: int) -> Iterator[None]:
        """Admit a request for the length of a ``with`` block.

        Raises:
            RequestError: 413 if it never fits, 429 with the time to wait if it does not fit now.
        """
        limits = self.limits
        if images > limits.waiting_images or pixels > limits.waiting_pixels:
            raise RequestError(
                f"the images have {pixels:,} pixels together, more than {limits.waiting_pixels:,}: send fewer",
                413,
            )
        if self.images + images > limits.waiting_images or self.pixels + pixels > limits.waiting_pixels:
            seconds = self.retry_after()
            raise RequestError(f"{self.images} images wait already; try again in {seconds} s", 429, seconds)
        self.images += images
        self.pixels += pixels
        try:
            yield
        finally:
            self.images -= images
            self.pixels -= pixels

    def retry_after(self) -> int:
        """Return in how many whole seconds about half of what waits is done, 1 to ``LONGEST_RETRY``."""
        return min(LONGEST_RETRY, max(1, math.ceil(self.images * self._seconds_per_image() / 2)))
