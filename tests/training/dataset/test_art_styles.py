"""Art styles: what they make of an image, and what of it is left out as damage."""

import numpy as np
import pytest

from depictqa_core import tasks
from training import distortions as catalogue
from training import drawn
from training.dataset.building import art_styles, looks, native
from training.dataset.building.native_options import NativeOptions

SMALL = ((256, 300, 1.0),)


def landscape(height: int = 320, width: int = 400) -> np.ndarray:
    return drawn.draw("painting", height, width, np.random.default_rng(3))


@pytest.mark.parametrize("name", art_styles.STYLES)
def test_a_style_is_new_repeatable_and_of_the_same_shape(name):
    image = landscape()
    before = image.copy()
    first, again = (art_styles.apply(name, image, np.random.default_rng(2)) for _ in "12")
    assert np.array_equal(first, again) and np.array_equal(image, before)
    assert first.shape == image.shape and first.dtype == np.uint8 and first.std() > 4
    assert np.abs(first.astype(int) - image).mean() > 1
    other = art_styles.apply(name, image, np.random.default_rng(3))
    assert not np.array_equal(first, other)


def test_pixels_are_whole_squares():
    """Every block of an image in this style has one color, also where the side is no multiple of it."""
    for seed in range(4):
        done = art_styles.apply("pixels", landscape()[:201, :211], np.random.default_rng(seed))
        edges = np.flatnonzero((done[:, 1:] != done[:, :-1]).any((0, 2))) + 1
        assert np.gcd.reduce(edges) >= 2


@pytest.mark.parametrize("name", ("low poly", "brush strokes", "oil"))
def test_a_style_covers_the_border(name):
    """A bright image stays bright at its border: nothing there is left undrawn."""
    bright = np.full((200, 260, 3), 200, np.uint8)
    bright[60:140, 60:200] = 160
    for seed in range(3):
        done = art_styles.apply(name, bright, np.random.default_rng(seed)).astype(int).mean(2)
        edges = np.concatenate([done[:2].ravel(), done[-2:].ravel(), done[:, :2].ravel(), done[:, -2:].ravel()])
        assert edges.min() > 90


def test_an_unknown_style_names_the_known_ones():
    with pytest.raises(ValueError, match="unknown style 'fresco': choose one of oil, brush strokes"):
        art_styles.apply("fresco", landscape(), np.random.default_rng(0))


def test_what_could_be_taken_for_a_style_is_left_out():
    assert set(art_styles.EXCLUDED) <= set(art_styles.STYLES)
    assert {style for names in art_styles.EXCLUDED_FAULTS.values() for style in names} <= set(art_styles.STYLES)
    assert set(art_styles.EXCLUDED_FAULTS) <= set(tasks.FAULTS)
    assert {one for names in art_styles.EXCLUDED.values() for one in names} <= set(catalogue.CATEGORY.values())
    assert not set(art_styles.STYLES) & set(looks.LOOKS)
    options = NativeOptions(
        styled=1.0, sizes=SMALL, variants=4, pristine=0.0, single=0.5, double=0.0, ladder=0.0, local=0.0, fault=0.5
    )
    found = [native.photograph_scene(landscape(), np.random.default_rng(seed), options) for seed in range(8)]
    assert {scene.look for scene in found} <= set(art_styles.STYLES) and len({scene.look for scene in found}) > 3
    mild = [(scene.look, v) for scene in found for v in scene.variants if all(d["severity"] < 3 for d in v.distortions)]
    for style, variant in mild:
        assert not {one["category"] for one in variant.distortions} & set(art_styles.EXCLUDED[style])
