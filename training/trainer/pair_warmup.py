"""Warm-up of the connector's comparison of Image B with Image A: which of two images is better, without a reference.

A head on its last hidden layer learns which of two variants of a scene is better, and by how much. Its output to the
language model is still zero, so nothing else changes; training then connects it.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from depictqa_core.network.connector import PoolingConnector

from .evidence import NOISE, scene_evidence


def warm_up_pairs(
    connector: PoolingConnector,
    scenes: Iterable[dict],
    features,
    epochs: int,
    seed: int,
    batch: int = 256,
    rate: float = 1e-3,
) -> tuple[float, nn.Linear]:
    """Train the hidden layers of ``connector.paired``.

    Args:
        scenes: of ``dataset.building.scenes.read_scenes``.
        features: path -> pooled features, with ``index`` of the readable paths.
        epochs: passes over all pairs of two variants of a scene of which one is known to be better.
        batch: pairs in a step; half of them are shown with the better image first.

    Returns:
        (mean loss of the last epoch, the head: its logit is that of Image B being better)
    """
    if connector.paired is None:
        raise ValueError("pair_epochs needs a connector that compares pairs: changes: connector: pair: true")
    found = scene_evidence(scenes, features)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    connector.train()
    body, last = connector.paired[:-1], connector.paired[-1]
    head = nn.Linear(last.get_parameter("weight").shape[1], 1)
    parameters = [*body.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05)
    steps = epochs * -(-len(found.pairs) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)
    loss_sum = 0.0
    for _ in tqdm(range(epochs), desc="pair warm-up", mininterval=10):
        loss_sum = 0.0
        for part in torch.randperm(len(found.pairs), generator=generator).split(batch):
            better, worse = found.rows[found.pairs[part]].unbind(1)
            second = (torch.arange(len(part)) % 2).bool()  # whether Image B is the better one
            shown = torch.where(second[:, None], better, worse), torch.where(second[:, None], worse, better)
            inputs = connector.pair_inputs(*shown)
            logits = head(body(inputs + NOISE * torch.randn(inputs.shape, generator=generator)))[:, 0]
            loss = F.binary_cross_entropy_with_logits(logits, second.float())
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            loss_sum += loss.item() * len(part)
    connector.eval()
    return loss_sum / len(found.pairs), head.eval()
