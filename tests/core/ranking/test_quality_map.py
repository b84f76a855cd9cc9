"""Quality maps: tiles that cover, blending that keeps values, and a damaged corner that lights up."""

import numpy as np
import pytest
from golden import SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from depictqa_core.errors import TaskError
from depictqa_core.images.image import RGBImage, as_image
from depictqa_core.ranking.quality_map import MOST_TILES, cut, grid, quality_map
from depictqa_core.reports.heat_map import heat_image, overlay


def a_picture(height, width):
    return RGBImage(np.full((height, width, 3), 128, np.uint8), "picture")


def a_map(scores, height=96, width=128, tile=64):
    picture = a_picture(height, width)
    tiles = grid(height, width, tile)
    return picture, quality_map(picture, tiles, scores(tiles))


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(32, 400))
def test_tiles_cover_every_pixel_and_stay_inside(height, width, tile):
    tiles = grid(height, width, tile)
    covered = np.zeros((height, width), bool)
    for left, top, right, bottom in tiles.boxes:
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        covered[top:bottom, left:right] = True
    assert covered.all() and len(tiles.boxes) <= MOST_TILES
    for starts in (tiles.tops, tiles.lefts):
        assert all(b - a <= tiles.side / 2 + 1 for a, b in zip(starts, starts[1:]))  # they overlap by half


@pytest.mark.parametrize(
    ("size", "tile", "side", "count"),
    [
        ((1, 1), 160, 32, 1),
        ((16, 16), 160, 32, 1),  # smaller than the smallest tile: one tile, cut off
        ((1, 5000), 160, 32, 312),
        ((40, 40), 160, 32, 4),
        ((320, 320), 160, 160, 9),
        ((200, 200), 160, 100, 9),  # at most half of the shorter side
        ((1024, 1024), 160, 160, 144),
    ],
)
def test_sizes_of_tiles(size, tile, side, count):
    tiles = grid(*size, tile)
    assert (tiles.side, len(tiles.boxes)) == (side, count)


def test_tiles_of_a_huge_picture_grow():
    tiles = grid(8192, 8192, 160)
    assert tiles.side > 160 and 200 < len(tiles.boxes) <= MOST_TILES


def test_too_small_a_tile_is_refused():
    with pytest.raises(TaskError, match="tile: 8 pixels"):
        grid(100, 100, 8)


def test_tiles_are_the_pixels_of_their_boxes():
    rgb = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    picture = RGBImage(rgb, "p")
    tiles = grid(90, 70, 32)
    for part, (left, top, right, bottom) in zip(cut(picture, tiles), tiles.boxes, strict=True):
        assert np.array_equal(part.rgb, rgb[top:bottom, left:right]) and part.name.startswith("p, tile ")


def test_equal_tiles_give_an_even_map():
    _, found = a_map(lambda tiles: [70.0] * len(tiles.boxes))
    assert np.allclose(found.points, 70, atol=1e-4)
    assert np.allclose(found.badness(), 0.3, atol=1e-5)
    assert found.badness(relative=True).max() < 1e-4  # nothing stands out, so nothing is stretched


def test_blending_is_the_weighted_mean_of_the_tiles():
    """Against a plain loop over pixels."""
    rng = np.random.default_rng(1)
    picture, found = a_map(lambda tiles: rng.uniform(0, 100, len(tiles.boxes)))
    tiles = found.grid
    for y, x in [(0, 0), (50, 60), (95, 127), (33, 90), (70, 3)]:
        down, across = (_weights(p + 0.5, s, tiles.side) for p, s in ((y, tiles.tops), (x, tiles.lefts)))
        expected = sum(wy * wx * found.tiles[i, j] for i, wy in enumerate(down) for j, wx in enumerate(across)) / (
            sum(down) * sum(across)
        )
        assert found.points[y, x] == pytest.approx(expected, abs=1e-3)


