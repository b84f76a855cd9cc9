"""Scenes drawn by program: every kind at several sizes, seeded, and different from one another."""

import numpy as np
import pytest

from training import drawn


@pytest.mark.slow
@pytest.mark.parametrize("kind", drawn.KINDS)
def test_kind(kind):
    a = drawn.draw(kind, 180, 256, np.random.default_rng(1))
    again = drawn.draw(kind, 180, 256, np.random.default_rng(1))
    other = drawn.draw(kind, 180, 256, np.random.default_rng(2))
    assert a.shape == (180, 256, 3) and a.dtype == np.uint8 and a.flags.c_contiguous
    assert np.array_equal(a, again) and not np.array_equal(a, other)
    assert a.std() > 3  # not empty


@pytest.mark.parametrize("kind", ["flat vector", "text page", "pixel art", "interface", "map"])
@pytest.mark.parametrize("size", [(64, 64), (97, 301), (700, 260)])
def test_sizes(kind, size):
    assert drawn.draw(kind, *size, np.random.default_rng(5)).shape == (*size, 3)


def test_validation_kinds_are_not_for_training():
    assert not set(drawn.TRAINING_KINDS) & set(drawn.VALIDATION_KINDS)
    assert set(drawn.KINDS) == {*drawn.TRAINING_KINDS, *drawn.VALIDATION_KINDS}


def test_pixel_art_has_hard_edges_on_a_grid():
    image = drawn.draw("pixel art", 300, 300, np.random.default_rng(8))
    changes = np.flatnonzero((image[:, 1:] != image[:, :-1]).any(axis=(0, 2))) + 1
    factor = np.gcd.reduce(changes)
    assert factor >= 2


def test_wrong_arguments():
    with pytest.raises(ValueError, match="unknown kind"):
        drawn.draw("photograph", 300, 300, np.random.default_rng(0))
    with pytest.raises(ValueError, match="sides of 64"):
        drawn.draw("logo", 30, 300, np.random.default_rng(0))
