"""The local tower learns from crops whose cells have a truth: crops tell it rightly, and it learns to tell it."""

import numpy as np
import pytest
import torch
from PIL import Image

from depictqa_core.network.local_vision import CELL
from training.__main__ import main
from training.dataset.building.crops import KINDS, UNDECIDED, CropMaker, CropOptions, groups_of, make_shard
from training.trainer.local_tower import loss, measure, read_shards, train_local


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two sources of two pictures each: smooth noise at several scales."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(4):
        image = np.zeros((260, 300, 3))
        for side in (4, 16, 64):
            part = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).resize((300, 260))
            image += np.asarray(part) / 3
        (folder / "train").mkdir(exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(folder / "train" / f"source{number // 2}__{number}.png")
    return folder


def maker(pictures, **changes):
    return CropMaker(groups_of(pictures / "train"), CropOptions(**{"side": 96, "drawn": 0.0, **changes}))


def test_sources_are_groups(pictures):
    assert [len(group) for group in groups_of(pictures / "train")] == [2, 2]


def test_clean_crops_have_nothing(pictures):
    made = maker(pictures, clean=1.0, fault=0.0, double=0.0)
    for number in range(5):
        crop, truth, severities = made(np.random.default_rng(number))
        assert crop.shape == (96, 96, 3) and crop.dtype == np.uint8
        assert truth.shape == (len(KINDS), 3, 3) and not truth.any() and not severities.any()


def test_damage_in_a_region_is_told_where_it_is(pictures):
    made = maker(pictures, clean=0.0, fault=0.0, double=0.0, local=1.0, delivered=0.0, looks=0.0)
    shares = []
    for number in range(12):
        _, truth, severities = made(np.random.default_rng(number))
        (kind,) = np.flatnonzero(severities)
        assert 1 <= severities[kind] <= 5 and (truth[kind] == 1).any()
        assert not np.delete(truth, kind, 0).any()
        shares.append((truth[kind] == 1).mean())
    assert min(shares) < 0.7


def test_undecided_cells_count_nothing():
    evidence = torch.randn(2, 2 * len(KINDS), 3, 3)
    truth, severities = torch.zeros(2, len(KINDS), 3, 3, dtype=torch.uint8), torch.zeros(2, len(KINDS))
    truth[0, 4, 1, 1] = UNDECIDED
    before = loss(evidence, truth, severities)
    evidence[0, 4, 1, 1] += 50
    assert loss(evidence, truth, severities) == before
    truth[0, 4, 1, 1] = 0
    assert loss(evidence, truth, severities) > before + 1


@pytest.mark.slow
def test_it_learns_and_the_commands_do_the_same(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("training.trainer.tower_commands.SHARD", 16)
    monkeypatch.setattr("training.dataset.building.crops.drawn.TRAINING_KINDS", ("gradient",))
    assert main(["crops", str(pictures), str(tmp_path / "shards"), "--shards", "2"]) == 0
    made = maker(pictures, clean=0.5, fault=0.0, double=0.0)
    (tmp_path / "small").mkdir()
    make_shard(made, 48, [3], tmp_path / "small" / "0000.npz")
    lines = []
    tower = train_local(tmp_path / "small", tmp_path / "tower.pt", 8, batch=16, report=lines.append)
    first, last = (float(line.split()[3]) for line in (lines[0], lines[-1]))
    assert last < 0.7 * first
    assert "AUC" in measure(tower, *read_shards(tmp_path / "small"))
    assert (tmp_path / "small" / "0000.statistics.npy").exists()
    assert main(["tower", str(tmp_path / "shards"), str(tmp_path / "made.pt"), "--epochs", "1"]) == 0
    saved = torch.load(tmp_path / "made.pt", weights_only=True)
    assert saved.keys() == tower.state_dict().keys()
    assert CELL * 7 == np.load(tmp_path / "shards" / "0001.npz")["crops"].shape[1]
