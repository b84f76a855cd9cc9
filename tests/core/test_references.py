"""References of another size are resized copies with a notice; those of another shape are refused."""

import numpy as np
import pytest
from golden import SAMPLES
from PIL import Image

from depictqa_core.errors import ImageError
from depictqa_core.images import as_picture
from depictqa_core.references import ASPECT_TOLERANCE, SAME_SCENE, Fitted, fit_reference, scene_correlation
from training.distortions import NAMES, apply


def grey(height, width, name="image"):
    return as_picture(np.full((height, width, 3), 128, np.uint8), name)


def test_the_same_size_is_the_same_picture():
    reference = grey(40, 60, "reference")
    assert fit_reference(reference, (grey(40, 60),)) == (reference, None)


def test_another_size_is_a_copy_with_a_notice():
    reference = as_picture(np.random.default_rng(0).random((80, 120, 3)), "reference")
    before = reference.rgb.copy()
    copy, notice = fit_reference(reference, (grey(40, 60, "image 3"),))
    assert (copy.height, copy.width) == (40, 60)
    assert all(words in notice for words in ("reference: 120 x 80", "60 x 40", "image 3"))
    assert (reference.rgb == before).all()
    assert abs(copy.rgb.mean() - before.mean()) < 1  # resampling keeps the mean


def test_the_larger_of_a_pair_sets_the_size_in_either_order():
    small, large = grey(20, 30), grey(80, 120)
    for pair in ((small, large), (large, small)):
        copy, _ = fit_reference(grey(40, 60), pair)
        assert (copy.height, copy.width) == (80, 120)


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
    return as_picture(image, path)


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
        assert scene_correlation(reference, as_picture(distorted, name)) > SAME_SCENE, name


def test_nothing_is_said_of_even_pictures():
    assert scene_correlation(grey(40, 60), scene("garage_original.jpg")) == 1.0
