"""The tile tower sees tiles of an image at native size, from corner to corner, each by itself."""

import numpy as np
import pytest
import torch

from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge
from depictqa_core.network.tile_vision import TileTower
from depictqa_core.network.vision import prepare
from tests.tiny import CNN, make_tiny_checkpoint, make_tiny_model

TILES = {"channels": 8, "grid": 3, "side": 32}
LOCAL = {"channels": 6, "grid": 4, "hidden": 16}


def pixels(height, width, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, height, width), np.uint8))


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(3)
    return TileTower(**TILES).eval()


def test_tiles_reach_from_corner_to_corner_row_by_row(tower):
    image = pixels(100, 200)
    tiles = tower.cut(image)
    assert tiles.shape == (9, 3, 32, 32)
    assert torch.equal(tiles[0], image[:, :32, :32]) and torch.equal(tiles[-1], image[:, -32:, -32:])
    assert torch.equal(tiles[1], image[:, :32, 84:116]) and torch.equal(tiles[3], image[:, 34:66, :32])


def test_a_single_tile_lies_in_the_middle():
    image = pixels(40, 60)
    assert torch.equal(TileTower(8, grid=1, side=20).cut(image), image[None, :, 10:30, 20:40])


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 40), (5, 7), (20, 90)])
def test_small_images_have_smaller_tiles_that_overlap(tower, height, width):
    image = pixels(height, width)
    tiles = tower.cut(image)
    assert tiles.shape == (9, 3, min(height, 32), min(width, 32))
    with torch.inference_mode():
        assert tower([image]).shape == (1, 8, 3, 3) and tower([image]).isfinite().all()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 40), (20, 90), (80, 70)])
def test_tiles_that_are_judged_once_have_the_features_of_each(tower, height, width):
    image = pixels(height, width)
    with torch.inference_mode():
        each = torch.cat([tower.judge(tile[None]) for tile in tower.cut(image)])
        torch.testing.assert_close(tower([image])[0].flatten(1).T, each, rtol=0, atol=1e-5)


def test_a_change_of_one_tile_is_seen_there_and_nowhere_else(tower):
    image = pixels(96, 120)
    damaged = image.clone()
    damaged[:, :10, -10:] = 0
    with torch.inference_mode():
        gap = (tower([image]) - tower([damaged])).abs().amax((0, 1))
    assert gap[0, 2] > 1e-4
    assert gap.flatten().sort().values[-2] < 1e-6


def test_images_of_any_sizes_together_give_what_each_gives_alone(tower):
    images = [pixels(64, 64), pixels(40, 150, 1)]
    with torch.inference_mode():
        assert torch.equal(tower(images), torch.cat([tower([image]) for image in images]))


@pytest.mark.parametrize(("name", "settings"), [("tiles", TILES), ("local", LOCAL)])
def test_a_judge_that_gets_a_tower_for_native_size_answers_as_before(name, settings):
    plain, _ = make_tiny_model(seed=5)
    grown, _ = make_tiny_model(seed=5, vision={**CNN["vision"], name: settings})
    missing, left = grown.load_state_dict(plain.state_dict(), strict=False)
    assert not left and all(name in key for key in missing)
    image = as_image(np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8))
    with torch.inference_mode():
        tokens = [m.connect(m.encode([prepare(image, m.config)]))[0] for m in (plain, grown)]
    assert torch.equal(*tokens)
    torch.nn.init.normal_(grown.connector.get_submodule(f"{name}_cells").weight)
    with torch.inference_mode():
        assert not torch.allclose(grown.connect(grown.encode([prepare(image, grown.config)]))[0], tokens[0])


@pytest.mark.slow
def test_a_checkpoint_with_both_towers_is_saved_and_loaded(tmp_path):
    vision = {**CNN["vision"], "local": LOCAL, "tiles": TILES}
    judge = load_judge(make_tiny_checkpoint(tmp_path / "both", vision=vision))
    assert judge.model.connector.native == {"local": (12, 4), "tiles": (8, 3)}
    image = np.random.default_rng(2).integers(0, 256, (600, 700, 3), np.uint8)
    assert len(judge.identify([image, image[:64]])) == 2
