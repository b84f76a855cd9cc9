"""The bias report, and the largest biases that the bundled model may have, on small made images."""

import json

import numpy as np
import pytest
from PIL import Image
from trees import ROOT

from benchmarks import bias, bias_effects
from benchmarks.bias_effects import PARTS, effect, middle, shown_of
from benchmarks.ladders import ladder
from depictqa_core.judge import load_judge
from depictqa_core.loading.checkpoint_folder import BUNDLED
from training import drawn

SIDE = 160


def images(count, side=SIDE):
    rng = np.random.default_rng(3)
    return [drawn.draw(kind, side, side * 4 // 3, rng) for kind in drawn.VALIDATION_KINDS[:count]]


@pytest.fixture(scope="module")
def judge():
    return load_judge(BUNDLED, "cpu")


@pytest.fixture(scope="module")
def report(judge):
    """Part -> row -> values, of the bundled model on three drawings in place of photographs."""
    shown = shown_of(images(3), 1, SIDE)
    return {name: dict(PARTS[name](judge, shown)) for name in PARTS}


EXACT = ("option", "names", "batch")
"""Parts in which nothing that a judge may look at changes."""


@pytest.mark.slow
@pytest.mark.parametrize("part", EXACT)
def test_what_is_no_part_of_the_image_changes_nothing(report, part):
    assert report[part]
    assert all(row["largest"] <= 0.01 for row in report[part].values())


@pytest.mark.slow
def test_lossless_files_change_nothing_and_profiles_and_light_compression_little(report):
    assert all(report["format"][name]["largest"] == 0 for name in bias_effects.LOSSLESS)
    rows = [*report["profile"].values(), *report["format"].values()]
    assert len(rows) >= 8 and all(row["mean absolute"] <= 10 for row in rows)  # flat colours, moved by a grey level


@pytest.mark.slow
def test_compare_has_no_bias_of_order(report):
    assert report["order"]["compare, both orders averaged"]["largest"] <= 1e-6
    assert report["order"]["equal images: the first one"]["mean absolute"] <= 0.15
    assert report["order"]["clean and damaged: the first one"]["mean absolute"] <= 0.1


@pytest.mark.slow
def test_crops_and_aspects_move_scores_by_a_bounded_number_of_points(report):
    rows = {**report["crop"], **report["aspect"]}
    assert len(rows) == 7 and all(row["mean absolute"] <= 15 for row in rows.values())


def test_the_stored_biases_of_the_bundled_model_are_bounded():
    """What needs photographs: size, brightness of the scene, drawings. They are those of the weights that are here."""
    stored = json.loads((ROOT / "benchmarks" / "results" / "bias_mini.json").read_text())
    card = json.loads((ROOT / "depictqa_core/checkpoints/depictqa-mini/depictqa.json").read_text())
    assert stored["settings"]["weights"] == card["files"]["model.safetensors"]["sha256"]
    parts = stored["parts"]
    assert len(parts["size"]) == 4 and all(abs(row["effect"]["mean"]) <= 8 for row in parts["size"].values())
    (scene,) = parts["brightness"].values()
    assert abs(scene["effect"]["mean"]) <= 5  # points for 64 grey levels
    drawings = parts["drawing"]
    assert abs(drawings["drawings against photographs: score"]["effect"]["mean"]) <= 5
    assert abs(drawings['drawings against photographs: called "none"']["effect"]["mean"]) <= 0.2
    assert parts["order"]["equal images: the first one"]["mean absolute"] <= 0.15


def test_effects_by_hand():
    row = effect([1.0, -3.0, 2.0, 4.0])
    assert row["effect"]["mean"] == 1.0 and row["effect"]["low"] < 0 < row["effect"]["high"]
    assert (row["mean absolute"], row["largest"], row["images"]) == (2.5, 4.0, 4)


def test_the_middle_of_an_image():
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    assert np.array_equal(middle(image, 3, 3), image[1:4, 2:5])
    assert middle(image, 9, 3).shape == (5, 3, 3)


class LumaJudge:
    """Scores by brightness: a biased judge."""

    info = {"name": "fake", "version": "1", "files": {}}

    def score(self, shown):
        arrays = [np.asarray(one if isinstance(one, np.ndarray) else Image.open(one)) for one in shown]
        return [type("Score", (), {"score": float(array.mean()) / 2.55})() for array in arrays]


@pytest.mark.slow
def test_a_bias_of_brightness_is_found():
    flat = [np.full((64, 64, 3), level, np.uint8) for level in (40, 90, 150, 200)]
    row = dict(PARTS["brightness"](LumaJudge(), shown_of(flat, 0, 64)))["mean luma of the scene (clean photographs)"]
    assert row["effect"]["mean"] == pytest.approx(64 / 2.55, abs=0.01) and row["SRCC"]["mean"] == 1


def test_aspects_have_the_area_of_the_square():
    areas = []

    class AreaJudge(LumaJudge):
        def score(self, shown):
            areas.append([one.shape[0] * one.shape[1] for one in shown])
            return super().score(shown)

    flat = [np.full((240, 300, 3), 90, np.uint8)] * 2
    dict(PARTS["aspect"](AreaJudge(), shown_of(flat, 0, 240)))
    before, after = np.array(areas[::2]), np.array(areas[1::2])
    assert after / before == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_the_command_stores_every_part(tmp_path, monkeypatch, capsys):
    for number, image in enumerate(ladder(Image.fromarray(images(1, 96)[0]), "fade to grey")[:3]):
        image.save(tmp_path / f"{number}.png")
    monkeypatch.setattr(bias, "load_judge", lambda checkpoint: LumaJudge())
    output = tmp_path / "out" / "bias.json"
    words = ["--photographs", str(tmp_path), "--least", "96", "--only", "crop", "format", "--output", str(output)]
    output.parent.mkdir()
    assert bias.main(words) == 0
    content = json.loads(output.read_text())
    assert content["settings"]["images"] == 3 and [*content["parts"]] == ["crop", "format"]
    assert {"BMP", "TIFF", "WebP, lossless", "JPEG 95"} < {*content["parts"]["format"]}
    assert bias.main([*words[:2], "--least", "999", "--output", str(output)]) == 1
    assert "fewer than two images" in capsys.readouterr().err
