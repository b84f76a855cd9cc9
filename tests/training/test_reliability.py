"""Reliability of what is printed as a probability: by hand, and of the bundled model on a small data root."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import reliability
from benchmarks.reliability import Stated, measured
from depictqa_core import tasks
from depictqa_core.loading.checkpoint_folder import BUNDLED
from training import distortions


def test_figures_by_hand():
    stated = Stated([0.95, 0.95, 0.65, 0.65], [1, 1, 1, 0])
    found = measured(stated)
    assert found["right"]["share"] == 0.75 and found["mean stated"] == 0.8
    assert found["ece"] == pytest.approx((0.05 + 0.15) / 2)
    assert found["brier"] == pytest.approx((2 * 0.05**2 + 0.35**2 + 0.65**2) / 4, abs=1e-4)
    assert found["risk coverage"] == [[0.5, 0.0], [1.0, 0.25]]
    assert found["aurc"] == pytest.approx(0.5 * 0.125)


def test_a_probability_below_one_half_decides_against():
    found = measured(Stated([0.9, 0.1, 0.2], [1, 0, 1], facts={"binary": True}))
    assert found["right"]["share"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["true"] == pytest.approx(2 / 3, abs=1e-4) and found["mean stated"] == 0.4
    assert found["risk coverage"][0] == [pytest.approx(2 / 3, abs=1e-4), 0.0]  # 0.9 and 1 - 0.1, both right
    assert "binary" not in found


def test_records_weigh_as_the_stated_share_of_clean_images():
    found = measured(Stated([0.9, 0.5, 0.5], [1, 0, 1], [True, False, False]), 0.8)
    assert found["mean stated"] == pytest.approx(0.8 * 0.9 + 0.2 * 0.5)
    assert found["true"] == pytest.approx(0.8 * 1 + 0.2 * 0.5)


def test_long_curves_are_thinned_and_end_with_all_answers():
    rng = np.random.default_rng(0)
    curve = measured(Stated(rng.random(1000).tolist(), (rng.random(1000) < 0.5).tolist()))["risk coverage"]
    assert len(curve) <= reliability.POINTS + 1 and curve[-1][0] == 1


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six images and records of every kind about them."""
    root = tmp_path_factory.mktemp("root")
    (root / "records").mkdir()
    rng = np.random.default_rng(5)
    names = []
    for number in range(6):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
        image = np.asarray(coarse.resize((128, 96), Image.Resampling.BICUBIC))
        severity = number % 3 * 2
        changed = distortions.apply("noise_gaussian_RGB", image, severity, rng) if severity else image
        names.append(f"{number}.png")
        Image.fromarray(changed).save(root / names[-1])

    def write(name, rows):
        (root / "records" / f"{name}.json").write_text(json.dumps([{"id": i, **row} for i, row in enumerate(rows)]))

    one = [{"image_ref": None, "image_A": name, "image_B": None} for name in names]
    truths = ["None" if number % 3 == 0 else "Noise" for number in range(6)]
    write("identification_nr_single", [{**r, "query": tasks.ONE_ISSUE, "answer": t} for r, t in zip(one, truths)])
    some = [(row, fault) for row in one for fault in ("seams", "moire")]
    write(
        "faults_nr_single",
        [{**row, "query": tasks.fault_question(fault), "answer": "No", "fault": fault} for row, fault in some],
    )
    query = tasks.SCORE.question
    write("score_nr_single", [{**r, "query": query, "quality": 1 - i % 3 * 0.36} for i, r in enumerate(one)])
    pairs = [{"image_ref": None, "image_A": names[a], "image_B": names[b]} for a, b in ((0, 2), (5, 3), (1, 2))]
    winners = ["Image A", "Image B", "Image A"]
    short = f"{tasks.RATING.question} Answer the question using a single word or phrase."
    write("rating_nr_single", [{**r, "query": short, "answer": w} for r, w in zip(pairs, winners)])
    return root


@pytest.mark.slow
def test_every_verb_is_measured_before_and_after(root, tmp_path, capsys):
    output, figure = tmp_path / "out.json", tmp_path / "out.png"
    words = ["--records", str(root), "--checkpoint", str(BUNDLED), "--output", str(output)]
    assert reliability.main([*words, "--figure", str(figure)]) == 0
    content = json.loads(output.read_text())
    found = {name: part for parts in content["parts"].values() for name, part in parts.items()}
    assert {*found} == {
        "identify, one label", "identify, each label", "faults", "score", "compare, versions of one image", "rank",
    }  # fmt: skip
    assert [found[name]["count"] for name in ("identify, one label", "identify, each label", "faults", "score")] == [
        6, 6 * 13, 12, 6,
    ]  # fmt: skip
    assert found["compare, versions of one image"]["count"] == 3 == found["rank"]["count"]
    for name in ("identify, one label", "score", "rank"):
        assert found[name]["before"]["mean stated"] != found[name]["after"]["mean stated"]
    assert 0 <= found["score"]["after"]["in the 95 % interval"]["share"] <= 1
    assert Image.open(figure).format == "PNG"
    capsys.readouterr()
    assert reliability.main([*words, "--only", "score"]) == 0
    assert "ECE" not in capsys.readouterr().out  # it was done before


def test_a_folder_without_records_is_named(tmp_path, capsys):
    assert reliability.main(["--records", str(tmp_path), "--output", str(tmp_path / "x.json")]) == 1
    assert "no records; make them with python -m training build" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        reliability.main(["--records", str(tmp_path), "--clean-share", "1.5"])
