"""Connectors: from what the vision tower sees to tokens in the language model's embedding space."""

import torch
import torch.nn.functional as F
from torch import nn

from ..images.comparison_statistics import COMPARISON_STATISTICS
from .config import DepictQAConfig
from .vision import Features, local_shape


class LinearConnector(nn.Module):
    """One linear layer on every position of the last feature map (facts 1.4)."""

    SETTINGS: dict = {}
    """Settings of ``config.connector`` and their defaults."""

    def __init__(self, config: DepictQAConfig, widths: list[int], statistics: int, hidden: int):
        super().__init__()
        self.projector = nn.Linear(widths[-1], hidden)

    def pool(self, features: Features) -> torch.Tensor:
        return features.maps[-1].flatten(2).transpose(1, 2)  # [B, T, C]

    def token_count(self, pooled: torch.Tensor) -> int:
        """How many language-model tokens one picture's pooled features become."""
        return len(pooled)

    def forward(self, pooled: torch.Tensor, reference=None, comparison=None) -> torch.Tensor:
        return self.projector(pooled)


class AbstractorConnector(LinearConnector):
    """Learned queries that read the patch features through a Transformer decoder, then one linear layer (facts 1.3)."""

    SETTINGS = {"queries": 64, "layers": 4, "heads": 8, "feedforward": 2048, "dropout": 0.1}

    def __init__(self, config: DepictQAConfig, widths: list[int], statistics: int, hidden: int):
        super().__init__(config, widths, statistics, hidden)
        settings = {**self.SETTINGS, **config.connector}
        width = widths[-1]
        self.queries = nn.Parameter(torch.randn(settings["queries"], width))
        layer = nn.TransformerDecoderLayer(
            width, settings["heads"], settings["feedforward"], settings["dropout"], batch_first=True
        )
        self.abstractor = nn.TransformerDecoder(layer, settings["layers"])

    def token_count(self, pooled: torch.Tensor) -> int:
        return len(self.queries)

    def forward(self, pooled: torch.Tensor, reference=None, comparison=None) -> torch.Tensor:
        queries = self.queries.to(pooled.dtype).expand(len(pooled), -1, -1)
        return self.projector(self.abstractor(queries, pooled))


