"""Where two images differ, as numbers and as a heat map."""

import numpy as np
import pytest

from depictqa_core.images.difference import WINDOW, comparable, difference
from depictqa_core.images.image import RGBImage
from depictqa_core.reports.difference_map import LONGEST, difference_map


def image(levels):
    return RGBImage(np.asarray(levels, np.uint8), "image")


def flat(level, height=60, width=80):
    return np.full((height, width, 3), level, np.uint8)


def test_differences_are_root_mean_squares_of_windows():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (40, 50, 3)) for _ in range(2))
    _, levels = difference(image(a), image(b), LONGEST)
    half, (y, x) = WINDOW // 2, (20, 30)
    window = np.s_[y - half : y + half + 1, x - half : x + half + 1]
    assert levels[y, x] == pytest.approx(np.sqrt(((a[window] - b[window]) ** 2).mean()), rel=1e-4)
    corner = np.s_[: half + 1, : half + 1]  # the window ends with the image
    assert levels[0, 0] == pytest.approx(np.sqrt(((a[corner] - b[corner]) ** 2).mean()), rel=1e-4)
    assert difference(image(a), image(a), LONGEST)[1].max() == 0


def test_the_changed_place_is_the_red_one():
    changed = flat(100)
    changed[10:30, 50:70] = 200
    page = np.asarray(difference_map(image(flat(100)), image(changed))).astype(int)[:60]
    redness = page[..., 0] - page[..., 2]
    assert redness[20, 60] > 50 and redness[45, 15] < -50


def test_with_a_reference_both_are_shown_in_one_scale():
    reference, slightly, strongly = flat(100), flat(110), flat(200)
    page = np.asarray(difference_map(image(slightly), image(strongly), image(reference))).astype(int)
    assert page.shape[1] == 2 * 80 + 8
    left, right = page[30, 40], page[30, 80 + 8 + 40]
    assert left[2] > left[0] and right[0] > right[2]
    alone = np.asarray(difference_map(image(slightly), image(reference))).astype(int)[30, 40]
    assert alone[0] > left[0]  # a difference of 10 levels is more of 16 than of 100


def test_sizes_are_made_equal_and_limited():
    page = difference_map(image(flat(0, 600, 800)), image(flat(9, 60, 80)))
    assert page.width == 80
    page = difference_map(image(flat(0, 1500, 2000)), image(flat(9, 1500, 2000)))
    assert page.width == LONGEST


def test_other_shapes_have_no_map():
    square, wide = image(flat(0, 60, 60)), image(flat(0, 60, 80))
    assert not comparable(square, wide) and difference_map(square, wide) is None
    assert difference_map(wide, wide, square) is None


@pytest.mark.parametrize("side", [1, 3])
def test_tiny_images(side):
    assert difference_map(image(flat(0, side, side)), image(flat(255, side, side))).width == side
