"""Warm-up of the connector's heads: what one image alone shows, learned directly from its features.

Calibration gives their findings a weight, on other scenes: they are overconfident about those that they learned from.
"""

import torch

from depictqa_core.network.connector import PoolingConnector

from .evidence import Evidence
from .part_training import train_part

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
    heads = connector.heads

    def noisy(values: torch.Tensor) -> torch.Tensor:
        return values + NOISE * torch.randn(values.shape, generator=generator)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        which = found.with_pairs(rows, generator)
        return found.loss(heads(noisy(whole[which]), [noisy(grid[which]) for grid in grids]), which, len(rows))

    return train_part(heads, len(whole), loss_of, generator, epochs, batch, rate, "finding warm-up")