def _weights(at, starts, side):
    weights = [max(0, 1 - abs(at - (start + side / 2)) / (side / 2)) for start in starts]
    if at < starts[0] + side / 2:
        weights[0] = 1
    if at > starts[-1] + side / 2:
        weights[-1] = 1
    return weights


def test_masks_are_absolute_or_relative():
    picture, found = a_map(lambda tiles: np.linspace(40, 80, len(tiles.boxes)))
    absolute, relative = found.badness(), found.badness(relative=True)
    assert absolute.shape == relative.shape == (96, 128) and absolute.dtype == np.float32
    assert absolute.max() == pytest.approx(0.6, abs=0.01) and absolute.min() == pytest.approx(0.2, abs=0.01)
    assert relative.max() == pytest.approx(1) and relative.min() == pytest.approx(0)


def test_worst_and_best_region_lie_apart():
    picture, found = a_map(lambda tiles: [10, 99] + [50.0] * (len(tiles.boxes) - 2), 160, 160, 64)
    (worst, low), (best, high) = found.tile(best=False), found.tile(best=True)
    assert (worst, low) == (found.grid.boxes[0], 10.0)
    assert high == 50.0 and (best[0] >= worst[2] or best[1] >= worst[3])  # tile 2 overlaps the worst


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (40, 900), (300, 200)])
@pytest.mark.parametrize("relative", [False, True])
def test_pictures_of_any_shape(shape, relative):
    picture, found = a_map(lambda tiles: np.linspace(0, 100, len(tiles.boxes)), *shape)
    plain = heat_image(picture, found, relative, legend=False)
    with_legend = heat_image(picture, found, relative)
    assert plain.size == (shape[1], shape[0])
    assert with_legend.width == shape[1] and with_legend.height > shape[0]


def test_bad_is_red_and_good_is_blue():
    picture, found = a_map(lambda tiles: [0.0] + [100.0] * (len(tiles.boxes) - 1), 320, 320, 160)
    heat = np.asarray(heat_image(picture, found, marked=False, legend=False)).astype(int)
    assert heat[20, 20, 0] > heat[20, 20, 2] + 40 and heat[300, 300, 2] > heat[300, 300, 0] + 40


def test_an_overlay_over_the_grey_image_is_the_heat_map():
    rng = np.random.default_rng(2)
    image, found = a_map(lambda tiles: rng.uniform(0, 100, len(tiles.boxes)))
    whole = heat_image(image, found, marked=False, legend=False)
    for size in ((128, 96), (64, 48)):
        grey = Image.fromarray(image.rgb).convert("L").convert("RGBA").resize(size)
        seen = Image.alpha_composite(grey, overlay(found, size).convert("RGBA")).convert("RGB")
        expected = whole.resize(size, Image.Resampling.BOX)
        assert np.abs(np.asarray(seen, float) - np.asarray(expected, float)).max() < 8


@pytest.fixture(scope="module")
def bundled():
    from depictqa_core import load_judge

    return load_judge(device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["garage_original.jpg", "balloons_original.jpg"])
@pytest.mark.parametrize("corner", [(0, 0), (1, 1)])
def test_a_blurred_corner_lights_up(bundled, name, corner):
    """The bundled model, on sound images of which one quarter is blurred."""
    image = Image.open(SAMPLES / name).convert("RGB")
    half = image.width // 2
    box = (corner[0] * half, corner[1] * half, (corner[0] + 1) * half, (corner[1] + 1) * half)
    image.paste(image.crop(box).filter(ImageFilter.GaussianBlur(4)), box[:2])
    picture = as_image(image)
    tiles = grid(picture.height, picture.width)
    found = quality_map(picture, tiles, [answer.score for answer in bundled.score(cut(picture, tiles))])
    bad = found.badness()
    opposite = tuple(slice(0, half // 2) if side else slice(-half // 2, None) for side in corner[::-1])
    damaged = tuple(slice(-half // 2, None) if side else slice(0, half // 2) for side in corner[::-1])
    assert found.tile(best=False)[0] == box
    assert bad[damaged].mean() > max(0.6, 2 * bad[opposite].mean())
