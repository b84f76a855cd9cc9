"""The tile tower learns end to end from windows of images: what is true of a window, and that it is learned."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from trees import ROOT

from depictqa_core.errors import CheckpointError
from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge
from depictqa_core.network.heads import Findings
from depictqa_core.network.vision import prepare
from depictqa_core.tasks import DISTORTIONS
from training import distortions
from training.__main__ import main
from training.dataset.building.crops import KINDS, UNDECIDED
from training.trainer import tile_tower
from training.trainer.recipe import read_recipe
from training.trainer.start_network import start_network
from training.trainer.tile_tower import Windows, crop_windows, scene_windows, train_tiles

SIDE = 64
PRETRAINED = ROOT / "training/recipes/mini/tile_tower.safetensors"
BLUR = DISTORTIONS.index("blur")


def variant(image, *distortions, faults=(), region=None):
    return {"image": image, "distortions": list(distortions), "faults": list(faults), "region": region, "quality": 0.5}


def blur(severity, **more):
    return {"category": "blur", "name": "blur_gaussian", "severity": severity, **more}


@pytest.fixture
def root(tmp_path):
    """A scene: clean, blurred, blurred in a region, with a fault, and too small."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for name, side in (("a", 80), ("b", 90), ("c", 80), ("d", 80), ("e", 50)):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(tmp_path / f"images/{name}.png")
    region = {"mask": None, "kind": "blob", "area": 0.2, "place": "part"}
    scene = {
        "scene": 0,
        "source": "one.png",
        "reference": "images/a.png",
        "variants": [
            variant("images/a.png"),
            variant("images/b.png", blur(3)),
            variant("images/c.png", blur(3, area=0.2), region=region),
            variant("images/d.png", faults=[{"fault": "seams", "name": "x", "severity": 2}]),
            variant("images/e.png"),
        ],
    }
    (tmp_path / "scenes-00000.jsonl").write_text(json.dumps(scene) + "\n")
    return tmp_path


def test_windows_come_from_images_that_are_as_a_whole_what_the_scene_says(root):
    found = scene_windows([root], SIDE, 3)
    assert found.pixels.shape == (6, 3, SIDE, SIDE)  # of the clean and of the blurred image
    assert found.severity[:, BLUR].tolist() == [0, 0, 0, 3, 3, 3] and found.severity.sum() == 9
    assert not found.faults.any() and found.labelled.all()
    whole = torch.tensor(np.asarray(Image.open(root / "images/b.png"))).permute(2, 0, 1)
    places = [whole[:, y : y + SIDE, x : x + SIDE] for y in range(27) for x in range(27)]
    for window in found.pixels[3:]:
        assert any(torch.equal(window, place) for place in places)
    assert torch.equal(scene_windows([root], SIDE, 3).pixels, found.pixels)


def test_a_window_is_asked_about_what_its_cells_decide():
    cells = np.zeros((len(KINDS), 7, 7), np.uint8)
    cells[0, :2] = 1  # in the upper cells only
    cells[1, 3, 3] = UNDECIDED
    upper, lower = (tile_tower._presence(cells, y, 0, 128) for y in (0, 96))
    assert upper[0] == 1 and lower[0] == 0
    assert np.isnan(upper[1]) and np.isnan(lower[1])
    assert not upper[2:].any() and not lower[2:].any()
    cells[0, :2] = 0
    cells[0, 0, 0] = 1  # a sixteenth of the window: neither there nor not there
    assert np.isnan(tile_tower._presence(cells, 0, 0, 128)[0])


def test_crops_teach_what_is_where(tmp_path):
    truth = np.zeros((2, len(KINDS), 7, 7), np.uint8)
    truth[0, BLUR] = 1
    truth[1, len(DISTORTIONS), :, :] = UNDECIDED
    severities = np.zeros((2, len(KINDS)), np.uint8)
    severities[0, BLUR] = 4
    crops = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)
    np.savez(tmp_path / "0000.npz", crops=crops, truth=truth, severities=severities)
    found = crop_windows(tmp_path, 128, 2)
    assert found.pixels.shape == (4, 3, 128, 128)
    assert found.severity[:, BLUR].tolist() == [4, 4, 0, 0]
    assert found.labelled.all() and found.faults[2:, 0].isnan().all() and not found.faults[:2].any()
    assert found.quality.isnan().all()  # one is damaged, of the other a fault is undecided


def noisy_windows(count):
    """Half of them plain, half with noise."""
    rng = torch.Generator().manual_seed(0)
    plain = torch.randint(60, 200, (count, 3, 1, 1), generator=rng).expand(-1, -1, SIDE, SIDE).clone()
    noise = torch.randint(-40, 40, plain.shape, generator=rng)
    severity = torch.zeros(count, len(DISTORTIONS))
    severity[::2, DISTORTIONS.index("noise")] = 4
    plain[::2] += noise[::2]
    faults = torch.zeros(count, len(KINDS) - len(DISTORTIONS))
    quality = torch.where(severity.sum(1) > 0, 0.3, 1.0)
    return Windows(plain.clamp(0, 255).to(torch.uint8), severity, torch.ones(count), faults, quality)


