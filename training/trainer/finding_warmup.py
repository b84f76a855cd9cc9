"""Warm-up of the connector's heads: what one image alone shows, learned directly from its features.

What the heads tell the language model is still zero then; training connects it, with other scenes: they are
overconfident about those that they learned from.
"""

import torch
from torch import nn
from tqdm import tqdm

from depictqa_core.network.connector import PoolingConnector

from .evidence import Evidence

NOISE = 0.1
"""Standard deviation of the noise on standardized features, against learning single images by heart."""


def warm_up_findings(
    connector: PoolingConnector, found: Evidence, epochs: int, seed: int, batch: int = 256, rate: float = 1e-3
) -> float:
    """Train ``connector.heads``.

    Args:
        found: images and what is true of them.
        epochs: passes over all images; of each image that has pairs, one pair at a time.
        batch: images in a step.

    Returns:
        Mean loss of the last epoch.
    """
    if connector.heads is None:
        raise ValueError("finding_epochs needs a connector with heads: changes: connector: findings: true")
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    connector.eval()
    with torch.no_grad():
        seen = [connector.head_inputs(rows) for rows in found.rows.split(batch)]
        whole = torch.cat([one for one, _ in seen])
        grids = [torch.cat(parts) for parts in zip(*(cells for _, cells in seen))]
    heads = connector.heads.train()
    learns = [parameter.requires_grad for parameter in heads.parameters()]
    heads.requires_grad_(True)
    optimiser = torch.optim.AdamW(heads.parameters(), lr=rate, weight_decay=0.05)
    steps = epochs * -(-len(whole) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)

    def noisy(values: torch.Tensor) -> torch.Tensor:
        return values + NOISE * torch.randn(values.shape, generator=generator)

    loss_sum = 0.0
    for _ in tqdm(range(epochs), desc="finding warm-up", mininterval=10):
        loss_sum = 0.0
        for part in torch.randperm(len(whole), generator=generator).split(batch):
            which = found.with_pairs(part, generator)
            judged = heads(noisy(whole[which]), [noisy(grid[which]) for grid in grids])
            loss = found.loss(judged, which, len(part))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(heads.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            loss_sum += loss.item() * len(part)
    for parameter, before in zip(heads.parameters(), learns):
        parameter.requires_grad_(before)
    connector.eval()
    return loss_sum / len(whole)
