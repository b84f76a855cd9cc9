"""The 35 distortions: check values, exactness of the fast forms, purity, errors, pairs and draws."""

import hashlib
import itertools
import math
from collections import Counter

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from training import distortions
from training.distortions import (
    ALLOWED_PAIRS,
    ANSWER,
    CATEGORIES,
    CATEGORY,
    NAMES,
    RANDOM,
    REGISTRY,
    WEB_FORMATS,
    apply,
    sample_native,
    sample_one,
    sample_two,
    severities_of,
)
from training.distortions.blur import motion, zoomed
from training.distortions.pairs import PAIRS
from training.distortions.quantization import multi_otsu
from training.distortions.shuffle import local_shuffle

# PSNR in dB at severities 1..5 against the test image (method.md 5.4), where nothing is random.
FIXED = {
    "blur_gaussian": (49.36, 40.61, 34.21, 29.66, 26.24),
    "blur_lens": (47.97, 43.24, 39.71, 33.42, 29.11),
    "blur_zoom": (36.40, 25.30, 20.80, 18.25, 15.99),
    "compression_jpeg": (32.48, 30.40, 27.84, 25.56, 22.71),
    "compression_jpeg_2000": (27.66, 26.30, 24.39, 21.72, 20.54),
    "brightness_brighten_shfit_HSV": (22.49, 16.71, 13.79, 11.98, 10.80),
    "brightness_brighten_shfit_RGB": (20.18, 16.64, 14.22, 11.95, 9.97),
    "brightness_brighten_gamma_HSV": (24.65, 21.34, 18.98, 17.01, 15.30),
    "brightness_brighten_gamma_RGB": (24.00, 19.88, 16.86, 13.29, 10.33),
    "brightness_darken_shfit_HSV": (22.06, 16.19, 12.67, 10.25, 8.40),
    "brightness_darken_shfit_RGB": (19.83, 16.41, 14.22, 11.88, 9.88),
    "brightness_darken_gamma_HSV": (21.44, 18.02, 15.28, 13.12, 10.99),
    "brightness_darken_gamma_RGB": (19.87, 16.04, 13.28, 11.27, 9.80),
    "contrast_strengthen_scale": (21.16, 17.75, 15.57, 14.19, 12.47),
    "contrast_strengthen_stretch": (23.36, 18.38, 15.31, 13.81, 12.96),
    "contrast_weaken_scale": (24.65, 20.57, 17.81, 15.72, 14.56),
    "contrast_weaken_stretch": (18.66, 18.00, 17.34, 16.05, 14.84),
    "saturate_strengthen_HSV": (14.27, 13.15, 12.91, 12.87, 12.85),
    "saturate_strengthen_YCrCb": (16.88, 13.80, 11.83, 10.88, 10.15),
    "saturate_weaken_HSV": (21.09, 17.54, 15.04, 12.54, 10.58),
    "saturate_weaken_YCrCb": (21.48, 17.98, 15.49, 14.47, 13.57),
    "oversharpen": (43.13, 39.82, 37.11, 33.59, 31.10),
    "pixelate": (35.89, 32.48, 30.43, 29.04, 26.91),
    "quantization_otsu": (29.72, 27.84, 25.31, 20.67, 16.86),
    "quantization_median": (37.27, 35.83, 31.76, 27.93, 21.92),
    "quantization_hist": (25.28, 25.27, 22.71, 21.19, 18.02),
}
# (value, stated spread over a few seeds), where something is random; motion has ranges and a test of its own.
DRAWN = {
    "blur_glass": ((33.28, 0.02), (29.81, 0.03), (24.42, 0.05), (23.19, 0.01), (22.26, 0.02)),
    "blur_jitter": ((31.76, 0.01), (27.06, 0.02), (23.87, 0.02), (21.52, 0.01), (19.65, 0.04)),
    "noise_gaussian_RGB": ((26.03, 0), (20.16, 0.01), (16.89, 0), (14.69, 0.01), (13.10, 0)),
    "noise_gaussian_YCrCb": ((21.54, 0.01), (17.88, 0.01), (14.97, 0.01), (12.72, 0.02), (11.02, 0.01)),
    "noise_speckle": ((22.42, 0.01), (19.15, 0), (16.88, 0), (15.19, 0.02), (13.86, 0)),
    "noise_spatially_correlated": ((31.39, 0.04), (28.64, 0.01), (26.56, 0.02), (24.38, 0.01), (22.70, 0.02)),
    "noise_poisson": ((22.14, 0.01), (20.96, 0.01), (19.29, 0), (17.43, 0.01), (15.49, 0.01)),
    "noise_impulse": ((25.35, 0.10), (20.35, 0.03), (18.08, 0.02), (16.72, 0.04), (15.19, 0.01)),
}
MOTION = ((24, 30), (20, 26), (16, 24), (20, 23), (14, 16))
# Added to the stated spread, which comes from few seeds. The three wide ones vary by 0.04 to 0.12 dB from seed to seed.
SLACK = {"blur_glass": 0.1, "blur_jitter": 0.1, "noise_impulse": 0.1}
SEEDS = 4


