"""The table by which a stage of training is chosen: its figures against judges that know, or know nothing."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import held_out_scenes
from depictqa_core.results import Comparison, Identification, LabelProbability, Score


def variant(name, *distortions, faults=(), region=None, quality=1.0):
    return {
        "image": f"images/{name}.png",
        "distortions": [{"category": c, "name": c, "severity": s} for c, s in distortions],
        "faults": list(faults),
        "region": region,
        "quality": quality,
        "metrics": {},
    }


SCENES = [
    {
        "source": "startbootstrap-agency__a.jpg",
        "drawn": None,
        "reference": "images/a.png",
        "variants": [
            variant("a"),
            variant("b", ("blur", 2), quality=0.6),
            variant("c", ("blur", 4), quality=0.3),
            variant("d", ("noise", 4), region={"place": "top"}, quality=0.5),
        ],
    },
    {
        "source": None,
        "drawn": "chart",
        "reference": "images/e.png",
        "variants": [
            variant("e"),
            variant("f", faults=[{"fault": "banding", "name": "banding_steps", "severity": 3}], quality=0.4),
        ],
    },
]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    for number, name in enumerate("abcdef"):
        Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8)).save(tmp_path / f"images/{name}.png")
    (tmp_path / "scenes-00000.jsonl").write_text("".join(json.dumps(scene) + "\n" for scene in SCENES))
    return tmp_path


class Knowing:
    """Answers by the grey of an image, and right unless ``wrong`` turns its answers round."""

    def __init__(self, wrong=False):
        self.wrong = wrong

    def _truth(self, image):
        name = "abcdef"[round(int(image.rgb[0, 0, 0]) / 10)]
        return next(v for s in SCENES for v in s["variants"] if v["image"] == f"images/{name}.png")

    def identify(self, images, faults):
        found = []
        for image in images:
            truth = self._truth(image)
            label = truth["distortions"][0]["category"] if truth["distortions"] else "none"
            if self.wrong:
                label = "none" if label != "none" else "noise"
            labels = () if label == "none" else (label,)
            fault = 0.9 if bool(truth["faults"]) != self.wrong else 0.1
            found.append(
                Identification(
                    image.name,
                    labels,
                    label,
                    (LabelProbability(label, 0.95), LabelProbability("none" if labels else "blur", 0.05)),
                    0.95,
                    faults=(LabelProbability("banding", fault),),
                )
            )
        return found

    def score(self, images):
        sign = -1 if self.wrong else 1
        return [
            Score(i.name, 50 + sign * 50 * (self._truth(i)["quality"] - 0.5), 1, 0.5, (), 0, 100, "levels")
            for i in images
        ]

    def compare_many(self, pairs):
        truth = [[self._truth(image)["quality"] for image in pair] for pair in pairs]
        return [
            Comparison(a.name, b.name, float((x > y) != self.wrong), 0.0, "A", 1.0)
            for (a, b), (x, y) in zip(pairs, truth)
        ]


def test_a_judge_that_knows_all_and_one_that_turns_all_round(root):
    best, worst = (held_out_scenes.measure(Knowing(wrong), root)["all"] for wrong in (False, True))
    assert best["images"] == 6 and best["clean"] == 2
    for row in ("clean called none", "AUC of none, whole", "AUC of none, a region", "AUC of score, whole"):
        assert best[row] == 1 and worst[row] == 0, row
    assert best["right label of one distortion"] == 1 and worst["right label of one distortion"] == 0
    assert best["SRCC of scores"] == pytest.approx(1) and worst["SRCC of scores"] == pytest.approx(-1)
    for kind in ("", ", a region", ", a fault"):
        for name in ("pairs in order", "pairs compared right"):
            assert best[f"{name}{kind}"] == 1 and worst[f"{name}{kind}"] == 0
    assert (best["AUC of faults"], best["faults named"], best["false alarms"]) == (1, 1, 0)
    assert (worst["AUC of faults"], worst["faults named"], worst["false alarms"]) == (0, 0, 1)
    assert (best["wrong at 0.9"], worst["wrong at 0.9"]) == (0, 1)


def test_domains_and_columns(root):
    found = held_out_scenes.measure(Knowing(), root)
    assert found["all"]["images"] == 6 and found["drawn by program"]["images"] == 2
    text = held_out_scenes.table({"one": found, "two": found})
    assert "| drawn by program | one | two |" in text and "| clean called none | 1 | 1 |" in text
