"""Training of one part of the connector with a loss of its own, before the language model reads its output."""

from collections.abc import Callable

import torch
from torch import nn
from tqdm import tqdm


def train_part(
    part: nn.Module,
    count: int,
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    generator: torch.Generator,
    epochs: int,
    batch: int,
    rate: float,
    name: str,
) -> float:
    """Train a part whose weights are frozen before and after, if they were.

    Args:
        part: what learns; it is in evaluation mode afterwards.
        count: number of samples.
        loss_of: indexes of a step's samples -> its mean loss.
        generator: of the order of the samples.
        epochs: passes over all samples.
        batch: samples in a step.
        rate: highest learning rate; it rises for a tenth of the steps and falls with a cosine.
        name: for the progress bar.

    Returns:
        Mean loss of the last epoch.
    """
    learns = [parameter.requires_grad for parameter in part.parameters()]
    part.train().requires_grad_(True)
    optimiser = torch.optim.AdamW(part.parameters(), lr=rate, weight_decay=0.05)
    steps = epochs * -(-count // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)
    loss_sum = 0.0
    for _ in tqdm(range(epochs), desc=name, mininterval=10):
        loss_sum = 0.0
        for rows in torch.randperm(count, generator=generator).split(batch):
            loss = loss_of(rows)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(part.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            loss_sum += loss.item() * len(rows)
    for parameter, before in zip(part.parameters(), learns):
        parameter.requires_grad_(before)
    part.eval()
    return loss_sum / count