def make_test_image() -> np.ndarray:
    y, x = np.mgrid[:224, :320].astype(float)
    red = 127.5 + 90 * np.sin(x / 9) * np.cos(y / 13) + 30 * x / 320
    green = 127.5 + 80 * np.cos(x / 17 + y / 7) - 20 * y / 224
    blue = 127.5 + 100 * np.sin((x + y) / 11)
    return np.clip(np.rint(np.stack([red, green, blue], axis=-1)), 0, 255).astype(np.uint8)


IMAGE = make_test_image()
IMAGE.setflags(write=False)  # so that an implementation that writes to its input fails


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def psnr(image: np.ndarray) -> float:
    return 10 * math.log10(255**2 / np.mean((image.astype(float) - IMAGE) ** 2))


def test_the_test_image_is_the_one_of_the_check_values():
    assert hashlib.md5(IMAGE.tobytes()).hexdigest() == "dd1859eb7b91a96be8572bb2cc4c0a98"
    np.testing.assert_allclose(IMAGE.mean(axis=(0, 1)), (142.229, 117.543, 127.720), atol=5e-4)


def test_registry():
    assert len(NAMES) == 35 and len(CATEGORIES) == 12
    assert {*DRAWN, "blur_motion"} == RANDOM
    assert {*FIXED, *RANDOM} == set(NAMES)
    assert [len(names) for names in CATEGORIES.values()] == [6, 6, 2, 4, 4, 2, 2, 2, 2, 1, 1, 3]
    assert set(ANSWER) == set(CATEGORIES) and len(set(ANSWER.values())) == 12
    assert all(CATEGORY[name] == category for category, names in CATEGORIES.items() for name in names)
    assert all(len(REGISTRY[name].parameters) == 5 for name in NAMES)
    assert {*WEB_FORMATS} == {*REGISTRY} - {*NAMES} and all(CATEGORY[name] == "compression" for name in WEB_FORMATS)


@pytest.mark.parametrize("name", WEB_FORMATS)
def test_web_formats_get_worse_and_end_where_they_cannot(name):
    values = [psnr(apply(name, IMAGE, severity, rng())) for severity in severities_of(name)]
    assert len(values) == 3 and values == sorted(values, reverse=True) and values[0] - values[-1] > 2
    jpeg = [psnr(apply("compression_jpeg", IMAGE, severity, rng())) for severity in (1, 5)]
    assert jpeg[0] + 3 > values[0] and values[-1] > jpeg[1] - 1  # about as severe as a JPEG, never more
    with pytest.raises(ValueError, match=f"{name} has severities up to 3, got 4"):
        apply(name, IMAGE, 4, rng())


