"""Which frames are judged, and what their scores and brightness say over time."""

from dataclasses import replace

import numpy as np
import pytest
from core.fake_judge import FakeJudge

from depictqa_core.errors import DepictQAError, ImageError, TaskError
from depictqa_core.reports import drawing
from depictqa_core.reports.video_chart import PLOT, WORST, video_chart
from depictqa_core.video.frames import ImageFrames
from depictqa_core.video.judging import AT_ONCE, VideoScorer
from depictqa_core.video.sampling import Sampling
from depictqa_core.video.timeline import brightness_flicker, score_change, worst_segment


def grey(*shades):
    return [np.full((6, 8, 3), round(2.55 * shade), np.uint8) for shade in shades]


def judged(shades, **sampling):
    return VideoScorer(ImageFrames(grey(*shades), 10), FakeJudge().score, Sampling(0, **sampling)).run()


@pytest.mark.parametrize(
    ("sampling", "rate", "count", "chosen"),
    [
        (Sampling(2.0), 10, 11, (0, 5, 10)),
        (Sampling(4.0), 10, 11, (0, 3, 5, 8, 10)),
        (Sampling(100.0), 10, 4, (0, 1, 2, 3)),  # not more frames than there are
        (Sampling(0.01), 10, 11, (0,)),
        (Sampling(0, 4), 10, 11, (0, 4, 8)),
        (Sampling(0, 1, 3), 10, 11, (0, 5, 10)),
        (Sampling(0, 1, 1), 10, 11, (0,)),
        (Sampling(10.0), 29.97, 300, None),
    ],
)
def test_chosen_frames(sampling, rate, count, chosen):
    found = sampling.choose([number / rate for number in range(count)])
    if chosen is None:  # a rate that does not divide the rate of the video: every third frame or the one before it
        assert len(found) == 100 and set(np.diff(found)) <= {2, 3}
    else:
        assert found == chosen


def test_a_video_with_gaps_is_sampled_by_its_times():
    assert Sampling(1.0).choose([0.0, 0.1, 0.2, 5.0, 5.1, 6.0]) == (0, 3, 5)


@pytest.mark.parametrize(("name", "value"), [("per_second", -1), ("per_second", float("nan")), ("every_nth", 0)])
def test_sampling_out_of_range_is_refused(name, value):
    with pytest.raises(TaskError, match=name):
        Sampling(**{name: value})


def test_flicker_is_of_neighbouring_frames_and_not_of_fades():
    assert brightness_flicker([10.0, 20.0, 30.0, 40.0]) == pytest.approx(0)
    assert brightness_flicker([0, 100, 0, 100, 0]) == 100
    assert brightness_flicker([50.0, 52.0, 50.0, 52.0]) == pytest.approx(2)
    assert brightness_flicker([0, 100]) == brightness_flicker([]) == 0


def test_score_change():
    assert score_change([50, 60, 40]) == 15 and score_change([7.0]) == 0


def brute_force(seconds, scores, duration, length):
    """The windows one by one, as the words of the function say."""
    found = []
    for time in seconds:
        start = min(time, max(duration - length, 0))
        inside = [score for at, score in zip(seconds, scores) if start - 1e-6 <= at < start + length - 1e-6]
        found.append((np.mean(inside), start))
    return min(found, key=lambda one: (round(one[0], 9), one[1]))


@pytest.mark.parametrize("length", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_worst_segment_is_that_of_a_search(length, seed):
    rng = np.random.default_rng(seed)
    seconds, scores = np.sort(rng.uniform(0, 8, 40)).tolist(), rng.uniform(0, 100, 40).tolist()
    segment = worst_segment(seconds, scores, 8.0, length)
    score, start = brute_force(seconds, scores, 8.0, length)
    assert (segment.score, segment.start) == (pytest.approx(score), pytest.approx(start))
    assert segment.end == pytest.approx(start + length)


def test_worst_segment_ends_with_the_video():
    last = worst_segment([0.0, 1.0, 2.0], [90, 80, 10], 3.0, 1.5)
    assert (last.start, last.end, last.score) == (1.5, 3.0, 10)
    whole = worst_segment([0.0, 1.0], [90, 80], 2.0, 60)
    assert (whole.start, whole.end, whole.score) == (0.0, 2.0, 85)
    with pytest.raises(TaskError, match="segment"):
        worst_segment([0.0], [1.0], 1.0, 0)


def test_a_video_is_judged_in_groups_and_keeps_its_best_and_worst_frame():
    shades = [50 + (number * 37) % 40 for number in range(3 * AT_ONCE + 5)]
    groups = []
    judge = FakeJudge()

    def score(images):
        groups.append(len(images))
        return judge.score(images)

    found = VideoScorer(ImageFrames(grey(*shades), 10), score, Sampling(0)).run()
    assert groups == [AT_ONCE] * 3 + [5]
    assert found.scores == pytest.approx(shades, abs=0.3) and found.duration == pytest.approx(5.3)
    assert found.best.rgb.mean() / 2.55 == pytest.approx(max(shades), abs=0.3)
    assert found.worst.name == f"frame {shades.index(min(shades))} ({shades.index(min(shades)) / 10:.2f} s)"
    assert found.best_frame.seconds == shades.index(max(shades)) / 10
    assert len(found.brightnesses) == len(shades)
    assert found.brightness_flicker == pytest.approx(brightness_flicker(shades), abs=0.3)
    summary = found.summary()
    assert summary["judged"] == summary["frames"] == len(shades) and summary["best_frame"]["score"] >= 88


def test_what_is_finished_outlives_an_error():
    judge, asked = FakeJudge(), []

    def score(images):
        asked.append(images)
        if len(asked) == 2:
            raise DepictQAError("the server is gone")
        return judge.score(images)

    scorer = VideoScorer(ImageFrames(grey(*range(40)), 10), score, Sampling(0))
    with pytest.raises(DepictQAError):
        scorer.run()
    assert len(scorer.result().frames) == AT_ONCE
    with pytest.raises(ImageError, match="no frame was judged"):
        VideoScorer(ImageFrames(grey(1), 10), score, Sampling()).result()


def test_frames_without_a_rate_or_an_image_are_refused():
    with pytest.raises(TaskError, match="rate"):
        ImageFrames(grey(1), 0)
    with pytest.raises(ImageError, match="no frame"):
        ImageFrames([], 24)


def test_the_chart_has_the_worst_segment_where_it_is():
    shades = [80] * 10 + [20] * 5 + [80] * 5

    def narrow(images):
        return [replace(score, low=score.score, high=score.score) for score in FakeJudge().score(images)]

    found = VideoScorer(ImageFrames(grey(*shades), 10), narrow, Sampling(0)).run()
    page = np.asarray(video_chart(found, 0.5))
    red = np.argwhere((page == drawing.rgb(WORST)).all(-1))[:, 1]
    share = (red.min() - 76) / PLOT, (red.max() - 76) / PLOT  # of the plot, which starts at pixel 76
    assert share == (pytest.approx(0.5, abs=0.01), pytest.approx(0.75, abs=0.01))


@pytest.mark.parametrize("count", [1, 2, 5000])
def test_charts_of_short_and_long_videos(count):
    found = judged([50] * count, max_frames=30)
    assert len(found.frames) == min(count, 30) and video_chart(found).width > 900
