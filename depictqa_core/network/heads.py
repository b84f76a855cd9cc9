"""Heads: what one image alone shows, learned directly from its vision features.

A small language model that reads tokens of all features overfits its training images. Heads have a loss of their own
and can learn from other images. Their findings are added to the answers of the language model (``head_answers``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..tasks import DISTORTIONS, FAULTS

_LABELS, _GRADES, _FAULTS = len(DISTORTIONS) + 1, len(DISTORTIONS), len(FAULTS) + 1
NUMBERS = _LABELS + _GRADES + _FAULTS + 1
"""How many numbers the heads give for an image."""
BEST = 5.0
"""Quality of an image without damage, and the severest grade."""
_CELL = 128


@dataclass(frozen=True)
class Findings:
    """What the heads find in B images.

    Attributes:
        labels: [B, 13], logits of the distortions, with "none" last.
        severity: [B, 12], grade of each distortion, 0..5.
        faults: [B, 16], logits of each fault and, last, of any.
        quality: [B], 0..5.
    """

    labels: torch.Tensor
    severity: torch.Tensor
    faults: torch.Tensor
    quality: torch.Tensor

    def numbers(self) -> torch.Tensor:
        """All of them in one row for each image, [B, NUMBERS]."""
        return torch.cat([self.labels, self.severity, self.faults, self.quality[:, None]], 1)

    @staticmethod
    def of_numbers(numbers: torch.Tensor) -> "Findings":
        """Those of rows [B, NUMBERS]."""
        labels, severity, faults, quality = numbers.split([_LABELS, _GRADES, _FAULTS, 1], 1)
        return Findings(labels, severity, faults, quality[:, 0])


class Heads(nn.Module):
    """Heads on features of the whole image, and on those of its cells at native size.

    Damage in a region is in few cells, so the outputs of the cells are joined by a soft maximum.

    Args:
        whole: features of the whole image.
        cells: channels of the cells of each tower for native size.
        hidden: width of the hidden layers for the whole image.
        dropout: share of their inputs that is left out in training.
    """

    def __init__(self, whole: int, cells: Sequence[int], hidden: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.whole = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(whole, hidden),
            nn.GELU(),
            nn.LayerNorm(hidden),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, NUMBERS),
        )
        self.cells = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, _CELL), nn.GELU(), nn.LayerNorm(_CELL), nn.Linear(_CELL, NUMBERS))
            for channels in cells
        )

    def forward(self, whole: torch.Tensor, grids: Sequence[torch.Tensor]) -> Findings:
        """Judge standardized features of B images.

        Args:
            whole: [B, features].
            grids: [B, channels, cells] of each tower.
        """
        found = self.whole(whole)
        for head, grid in zip(self.cells, grids):
            found = found + head(grid.transpose(1, 2)).logsumexp(1) - math.log(grid.shape[2])
        return Findings.of_numbers(found)
