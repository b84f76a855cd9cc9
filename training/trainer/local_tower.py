"""Trains the local tower on crops whose every cell has a known truth (``training.dataset.building.crops``)."""

import functools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from depictqa_core.network.local_vision import CELL_STATISTICS, LocalTower, cell_statistics

from ..dataset.building.crops import KINDS, UNDECIDED
from ..output_files import write_file, writing
from .roc import area_under_curve

SEVERITY_WEIGHT = 2.5
DROPOUT = 0.1
"""Share of the statistics that a step does not see."""


def new_tower() -> LocalTower:
    """An untrained tower whose evidence is, for each of ``KINDS``, whether it is there and how severe it is."""
    return LocalTower(2 * len(KINDS))


def read_shards(folder: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Read what is learned from shards; the statistics of the crops are computed once and kept beside each shard.

    Returns:
        (statistics float16 [N, CELL_STATISTICS, cells, cells]; truth and severities as in a shard)
    """
    found = []
    for path in sorted(folder.glob("[0-9]*[0-9].npz")):
        kept = path.with_suffix(".statistics.npy")
        with np.load(path) as shard:
            if not kept.exists():
                made = np.stack([_statistics(crop) for crop in shard["crops"]])
                write_file(kept, functools.partial(_save, values=made))
            found.append((np.load(kept), shard["truth"], shard["severities"]))
    statistics, truth, severities = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*found))
    return statistics, truth, severities.float()


def _save(path: Path, values: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, values)


def _statistics(crop: np.ndarray) -> np.ndarray:
    return cell_statistics(torch.tensor(crop).permute(2, 0, 1)).numpy().astype(np.float16)


def loss(evidence: torch.Tensor, truth: torch.Tensor, severities: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of what is there, over decided cells, and error of the severity where it is.

    Args:
        evidence: [B, 2 * len(KINDS), h, w], logits, then severities over 5.
        truth, severities: as in a shard.
    """
    present, severity = evidence.split(len(KINDS), 1)
    decided, there = truth != UNDECIDED, truth == 1
    entropy = F.binary_cross_entropy_with_logits(present, there.float(), reduction="none")
    wanted = (severities / 5)[:, :, None, None].expand_as(severity)
    error = F.smooth_l1_loss(severity, wanted, reduction="none", beta=0.2)
    entropy = (entropy * decided).sum() / decided.sum()
    return len(KINDS) * entropy + SEVERITY_WEIGHT * (error * there).sum() / there.sum().clamp(min=1)


def train_local(
    folder: Path,
    output: Path,
    epochs: int,
    seed: int = 0,
    batch: int = 64,
    rate: float = 2e-3,
    report=print,
    validation: Path | None = None,
) -> LocalTower:
    """Train a tower and save its weights.

    Args:
        folder: of shards.
        output: .pt file of the state dict of the ``LocalTower``.
        epochs: passes over all crops.
        seed: of the weights and of the order of the crops.
        batch: crops in a step.
        rate: highest learning rate; it rises for a tenth of the steps and falls with a cosine.
        report: called with one line after every epoch.
        validation: a folder of shards that are measured after every fifth epoch and the last.
    """
    torch.manual_seed(seed)
    statistics, truth, severities = read_shards(folder)
    batch, tower = min(batch, len(truth)), new_tower()
    values = statistics.transpose(0, 1).flatten(1).float()
    tower.mean.copy_(values.mean(1))
    tower.deviation.copy_(values.std(1).clamp(min=1e-2))
    held = read_shards(validation) if validation else None
    optimiser = torch.optim.AdamW(tower.parameters(), rate, weight_decay=0.02)
    steps = epochs * (len(truth) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)
    for epoch in range(epochs):
        tower.train()
        total, order = 0.0, torch.randperm(len(truth))
        for rows in order[: len(order) // batch * batch].split(batch):
            seen = statistics[rows].float()
            hidden = torch.rand(len(rows), CELL_STATISTICS, 1, 1) < DROPOUT
            seen = torch.where(hidden, tower.mean[:, None, None], seen)
            value = loss(tower.judge(seen), truth[rows], severities[rows])
            optimiser.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(tower.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            total += value.item()
        last = epoch + 1 == epochs
        words = measure(tower, *held) if held and (epoch % 5 == 4 or last) else ""
        report(f"epoch {epoch + 1}: loss {total / (len(order) // batch):.3f} {words}")
    with writing(output):
        write_file(output, lambda path: torch.save(tower.eval().state_dict(), path))
    return tower


@torch.no_grad()
def measure(tower: LocalTower, statistics: torch.Tensor, truth: torch.Tensor, severities: torch.Tensor) -> str:
    """Per kind, how well cells where it is are told from cells of clean crops (AUC), in words."""
    tower.eval()
    scores = torch.cat([tower.judge(part.float())[:, : len(KINDS)] for part in statistics.split(100)])
    value = loss(torch.cat([tower.judge(part.float()) for part in statistics.split(100)]), truth, severities).item()
    clean = (severities.sum(1) == 0) & (truth == 0).all(1).all(1).all(1)
    found = []
    for kind in range(len(KINDS)):
        good = scores[clean, kind].flatten()
        bad = scores[:, kind][truth[:, kind] == 1]
        found.append(area_under_curve(bad, good))
    alarms = (scores[clean].sigmoid().amax((1, 2, 3)) > 0.9).double().mean().item()
    each = " ".join(f"{auc:.2f}" for auc in found)
    return f"loss {value:.3f}, AUC {np.nanmean(found):.3f} [{each}], clean crops with an alarm {alarms:.2f}"
