"""Warm-up of the connector's comparison of two images without a reference: which of them is better.

It learns from pairs of variants of a scene, and of different scenes. What it tells the language model is still zero
then; training connects it, with other scenes: it is overconfident about those that it learned from.
"""

import random
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from depictqa_core.network.connector import PairFeatures, PoolingConnector

from ..dataset.records import labels
from .evidence import NOISE, scene_evidence
from .part_training import train_part

ACROSS = 2 / 3
"""Pairs that are drawn from all scenes for each pair of one scene; those that are not decided are left out."""
RIGHT = 0.9
"""Probability of the better image that is learned: which one is better is decided by severities and metrics."""


def warm_up_pairs(
    connector: PoolingConnector,
    scenes: Sequence[dict],
    features,
    epochs: int,
    seed: int,
    batch: int = 256,
    rate: float = 1e-3,
) -> float:
    """Train ``connector.paired``.

    Args:
        scenes: of ``dataset.building.scenes.read_scenes``.
        features: path -> pooled features, with ``index`` of the readable paths.
        epochs: passes over all pairs of which one image is known to be better.
        batch: pairs in a step.

    Returns:
        Mean loss of the last epoch.
    """
    if not connector.pairs:
        raise ValueError("pair_epochs needs a connector that compares pairs: changes: connector: pair: true")
    rows, pairs = _pairs(scenes, features, seed)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    connector.eval()
    with torch.no_grad():
        shown = PairFeatures.joined([connector.pair_features(some) for some in rows.split(batch)])
    paired = connector.paired

    def noisy(values: torch.Tensor) -> torch.Tensor:
        return values + NOISE * torch.randn(values.shape, generator=generator)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        better, worse = (shown.rows(which) for which in pairs[rows].unbind(1))
        there, back = (paired(noisy(x)) for x in (better.differences(worse), worse.differences(better)))
        odds = (there - back)[:, 0] / 2
        return F.binary_cross_entropy_with_logits(odds, torch.full_like(odds, RIGHT))

    return train_part(paired, len(pairs), loss_of, generator, epochs, batch, rate, "pair warm-up")


def _pairs(scenes: Sequence[dict], features, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled features [N, V] of the readable images, and the pairs [P, 2] of the better and the worse one."""
    found = scene_evidence(scenes, features, "pair_epochs")
    images = [
        (place, v) for place, scene in enumerate(scenes) for v in scene["variants"] if v["image"] in features.index
    ]
    across: list[tuple[int, int]] = []
    rng = random.Random(seed)
    for _ in range(round(ACROSS * len(found.pairs))):
        i, j = rng.randrange(len(images)), rng.randrange(len(images))
        better = labels.better(images[i][1], images[j][1]) if images[i][0] != images[j][0] else None
        if better is not None:
            across.append((i, j) if better else (j, i))
    return found.rows, torch.cat([found.pairs, torch.tensor(across, dtype=torch.long).reshape(-1, 2)])