def test_it_learns_and_an_interrupted_run_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(tile_tower, "SAVE_EVERY", 10)
    windows, lines = noisy_windows(24), []
    tower = train_tiles(windows, tmp_path / "a.safetensors", None, 30, batch=8, report=lines.append, validation=windows)
    first, last = (float(line.split()[3]) for line in (lines[0], lines[-1]))
    assert last < 0.6 * first and "AUC of none" in lines[-1]
    assert not (tmp_path / "a.state.pt").exists()
    (tmp_path / "touched").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "touched").stat().st_mode  # others may read it

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tiles(windows, tmp_path / "b.safetensors", None, 30, batch=8, report=stop, validation=windows)
    train_tiles(windows, tmp_path / "b.safetensors", None, 30, batch=8, report=print, validation=windows)
    saved = load_file(tmp_path / "b.safetensors")
    assert saved.keys() == tower.state_dict().keys()
    for name, tensor in tower.state_dict().items():
        assert torch.allclose(saved[name], tensor, atol=1e-5), name


def test_a_trained_tower_is_trained_further(tmp_path):
    windows = noisy_windows(24)
    first = train_tiles(windows, tmp_path / "a.safetensors", None, 20, batch=8)
    start = train_tiles(windows, tmp_path / "b.safetensors", None, 0, start=tmp_path / "a.safetensors")
    for name, tensor in first.state_dict().items():
        assert torch.equal(start.state_dict()[name], tensor), name
    (tmp_path / "b.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match=r"b.safetensors has no weights of a tile tower"):
        train_tiles(windows, tmp_path / "c.safetensors", None, 1, start=tmp_path / "b.safetensors")


def test_validation_tells_faults_from_other_windows():
    windows, tower = noisy_windows(24), tile_tower.TileTower(8).eval()
    windows.faults[::2, 3] = 1
    noisy = windows.severity.sum(1) > 0

    class Told(torch.nn.Module):
        """Heads that know which windows have the fault."""

        def forward(self, features):
            faults = torch.zeros(len(features), windows.faults.shape[1])
            faults[:, 3] = noisy.float()
            return Findings(torch.zeros(len(features), len(DISTORTIONS) + 1), windows.severity, faults, windows.quality)

    assert tile_tower.measure(tower, Told(), windows).endswith("of faults 1.000")


def test_undecided_windows_teach_no_labels():
    windows = noisy_windows(4)
    tower, heads = tile_tower.TileTower(8).eval(), tile_tower.LinearHeads(8)
    rows = torch.arange(4)
    windows.labelled[:] = 0
    windows.faults[:] = torch.nan
    windows.quality[:] = torch.nan
    assert tile_tower.loss(tower, heads, windows, rows).item() == 0


def test_the_command_says_what_is_missing(tmp_path, capsys, root):
    assert main(["tiles", str(tmp_path / "out.safetensors")]) == 1
    assert "nothing to learn from: give --scenes, --crops or both" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="no weights of EfficientNet-Lite0"):
        (tmp_path / "weights.pth").write_bytes(b"not weights")
        train_tiles(noisy_windows(4), tmp_path / "out.safetensors", tmp_path / "weights.pth", 1)


def test_the_tower_of_the_recipe_fits_the_bundled_judge_and_changes_nothing_before_training():
    recipe = read_recipe(ROOT / "training/recipes/mini/tiles.yaml", start="bundled", tile_weights=str(PRETRAINED))
    grown, _, _ = start_network(recipe, [])
    plain = load_judge().model
    for name, tensor in load_file(PRETRAINED).items():
        assert torch.equal(grown.vision.tiles.state_dict()[name], tensor.float()), name
    image = as_image(ROOT / "workflows/samples/garage_original.jpg")
    with torch.inference_mode():
        before, after = (m.connect(m.encode([prepare(image, m.config)]))[0] for m in (plain, grown.eval()))
    assert torch.allclose(before, after, atol=1e-5)


def test_the_tower_of_the_recipe_sees_damage_of_every_tile():
    """Its features of a noisy, a blurred and a clean image differ more than those of the tiles of one image."""
    tower = tile_tower.TileTower(tile_tower.CHANNELS).eval()
    tower.load_state_dict({name: tensor.float() for name, tensor in load_file(PRETRAINED).items()})
    rgb = as_image(ROOT / "workflows/samples/garage_original.jpg").rgb
    damaged = [rgb, distortions.apply("noise_gaussian_RGB", rgb, 4, np.random.default_rng(0))]
    damaged.append(distortions.apply("blur_gaussian", rgb, 4, np.random.default_rng(0)))
    with torch.inference_mode():
        features = tower([torch.tensor(image).permute(2, 0, 1) for image in damaged]).flatten(2)  # [3, C, tiles]
    means = features.mean(2)
    within = (features - means[:, :, None]).norm(dim=1).mean()
    assert min((means[i] - means[j]).norm() for i, j in ((0, 1), (0, 2), (1, 2))) > 1.2 * within
