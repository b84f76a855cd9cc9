"""The local tower sees every pixel at native size."""

import numpy as np
import pytest
import torch

from depictqa_core.judge import load_judge
from depictqa_core.network.local_vision import BLOCK, CELL, CELL_STATISTICS, LocalTower, cell_statistics
from tests.tiny import CNN, make_tiny_checkpoint

LOCAL = {"channels": 6, "grid": 4, "hidden": 16}


def pixels(height, width, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, height, width), np.uint8))


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(3)
    return LocalTower(**LOCAL).eval()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 70), (BLOCK + 1, 40), (5, 7)])
def test_a_cell_for_every_part_of_an_image_of_any_size(tower, height, width):
    with torch.inference_mode():
        found = tower.cells(pixels(height, width))
    assert found.shape == (LOCAL["channels"], -(-height // CELL), -(-width // CELL))
    assert found.isfinite().all()


def test_a_change_of_one_corner_is_seen_there_and_nowhere_else():
    image = pixels(480, 480)
    damaged = image.clone()
    damaged[:, :20, :20] = 0
    gap = (cell_statistics(image) - cell_statistics(damaged)).abs().amax(0)
    assert gap[0, 0] > 0.1 and gap[1:].max() == 0 and gap[:, 1:].max() == 0


def test_blocks_join_without_a_seam():
    image = pixels(BLOCK + 64, BLOCK + 96)
    inner = image[:, BLOCK - 64 :, BLOCK - 64 :]
    whole, part = cell_statistics(image), cell_statistics(inner)
    assert whole.shape[0] == CELL_STATISTICS
    assert torch.allclose(whole[:, -part.shape[1] :, -part.shape[2] :], part, atol=1e-4)


def test_statistics_of_a_turned_image_are_those_of_the_other_direction():
    """What lines do to rows in one image, they do to columns in the other."""
    lined = torch.full((3, 64, 64), 100, dtype=torch.uint8)
    lined[:, 9::16] = 180
    upright, turned = cell_statistics(lined), cell_statistics(lined.transpose(1, 2).contiguous())
    assert torch.allclose(upright.sort(0).values, turned.sort(0).values, atol=1e-4)
    assert not torch.allclose(upright, turned, atol=0.1)


def test_means_come_before_maxima(tower):
    images = [pixels(128, 128), pixels(300, 260, 1)]
    with torch.inference_mode():
        found, cells = tower(images), tower.cells(images[0])
    assert found.shape == (2, tower.width, 4, 4)
    assert torch.allclose(found[0, :6], cells, atol=1e-5)  # as many cells as parts: both are the cells themselves
    assert torch.allclose(found[0, 6:], cells, atol=1e-5) and (found[1, 6:] >= found[1, :6] - 1e-6).all()


@pytest.mark.slow
def test_a_checkpoint_with_a_local_tower_is_saved_and_loaded(tmp_path):
    folder = make_tiny_checkpoint(tmp_path / "local", vision={**CNN["vision"], "local": LOCAL})
    judge = load_judge(folder)
    assert judge.model.config.vision["local"] == LOCAL
    image = np.random.default_rng(2).integers(0, 256, (600, 700, 3), np.uint8)
    assert len(judge.identify([image, image[:64]])) == 2
