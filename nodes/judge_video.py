"""The node that judges a video over time."""

from collections.abc import Sequence
from typing import Any

import torch
from comfy import model_management
from comfy.utils import ProgressBar
from comfy_api.latest import io

from ..depictqa_core.errors import TaskError
from ..depictqa_core.images.image import RGBImage
from ..depictqa_core.reports.video_chart import summary_lines, video_chart
from ..depictqa_core.results import Score
from ..depictqa_core.video.files import VideoFile
from ..depictqa_core.video.frames import FrameSource, ImageFrames
from ..depictqa_core.video.judging import VideoScorer
from ..depictqa_core.video.sampling import MAX_RATE, Sampling
from ..depictqa_core.video.timeline import SEGMENT_SECONDS, VideoScores
from .image_outputs import drawn_output, to_image, to_tensor
from .inputs import (
    FOR_PROGRAMS,
    criterion_inputs,
    criterion_options,
    flatten,
    in_format,
    model_input,
    one,
    readable_errors,
    report_format_input,
    schema,
)
from .loaded_judge import LoadedJudge
from .ui import Table, report, report_output

FRAME_RATE = 24.0


class JudgeVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["video quality", "VQA", "score video", "flicker", "best frame", "worst frame"],
            node_id="DepictQA_JudgeVideo",
            display_name="Judge Video",
            category="DepictQA/assess",
            description=(
                "Scores frames of a video over time: a chart, the worst segment, the best and the worst frame, and the "
                "flicker of the brightness. Frames are scored one by one; motion is not judged."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                model_input(),
                io.Float.Input(
                    "frames_per_second",
                    default=2.0,
                    min=0.0,
                    max=MAX_RATE,
                    step=0.5,
                    tooltip="Frames judged per second of the video. 0: judge by every_nth.",
                ),
                io.Int.Input(
                    "every_nth",
                    default=1,
                    min=1,
                    max=100000,
                    tooltip="If frames_per_second is 0: judge every n-th frame. 1: every frame.",
                ),
                io.Int.Input(
                    "max_frames",
                    default=300,
                    min=1,
                    max=100000,
                    tooltip="Maximum number of judged frames. Of a longer video this many are judged, evenly spread.",
                ),
                io.Float.Input(
                    "segment_seconds",
                    default=SEGMENT_SECONDS,
                    min=0.01,
                    max=100000.0,
                    step=0.5,
                    tooltip="Length of the worst segment in seconds.",
                ),
                io.Video.Input(
                    "video",
                    optional=True,
                    tooltip="The video. A file is read frame by frame, not loaded as a whole.",
                ),
                io.Image.Input(
                    "frames", optional=True, tooltip="The frames of the video as a batch or list, instead of video."
                ),
                io.Float.Input(
                    "frame_rate",
                    default=FRAME_RATE,
                    min=0.01,
                    max=1000.0,
                    step=0.01,
                    optional=True,
                    tooltip="Frames per second of frames. A video has its own.",
                ),
                *criterion_inputs(),
                report_format_input(),
            ],
            outputs=[
                io.Image.Output("chart", display_name="chart", tooltip="The scores and the brightness over time."),
                io.Image.Output(
                    "best_frame", display_name="best_frame", tooltip="The judged frame with the highest score."
                ),
                io.Image.Output(
                    "worst_frame", display_name="worst_frame", tooltip="The judged frame with the lowest score."
                ),
                io.Float.Output(
                    "scores",
                    display_name="scores",
                    is_output_list=True,
                    tooltip="The score of each judged frame, 0 to 100.",
                ),
                io.Float.Output(
                    "seconds",
                    display_name="seconds",
                    is_output_list=True,
                    tooltip="The time of each judged frame from the start of the video.",
                ),
                io.Int.Output(
                    "frame_numbers",
                    display_name="frame_numbers",
                    is_output_list=True,
                    tooltip="The number of each judged frame in the video, from 0.",
                ),
                io.Float.Output(
                    "brightnesses",
                    display_name="brightnesses",
                    is_output_list=True,
                    tooltip="The mean brightness of each judged frame, 0 (black) to 100 (white).",
                ),
                io.Float.Output(
                    "mean_score", display_name="mean_score", tooltip="The mean score of the judged frames."
                ),
                io.Float.Output(
                    "worst_start", display_name="worst_start", tooltip="Where the worst segment starts, in seconds."
                ),
                io.Float.Output(
                    "worst_end", display_name="worst_end", tooltip="Where the worst segment ends, in seconds."
                ),
                io.Float.Output(
                    "worst_score", display_name="worst_score", tooltip="The mean score of the worst segment."
                ),
                io.Float.Output(
                    "score_change",
                    display_name="score_change",
                    tooltip="The mean difference of the scores of neighbouring judged frames, in points.",
                ),
                io.Float.Output(
                    "brightness_flicker",
                    display_name="brightness_flicker",
                    tooltip=(
                        "The mean difference of a frame's brightness from the average of the frames before and after "
                        "it, over all frames, 0 to 100. A steady fade is 0."
                    ),
                ),
                report_output(),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Sequence[LoadedJudge],
        frames_per_second: Sequence[float],
        every_nth: Sequence[int],
        max_frames: Sequence[int],
        segment_seconds: Sequence[float],
        video: Sequence[Any] | None = None,
        frames: list[torch.Tensor] | None = None,
        frame_rate: Sequence[float] = (FRAME_RATE,),
        criterion: Sequence[str] | None = None,
        prompt: Sequence[str] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
    ) -> io.NodeOutput:
        judge, length = one(model), one(segment_seconds)
        with readable_errors():
            sampling = Sampling(one(frames_per_second), one(every_nth), one(max_frames))
            source = _source(video, frames, one(frame_rate))
            judged = _judged(judge, source, sampling, criterion_options(criterion, prompt))
            segment = judged.worst_segment(length)
        notices = [*judge.doubts([frame.score for frame in judged.frames]), *judged.notices]
        chart = to_image(video_chart(judged, length))
        lines = summary_lines(judged, segment)
        table = Table(
            ["score", "seconds", "frame", "brightness"],
            [[f"{f.score.score:.1f}", f"{f.seconds:.2f}", str(f.number), f"{f.brightness:.1f}"] for f in judged.frames],
            notes=[*notices, *lines],
        )
        answers = [frame.to_dict() for frame in judged.frames]
        return drawn_output(
            cls,
            chart,
            to_tensor(judged.best),
            to_tensor(judged.worst),
            judged.scores,
            judged.seconds,
            [frame.number for frame in judged.frames],
            [frame.brightness for frame in judged.frames],
            judged.mean_score,
            segment.start,
            segment.end,
            segment.score,
            judged.score_change,
            judged.brightness_flicker,
            in_format(report_format, report("video", judge, answers, notices, **judged.summary(length)), table),
            images=[chart],
            text="\n".join([*notices, *lines]),
        )


