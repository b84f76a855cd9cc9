"""Scores of the chosen frames of a video, while it is read."""

from collections.abc import Callable

from ..errors import ImageError
from ..images.image import RGBImage
from ..results import Score
from .frames import Frame, FrameSource
from .sampling import Sampling
from .timeline import FrameScore, VideoScores

AT_ONCE = 16
"""Maximum number of frames that are judged together."""
GROUP_PIXELS = 32 * 10**6
"""A group of frames is judged as soon as it has this many pixels."""
ScoreImages = Callable[[list[RGBImage]], list[Score]]


class VideoScorer:
    """Scores a video. Few frames are in memory: a group that is being judged, the best and the worst.

    After an exception of ``run`` the finished frames are still there: ``result`` returns them.

    Args:
        source: the video.
        score: scores images.
        sampling: which frames.

    Attributes:
        chosen: the indexes of the frames to judge.
        frames: the judged ones so far.
    """

    def __init__(self, source: FrameSource, score: ScoreImages, sampling: Sampling):
        self.chosen = sampling.choose(source.times)
        self.frames: list[FrameScore] = []
        self._source, self._score = source, score
        self._brightnesses: list[float] = []
        self._best: RGBImage | None = None
        self._worst: RGBImage | None = None

    def run(self, on_group: Callable[[int], object] = lambda done: None) -> VideoScores:
        """Judge the chosen frames.

        Args:
            on_group: called before each group with the number of frames that are judged already.

        Raises:
            DepictQAError: of the video or of the judge.
        """
        group: list[Frame] = []
        pixels = 0
        for frame in self._source.frames(self.chosen):
            self._brightnesses.append(frame.brightness)
            if frame.image is None:
                continue
            group.append(frame)
            pixels += frame.image.height * frame.image.width
            if len(group) == AT_ONCE or pixels >= GROUP_PIXELS:
                on_group(len(self.frames))
                self._judge(group)
                group, pixels = [], 0
        if group:
            on_group(len(self.frames))
            self._judge(group)
        return self.result()

    def result(self) -> VideoScores:
        """Return what was judged so far.

        Raises:
            ImageError: nothing was.
        """
        if self._best is None or self._worst is None:
            raise ImageError(f"{self._source.name}: no frame was judged.")
        source, brightnesses = self._source, tuple(self._brightnesses)
        facts = (tuple(self.frames), brightnesses, self._best, self._worst, tuple(source.notices))
        return VideoScores(source.name, source.duration, *facts)

    def _judge(self, group: list[Frame]) -> None:
        images = [frame.image for frame in group if frame.image is not None]
        before = [frame.score.score for frame in self.frames]
        high, low = max(before, default=-1.0), min(before, default=101.0)
        for frame, image, score in zip(group, images, self._score(images)):
            self.frames.append(FrameScore(frame.number, frame.seconds, frame.brightness, score))
            if score.score > high:
                self._best, high = image, score.score
            if score.score < low:
                self._worst, low = image, score.score
