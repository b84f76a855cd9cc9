"""References of another size are resized copies with a notice; those of another shape are refused."""

import numpy as np
import pytest

from depictqa_core.errors import ImageError
from depictqa_core.images import as_picture
from depictqa_core.references import ASPECT_TOLERANCE, fit_reference


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
