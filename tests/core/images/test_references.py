"""Images and references are compared at the smaller size, with a notice; those of another shape are refused."""

import numpy as np
import pytest
from golden import SAMPLES
from PIL import Image

from depictqa_core.errors import ImageError
from depictqa_core.images.image import as_image
from depictqa_core.images.image_files import FileImage
from depictqa_core.images.references import (
    ASPECT_TOLERANCE,
    SAME_SCENE,
    Fitted,
    common_size,
    fit_reference,
    identical,
    scene_correlation,
)
from training.distortions import NAMES, apply


def grey(height, width, name="image"):
    return as_image(np.full((height, width, 3), 128, np.uint8), name)


def test_the_same_size_is_the_same_picture():
    reference = grey(40, 60, "reference")
    assert fit_reference(reference, (grey(40, 60),)) == (reference, None)


def test_another_size_is_a_copy_with_a_notice():
    reference = as_image(np.random.default_rng(0).random((80, 120, 3)), "reference")
    before = reference.rgb.copy()
    copy, notice = fit_reference(reference, (grey(40, 60, "image 3"),))
    assert (copy.height, copy.width) == (40, 60)
    assert all(words in notice for words in ("reference: 120 x 80", "60 x 40", "image 3"))
    assert (reference.rgb == before).all()
    assert abs(copy.rgb.mean() - before.mean()) < 1  # resampling keeps the mean


def test_the_larger_of_a_pair_sets_the_size_in_either_order():
    small, large = grey(20, 30), grey(40, 60)
    for pair in ((small, large), (large, small)):
        copy, _ = fit_reference(grey(80, 120), pair)
        assert (copy.height, copy.width) == (40, 60)


def test_a_larger_picture_becomes_a_copy_and_the_reference_is_never_enlarged():
    reference, large, small = grey(40, 60, "reference"), grey(80, 120, "image A"), grey(20, 30, "image B")
    same, notice = fit_reference(reference, (large, small))
    assert same is reference and notice == "image A: 120 x 80, resized to 60 x 40, the size of reference"
    (copy, own), same = common_size((large, small), reference)
    assert (copy.height, copy.width, copy.name) == (40, 60, "image A") and own is small and same is reference
    assert common_size((copy, own), same) == ((copy, own), same)  # applied again, it changes nothing


def test_a_copy_of_a_file_holds_no_pixels_and_is_the_same_each_time(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8)).save(tmp_path / "large.png")
    (copy,), _ = common_size((FileImage(str(tmp_path / "large.png")),), grey(45, 40))
    wanted = Image.open(tmp_path / "large.png").resize((40, 45), Image.Resampling.BICUBIC)
    assert np.array_equal(copy.rgb, np.asarray(wanted)) and not copy.rgb.flags.writeable
    assert copy.key == as_image(wanted).key and not any(isinstance(v, np.ndarray) for v in vars(copy).values())


def test_pictures_of_another_shape_stay_as_they_are():
    wide, reference = grey(40, 200), grey(40, 60)
    assert common_size((wide,), reference) == ((wide,), reference)


def test_identical_means_equal_pixels_at_the_common_size():
    reference = as_image(np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8), "reference")
    assert identical(as_image(reference.rgb.copy(), "copy"), reference)
    assert not identical(reference, None)
    changed = reference.rgb.copy()
    changed[0, 0, 0] ^= 1
    assert not identical(as_image(changed), reference)
    half = as_image(Image.fromarray(reference.rgb).resize((48, 32), Image.Resampling.BICUBIC))
    assert not identical(half, reference)
    (same,), copy = common_size((half,), reference)
    assert same is half and identical(half, copy)


@pytest.mark.parametrize("turned", [False, True])
def test_the_shape_may_differ_a_little_but_not_more(turned):
    def size(height, width):
        return (width, height) if turned else (height, width)

    limit = int(1000 * (1 + ASPECT_TOLERANCE))
    fit_reference(grey(*size(1000, limit)), (grey(*size(500, 500)),))
    with pytest.raises(ImageError, match="reference: .*image 2"):
        fit_reference(grey(*size(1000, limit + 1), "reference"), (grey(*size(500, 500), "image 2"),))


def scene(path):
    image = Image.open(SAMPLES / path).convert("RGB")
    return as_image(image, path)


def test_a_reference_of_another_scene_is_doubted_and_one_of_the_same_is_not():
    fitted = Fitted(scene("garage_original.jpg"))
    for path in sorted(SAMPLES.glob("garage_*.jpg")):
        fitted.beside(scene(path.name))
    assert fitted.notices == []
    others = sorted(path.name for path in SAMPLES.glob("balloons_*.jpg"))
    for name in others:
        fitted.beside(scene(name))
    (notice,) = fitted.notices
    assert all(name in notice for name in others[:3]) and f"and {len(others) - 3} more" in notice
    assert "garage_original.jpg: seems to show another scene" in notice and others[3] not in notice


def test_strong_distortions_are_still_the_same_scene():
    reference = scene("garage_original.jpg")
    for name in NAMES:
        distorted = apply(name, reference.rgb, 5, np.random.default_rng(0))
        assert scene_correlation(reference, as_image(distorted, name)) > SAME_SCENE, name


def test_nothing_is_said_of_even_pictures():
    assert scene_correlation(grey(40, 60), scene("garage_original.jpg")) == 1.0
