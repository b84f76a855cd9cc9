"""``depictqa video``: the scores of a video over time."""

import argparse
from collections.abc import Sequence

from PIL import Image

from ..confidence import coverage_notices
from ..errors import DepictQAError
from ..reports.text_table import printable, table
from ..video.sampling import MAX_RATE, Sampling
from ..video.timeline import SEGMENT_SECONDS, VideoScores
from .inputs import open_judge, progress_bar
from .outputs import check_outputs, save_drawing, write_answers
from .values import IMAGE_FORMATS, Verbs, file_name, number, whole


def add_video(verbs: Verbs, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add the command to those of ``depictqa``."""
    more = "Needs PyAV: pip install av. Scores are of single frames: motion is not judged."
    verb = verbs.add_parser("video", help="score a video over time", parents=list(parents), epilog=more)
    verb.add_argument("video", metavar="FILE", help="a video file")
    group = verb.add_mutually_exclusive_group()
    group.add_argument(
        "--per-second", type=number(0.001, MAX_RATE), default=2.0, metavar="RATE", help="frames per second (default: 2)"
    )
    group.add_argument("--every", type=whole(1), metavar="N", help="judge every N-th frame instead")
    verb.add_argument(
        "--max-frames", type=whole(1), default=300, metavar="N", help="maximum number of judged frames (default: 300)"
    )
    verb.add_argument(
        "--segment",
        type=number(0.001, 10**6),
        default=SEGMENT_SECONDS,
        metavar="SECONDS",
        help="length of the worst segment (default: 1)",
    )
    verb.add_argument("--csv", metavar="FILE", type=file_name(".csv"), help="write the scores as rows to FILE (.csv)")
    verb.add_argument(
        "--chart", metavar="FILE", type=file_name(*IMAGE_FORMATS), help="draw the scores (.png, .jpg or .webp)"
    )
    verb.add_argument(
        "--frame", metavar="FILE", type=file_name(*IMAGE_FORMATS), help="write the best frame (.png, .jpg or .webp)"
    )


def video(options: argparse.Namespace) -> int:
    """Run ``depictqa video``."""
    from ..reports.video_chart import summary_lines, video_chart
    from ..video.files import VideoFile
    from ..video.judging import VideoScorer

    check_outputs(options, [options.video])
    source = VideoFile(options.video, options.video)
    about = {"criterion": options.criterion, "prompt": options.prompt}
    sampling = Sampling(0 if options.every else options.per_second, options.every or 1, options.max_frames)
    stopped: BaseException | None = None
    with progress_bar(options, "frames") as bar:
        judge = open_judge(options, bar)
        scorer = VideoScorer(source, lambda images: judge.score(images, progress=bar, **about), sampling)
        bar.total = len(scorer.chosen)

        def on_group(done: int) -> None:
            bar.offset = done

        try:
            scorer.run(on_group)
        except (KeyboardInterrupt, DepictQAError) as error:
            if not scorer.frames:
                raise
            stopped = error  # the finished answers are written first
    judged = scorer.result()
    notices = [*judge.notices, *judged.notices]
    notices += coverage_notices((frame.score.coverage for frame in judged.frames), judge.backend.low_coverage_remedy)
    lines = summary_lines(judged, judged.worst_segment(options.segment))
    shown = "\n".join(map(printable, lines))
    rows = [frame.to_dict() for frame in judged.frames]
    facts = judged.summary(options.segment)
    write_answers(
        options, judge.info, rows, [], lambda width, _: f"{_table(judged, width)}\n\n{shown}", notices, **facts
    )
    if options.chart:
        save_drawing(options, video_chart(judged, options.segment), options.chart)
    if options.frame:
        save_drawing(options, Image.fromarray(judged.best.rgb), options.frame)
    if stopped:
        raise stopped
    return 3 if judged.notices else 0


def _table(judged: VideoScores, width: int | None) -> str:
    rows = [
        [str(f.number), f"{f.seconds:.2f}", f"{f.score.score:.1f}", f"{f.score.low:.0f} .. {f.score.high:.0f}"]
        for f in judged.frames
    ]
    return table(["frame", "seconds", "score", "interval"], rows, ">>>>", width, shrink=0)
