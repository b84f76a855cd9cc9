"""Statistics of an image beside its reference: the published metrics in it, and extreme inputs."""

import numpy as np
import piq
import pytest
import torch
from PIL import Image, ImageFilter

from depictqa_core.images.comparison_statistics import COMPARISON_STATISTICS, comparison_statistics
from depictqa_core.images.image import as_image
from depictqa_core.network.config import DepictQAConfig
from depictqa_core.network.vision import prepare_comparison

# Where the summary of each metric stands: behind the parts before it, in the order of the module.
PSNR, SSIM, GMSD, HAARPSI, MDSI = 3, 164, 197, 233, 247


def scene(height=200, width=240, seed=0):
    """Smooth colour with edges and grain, uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 60
    base = np.stack([np.sin(3 * x + y), np.cos(2 * y - x), np.sign(np.sin(2 * x * y))], -1)
    return np.clip(128 + 70 * base + rng.normal(0, 4, base.shape), 0, 255).astype(np.uint8)


def blurred(rgb, radius):
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(radius)))


CHANGES = {
    "blur": lambda x: blurred(x, 2),
    "noise": lambda x: np.clip(x + np.random.default_rng(1).normal(0, 20, x.shape), 0, 255).astype(np.uint8),
    "dark": lambda x: (x * 0.6).astype(np.uint8),
    "pale": lambda x: (0.4 * x + 0.6 * x.mean(2, keepdims=True)).astype(np.uint8),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_published_metrics_are_among_the_statistics(change):
    reference = scene()
    picture = CHANGES[change](reference)
    values = comparison_statistics(picture, reference).tolist()
    x, y = (torch.tensor(p / 255.0).permute(2, 0, 1)[None].float() for p in (picture, reference))
    assert values[PSNR] == pytest.approx(float(piq.psnr(x, y)) / 10 - 3, abs=1e-3)
    assert values[SSIM] == pytest.approx(float(piq.ssim(x, y)), abs=1e-3)
    assert values[GMSD] / 4 == pytest.approx(float(piq.gmsd(x, y)), abs=2e-3)
    assert values[HAARPSI] == pytest.approx(float(piq.haarpsi(x, y)), abs=0.03)
    assert values[MDSI] == pytest.approx(float(piq.mdsi(x, y)), abs=0.01)


def test_a_picture_equals_itself_and_differs_more_the_more_it_is_changed():
    reference = scene()
    same = comparison_statistics(reference, reference)
    steps = [comparison_statistics(blurred(reference, radius), reference) for radius in (0.6, 1.2, 2.5, 5)]
    assert same[SSIM] == pytest.approx(1) and same[GMSD] == pytest.approx(0, abs=1e-6)
    assert same[PSNR] == pytest.approx(2, abs=1e-3)  # 50 dB, in tens, less 3
    assert [float(s[SSIM]) for s in [same, *steps]] == sorted([float(s[SSIM]) for s in [same, *steps]], reverse=True)
    assert [float(s[MDSI]) for s in [same, *steps]] == sorted(float(s[MDSI]) for s in [same, *steps])


def test_large_pictures_are_pooled_like_the_metric_does():
    reference = scene(520, 640)
    picture = CHANGES["noise"](reference)
    x, y = (torch.tensor(p / 255.0).permute(2, 0, 1)[None].float() for p in (picture, reference))
    assert comparison_statistics(picture, reference)[SSIM] == pytest.approx(float(piq.ssim(x, y)), abs=1e-3)


def test_another_size_is_brought_to_that_of_the_reference():
    reference = scene()
    smaller = np.asarray(Image.fromarray(blurred(reference, 1)).resize((216, 180), Image.Resampling.BICUBIC))
    back = np.asarray(Image.fromarray(smaller).resize((240, 200), Image.Resampling.BICUBIC))
    assert torch.equal(comparison_statistics(smaller, reference), comparison_statistics(back, reference))


FLAT = {"black": np.zeros((64, 64, 3), np.uint8), "white": np.full((40, 300, 3), 255, np.uint8)}
SIZES = {"one pixel": (1, 1), "one row": (1, 700), "odd": (33, 47), "strip": (9, 4000)}
EXTREMES = FLAT | {name: scene(*size) for name, size in SIZES.items()}


@pytest.mark.parametrize("name", EXTREMES)
def test_statistics_are_finite_and_bounded(name):
    for picture in (scene(90, 70), EXTREMES[name]):
        values = comparison_statistics(picture, EXTREMES[name])
        assert values.shape == (COMPARISON_STATISTICS,) and values.dtype == torch.float32
        assert torch.isfinite(values).all() and values.abs().max() <= 20


def test_only_connectors_that_ask_for_them_get_them():
    picture, reference = as_image(CHANGES["blur"](scene())), as_image(scene())
    plain = DepictQAConfig(vision={"kind": "cnn"}, connector={"kind": "pooling"})
    asking = DepictQAConfig(vision={"kind": "cnn"}, connector={"kind": "pooling", "comparison": True})
    assert prepare_comparison(picture, reference, plain) is None
    found = prepare_comparison(picture, reference, asking)
    assert torch.equal(found, comparison_statistics(picture.rgb, reference.rgb))
    part = prepare_comparison(picture, reference, asking, (0.5, 1.0))
    assert torch.equal(part, comparison_statistics(picture.rgb[50:150], reference.rgb[50:150]))