def _source(video: Sequence[Any] | None, frames: list[torch.Tensor] | None, frame_rate: float) -> FrameSource:
    """What is linked: the video, or the frames.

    Raises:
        TaskError: not exactly one video is.
    """
    images = flatten(frames)
    if bool(video) == bool(images):
        raise TaskError("link either video or frames: " + ("both are linked." if images else "nothing is linked."))
    if not video:
        return ImageFrames(images, frame_rate, "frames")
    if len(video) > 1:
        raise TaskError(f"video: {len(video)} videos arrived; link one.")
    return _file_of(one(video)) or _frames_of(one(video))


def _file_of(video: Any) -> VideoFile | None:
    """The file of a video, which is read frame by frame; None for a video that is in memory.

    ComfyUI's default of ``get_stream_source`` would encode the frames again, with losses: only a class with a method of
    its own has a file. A ComfyUI that can trim videos but does not tell the range is not asked either.
    """
    source = _own(video, "get_stream_source")
    window = getattr(video, "get_active_trim_window", None)
    if source is None or (window is None and hasattr(video, "as_trimmed")):
        return None
    start, length = window() if window else (0.0, 0.0)
    file = source()
    return VideoFile(file, start=start, length=length)


def _own(video: Any, name: str) -> Any:
    """A method of a video, unless it is the one of the base class."""
    defining = [kind for kind in type(video).__mro__ if name in vars(kind)]
    return getattr(video, name) if defining and defining[0].__name__ != "VideoInput" else None


def _frames_of(video: Any) -> ImageFrames:
    parts = video.get_components()
    return ImageFrames(flatten([parts.images]), float(parts.frame_rate), "video")


def _judged(judge: LoadedJudge, source: FrameSource, sampling: Sampling, about: dict[str, str]) -> VideoScores:
    """Score the frames. The progress bar moves by groups of them; Cancel works within a group."""

    def score(images: list[RGBImage]) -> list[Score]:
        scores: list[Score] = judge.ask("score", images, progress=_stop_on_cancel, **about)
        return scores

    def on_group(done: int) -> None:
        _stop_on_cancel()
        bar.update_absolute(done, len(scorer.chosen))

    scorer = VideoScorer(source, score, sampling)
    bar = ProgressBar(len(scorer.chosen))
    with judge.kept_loaded():
        judged = scorer.run(on_group)
    on_group(len(scorer.chosen))
    return judged


def _stop_on_cancel(*_: int) -> None:
    model_management.throw_exception_if_processing_interrupted()
