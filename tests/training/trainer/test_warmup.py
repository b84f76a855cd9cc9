"""The comparison's warm-up: what it learns, and that the language model gets what it got before."""

import copy
import itertools

import pytest
import torch

from depictqa_core.images.comparison_statistics import COMPARISON_STATISTICS
from depictqa_core.network.config import DepictQAConfig
from depictqa_core.network.connector import PoolingConnector
from training.dataset.records import labels
from training.distortions import CATEGORY
from training.trainer.pair_warmup import warm_up_pairs
from training.trainer.warmup import _compared_variants, warm_up_comparison

NAMES = ("blur_gaussian", "noise_impulse", "saturate_weaken_HSV")


class Store:
    """Statistics that say which distortion an image has, and how severe it is, in noise."""

    def __init__(self, scenes):
        generator = torch.Generator().manual_seed(3)
        code = torch.randn(len(NAMES), COMPARISON_STATISTICS, generator=generator)
        self.index, self.rows = {scene["reference"] for scene in scenes}, {}
        for scene in scenes:
            for variant in scene["variants"]:
                found = variant["distortions"][0]
                row = 5 + code[NAMES.index(found["name"])] * found["severity"] / 5
                self.rows[variant["image"]] = row + 0.3 * torch.randn(COMPARISON_STATISTICS, generator=generator)
                self.index.add(variant["image"])

    def compare(self, path, reference):
        return self.rows[path]

    def __getitem__(self, path):
        return self.rows[path]


def variant(image, name, severity):
    metrics = {metric: steps[severity] for metric, steps in labels.ANCHORS.items()}
    items = [{"category": CATEGORY[name], "name": name, "severity": severity}]
    quality = labels.quality(items, metrics)
    return {"image": image, "distortions": items, "metrics": metrics, "quality": quality}


@pytest.fixture(scope="module")
def scenes():
    return [
        {
            "reference": f"{i}_ref.png",
            "variants": [
                variant(f"{i}_{j}.png", NAMES[(i + j) % len(NAMES)], 1 + (i * 7 + j * 3) % 5) for j in range(4)
            ],
        }
        for i in range(40)
    ]


@pytest.fixture
def connector():
    torch.manual_seed(0)
    settings = {"kind": "pooling", "comparison": True, "hidden": 32, "grid_stages": [0], "summary_tokens": 2}
    return PoolingConnector(DepictQAConfig(connector=settings), [4], 3, 8).eval()


def test_what_the_language_model_gets_is_held_while_the_hidden_layer_learns(connector, scenes):
    store = Store(scenes)
    rows = torch.stack(list(store.rows.values()))
    warm_up_comparison(connector, scenes, store, epochs=3, seed=1)
    assert not connector.compared(connector.standardise_comparison(rows)).any()  # nothing before, nothing now
    torch.nn.init.normal_(connector.compared[-1].weight, std=0.2)
    taught = copy.deepcopy(connector)
    warm_up_comparison(connector, scenes, store, epochs=6, seed=2)
    assert torch.equal(connector.comparison_mean, taught.comparison_mean)  # its scale is the one it learned with
    before, now = (one.compared(one.standardise_comparison(rows)).detach() for one in (taught, connector))
    assert (now - before).square().mean() < 0.05 * before.var()
    first, second = taught.compared[1].weight, connector.compared[1].weight
    assert not torch.allclose(first, second, atol=1e-3)


@pytest.mark.slow
def test_it_learns_which_of_two_is_better(connector, scenes):
    store = Store(scenes)
    loss = [warm_up_comparison(copy.deepcopy(connector), scenes, store, epochs, seed=1) for epochs in (1, 40)]
    assert loss[1] < 0.5 * loss[0]


def test_pairs_are_the_decided_ones_of_readable_pictures(scenes):
    store = Store(scenes)
    store.index.discard("0_1.png")
    rows, targets, pairs = _compared_variants(scenes[:2], store)
    assert len(rows) == len(targets) == 7
    known = [v for scene in scenes[:2] for v in scene["variants"] if v["image"] in store.index]
    for better, worse in pairs.tolist():
        assert labels.better(known[better], known[worse]) is True
    decided = sum(
        labels.better(a, b) is not None
        for scene in (known[:3], known[3:])
        for i, a in enumerate(scene)
        for b in scene[i + 1 :]
    )
    assert len(pairs) == decided > 3


@pytest.mark.slow
def test_the_pair_learns_which_of_two_is_better_on_scenes_it_has_not_seen(scenes):
    torch.manual_seed(0)
    settings = {"kind": "pooling", "pair": True, "hidden": 32, "grid_stages": [0], "summary_tokens": 2, "dropout": 0.0}
    connector = PoolingConnector(DepictQAConfig(connector=settings), [4], 3, 8).eval()
    before = copy.deepcopy(connector.state_dict())
    store = Store(scenes)
    width = connector.pooled_width
    generator = torch.Generator().manual_seed(5)
    content = {scene["reference"]: 3 * torch.randn(width, generator=generator) for scene in scenes}
    severity = {}
    for scene in scenes:  # features show the content of the scene, and a little of the damage
        for one in scene["variants"]:
            severity[one["image"]] = one["distortions"][0]["severity"]
            store.rows[one["image"]] = content[scene["reference"]].clone()
            store.rows[one["image"]][:4] += 0.1 * severity[one["image"]]
    connector.requires_grad_(False)  # as where only its tokens learn afterwards
    first = warm_up_pairs(connector, scenes[:30], store, epochs=1, seed=1, batch=16)
    last = warm_up_pairs(connector, scenes[:30], store, epochs=30, seed=1, batch=16)
    assert last < 0.8 * first
    pairs = [(a["image"], b["image"]) for scene in scenes[30:] for a, b in itertools.combinations(scene["variants"], 2)]
    pairs = [(a, b) if severity[a] < severity[b] else (b, a) for a, b in pairs if severity[a] != severity[b]]
    better, worse = (connector.pair_features(torch.stack([store.rows[name] for name in one])) for one in zip(*pairs))
    assert (connector.advantage(better, worse) > 0).float().mean() > 0.9
    changed = {name for name, value in connector.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("paired.") for name in changed)
    assert not any(parameter.requires_grad for parameter in connector.parameters())


def test_without_a_part_for_pairs_the_key_is_named(connector, scenes):
    with pytest.raises(ValueError, match="pair_epochs needs .* connector: pair: true"):
        warm_up_pairs(connector, scenes, Store(scenes), epochs=1, seed=1)