class PoolingConnector(nn.Module):
    """Multi-stage pooling: each stage's mean and deviation, a coarse grid of a middle stage, and pixel statistics.

    With a reference, the tokens of a picture also carry how it differs from the reference: a small network would
    otherwise spend its depth on subtracting one set of tokens from another. Differences of pooled vectors say what
    changed; with ``comparison``, statistics of the two pictures pixel by pixel say how much.

    ``pool`` has no weights, so a frozen tower's output can be stored as one short vector per picture. The vector is
    standardised with the mean and deviation over the training pictures (buffers ``mean``, ``deviation``; those of the
    comparison statistics are ``comparison_mean`` and ``comparison_deviation``).

    Settings: ``grid`` cells per side (default 3), ``grid_stages`` indexes of the stages shown on it, ``summary_tokens``
    and ``hidden`` units of the mixture over everything, ``dropout``, ``comparison`` (whether ``comparison_statistics``
    are taken).
    """

    SETTINGS = {
        "grid": 3,
        "grid_stages": [1, 3],
        "summary_tokens": 8,
        "hidden": 512,
        "dropout": 0.1,
        "comparison": False,
    }

    def __init__(self, config: DepictQAConfig, widths: list[int], statistics: int, hidden: int):
        super().__init__()
        settings = {**self.SETTINGS, **config.connector}
        self.grid, self.grid_stages = settings["grid"], settings["grid_stages"]
        self.cell = sum(widths[i] for i in self.grid_stages)
        self.global_width = 2 * sum(widths) + statistics
        total = self.global_width + self.grid**2 * self.cell
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("deviation", torch.ones(total))
        self.summary_tokens = settings["summary_tokens"]
        self.mix = _mixture(self.global_width, settings["hidden"], hidden * self.summary_tokens, settings["dropout"])
        self.differ = _mixture(self.global_width, settings["hidden"], hidden * self.summary_tokens, settings["dropout"])
        self.compared = None
        if settings["comparison"]:
            self.register_buffer("comparison_mean", torch.zeros(COMPARISON_STATISTICS))
            self.register_buffer("comparison_deviation", torch.ones(COMPARISON_STATISTICS))
            # No dropout: each of these numbers is a measurement, and few say the same.
            self.compared = _mixture(COMPARISON_STATISTICS, settings["hidden"], hidden * self.summary_tokens, 0.0)
            nn.init.zeros_(self.compared[-1].weight)  # a judge that is taught to compare starts as what it was
            nn.init.zeros_(self.compared[-1].bias)
        self.local_channels, self.local_grid = local_shape(config)
        self.local_mix = self.local_cells = None
        if self.local_channels:
            self.register_buffer("local_mean", torch.zeros(self.local_channels))
            self.register_buffer("local_deviation", torch.ones(self.local_channels))
            self.local_mix = _mixture(4 * self.local_channels, settings["hidden"], hidden * self.summary_tokens, 0.1)
            self.local_cells = nn.Linear(2 * self.local_channels, hidden)
            for layer in (self.local_mix[-1], self.local_cells):  # a judge that gets it later starts as what it was
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.total = total
        self.pooled_width = total + self.local_channels * self.local_grid**2
        self.cells = nn.Linear(self.cell, hidden)
        self.positions = nn.Parameter(torch.randn(self.grid**2, hidden) * 0.02)
        self.norm = nn.LayerNorm(hidden)

    def pool(self, features: Features) -> torch.Tensor:
        maps = [m.float() for m in features.maps]
        parts = [m.mean((2, 3)) for m in maps]
        parts += [m.var((2, 3), correction=0).clamp(min=1e-12).sqrt() for m in maps]
        if features.statistics is not None:
            parts.append(features.statistics.float())
        cells = [F.adaptive_avg_pool2d(maps[i], self.grid) for i in self.grid_stages]
        parts.append(torch.cat(cells, 1).flatten(2).transpose(1, 2).flatten(1))  # [B, grid² · cell]
        if features.local is not None:
            parts.append(features.local.float().flatten(1))
        return torch.cat(parts, 1)

    def token_count(self, pooled: torch.Tensor) -> int:
        return self.summary_tokens + self.grid**2

    def forward(
        self, pooled: torch.Tensor, reference: torch.Tensor | None = None, comparison: torch.Tensor | None = None
    ) -> torch.Tensor:
        local = pooled[:, self.total :]
        pooled, reference = pooled[:, : self.total], None if reference is None else reference[:, : self.total]
        standard = self._standardise(pooled, self.mean, self.deviation)
        summary = self.mix(standard[:, : self.global_width])
        if reference is not None:
            gap = (standard - self._standardise(reference, self.mean, self.deviation))[:, : self.global_width]
            summary = summary + self.differ(gap.sign() * gap.abs().sqrt())  # the root lifts small differences
        if comparison is not None and self.compared is not None:
            summary = summary + self.compared(self.standardise_comparison(comparison))
        cells = self.cells(standard[:, self.global_width :].unflatten(1, (self.grid**2, self.cell))) + self.positions
        if self.local_mix is not None:
            overall, by_cell = self._local(local)
            summary, cells = summary + self.local_mix(overall), cells + self.local_cells(by_cell)
        return self.norm(torch.cat([summary.unflatten(1, (self.summary_tokens, -1)), cells], 1))

    def _local(self, local: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Evidence of the local tower, for the whole image [B, 4C] and for each cell [B, grid², 2C].

        The whole is given by mean, deviation, largest and third largest value over the parts of the image: damage to a
        tenth of the area hardly moves a mean.
        """
        values = local.unflatten(1, (self.local_channels, -1)).transpose(1, 2)  # [B, parts, C]
        values = self._standardise(values, self.local_mean, self.local_deviation)
        top = values.topk(min(3, values.shape[1]), 1).values
        overall = torch.cat([values.mean(1), values.std(1, correction=0), top[:, 0], top[:, -1]], 1)
        grid = values.transpose(1, 2).unflatten(2, (self.local_grid, self.local_grid))
        cells = torch.cat([F.adaptive_avg_pool2d(grid, self.grid), F.adaptive_max_pool2d(grid, self.grid)], 1)
        return overall, cells.flatten(2).transpose(1, 2)

    def standardise_comparison(self, comparison: torch.Tensor) -> torch.Tensor:
        """Comparison statistics [B, COMPARISON_STATISTICS] as ``compared`` takes them."""
        return self._standardise(comparison, self.comparison_mean, self.comparison_deviation)

    def _standardise(self, values: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
        deviation = deviation.float().clamp(min=1e-6)  # half precision rounds the smallest ones to 0
        return ((values - mean) / deviation).clamp(-8, 8).to(self.cells.weight.dtype)


def _mixture(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(inputs, hidden),
        nn.GELU(),
        nn.LayerNorm(hidden),
        nn.Linear(hidden, hidden),
        nn.GELU(),
        nn.LayerNorm(hidden),
        nn.Linear(hidden, outputs),
    )


CONNECTORS = {"linear": LinearConnector, "abstractor": AbstractorConnector, "pooling": PoolingConnector}
