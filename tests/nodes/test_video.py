"""Judge Video in a real ComfyUI: files, videos in memory and frame batches give the same answers."""

import json

import numpy as np
import pytest
from comfyui.linked import Linked, graph_of
from videos import write_video

SHADES = [20] * 10 + [70] * 10 + [40] * 10


@pytest.fixture(scope="module")
def clip(server):
    """input/clip.mkv, 3 s at 10 frames per second."""
    write_video(server.input / "clip.mkv", SHADES)
    return Linked("LoadVideo", {"file": "clip.mkv"})


@pytest.fixture
def run(server):
    def run(expect_error=False, **inputs):
        nodes = graph_of(server, "DepictQA_JudgeVideo", **inputs)
        nodes["load"] = {"class_type": "Test_BrightJudge", "inputs": {}}
        return server.run(nodes, expect_error=expect_error)

    return run


def numbers(run, output):
    return [float(text) for text in run.texts(output)]


def test_a_file_is_judged_over_time(run, server, clip):
    done = run(video=clip, frames_per_second=5.0, report_format="json")
    assert numbers(done, "scores") == pytest.approx([20] * 5 + [70] * 5 + [40] * 5, abs=0.3)
    assert numbers(done, "seconds") == pytest.approx([step / 5 for step in range(15)])
    assert done.texts("frame_numbers") == [str(number) for number in range(0, 30, 2)]
    assert numbers(done, "brightnesses") == pytest.approx(numbers(done, "scores"), abs=0.3)
    assert numbers(done, "worst_start") == [0] and numbers(done, "worst_end") == [1]
    assert numbers(done, "mean_score") == pytest.approx([130 / 3], abs=0.3)
    assert numbers(done, "score_change") == pytest.approx([80 / 14], abs=0.1)
    assert numbers(done, "brightness_flicker") == pytest.approx([(25 + 25 + 15 + 15) / 28], abs=0.1)
    assert done.text("best_frame").startswith("(1, 48, 64, 3)")
    report = json.loads(done.text("report"))
    assert (report["task"], report["frames"], report["judged"]) == ("video", 30, 15)
    assert report["results"][5]["frame"] == 10 and report["best_frame"]["frame"] == 10
    (chart,) = server.images(done, "node")
    assert chart.width > 900 and "worst segment 0.00 to 1.00 s: 20" in done.text("node")
    assert done.progress["node"][-1] == (15, 15)


def test_a_video_in_memory_and_its_frames_give_the_same(run, server, clip):
    """CreateVideo makes a video without a file: nothing is encoded again, and its frames are judged as they are."""
    inputs = {"frames_per_second": 0.0, "every_nth": 3}
    file = run(video=clip, **inputs)
    nodes = graph_of(server, "DepictQA_JudgeVideo", frames=clip, frame_rate=10.0, **inputs)
    nodes["load"] = {"class_type": "Test_BrightJudge", "inputs": {}}
    nodes["parts"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["in_frames", 0]}}
    nodes["node"]["inputs"]["frames"] = ["parts", 0]
    frames = server.run(nodes)
    nodes["again"] = {"class_type": "CreateVideo", "inputs": {"images": ["parts", 0], "fps": 10.0}}
    del nodes["node"]["inputs"]["frames"], nodes["node"]["inputs"]["frame_rate"]
    nodes["node"]["inputs"]["video"] = ["again", 0]
    memory = server.run(nodes)
    for output in ("scores", "seconds", "brightness_flicker", "best_frame", "worst_start"):
        assert file.texts(output) == pytest.approx(frames.texts(output)) == memory.texts(output), output


def test_a_long_video_is_sampled_evenly(run, clip):
    done = run(video=clip, frames_per_second=0.0, max_frames=4)
    assert done.texts("frame_numbers") == ["0", "10", "19", "29"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [({}, ["link either video or frames", "nothing"]), ({"segment_seconds": 0.01, "frame_rate": 10.0}, ["nothing"])],
)
def test_nothing_linked_is_refused(run, inputs, words):
    message = run(expect_error=True, **inputs).error["exception_message"]
    assert all(word in message for word in words) and "\n" not in message.strip()


def test_what_is_not_a_video_is_one_readable_line(run, server):
    (server.input / "broken.mp4").write_bytes(b"no video" * 100)
    done = run(expect_error=True, video=Linked("LoadVideo", {"file": "broken.mp4"}))
    assert done.error["exception_message"].strip().startswith("broken.mp4: cannot be read as a video")


def test_a_damaged_end_is_left_out_with_what_was_finished(run, server):
    whole = server.input / "whole.mkv"
    write_video(whole, np.linspace(10, 90, 40))
    (server.input / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    done = run(video=Linked("LoadVideo", {"file": "cut.mkv"}), frames_per_second=0.0)
    assert 5 < len(done.texts("scores")) < 40
