"""Trains the local tower on crops whose every cell has a known truth (``training.dataset.crops``).

Its convolutions learn with batch norm, which is folded into them afterwards: the tower itself has none.
"""

import copy
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from depictqa_core.local_vision import CELL, LocalTower

from .dataset.crops import KINDS, UNDECIDED
from .storing import writing

SEVERITY_WEIGHT = 0.5
WIDTHS = (16, 32, 64, 96, 128)
SEEN = 5
"""Cells per side of what is seen of a crop in one step: more crops teach more than more cells of one crop."""


class _Normed(nn.Module):
    """A convolution with a batch norm behind it."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv, self.norm = conv, nn.BatchNorm2d(conv.out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))

    def folded(self) -> nn.Conv2d:
        """The same as one convolution."""
        conv, norm = copy.deepcopy(self.conv), self.norm
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        conv.weight.data = conv.weight * scale[:, None, None, None]
        conv.bias.data = (conv.bias - norm.running_mean) * scale + norm.bias
        return conv


def with_norms(tower: LocalTower) -> LocalTower:
    """A copy of a tower with a batch norm behind every convolution but the head."""
    return _replaced(copy.deepcopy(tower), nn.Conv2d, _Normed)


def without_norms(tower: LocalTower) -> LocalTower:
    """A copy with every batch norm folded into its convolution: it computes the same as the other in evaluation."""
    return _replaced(copy.deepcopy(tower).eval(), _Normed, _Normed.folded)


@torch.no_grad()
def _replaced(tower: LocalTower, kind: type, change) -> LocalTower:
    for parent in [module for module in tower.body.modules() if not isinstance(module, (nn.Conv2d, _Normed))]:
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, change(child))
    return tower


def new_tower() -> LocalTower:
    """An untrained tower whose evidence is, for each of ``KINDS``, whether it is there and how severe it is."""
    return LocalTower(2 * len(KINDS), widths=WIDTHS)


def batches(folder: Path, seed: int, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Endless batches out of the shards in a folder, in random order; shards may be added meanwhile."""
    rng = np.random.default_rng(seed)
    while True:
        shards = sorted(folder.glob("[0-9]*[0-9].npz"))
        with np.load(shards[int(rng.integers(len(shards)))]) as shard:
            crops, truth, severities = shard["crops"], shard["truth"], shard["severities"]
        order = rng.permutation(len(crops))
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            top, left = (int(rng.integers(truth.shape[2] - SEEN + 1)) for _ in range(2))
            seen = crops[rows, top * CELL : (top + SEEN) * CELL, left * CELL : (left + SEEN) * CELL]
            cells = truth[rows, :, top : top + SEEN, left : left + SEEN]
            yield to_tensors(seen, cells, severities[rows], bool(rng.integers(2)))


def to_tensors(crops, truth, severities, mirrored: bool = False):
    """Crops as the body of the tower takes them, with their truth."""
    if mirrored:
        crops, truth = crops[:, :, ::-1], truth[..., ::-1]
    pixels = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1
    truth = torch.from_numpy(np.ascontiguousarray(truth))
    return pixels.contiguous(memory_format=torch.channels_last), truth, torch.from_numpy(severities).float()


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
    return len(KINDS) * entropy + SEVERITY_WEIGHT * (error * there).sum() / there.sum().clamp(min=1) * 5


def train_local(
    folder: Path,
    output: Path,
    steps: int,
    seed: int = 0,
    batch: int = 48,
    rate: float = 2e-3,
    report=print,
    every: int = 200,
    validation: Path | None = None,
) -> LocalTower:
    """Train a tower and save its weights; an interrupted run resumes from ``output``.run.

    Args:
        folder: of shards.
        output: .pt file of the state dict of the ``LocalTower``.
        steps: batches to learn from.
        validation: a folder of shards that are measured every ``every`` steps.
    """
    torch.manual_seed(seed)
    net = with_norms(new_tower()).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.02)
    state, first = output.with_suffix(".state.pt"), 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        net.load_state_dict(saved["net"]), optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
    stream, start, smooth = batches(folder, seed + first, batch), time.monotonic(), None
    for step in range(first, steps):
        pixels, truth, severities = next(stream)
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / 200)
            group["lr"] = rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        net.train()
        value = loss(net.head(net.body(pixels)), truth, severities)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        smooth = value.item() if smooth is None else 0.98 * smooth + 0.02 * value.item()
        if (step + 1) % every == 0 or step + 1 == steps:
            with writing(output):
                torch.save({"net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}, state.with_suffix(".part"))
                state.with_suffix(".part").replace(state)
                torch.save(without_norms(net).state_dict(), output)
            rate_now = (step + 1 - first) * batch / (time.monotonic() - start)
            report(f"{step + 1} {rate_now:.0f}/s train {smooth:.3f} {measure(net, validation) if validation else ''}")
    return without_norms(net)


@torch.no_grad()
def measure(net: LocalTower, folder: Path) -> str:
    """Per kind, how well cells where it is are told from cells of clean crops (AUC), in words."""
    net.eval()
    scores, truths, clean = [], [], []
    for path in sorted(folder.glob("[0-9]*[0-9].npz")):
        with np.load(path) as shard:
            for start in range(0, len(shard["crops"]), 100):
                part = slice(start, start + 100)
                pixels, truth, severities = to_tensors(shard["crops"][part], shard["truth"][part], shard["severities"][part])
                scores.append(net.head(net.body(pixels))[:, : len(KINDS)])
                truths.append(truth), clean.append((severities.sum(1) == 0) & (truth == 0).all(1).all(1).all(1))
    scores, truths, clean = torch.cat(scores), torch.cat(truths), torch.cat(clean)
    found = []
    for kind in range(len(KINDS)):
        good = scores[clean, kind].flatten()
        bad = scores[:, kind][truths[:, kind] == 1]
        ranks = torch.cat([bad, good]).argsort().argsort()[: len(bad)].double() + 1
        found.append(((ranks.sum() - len(bad) * (len(bad) + 1) / 2) / (len(bad) * len(good))).item() if len(bad) else math.nan)
    alarms = (scores[clean].sigmoid().amax((1, 2, 3)) > 0.9).double().mean().item()
    return f"AUC {np.nanmean(found):.3f} [{' '.join(f'{v:.2f}' for v in found)}] clean with an alarm {alarms:.2f}"
