"""The table of quality: parts, rows, and a file that resumes, with a judge without a network."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import quality
from benchmarks.everyday import Material, chunks, clean_row, in_part, pair_row
from benchmarks.published_task import same_answer
from depictqa_core.results import Comparison, Description, Identification, LabelProbability, Score
from depictqa_core.tasks import LABELS, LEVELS

PARTS = ["local damage", "borders", "saved again", "non-photographs", "position bias", "contradictions"]


class BrightnessJudge:
    """Calls what is brighter than grey clean, and prefers it."""

    def __init__(self, version="1"):
        self.info = {"name": "fake", "version": version, "files": {}}
        self.calls = 0

    def _points(self, images):
        self.calls += 1
        return [float(image.mean()) / 2.55 for image in images]

    def score(self, images):
        levels = tuple(LabelProbability(level, p) for level, p in zip(LEVELS, (0.6, 0.1, 0.1, 0.1, 0.1)))
        return [Score("", point, 1, 0.5, levels, 0, 100, "levels") for point in self._points(images)]

    def identify(self, images, *, faults=None):
        found = [() if point > 50 else ("noise",) for point in self._points(images)]
        share = tuple(LabelProbability(label, 0.95 if label == "Noise" else 0.05 / 12) for label in LABELS)
        return [Identification("", labels, "", share, 0.9, tuple(3.0 for _ in labels)) for labels in found]

    def describe(self, images, *, count, max_new_tokens):
        words = ["There is noise." if one.labels else "Nothing." for one in self.identify(images)]
        return [Description("", text, 0.5, "") for text in words]

    def compare_many(self, pairs):
        gaps = [a - b for a, b in zip(*(self._points(images) for images in zip(*pairs)))]
        return [
            Comparison("", "", 0.5 + 0.4 * np.sign(gap), 0.0 if gap else 0.2, "tie" if not gap else "AB"[gap < 0], 0.5)
            for gap in gaps
        ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two photographs of 512 px, and two drawings of two styles."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, level in (("photographs/a.png", 90), ("photographs/b.png", 150), ("drawings/flat__x.png", 200)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((rng.integers(0, 50, (512, 512, 3)) + level).astype(np.uint8)).save(root / name)
    (root / "drawings/icon").mkdir()
    Image.new("RGB", (80, 80), "white").save(root / "drawings/icon/y.png")
    return root


@pytest.fixture()
def run(folders, tmp_path, monkeypatch):
    """Run the command with a judge on two images a row; returns (exit status, content of the file)."""

    def call(judge, *options):
        monkeypatch.setattr(quality, "load_judge", lambda checkpoint: judge)
        where = ["--photographs", str(folders / "photographs"), "--drawings", str(folders / "drawings")]
        status = quality.main([*where, "--count", "2", "--output", str(tmp_path / "out.json"), *options])
        file = tmp_path / "out.json"
        return status, json.loads(file.read_text()) if file.is_file() else None

    return call


@pytest.mark.slow
def test_every_row_has_its_images_and_intervals(run):
    status, content = run(BrightnessJudge(), "--only", *PARTS)
    assert status == 0 and len(content["parts"]) == len(PARTS)
    rows = [row for part in content["parts"].values() for row in part.values()]
    for row in rows:
        assert row["images"] >= 1
        for share in (value for value in row.values() if isinstance(value, dict)):
            assert 0 <= share["low"] <= share["share"] <= share["high"] <= 1
    assert content["commands"] == [
        "python -m benchmarks.quality --photographs images0/photographs --drawings images0/drawings --only "
        "'local damage' borders 'saved again' non-photographs 'position bias' contradictions "
        "--count 2 --limit 1000 --seed 2027"
    ]
    parts = content["parts"]
    assert {"non-photographs: flat", "non-photographs: icon"} < set(parts["non-photographs"])
    assert parts["non-photographs"]["non-photographs: all styles"]["images"] == 2
    assert parts["position bias"]["position bias: photographs, 512 px"]["equal images"] == 0.2
    assert parts["contradictions"]["contradictions: describe and identify"]["contradictions"]["share"] == 0
    assert parts["contradictions"]["contradictions: compare and score"]["contradictions"]["share"] == 0
    assert parts["saved again"]["clean, after JPEG 95"]["within 5 points"]["share"] == 1
    assert "512 px against full size" not in parts["saved again"]  # no photograph is that large


def test_a_part_that_is_done_is_not_measured_again(run, capsys):
    _, first = run(BrightnessJudge(), "--only", "saved again")
    judge = BrightnessJudge()
    assert run(judge, "--only", "saved again") == (0, first) and judge.calls == 0
    assert "saved again: done before" in capsys.readouterr().out
    run(judge, "--only", "saved again", "--restart")
    assert judge.calls > 0


def test_an_interrupted_run_has_stored_what_was_done(run):
    class Interrupted(BrightnessJudge):
        def compare_many(self, pairs):
            raise KeyboardInterrupt

    run(BrightnessJudge(), "--only", "saved again")
    status, content = run(Interrupted(), "--only", "position", "saved again")
    assert status == 130 and list(content["parts"]) == ["saved again"]


def test_parts_of_two_judges_are_not_mixed(run, capsys):
    run(BrightnessJudge(), "--only", "saved again")
    judge = BrightnessJudge("2")
    status, content = run(judge, "--only", "saved again")
    assert status == 1 and content["settings"]["model"] == "fake 1" and judge.calls == 0
    assert "another model (fake 1, now fake 2)" in capsys.readouterr().err
    assert run(judge, "--only", "saved again", "--restart")[1]["settings"]["model"] == "fake 2"


def test_what_has_no_folder_is_left_out(folders, capsys):
    assert quality.main(["--list"]) == 0
    assert capsys.readouterr().out.split("\n")[:-1] == [
        "drawings", "one scale", "position bias", "contradictions", "speed",
    ]  # fmt: skip
    with pytest.raises(SystemExit):
        quality.main(["--only", "local damage"])


def test_parts_are_chosen_by_their_beginnings():
    names = ["a/as made", "a/black images", "b/as made", "sizes"]
    assert quality.chosen(names, None) == ["a/as made", "b/as made", "sizes"]
    assert quality.chosen(names, ["as"]) == ["a/as made", "b/as made"]
    assert quality.chosen(names, ["a/"]) == names[:2]


def test_images_are_asked_about_in_calls_of_limited_size(monkeypatch):
    images = [np.zeros((10, 10, 3), np.uint8)] * 5
    monkeypatch.setattr("benchmarks.everyday.CHUNK", 200)
    assert [len(some) for some in chunks(images)] == [2, 2, 1]
    assert [len(some) for some in chunks((image, 1) for image in images)] == [2, 2, 1]
    assert clean_row(BrightnessJudge(), []) == {} == pair_row(BrightnessJudge(), iter(()))


def test_labels_are_right_in_whatever_order():
    assert same_answer("Noise and blur", "Blur and noise") and same_answer("Image A", "Image A")
    assert not same_answer("Noise and blur", "Blur") and not same_answer("Image A", "Image B")


def test_damage_stays_in_its_square():
    image = np.full((40, 40, 3), 9, np.uint8)
    changed = in_part(image, lambda x: x + 1, 0.25, np.random.default_rng(0)) != image
    assert changed.all(2).sum() == 400 and np.ptp(np.where(changed.any(2))[0]) == 19


def test_images_are_the_same_in_every_part_and_another_seed_takes_others(folders):
    def first(seed):
        return [image.mean() for image in Material(folders / "photographs", None, 2, seed).photographs_of(64)]

    assert first(1) == first(1) and {tuple(first(seed)) for seed in range(8)} > {tuple(first(1))}
