"""Which frames of a video are judged: by a rate, or every n-th."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import TaskError

MAX_RATE = 1000.0
"""Maximum of ``Sampling.per_second``."""
_SAME = 1e-6  # seconds within which two times are equal


@dataclass(frozen=True)
class Sampling:
    """A rule that chooses frames.

    Attributes:
        per_second: frames judged per second of the video; 0 chooses by ``every_nth``.
        every_nth: where ``per_second`` is 0: 1 chooses every frame, 2 every second one, and so on.
        max_frames: maximum number of frames; of more, this many are chosen, evenly spread.

    Raises:
        TaskError: a value is out of range.
    """

    per_second: float = 2.0
    every_nth: int = 1
    max_frames: int = 300

    def __post_init__(self) -> None:
        if not (math.isfinite(self.per_second) and 0 <= self.per_second <= MAX_RATE):
            raise TaskError(f"per_second is {self.per_second:g}: give 0 to {MAX_RATE:g} frames per second")
        for name in ("every_nth", "max_frames"):
            if getattr(self, name) < 1:
                raise TaskError(f"{name} is {getattr(self, name)}: give 1 or more")

    def choose(self, times: Sequence[float]) -> tuple[int, ...]:
        """Return the indexes of the chosen frames, in order; the first frame is always one of them.

        Args:
            times: the time of every frame in seconds, ascending.
        """
        chosen = _by_rate(times, self.per_second) if self.per_second else list(range(0, len(times), self.every_nth))
        return tuple(_spread(chosen, self.max_frames))


def _by_rate(times: Sequence[float], per_second: float) -> list[int]:
    """The first frame at or after each multiple of ``1 / per_second`` seconds from the first frame on."""
    chosen: list[int] = []
    step = -1
    for index, time in enumerate(times):
        reached = math.floor((time - times[0] + _SAME) * per_second)
        if reached > step:
            chosen.append(index)
            step = reached
    return chosen


def _spread(items: list[int], most: int) -> list[int]:
    """At most ``most`` items, evenly spread from the first to the last; of one, the first."""
    if len(items) <= most:
        return items
    return [items[round(place * (len(items) - 1) / max(most - 1, 1))] for place in range(most)]
