"""``benchmarks.typicality``: errors by typicality, and images unlike all others."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks import typicality
from depictqa_core.images.image import as_image


class Judge:
    """Scores 70 for all; typicality is the brightness of the image, 0..1."""

    def __init__(self, known: bool = True):
        self.known = known

    def score(self, images):
        return [
            SimpleNamespace(score=70.0, typicality=float(as_image(one).rgb.mean() / 255) if self.known else None)
            for one in images
        ]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    variants = []
    for number, level in enumerate((0, 2, 100, 255)):
        Image.new("RGB", (40, 40), (level,) * 3).save(tmp_path / f"images/{number}.png")
        variants.append({"image": f"images/{number}.png", "quality": (0.2, 0.4, 0.7, 1.0)[number]})
    scene = {"scene": 0, "reference": "images/2.png", "variants": variants}
    (tmp_path / "scenes-00000.jsonl").write_text(json.dumps(scene) + "\n")
    return tmp_path


def test_errors_are_those_of_the_images_in_each_bin(root):
    found = typicality.measure(Judge(), root)
    bins = found["by typicality"]
    assert {name: entry["images"] for name, entry in bins.items()} == {"0 to 0.01": 2, "0.2 to 0.5": 1, "0.5 to 1": 1}
    assert [bins[name]["error of scores"]["mean"] for name in bins] == pytest.approx([40, 0, 30])
    assert bins["0 to 0.01"]["share of images"]["share"] == 0.5
    assert found["called atypical"]["static"]["share"] == 0  # half grey in the mean


def test_images_unlike_all_others(root):
    found = typicality.unlike_all(root)
    assert {kind: len(images) for kind, images in found.items()} == dict.fromkeys(found, 1)
    assert found["one color"][0].rgb.std(axis=(0, 1)).max() == 0
    assert 60 < found["static"][0].rgb.std() < 85
    assert set(np.unique(found["stripes"][0].rgb)) == {0, 255}
    assert found["enlarged 16 times"][0].rgb.shape == (512, 512, 3)


def test_a_checkpoint_without_typicality_is_refused(root, monkeypatch, capsys):
    monkeypatch.setattr(typicality, "load_judge", lambda checkpoint: Judge(known=False))
    assert typicality.main([str(root)]) == 1
    assert "python -m training typicality" in capsys.readouterr().err
