"""Peers: metrics that decide ratings and follow opinions."""

import json

import cv2
import numpy as np
import piq
import pytest
import torch
from PIL import Image
from trees import ROOT

from depictqa_core import tasks
from depictqa_core.metrics.registry import BUILT_IN, Metric, usable
from training.evaluation.peers import compare, follow_opinions, shown_in, values_of
from training.evaluation.sets import TestSet
from training.evaluation.voting import read_truth

SAMPLES = ROOT / "workflows" / "samples"
WHICH = "Which is better?" + tasks.SHORT_TAIL
RATE = "How would you rate the quality of the image?" + tasks.SHORT_TAIL


def sample(name: str) -> np.ndarray:
    return np.asarray(Image.open(SAMPLES / f"{name}.jpg").convert("RGB"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A reference, three images of falling quality and one of another size."""
    folder = tmp_path_factory.mktemp("peers")
    original = sample("balloons_original")[:200, :240]
    Image.fromarray(original).save(folder / "ref.png")
    for name, sigma in (("a", 0.7), ("b", 1.5), ("c", 3.0)):
        Image.fromarray(cv2.GaussianBlur(original, (0, 0), sigma)).save(folder / f"{name}.png")
    Image.fromarray(original[:180]).save(folder / "cut.png")
    return folder


def pair(n, a, b, answer, ref="ref.png"):
    return {"id": n, "image_ref": ref, "image_A": a, "image_B": b, "query": WHICH, "answer": answer}


@pytest.fixture(scope="module")
def test_set(root):
    rows = [
        pair(0, "a.png", "b.png", "Image A"),
        pair(1, "c.png", "a.png", "Image B"),
        pair(2, "b.png", "c.png", "Image B"),  # the opinion is against every metric
        pair(3, "b.png", "b.png", "Image A"),
        pair(4, "a.png", "cut.png", "Image A"),
        pair(5, "gone.png", "a.png", "Image B"),
    ]
    for n, (name, quality) in enumerate({"a": 0.9, "b": 0.6, "c": 0.2, "ref": 1.0}.items()):
        shown = {"image_ref": "ref.png", "image_A": f"{name}.png", "image_B": None}
        rows.append({"id": 10 + n, **shown, "query": RATE, "answer": "Good", "quality": quality})
    types = ["quality_compare"] * 6 + ["quality_single_A"] * 4
    return TestSet("made", root, rows, types)


@pytest.mark.slow
def test_metrics_decide_ratings_and_follow_scores(root, test_set, tmp_path):
    peers, _ = usable(BUILT_IN)
    values = values_of(shown_in(test_set), root, tmp_path / "metrics.jsonl", peers)
    tensors = [torch.from_numpy(np.array(Image.open(root / f"{n}.png")) / 255.0).permute(2, 0, 1)[None] for n in "a"]
    reference = torch.from_numpy(np.array(Image.open(root / "ref.png")) / 255.0).permute(2, 0, 1)[None]
    assert values["a.png", "ref.png"]["SSIM"] == pytest.approx(float(piq.ssim(tensors[0], reference)), abs=1e-4)
    assert values["cut.png", "ref.png"]["PSNR"] is None and values["cut.png", "ref.png"]["NIQE"] is not None
    results = compare(test_set, values, peers)
    assert set(results) == {peer.name for peer in BUILT_IN}
    for name in ("PSNR", "SSIM", "MS-SSIM", "GMSD", "HaarPSI"):
        # right, right, wrong, a tie; one image of another size and one that is missing
        assert results[name]["rating"] == {"accuracy": 0.625, "count": 4, "failed": 2, "ties": 1}
        assert results[name]["score"]["srcc"] == pytest.approx(1.0)
    assert results["NIQE"]["rating"]["failed"] == 1


def test_metrics_without_a_reference_leave_the_others_out(root, test_set, tmp_path):
    bare = TestSet("bare", root, test_set.records[:2], ["quality_compare_noref"] * 2)
    peers, _ = usable(BUILT_IN)
    values = values_of(shown_in(bare), root, tmp_path / "metrics.jsonl", peers)
    assert set(compare(bare, values, peers)) == {"BRISQUE", "NIQE"}


def test_a_repeated_call_measures_only_what_has_changed(root, tmp_path):
    calls = []
    peer = Metric("counted", True, 1, lambda picture, reference: calls.append(1) or 0.5)
    for _ in range(2):
        values = values_of([("a.png", "ref.png")], root, tmp_path / "metrics.jsonl", [peer])
        assert values == {("a.png", "ref.png"): {"counted": 0.5}} and len(calls) == 1
    (root / "ref.png").touch()
    values_of([("a.png", "ref.png"), ("b.png", "ref.png")], root, tmp_path / "metrics.jsonl", [peer])
    assert len(calls) == 3


def test_another_size_is_compared_at_the_common_size_and_another_aspect_ratio_not_at_all(root, tmp_path):
    with Image.open(root / "a.png") as whole:
        whole.resize((120, 100)).save(root / "half.png")

    def width(image, reference):
        if image.shape != reference.shape:
            raise ValueError("other size")
        return image.shape[1]

    same = Metric("same", True, 1, width)
    values = values_of([("half.png", "ref.png"), ("cut.png", "ref.png")], root, tmp_path / "metrics.jsonl", [same])
    assert values == {("half.png", "ref.png"): {"same": 120.0}, ("cut.png", "ref.png"): {"same": None}}


def test_peers_follow_the_opinions_of_a_voting_file(root, tmp_path):
    truth = {"ref.png": {"dist_paths": ["a.png", "b.png", "c.png"], "mos_list": [5.0, 3.0, 1.0]}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    truth = read_truth(tmp_path / "truth.json")
    peers, _ = usable(BUILT_IN)
    shown = [(path, reference) for reference, opinions in truth.items() for path in opinions]
    values = values_of(shown, root, tmp_path / "metrics.jsonl", peers)
    found = follow_opinions(truth, values, peers)
    assert found["GMSD"]["srcc"] == pytest.approx(1.0) and found["GMSD"]["references"]["ref.png"]["images"] == 3
