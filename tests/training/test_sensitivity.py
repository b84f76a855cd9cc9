"""Ladders of growing damage: what the levels are, what is measured of them, and the file that resumes."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import sensitivity, severity_levels
from benchmarks.sensitivity import Ladder, falling, first, measure, order
from benchmarks.shares import bootstrap, mean
from depictqa_core.results import Comparison, Identification, LabelProbability, Score
from depictqa_core.tasks import FAULTS, LABELS, LEVELS
from training import distortions, faults


class DarknessJudge:
    """Scores by brightness, and knows darkness alone. It prefers the clean image from a gap of 10 points."""

    info = {"name": "fake", "version": "1", "files": {}}

    def __init__(self):
        self.calls = 0

    def score(self, images):
        self.calls += 1
        points = [float(image.rgb.mean()) / 2.55 for image in images]
        levels = tuple(LabelProbability(level, 0.2) for level in LEVELS)
        return [Score("", point, 1, 0.5, levels, point - 20, 100, "levels") for point in points]

    def identify(self, images, *, faults=True):
        found = []
        for image in images:
            dark = 1 - float(image.rgb.mean()) / 255
            rows = dict.fromkeys(LABELS, (1 - dark) / 12) | {"insufficient brightness": dark}
            known = tuple(LabelProbability(fault, 0.1) for fault in FAULTS) if faults else None
            labels = ("insufficient brightness",) if dark > 0.5 else ()
            shares = tuple(LabelProbability(*row) for row in rows.items())
            found.append(Identification("", labels, "", shares, 0.9, faults=known))
        return found

    def compare_many(self, pairs):
        gaps = [(float(a.rgb.mean()) - float(b.rgb.mean())) / 2.55 for a, b in pairs]
        return [Comparison("", "", 0.5, 0, "A" if gap > 10 else "tie", 0.5) for gap in gaps]


def photograph(seed=0, side=64):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 256, (8, 8, 3), np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


LADDER = Ladder(
    "dark", "change", "insufficient brightness", [0.9, 0.7, 0.5, 0.3],
    lambda image, value, rng: np.full_like(image, round(250 * value)),
)  # fmt: skip


def test_a_ladder_is_measured_by_hand():
    found = measure(DarknessJudge(), LADDER, [np.full((40, 40, 3), 250, np.uint8)] * 3)
    assert found["score"] == pytest.approx([98.04, 88.24, 68.63, 49.02, 29.41], abs=0.01)
    assert found["probability"] == pytest.approx([0.0196, 0.1176, 0.3137, 0.5098, 0.7059], abs=0.0001)
    assert found["just noticeable by compare"]["level"] == 0.7  # 88 is closer than 10 points
    assert found["just noticeable by score"]["level"] == 0.7  # below 98 - 20
    assert found["label found"] == {"level": 0.5, "reached": {"share": 1.0, "low": 0.4385, "high": 1.0}}
    assert found["clean preferred"] == [0, 1, 1, 1] and found["images"] == 3
    for key in ("score and severity (SRCC)", "probability and severity (SRCC)", "steps in order"):
        assert found[key] == {"mean": 1.0, "low": 1.0, "high": 1.0}


def test_order_of_values():
    assert order(np.array([1.0, 1.0, 1.0])) == 0.0 == order(np.array([1.0, np.nan]))
    assert order(np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(0.8)
    scores = np.array([9.0, 8.0, 8.0, 9.0, 7.0])
    assert falling(scores, np.array([False, True, False, False])) == pytest.approx(2 / 3)
    assert falling(scores[:2], np.array([True])) == 0.0


def test_a_level_counts_when_the_next_one_does_too():
    reached = np.array([[1, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]], bool)
    assert first(reached, [1, 2, 3, 4])["level"] == 4  # of 3, 4 (the last one alone) and never
    assert first(reached, [1, 2, 3, 4])["reached"]["share"] == pytest.approx(2 / 3, abs=1e-4)
    assert first(reached[[1, 2]], [1, 2, 3, 4])["level"] is None


@pytest.mark.parametrize("name", ["blur_glass", "noise_poisson", "compression_jpeg", "quantization_otsu"])
def test_whole_severities_are_those_of_the_data_set(name):
    image = photograph()
    for severity in (1, 4):
        expected = distortions.apply(name, image, severity, np.random.default_rng(1))
        assert np.array_equal(severity_levels.apply(name, image, severity, np.random.default_rng(1)), expected)


@pytest.mark.parametrize(
    "name, severity, expected",
    [
        ("noise_gaussian_RGB", 1.5, 0.075),
        ("noise_poisson", 0.5, 320),  # half the standard deviation of 80 photons
        ("pixelate", 0.5, 1 / 1.5),  # blocks of 1.5 px
        ("compression_jpeg", 0.2, 85),
        ("blur_motion", 1.5, (8, 4.0)),
        ("contrast_strengthen_stretch", 0.5, 2),  # blended
    ],
)
def test_parameters_between_whole_severities(name, severity, expected):
    found = severity_levels.parameter(name, severity, distortions.REGISTRY[name].parameters)
    assert found == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*distortions.NAMES, *severity_levels.FAULT_CURVES.values()])
def test_damage_grows_from_nothing(name):
    image = photograph(side=128)

    def damage(severity):
        changed = severity_levels.apply(name, image, severity, np.random.default_rng(1))
        assert changed.shape == image.shape and changed.dtype == np.uint8
        return np.abs(changed.astype(float) - image).mean()

    values = [damage(severity) for severity in (0, 0.25, 1, 5)]
    assert values[0] == 0 and values[1] <= 1.1 * values[2]  # whole numbers can make both the same
    assert values[2] < values[3] or name == "quantization_hist"  # which equalises at every severity


def test_what_has_no_ladder_is_refused():
    for name, severity in (("blur_gaussian", 5.5), ("failed_black", 1), ("rain", 1)):
        with pytest.raises(ValueError):
            severity_levels.apply(name, photograph(), severity, np.random.default_rng(0))


def test_every_distortion_and_fault_has_a_ladder():
    known = sensitivity.ladders()
    assert {*distortions.NAMES} < {*known} and len(known) >= 35 + 14 + 5
    assert {one.label for one in known.values() if one.kind == "distortion"} == {*LABELS[:-1]}
    assert {one.label for one in known.values() if one.kind == "fault"} == {*FAULTS} - {"failed frame"}
    assert all(faults.REGISTRY[name].held_out for name in severity_levels.FAULT_CURVES.values())
    assert all(len(one.values) == severity_levels.LEVELS for one in known.values())


def test_intervals_of_means_are_those_of_the_normal_distribution():
    values = np.random.default_rng(4).normal(3, 2, 400)
    found = mean(values)
    half = 1.96 * values.std() / 20
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-4)
    assert found["low"] == pytest.approx(values.mean() - half, abs=0.05)
    assert found["high"] == pytest.approx(values.mean() + half, abs=0.05)
    gap = bootstrap(lambda a, b: a.mean() - b.mean(), values, values[:100] + 1, paired=False)
    assert gap["low"] < gap["mean"] < gap["high"] and gap["high"] - gap["low"] > 2 * half  # of the smaller column


@pytest.mark.slow
def test_the_command_resumes_and_draws(tmp_path, monkeypatch, capsys):
    folder, output, figure = tmp_path / "photographs", tmp_path / "out.json", tmp_path / "out.png"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(photograph(seed)).save(folder / f"{seed}.png")
    judge = DarknessJudge()
    monkeypatch.setattr(sensitivity, "load_judge", lambda checkpoint: judge)
    words = ["--photographs", str(folder), "--short", "64", "--images", "2", "--output", str(output)]
    assert sensitivity.main([*words, "--only", "clean", "brightness_darken_gamma_RGB", "seams"]) == 0
    content = json.loads(output.read_text())
    assert [*content["parts"]] == ["clean photographs", "brightness_darken_gamma_RGB", "seams"]
    assert content["parts"]["clean photographs"]["images"] == 3 and content["settings"]["images"] == 2
    dark = content["parts"]["brightness_darken_gamma_RGB"]
    assert dark["score and severity (SRCC)"]["mean"] == 1 and dark["just noticeable by compare"]["level"] > 0
    calls = judge.calls
    assert sensitivity.main([*words, "--only", "seams", "JPEG", "--figure", str(figure)]) == 0
    assert judge.calls == calls + 2  # the ladder of JPEG alone, of two images
    image = Image.open(figure)
    assert image.format == "PNG" and image.width > 1000 and figure.stat().st_size < 500_000
    monkeypatch.setattr(sensitivity, "load_judge", None)
    assert sensitivity.main(["--output", str(output), "--figure", str(figure)]) == 0
    capsys.readouterr()
    assert sensitivity.main([*words[:2], "--short", "999", "--output", str(output)]) == 1
    assert "no image has a short side of 999 px or more" in capsys.readouterr().err
