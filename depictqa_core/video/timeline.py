"""What the scores and the brightness of frames say over time: segments, changes, flicker."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

from ..errors import TaskError
from ..images.image import RGBImage
from ..results import Score

SEGMENT_SECONDS = 1.0
"""Default length of the worst segment."""
_SAME = 1e-6  # seconds within which two times are equal


@dataclass(frozen=True)
class FrameScore:
    """One judged frame.

    Attributes:
        number: of the frame in the video, from 0.
        seconds: its time from the start of the video.
        brightness: its mean brightness, 0 (black) to 100 (white).
        score: the answer of the judge.
    """

    number: int
    seconds: float
    brightness: float
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: the score with the place of the frame."""
        places = {"frame": self.number, "seconds": round(self.seconds, 6), "brightness": round(self.brightness, 6)}
        return {"picture": self.score.picture, **places, **self.score.to_dict()}


@dataclass(frozen=True)
class Segment:
    """A part of a video, from ``start`` to ``end`` in seconds, with the mean score of its judged frames."""

    start: float
    end: float
    score: float


@dataclass(frozen=True, eq=False)
class VideoScores:
    """The answers about a video.

    Attributes:
        name: of the video.
        duration: in seconds.
        frames: the judged frames in order, at least one.
        brightnesses: the brightness of every frame, 0 to 100, whether it was judged or not.
        best, worst: the frames with the highest and the lowest score, at full size; of equal ones the first.
        notices: warnings about the file, one line each.
    """

    name: str
    duration: float
    frames: tuple[FrameScore, ...]
    brightnesses: tuple[float, ...]
    best: RGBImage
    worst: RGBImage
    notices: tuple[str, ...] = ()

    @property
    def scores(self) -> list[float]:
        """The score of each judged frame, 0 to 100."""
        return [frame.score.score for frame in self.frames]

    @property
    def seconds(self) -> list[float]:
        """The time of each judged frame."""
        return [frame.seconds for frame in self.frames]

    @property
    def mean_score(self) -> float:
        """The mean score of the judged frames."""
        return float(np.mean(self.scores))

    @property
    def best_frame(self) -> FrameScore:
        """The judged frame with the highest score; of equal ones the first."""
        return max(self.frames, key=lambda frame: frame.score.score)

    @property
    def worst_frame(self) -> FrameScore:
        """The judged frame with the lowest score; of equal ones the first."""
        return min(self.frames, key=lambda frame: frame.score.score)

    @property
    def score_change(self) -> float:
        """As in ``score_change``, of the judged frames."""
        return score_change(self.scores)

    @property
    def brightness_flicker(self) -> float:
        """As in ``brightness_flicker``, of every frame."""
        return brightness_flicker(self.brightnesses)

    def worst_segment(self, length: float = SEGMENT_SECONDS) -> Segment:
        """As in ``worst_segment``, of the judged frames."""
        return worst_segment(self.seconds, self.scores, self.duration, length)

    def summary(self, length: float = SEGMENT_SECONDS) -> dict[str, Any]:
        """Return what is known of the whole video as plain JSON values."""
        segment = self.worst_segment(length)
        values = {
            "duration": self.duration,
            "mean_score": self.mean_score,
            "score_change": self.score_change,
            "brightness_flicker": self.brightness_flicker,
        }
        return {
            "video": self.name,
            **{name: round(value, 6) for name, value in values.items()},
            "frames": len(self.brightnesses),
            "judged": len(self.frames),
            "worst_segment": {name: round(getattr(segment, name), 6) for name in ("start", "end", "score")},
            "best_frame": _place(self.best_frame),
            "worst_frame": _place(self.worst_frame),
        }


def brightness(rgb: np.ndarray) -> float:
    """Return the mean luma (ITU-R BT.601) of uint8 ``[H, W, 3]``, 0 (black) to 100 (white)."""
    return float(np.asarray(Image.fromarray(rgb).convert("L")).mean()) / 2.55


def brightness_flicker(brightnesses: Sequence[float]) -> float:
    """Return by how much frames are brighter or darker than the frames around them.

    It is the mean of ``|b[t] - (b[t - 1] + b[t + 1]) / 2|`` over all frames but the first and the last: 0 for a still
    image and for a steady fade, 100 where black and white frames alternate. It is a measure of the whole frame: flicker
    of small regions or of texture hardly changes it, and every cut adds a little to it.

    Args:
        brightnesses: of neighbouring frames, 0 to 100.

    Returns:
        0 to 100; 0 for fewer than three frames.
    """
    values = np.asarray(brightnesses, np.float64)
    if len(values) < 3:
        return 0.0
    return float(np.abs(values[1:-1] - (values[:-2] + values[2:]) / 2).mean())


def score_change(scores: Sequence[float]) -> float:
    """Return the mean difference of the scores of neighbouring judged frames, in points; 0 for one frame."""
    return float(np.mean([abs(later - earlier) for earlier, later in pairwise(scores)] or [0.0]))


def worst_segment(
    seconds: Sequence[float], scores: Sequence[float], duration: float, length: float = SEGMENT_SECONDS
) -> Segment:
    """Find the segment of a given length with the lowest mean score; of equal ones the first.

    Segments start at judged frames, or end with the video where less than ``length`` is left of it.

    Args:
        seconds: the time of each judged frame, ascending.
        scores: its score.
        duration: of the video in seconds.
        length: of the segment in seconds; the whole video if it is shorter.

    Raises:
        TaskError: the length is not positive.
    """
    if not (math.isfinite(length) and length > 0):
        raise TaskError(f"the length of a segment is {length:g} s: give more than 0")
    times, values = np.asarray(seconds, np.float64), np.asarray(scores, np.float64)
    sums = np.concatenate([[0.0], values.cumsum()])
    starts = np.minimum(times, max(duration - length, 0.0))
    first = np.searchsorted(times, starts - _SAME)
    behind = np.searchsorted(times, starts + length - _SAME)  # a frame at the end belongs to what comes then
    behind = np.maximum(behind, np.arange(1, len(times) + 1))
    means = (sums[behind] - sums[first]) / (behind - first)
    worst = int(means.round(9).argmin())
    start = float(starts[worst])
    return Segment(start, min(start + length, max(duration, start)), float(means[worst]))


def _place(frame: FrameScore) -> dict[str, Any]:
    return {"frame": frame.number, "seconds": round(frame.seconds, 6), "score": round(frame.score.score, 6)}
