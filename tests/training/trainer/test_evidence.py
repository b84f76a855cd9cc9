"""The warm-up of the connector's evidence: what is taken as true, what is learned, what the language model gets."""

import copy

import numpy as np
import pytest
import torch

from depictqa_core.network.config import DepictQAConfig
from depictqa_core.network.connector import PoolingConnector
from depictqa_core.tasks import DISTORTIONS, FAULTS
from training.dataset.building.crops import KINDS, UNDECIDED
from training.dataset.records import labels
from training.faults import REGISTRY
from training.trainer import evidence
from training.trainer.evidence import crop_evidence, scene_evidence, warm_up_evidence

LOCAL = {"channels": 3, "grid": 4, "hidden": 8}


@pytest.fixture
def connector():
    torch.manual_seed(0)
    settings = {"kind": "pooling", "hidden": 32, "grid_stages": [0], "summary_tokens": 2, "dropout": 0.0}
    config = DepictQAConfig(connector=settings, vision={"kind": "cnn", "local": LOCAL})
    return PoolingConnector(config, [4], 3, 8).eval()


def variant(image, *distortions, faults=()):
    metrics = {name: steps[0] for name, steps in labels.ANCHORS.items()}
    quality = labels.quality(distortions, metrics, faults)
    return {"image": image, "distortions": distortions, "faults": faults, "metrics": metrics, "quality": quality}


def blur(severity, **more):
    return {"category": "blur", "name": "blur_gaussian", "severity": severity, **more}


def fault(label):
    return next({"name": name, "severity": 3} for name, one in REGISTRY.items() if one.label == label)


@pytest.fixture
def scenes():
    """Forty scenes: clean, blurred at two severities, and with a fault."""
    return [
        {
            "variants": [
                variant(f"{i}_0"),
                variant(f"{i}_1", blur(2)),
                variant(f"{i}_2", blur(4)),
                variant(f"{i}_3", faults=(fault("none"),)),
            ]
        }
        for i in range(40)
    ]


class Store(dict):
    """Features that show the severity in one direction and the fault in another, in noise."""

    def __init__(self, scenes, width):
        generator = torch.Generator().manual_seed(3)
        directions = torch.randn(2, width, generator=generator)
        for scene in scenes:
            for one in scene["variants"]:
                steps = sum(item["severity"] for item in one["distortions"]), 3 * len(one["faults"])
                shown = torch.tensor(steps, dtype=torch.float32) @ directions / 4
                self[one["image"]] = shown + 0.3 * torch.randn(width, generator=generator)
        self.index = set(self)


def test_truth_of_a_part_a_fault_and_an_undecided_fault():
    names = [fault("noise"), fault(None)]
    shown = [variant("a", blur(4, area=0.125)), variant("b", faults=(names[0],)), variant("c", faults=(names[1],))]
    shown.append(variant("d"))
    store = Store([{"variants": shown}], 6)
    found = scene_evidence([{"variants": shown}], store)
    assert found.severity[0, DISTORTIONS.index("blur")] == pytest.approx(2.0)  # 4 * 0.125 ** (1 / 3)
    assert found.severity[1, DISTORTIONS.index("noise")] == 3
    assert found.labelled.tolist() == [1, 1, 0, 1]
    assert [FAULTS[row.argmax()] for row in found.faults[1:3]] == [REGISTRY[item["name"]].fault for item in names]
    assert not found.faults[0].any()


def test_pairs_are_decided_and_in_order(scenes):
    store = Store(scenes, 6)
    store.index.discard("0_1")
    found = scene_evidence(scenes[:2], store)
    assert len(found.rows) == 7
    assert (found.quality[found.pairs[:, 0]] > found.quality[found.pairs[:, 1]]).all()
    joined = found.joined(found)
    assert torch.equal(joined.rows[joined.pairs[len(found.pairs) :]], found.rows[found.pairs])


@pytest.mark.slow
def test_hidden_layers_learn_and_the_language_model_gets_what_it_got(connector, scenes):
    found = scene_evidence(scenes, Store(scenes, connector.pooled_width))
    torch.nn.init.normal_(connector.local_mix[-1].weight, std=0.2)
    before = copy.deepcopy(connector)
    first, _ = warm_up_evidence(copy.deepcopy(connector), found, 1, seed=1, batch=32)
    last, heads = warm_up_evidence(connector, found, 40, seed=1, batch=32)
    assert last < 0.5 * first
    with torch.no_grad():
        then, now = before(found.rows), connector(found.rows)
        mixtures = (connector.mix, connector.local_mix)
        states = [one[:-1](x) for one, x in zip(mixtures, connector.summary_inputs(found.rows))]
        judged = heads(torch.cat(states, 1))
    assert (now - then).square().mean() < 0.1 * then.var()
    assert not torch.allclose(before.local_mix[1].weight, connector.local_mix[1].weight, atol=1e-3)
    better, worse = judged.quality[found.pairs].unbind(1)
    assert (better > worse).float().mean() > 0.95
    damaged = found.faults.any(1)
    assert judged.faults[damaged, -1].min() > judged.faults[~damaged, -1].median()


def test_crops_are_encoded_once_and_told_from_their_cells(connector, tmp_path, monkeypatch):
    crops, cells = np.zeros((3, 64, 64, 3), np.uint8), (2, 2)
    truth, severities = np.zeros((3, len(KINDS), *cells), np.uint8), np.zeros((3, len(KINDS)), np.uint8)
    crops += np.arange(3, dtype=np.uint8)[:, None, None, None]
    place, seen = KINDS.index("noise"), KINDS.index(FAULTS[2])
    truth[0, place, 0, 0], severities[0, place] = 1, 5
    truth[1, : len(DISTORTIONS)], truth[1, seen], severities[1, seen] = UNDECIDED, 1, 3
    (tmp_path / "shards").mkdir()
    np.savez(tmp_path / "shards" / "0000.npz", crops=crops, truth=truth, severities=severities)
    asked = []

    class Model:
        config = DepictQAConfig(vision={"kind": "cnn", "local": LOCAL}, size={"short": 32, "long": 64, "min": 32})

        def encode(self, inputs):
            asked.append(inputs)
            return torch.full((1, connector.pooled_width), float(len(asked)))

    Model.connector = connector
    monkeypatch.setattr(evidence, "tower_stamp", lambda model: "stamp")
    for _ in range(2):
        found = crop_evidence(tmp_path / "shards", Model(), tmp_path / "run")
    assert len(asked) == 3 and len(set(found.rows[:, 0].tolist())) == 3
    assert found.severity[0, place] == pytest.approx(5 * 0.25**labels.AREA_POWER)
    assert found.labelled.tolist() == [1, 0, 1] and found.faults[1].nonzero().tolist() == [[2]]
    np.savez(tmp_path / "shards" / "0000.npz", crops=crops + 9, truth=truth, severities=severities)
    crop_evidence(tmp_path / "shards", Model(), tmp_path / "run")
    assert len(asked) == 6  # other pixels under the same names
    assert found.quality[2] == 1 and found.quality[:2].isnan().all() and len(found.pairs) == 0


def test_without_pairs_or_shards_the_key_is_named(tmp_path):
    shown = [variant("a", blur(2))]
    with pytest.raises(ValueError, match="evidence_epochs needs scenes"):
        scene_evidence([{"variants": shown}], Store([{"variants": shown}], 6))
