"""Video files: the frames that are judged are the right ones, and a damaged file gives what it has."""

import io
import json

import numpy as np
import pytest
from core.fake_judge import FakeJudge
from PIL import Image
from videos import write_video

from depictqa_core.errors import ImageError, PackageError
from depictqa_core.video import files
from depictqa_core.video.files import VideoFile
from depictqa_core.video.judging import VideoScorer
from depictqa_core.video.sampling import Sampling

pytest.importorskip("av")
SHADES = [10 + 2 * number for number in range(30)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "clip.mkv"
    write_video(path, SHADES)
    return path


def test_frames_of_a_file(clip):
    source = VideoFile(clip)
    assert (source.name, source.duration, len(source.times)) == ("clip.mkv", pytest.approx(3.0), 30)
    frames = list(source.frames(Sampling(2.0).choose(source.times)))
    assert [frame.brightness for frame in frames] == pytest.approx(SHADES, abs=0.3)
    assert [frame.number for frame in frames if frame.image] == [0, 5, 10, 15, 20, 25]
    assert frames[5].image.rgb.shape == (48, 64, 3) and (frames[5].image.rgb == round(2.55 * SHADES[5])).all()
    assert frames[5].seconds == 0.5 and source.notices == []


def test_a_trimmed_file_starts_at_its_own_zero(clip):
    source = VideoFile(io.BytesIO(clip.read_bytes()), "slice", start=1.0, length=0.5)
    assert (source.times, source.duration) == (pytest.approx([0, 0.1, 0.2, 0.3, 0.4]), 0.5)
    found = VideoScorer(source, FakeJudge().score, Sampling(0)).run()
    assert found.scores == pytest.approx(SHADES[10:15], abs=0.3) and found.seconds == pytest.approx(source.times)
    with pytest.raises(ImageError, match="no frame in this range"):
        VideoFile(clip, start=10.0)


def test_frames_are_decoded_one_by_one(clip, monkeypatch):
    """A long video is never in memory: when a frame is given out, the later ones are not converted yet."""
    converted = []
    original = files._rgb
    monkeypatch.setattr(files, "_rgb", lambda frame: converted.append(frame.pts) or original(frame))
    source = VideoFile(clip)
    for frame in source.frames(range(30)):
        assert len(converted) == frame.number + 1


def test_a_file_that_breaks_off_gives_what_it_has(clip, tmp_path):
    short = tmp_path / "short.mkv"
    short.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    found = VideoScorer(VideoFile(short), FakeJudge().score, Sampling(0)).run()
    assert 5 < len(found.frames) < 30
    assert found.scores[:5] == pytest.approx(SHADES[:5], abs=0.3)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 50])
def test_what_is_not_a_video_is_refused(tmp_path, content):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="bad.mp4: cannot be read as a video"):
        VideoFile(path)
    with pytest.raises(ImageError, match="no such file"):
        VideoFile(tmp_path / "missing.mp4")


def test_without_pyav_one_line_says_what_to_install(clip, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(PackageError, match="pip install av"):
        VideoFile(clip)


def test_the_command(clip, depictqa, tmp_path):
    names = {"chart": "c.png", "frame": "f.png", "csv": "s.csv"}
    outputs = [f"--{option}={tmp_path / name}" for option, name in names.items()]
    status, out, err = depictqa("video", clip, "--every", 6, "--json", tmp_path / "v.json", *outputs)
    assert status == 0, err
    assert "5 of 30 frames judged, 3.00 s" in out and "brightness flicker 0.0" in out
    document = json.loads((tmp_path / "v.json").read_text())
    assert [row["frame"] for row in document["results"]] == [0, 6, 12, 18, 24] and document["frames"] == 30
    best = document["best_frame"]["frame"]
    with Image.open(tmp_path / "f.png") as frame:
        assert np.asarray(frame)[0, 0, 0] == round(2.55 * SHADES[best])
    assert (tmp_path / "s.csv").read_text().splitlines()[0].startswith("picture,frame,seconds,brightness,score")
    assert Image.open(tmp_path / "c.png").width > 900


def test_the_command_refuses_what_is_not_there(depictqa, tmp_path):
    status, _, err = depictqa("video", tmp_path / "no.mp4")
    assert status == 1 and "no such file" in err
    assert depictqa("video", "a.mp4", "--per-second", "0")[0] == 2
