"""Peers: natural scene statistics against known distributions and published values; metrics that decide ratings."""

import json

import cv2
import numpy as np
import piq
import pytest
import torch
from PIL import Image
from scipy.stats import gennorm
from trees import ROOT

from depictqa_core import tasks
from depictqa_core.errors import DepictQAError
from training.evaluation import naturalness
from training.evaluation.peers import PEERS, Peer, compare, follow_opinions, shown_in, usable, values_of
from training.evaluation.sets import TestSet
from training.evaluation.voting import read_truth

SAMPLES = ROOT / "workflows" / "samples"
WHICH = "Which is better?" + tasks.SHORT_TAIL
RATE = "How would you rate the quality of the image?" + tasks.SHORT_TAIL


def sample(name: str) -> np.ndarray:
    return np.asarray(Image.open(SAMPLES / f"{name}.jpg").convert("RGB"))


@pytest.mark.parametrize("shape", [0.6, 1.0, 2.0, 3.5])
def test_the_fit_recovers_a_generalised_gaussian(shape):
    rng = np.random.default_rng(0)
    size = np.abs(gennorm.rvs(shape, size=(2, 200_000), random_state=rng))
    falls_left = (
        rng.random(size.shape) < 1 / 3
    )  # a density without a step at 0: the side half as wide has half the mass
    values = np.where(falls_left, -size / 2, size) * [[1.0], [3.0]]
    found, left, right = naturalness.fit_asymmetric(values)
    deviation = gennorm.std(shape)
    assert found == pytest.approx([shape] * 2, rel=0.06)
    assert left == pytest.approx([0.5 * deviation, 1.5 * deviation], rel=0.03)
    assert right == pytest.approx([deviation, 3 * deviation], rel=0.03)


def test_brisque_is_that_of_the_package_whose_parameters_it_reads():
    """The values were computed with version 0.2.0 of the package itself."""
    expected = {
        "balloons_original": 10.500,
        "balloons_blur_light": 39.087,
        "balloons_noise": 62.274,
        "balloons_blur_strong": 77.649,
        "garage_original": 26.135,
        "garage_dark": 34.789,
        "garage_jpeg_8": 68.849,
        "garage_pixelated": 68.477,
    }
    for name, value in expected.items():
        assert naturalness.brisque(sample(name)) == pytest.approx(value, abs=1.5), name


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    path = tmp_path / "bad.pickle"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with open(path, "rb") as file, pytest.raises(Exception, match="unexpected os.system"):
        naturalness._NumbersOnly(file).load()


def test_niqe_is_low_for_originals_and_rises_with_every_blur_and_noise():
    rng = np.random.default_rng(0)
    for name in ("balloons_original", "garage_original"):
        original = sample(name)
        blurred = [cv2.GaussianBlur(original, (0, 0), sigma) for sigma in (1, 2)]
        noise = rng.normal(size=original.shape)
        noisy = [np.clip(original + noise * sigma, 0, 255).astype(np.uint8) for sigma in (10, 30)]
        best = naturalness.niqe(original)
        assert best < 4
        for worse in (blurred, noisy):
            assert best < naturalness.niqe(worse[0]) < naturalness.niqe(worse[1])


def test_niqe_is_a_distance_from_the_pictures_that_it_was_fitted_to():
    pictures = [sample("balloons_original"), sample("garage_original")]
    mean, covariance = naturalness.fit_pristine(pictures)
    patches = np.concatenate([naturalness.niqe_features(picture)[0] for picture in pictures])
    sharp = np.concatenate([(s := naturalness.niqe_features(p)[1]) >= 0.75 * s.max() for p in pictures])
    assert mean == pytest.approx(patches[sharp].mean(0)) and 0 < sharp.sum() < len(sharp)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9
    with pytest.raises(DepictQAError, match="96 x 96"):
        naturalness.niqe(pictures[0][:90])


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


def test_metrics_decide_ratings_and_follow_scores(root, test_set, tmp_path):
    peers, _ = usable()
    values = values_of(shown_in(test_set), root, tmp_path / "metrics.jsonl", peers)
    tensors = [torch.from_numpy(np.array(Image.open(root / f"{n}.png")) / 255.0).permute(2, 0, 1)[None] for n in "a"]
    reference = torch.from_numpy(np.array(Image.open(root / "ref.png")) / 255.0).permute(2, 0, 1)[None]
    assert values["a.png", "ref.png"]["SSIM"] == pytest.approx(float(piq.ssim(tensors[0], reference)), abs=1e-4)
    assert values["cut.png", "ref.png"]["PSNR"] is None and values["cut.png", "ref.png"]["NIQE"] is not None
    results = compare(test_set, values, peers)
    assert set(results) == {peer.name for peer in PEERS}
    for name in ("PSNR", "SSIM", "MS-SSIM", "GMSD", "HaarPSI"):
        # right, right, wrong, a tie; one image of another size and one that is missing
        assert results[name]["rating"] == {"accuracy": 0.625, "count": 4, "failed": 2, "ties": 1}
        assert results[name]["score"]["srcc"] == pytest.approx(1.0)
    assert results["NIQE"]["rating"]["failed"] == 1


def test_metrics_without_a_reference_leave_the_others_out(root, test_set, tmp_path):
    bare = TestSet("bare", root, test_set.records[:2], ["quality_compare_noref"] * 2)
    peers, _ = usable()
    values = values_of(shown_in(bare), root, tmp_path / "metrics.jsonl", peers)
    assert set(compare(bare, values, peers)) == {"BRISQUE", "NIQE"}


def test_a_repeated_call_measures_only_what_has_changed(root, tmp_path):
    calls = []
    peer = Peer("counted", True, 1, lambda picture, reference: calls.append(1) or 0.5)
    for _ in range(2):
        values = values_of([("a.png", "ref.png")], root, tmp_path / "metrics.jsonl", [peer])
        assert values == {("a.png", "ref.png"): {"counted": 0.5}} and len(calls) == 1
    (root / "ref.png").touch()
    values_of([("a.png", "ref.png"), ("b.png", "ref.png")], root, tmp_path / "metrics.jsonl", [peer])
    assert len(calls) == 3


def test_peers_follow_the_opinions_of_a_voting_file(root, tmp_path):
    truth = {"ref.png": {"dist_paths": ["a.png", "b.png", "c.png"], "mos_list": [5.0, 3.0, 1.0]}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    truth = read_truth(tmp_path / "truth.json")
    peers, _ = usable()
    shown = [(path, reference) for reference, opinions in truth.items() for path in opinions]
    values = values_of(shown, root, tmp_path / "metrics.jsonl", peers)
    found = follow_opinions(truth, values, peers)
    assert found["GMSD"]["srcc"] == pytest.approx(1.0) and found["GMSD"]["references"]["ref.png"]["images"] == 3


def test_brisque_without_its_package_is_reported(monkeypatch):
    naturalness.brisque_parameters.cache_clear()
    monkeypatch.setattr(naturalness.importlib.util, "find_spec", lambda name: None)
    peers, missing = usable()
    assert [peer.name for peer in peers] == [peer.name for peer in PEERS if peer.name != "BRISQUE"]
    assert "pip install --no-deps brisque" in missing["BRISQUE"]
    naturalness.brisque_parameters.cache_clear()