def test_native_scenes_draw_web_formats_for_half_of_the_compressions():
    found = [sample_native(rng(seed)) for seed in range(2400)]
    compressed = [name for name, _ in found if CATEGORY[name] == "compression"]
    web = [(name, severity) for name, severity in found if name in WEB_FORMATS]
    assert 0.06 < len(compressed) / len(found) < 0.11
    assert 0.35 < len(web) / len(compressed) < 0.65
    assert {name for name, _ in web} == {*WEB_FORMATS} and {severity for _, severity in web} == {1, 2, 3}


@pytest.mark.slow
@pytest.mark.parametrize("severity", (1, 2, 3, 4, 5))
@pytest.mark.parametrize("name", FIXED)
def test_check_values(name, severity):
    assert psnr(apply(name, IMAGE, severity, rng())) == pytest.approx(FIXED[name][severity - 1], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("severity", (1, 2, 3, 4, 5))
@pytest.mark.parametrize("name", DRAWN)
def test_check_values_of_random_ones(name, severity):
    value, spread = DRAWN[name][severity - 1]
    mean = np.mean([psnr(apply(name, IMAGE, severity, rng(seed))) for seed in range(SEEDS)])
    assert mean == pytest.approx(value, abs=spread + SLACK.get(name, 0.03))


@pytest.mark.slow
@pytest.mark.parametrize("severity", (1, 2, 3, 4, 5))
def test_check_ranges_of_motion(severity):
    """The stated ranges come from a few drawn angles: they must lie in what all angles span, about; ours in the same.

    The lower end at severity 3 is stated as 16; the stated radius 15 and sigma 7 reach 17.1 at the worst angle.
    """
    low, high = MOTION[severity - 1]
    radius, sigma = REGISTRY["blur_motion"].parameters[severity - 1]
    span = [psnr(motion(IMAGE, radius, sigma, angle)) for angle in range(-90, 91, 6)]
    assert min(span) - 1.2 <= low and high <= max(span) + 0.5
    drawn = [psnr(apply("blur_motion", IMAGE, severity, rng(seed))) for seed in range(8)]
    assert min(span) - 0.1 <= min(drawn) and max(drawn) <= max(span) + 0.1
    assert any(low - 0.5 <= value <= high + 0.5 for value in drawn)


@pytest.mark.parametrize("name", NAMES)
def test_pure_and_repeatable(name):
    """Same generator state, same bytes; a strided view equals its copy; the input (read-only here) stays as it was."""
    wide = np.tile(IMAGE[:61, :75], (2, 2, 1))
    before = wide.copy()
    view = wide[::2, 1::2]
    first = apply(name, view, 3, rng(7))
    assert first.shape == view.shape and first.dtype == np.uint8
    assert first.flags.c_contiguous and first.flags.writeable and not np.may_share_memory(first, wide)
    np.testing.assert_array_equal(first, apply(name, np.ascontiguousarray(view), np.int64(3), rng(7)))
    np.testing.assert_array_equal(wide, before)
    if name in RANDOM:
        assert not np.array_equal(first, apply(name, view, 3, rng(8)))
    generator = rng(7)
    apply(name, IMAGE, 1, generator)
    untouched = generator.bit_generator.state == rng(7).bit_generator.state
    assert untouched == (name not in RANDOM)


@pytest.mark.slow
@pytest.mark.parametrize("value", ((0, 0, 0), (255, 255, 255), (127, 128, 3)))
@pytest.mark.parametrize("name", NAMES)
def test_flat_pictures_of_odd_size(name, value):
    flat = np.full((33, 47, 3), value, np.uint8)
    for severity in (1, 5):
        assert apply(name, flat, severity, rng()).shape == flat.shape


def test_flat_pictures_stay_flat_where_there_is_nothing_to_quantise():
    flat = np.full((32, 32, 3), 90, np.uint8)
    for name in CATEGORIES["quantization"]:
        np.testing.assert_array_equal(apply(name, flat, 5, rng()), flat)


def test_otsu_with_fewer_values_than_classes_uses_as_many_classes_as_values():
    image = np.repeat(np.array([10, 100, 190], np.uint8), 16)[:, None, None] * np.ones((1, 32, 3), np.uint8)
    np.testing.assert_array_equal(np.unique(apply("quantization_otsu", image, 1, rng())), (10, 70, 130))


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    severity=st.integers(1, 5),
    size=st.tuples(st.integers(32, 70), st.integers(32, 70)),
    levels=st.sampled_from((1, 2, 3, 7, 256)),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_size_and_any_number_of_levels(name, severity, size, levels, seed):
    image = rng(seed).integers(0, 256, levels).astype(np.uint8)[rng(seed).integers(0, levels, (*size, 3))]
    before = image.copy()
    result = apply(name, image, severity, rng(seed))
    assert result.shape == image.shape and result.dtype == np.uint8 and result.flags.c_contiguous
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(result, apply(name, image, severity, rng(seed)))


class FixedOffsets:
    """Stands in for a generator whose next integers are known."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def integers(self, low, high, size, dtype):
        assert self.draws[0].shape == size
        return self.draws.pop(0).astype(dtype)


@pytest.mark.parametrize(("shape", "shift", "passes"), (((32, 32), 1, 1), ((33, 47), 2, 2), ((40, 36), 5, 1)))
def test_local_shuffle_equals_the_sequential_loop(shape, shift, passes):
    height, width = shape
    image = np.arange(height * width * 3).reshape(height, width, 3)
    draws = [rng(i).integers(-shift, shift, (2, height - 2 * shift, width - 2 * shift)) for i in range(passes)]
    draws[0][1, :5] = shift - 1  # long chains
    draws[0][0, :5] = 0
    expected = image.copy()
    for dy, dx in draws:
        for h in range(height - shift, shift, -1):
            for w in range(width - shift, shift, -1):
                index = h - shift - 1, w - shift - 1
                expected[h, w] = expected[h + dy[index], w + dx[index]]
    np.testing.assert_array_equal(local_shuffle(image, shift, passes, FixedOffsets(*draws)), expected)


def test_local_shuffle_keeps_as_many_values_as_stated():
    """method.md 5.2: of 400 distinct values about 270 are left after one pass with shift 2."""
    image = np.arange(400).reshape(20, 20, 1)
    kept = np.mean([len(np.unique(local_shuffle(image, 2, 1, rng(seed)))) for seed in range(20)])
    assert kept == pytest.approx(270, abs=12)


@pytest.mark.parametrize("angle", (-90, -33, 0, 45, 90))
@pytest.mark.parametrize("size", ((224, 224), (33, 39)))
def test_motion_equals_its_definition(angle, size):
    """Also where a shift reaches the size of the image and the remaining taps are dropped."""
    radius, sigma = 20, 12
    image = IMAGE[: size[0], : size[1]]
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    rows, columns = np.indices(size)
    expected = np.zeros(image.shape)
    for i, weight in enumerate(weights / weights.sum()):
        dy = -math.ceil(i * math.sin(math.radians(angle)) - 0.5)
        dx = -math.ceil(i * math.cos(math.radians(angle)) - 0.5)
        if abs(dy) >= size[0] or abs(dx) >= size[1]:
            break
        expected += weight * image[np.clip(rows - dy, 0, size[0] - 1), np.clip(columns - dx, 0, size[1] - 1)]
    assert np.abs(motion(image, radius, sigma, angle) - np.floor(expected)).max() <= 1


@pytest.mark.parametrize("factor", (1.0, 1.02, 1.1, 1.2))
@pytest.mark.parametrize("size", ((224, 320), (33, 47)))
def test_zoom_equals_scipy(factor, size):
    x = IMAGE[: size[0], : size[1]] / 255
    window = [math.ceil(side / factor) for side in size]
    top, left = ((side - inner) // 2 for side, inner in zip(size, window, strict=True))
    centre = x[top : top + window[0], left : left + window[1]]
    expected = scipy.ndimage.zoom(centre, (factor, factor, 1), order=1)[: size[0], : size[1]]
    np.testing.assert_allclose(zoomed(x, factor), expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_multi_otsu_equals_exhaustive_search(seed):
    histogram = rng(seed).random(11) * (rng(seed + 100).random(11) > 0.2)
    histogram /= histogram.sum()
    for classes in (2, 3, 4):

        def gain(cuts, classes=classes):
            edges = (-1, *cuts, len(histogram) - 1)
            total = 0.0
            for first, last in itertools.pairwise(edges):
                bins = np.arange(first + 1, last + 1)
                position = np.zeros(1) if last == 0 else np.maximum(bins, 1)
                weight = histogram[bins].sum()
                total += (histogram[bins] * position).sum() ** 2 / weight if weight else 0
            return total

        best = max(gain(cuts) for cuts in itertools.combinations(range(len(histogram) - 1), classes - 1))
        assert gain(multi_otsu(histogram, classes)) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "image", "severity", "message"),
    (
        ("blur_shift", IMAGE, 1, "unknown distortion 'blur_shift'; known are: blur_gaussian"),
        ("oversharpen", IMAGE, 0, "severity must be from 1 to 5, got 0"),
        ("oversharpen", IMAGE, 6, "severity must be from 1 to 5, got 6"),
        ("oversharpen", IMAGE, 1.5, "severity must be a whole number"),
        ("oversharpen", IMAGE / 255, 1, "must be a NumPy array of uint8 .* got float64"),
        ("oversharpen", IMAGE.tolist(), 1, "must be a NumPy array of uint8 .* got list"),
        ("oversharpen", IMAGE[..., 0], 1, r"must have the shape \[height, width, 3\], got \[224, 320\]"),
        ("oversharpen", IMAGE[..., :2], 1, "must have the shape"),
        ("oversharpen", IMAGE[:31], 1, "at least 32 px on a side, got 320 x 31"),
    ),
)
def test_errors(name, image, severity, message):
    with pytest.raises(ValueError, match=message):
        apply(name, image, severity, rng())


def test_a_seed_is_not_a_generator():
    with pytest.raises(TypeError, match="default_rng"):
        apply("blur_jitter", IMAGE, 1, 5)


def test_allowed_pairs():
    assert len(PAIRS) == len(ALLOWED_PAIRS) == 78
    assert ALLOWED_PAIRS == set(PAIRS) <= {(a, b) for a in CATEGORIES for b in CATEGORIES if a != b}
    count = Counter(first for first, _ in PAIRS)
    assert count == {
        "blur": 9, "noise": 10, "compression": 8, "brighten": 5, "darken": 5, "contrast_strengthen": 5,
        "contrast_weaken": 5, "saturate_strengthen": 6, "saturate_weaken": 6, "pixelate": 9, "quantization": 9,
        "oversharpen": 1,
    }  # fmt: skip
    one_way = {pair for pair in PAIRS if pair[::-1] not in ALLOWED_PAIRS}
    assert one_way == {
        ("blur", "quantization"), ("noise", "oversharpen"), ("pixelate", "oversharpen"),
        ("quantization", "oversharpen"), ("saturate_strengthen", "oversharpen"), ("saturate_weaken", "oversharpen"),
        ("quantization", "noise"), ("oversharpen", "brighten"),
    }  # fmt: skip


def test_draws():
    generator = rng(1)
    one = [sample_one(generator) for _ in range(3000)]
    assert {name for name, _ in one} == set(NAMES) and {severity for _, severity in one} == {1, 2, 3, 4, 5}
    per_category = Counter(CATEGORY[name] for name, _ in one)
    assert min(per_category.values()) > 190 and max(per_category.values()) < 310  # 250 each, categories uniform
    two = [sample_two(generator) for _ in range(3000)]
    assert {(CATEGORY[a], CATEGORY[b]) for (a, _), (b, _) in two} == ALLOWED_PAIRS
    assert {severity for pair in two for _, severity in pair} == {1, 2, 3}
    assert sample_two(rng(3)) == sample_two(rng(3)) and sample_one(rng(3)) == sample_one(rng(3))


def test_every_name_in_the_interface_exists():
    assert all(hasattr(distortions, name) for name in distortions.__all__)
