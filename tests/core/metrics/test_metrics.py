"""Classical metrics against other implementations and published values; those that other packages provide."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import piq
import pytest
import torch
from PIL import Image
from scipy.stats import gennorm
from trees import ROOT

from depictqa_core.cli import commands
from depictqa_core.errors import DepictQAError, ImageError, PackageError, TaskError
from depictqa_core.metrics import naturalness
from depictqa_core.metrics.registry import BUILT_IN, chosen, known, usable
from depictqa_core.runtime.plugins import METRICS, plugins

SAMPLES = ROOT / "workflows" / "samples"
NAMED = {metric.name: metric for metric in BUILT_IN}


def sample(name: str) -> np.ndarray:
    return np.asarray(Image.open(SAMPLES / f"{name}.jpg").convert("RGB"))


@pytest.mark.parametrize("shape", [(64, 70), (65, 71), (67, 70)])
def test_blur_and_half_size_are_those_of_opencv(shape):
    values = np.random.default_rng(0).uniform(0, 255, shape)
    half = cv2.resize(values, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC)
    assert np.abs(naturalness._half(values) - half).max() < 1e-10
    for border, name in ((cv2.BORDER_CONSTANT, "constant"), (cv2.BORDER_REPLICATE, "edge")):
        blurred = cv2.GaussianBlur(values, (7, 7), 7 / 6, borderType=border)
        assert np.abs(naturalness._blurred(values, name) - blurred).max() < 1e-10


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


def test_niqe_is_a_distance_from_the_images_that_it_was_fitted_to():
    images = [sample("balloons_original"), sample("garage_original")]
    mean, covariance = naturalness.fit_pristine(images)
    patches = np.concatenate([naturalness.niqe_features(image)[0] for image in images])
    sharp = np.concatenate([(s := naturalness.niqe_features(p)[1]) >= 0.75 * s.max() for p in images])
    assert mean == pytest.approx(patches[sharp].mean(0)) and 0 < sharp.sum() < len(sharp)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9
    with pytest.raises(DepictQAError, match="96 x 96"):
        naturalness.niqe(images[0][:90])


def test_brisque_without_its_package_is_reported(monkeypatch):
    naturalness.brisque_parameters.cache_clear()
    monkeypatch.setattr(naturalness.importlib.util, "find_spec", lambda name: None)
    metrics, missing = usable(BUILT_IN)
    assert [metric.name for metric in metrics] == [name for name in NAMED if name != "BRISQUE"]
    assert "pip install --no-deps brisque" in missing["BRISQUE"]
    with pytest.raises(PackageError, match="pip install --no-deps brisque"):
        chosen(["brisque"], False)
    naturalness.brisque_parameters.cache_clear()


def test_an_image_of_one_colour_has_no_value():
    for name, reason in (("BRISQUE", "one colour"), ("NIQE", "one colour")):
        for level in (0, 77, 128, 255):
            with pytest.raises(DepictQAError, match=reason):
                NAMED[name](np.full((192, 200, 3), level, np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "function"),
    [("PSNR", "psnr"), ("SSIM", "ssim"), ("MS-SSIM", "multi_scale_ssim"), ("GMSD", "gmsd"), ("HaarPSI", "haarpsi")],
)
def test_metrics_with_a_reference_are_those_of_piq(name, function):
    original, image = sample("balloons_original"), sample("balloons_noise")
    pair = [torch.from_numpy(one / 255.0).permute(2, 0, 1)[None].float() for one in (image, original)]
    assert NAMED[name](image, original) == pytest.approx(float(getattr(piq, function)(*pair, data_range=1.0)))
    better = NAMED[name](sample("balloons_blur_light"), original) - NAMED[name](
        sample("balloons_blur_strong"), original
    )
    assert better * NAMED[name].sign > 0
    with pytest.raises(ImageError, match="320 x 300 pixels, its reference 320 x 320"):
        NAMED[name](image[:300], original)
    with pytest.raises(TaskError, match="compares with a reference"):
        NAMED[name](image)


def test_metrics_are_chosen_by_name():
    assert [metric.name for metric in chosen(["psnr", "Niqe"], True)] == ["PSNR", "NIQE"]
    assert [metric.name for metric in chosen(None, False)] == ["BRISQUE", "NIQE"]
    with pytest.raises(TaskError, match="metric LPIPS: is not known; there are PSNR"):
        chosen(["LPIPS"], True)
    with pytest.raises(TaskError, match="give --reference"):
        chosen(["ssim"], False)


# ---------------------------------------------------------------------- the command line


@pytest.fixture
def metrics(capsys):
    """Runs the command; gives (exit status, stdout, stderr)."""
    return lambda *words: (commands.main(["metrics", *words]), *capsys.readouterr())


def test_command(metrics, folder):
    status, out, err = metrics(folder, "--reference", "pics/x2.png", "--csv", "m.csv", "--json", "m.json")
    assert status == 0 and "written: m.csv" in err
    rows = {row["picture"]: row for row in csv.DictReader(open("m.csv"))}
    facts = json.loads(Path("m.json").read_text())
    assert set(rows) == {"pics/X1.jpg", "pics/x2.png", "pics/x10.png"} and set(facts["better"]) == set(NAMED)
    assert float(rows["pics/x2.png"]["SSIM"]) == pytest.approx(1) and float(rows["pics/x10.png"]["SSIM"]) < 0.5
    assert rows["pics/x2.png"]["NIQE"] == "" and "NIQE needs" in err  # 70 x 90 pixels are too few
    assert "SSIM (more is better)" in out
    status, out, err = metrics(folder, "missing.png", "--metrics", "brisque")
    assert status == 3 and "missing.png: no such file" in err and "BRISQUE (less is better)" in out
    assert metrics(folder, "--metrics", "nope")[0] == 1


# ---------------------------------------------------------------------- other packages


CONTRAST = """
from depictqa_core.metrics.registry import Metric
contrast = Metric("Contrast", False, 1, lambda image, _: float(image.std()))
"""


def test_a_package_provides_a_metric(install, metrics, folder):
    install("tiny_contrast", CONTRAST, metrics="contrast = tiny_contrast:contrast")
    assert list(known()) == [*NAMED, "Contrast"]
    image = sample("balloons_noise")
    assert known()["Contrast"](image) == float(image.std())
    status, out, _ = metrics(folder, "--metrics", "contrast", "--json")
    assert status == 0 and all(row["Contrast"] > 10 for row in json.loads(out)["results"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_to_be_found", "contrast of package tiny_broken cannot be loaded .*nowhere"),
        ("contrast = 3", "must name a Metric"),
        (CONTRAST.replace('"Contrast"', '"SSIM"'), "must name a Metric of its own name"),
    ],
)
def test_a_broken_package_is_named(install, source, message):
    install("tiny_broken", source, metrics="contrast = tiny_broken:contrast")
    with pytest.raises(PackageError, match=message):
        known()


def test_two_packages_of_one_name_are_refused(install):
    for name in ("tiny_one", "tiny_two"):
        install(name, CONTRAST, metrics=f"contrast = {name}:contrast")
    with pytest.raises(PackageError, match="two installed packages provide contrast .*tiny_one.*tiny_two"):
        plugins(METRICS)
