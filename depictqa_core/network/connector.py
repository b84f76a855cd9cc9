"""Connectors: from vision features to tokens in the embedding space of the language model."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..images.comparison_statistics import COMPARISON_STATISTICS
from .config import DepictQAConfig
from .heads import Findings, Heads
from .pooling import mean_and_deviation
from .vision import Features, native_shapes


@dataclass(frozen=True)
class PairFeatures:
    """What of B images is compared with that of others.

    Attributes:
        hidden: [B, H] each, the hidden layers that tell what an image shows.
        values: [B, C] each, what these layers see.
        grids: [B, C, cells] each, of the towers for native size.
    """

    hidden: list[torch.Tensor]
    values: list[torch.Tensor]
    grids: list[torch.Tensor]

    def rows(self, which: torch.Tensor) -> "PairFeatures":
        """The features of some of the images, by their indexes."""
        return PairFeatures(*([part[which] for part in parts] for parts in (self.hidden, self.values, self.grids)))

    @staticmethod
    def joined(some: "list[PairFeatures]") -> "PairFeatures":
        """Those of all images together."""
        kinds = ([one.hidden for one in some], [one.values for one in some], [one.grids for one in some])
        return PairFeatures(*([torch.cat(parts) for parts in zip(*kind)] for kind in kinds))

    def differences(self, other: "PairFeatures") -> torch.Tensor:
        """How images differ from others, [B, D]: of grids, the largest and the smallest difference of all cells."""
        parts = [own - their for own, their in zip(self.hidden, other.hidden)]
        parts += [_amplified(own - their) for own, their in zip(self.values, other.values)]
        for own, their in zip(self.grids, other.grids):
            gap = own - their
            parts += [_amplified(gap.amax(2)), _amplified(gap.amin(2))]
        return torch.cat(parts, 1)


class Connector(nn.Module):
    """What every connector has.

    Args:
        config: of the network; the settings are those of ``config.connector``.
        widths: channels of each feature map of the tower.
        statistics: how many pixel statistics the tower gives.
        hidden: width of the language model's embeddings.
    """

    SETTINGS: dict[str, object] = {}
    """Settings of ``config.connector`` and their defaults."""
    pairs = False
    """Whether the tokens of an image can contain its difference from the other image of a comparison."""

    def __init__(self, config: DepictQAConfig, widths: list[int], statistics: int, hidden: int):
        super().__init__()

    def pool(self, features: Features) -> torch.Tensor:
        """What is stored of a tower's features: [B, T, C] or [B, V]."""
        raise NotImplementedError

    def token_count(self, pooled: torch.Tensor) -> int:
        """Return the number of language model tokens of one image's pooled features."""
        raise NotImplementedError


class LinearConnector(Connector):
    """One linear layer on every position of the last feature map (method.md 1.4)."""

    def __init__(self, config: DepictQAConfig, widths: list[int], statistics: int, hidden: int):
        super().__init__(config, widths, statistics, hidden)
        self.projector = nn.Linear(widths[-1], hidden)

    def pool(self, features: Features) -> torch.Tensor:
        return features.maps[-1].flatten(2).transpose(1, 2)  # [B, T, C]

    def token_count(self, pooled: torch.Tensor) -> int:
        """Return the number of language model tokens of one image's pooled features."""
        return len(pooled)

    def forward(
        self,
        pooled: torch.Tensor,
        reference: torch.Tensor | None = None,
        comparison: torch.Tensor | None = None,
        other: torch.Tensor | None = None,
    ) -> torch.Tensor:
        tokens: torch.Tensor = self.projector(pooled)
        return tokens


class AbstractorConnector(LinearConnector):
    """Learned queries that read the patch features by a Transformer decoder, then a linear layer (method.md 1.3)."""

    SETTINGS = {"queries": 64, "layers": 4, "heads": 8, "feedforward": 2048, "dropout": 0.1}

    def __init__(self, config: DepictQAConfig, widths: list[int], statistics: int, hidden: int):
        super().__init__(config, widths, statistics, hidden)
        settings: dict[str, Any] = {**self.SETTINGS, **config.connector}
        width = widths[-1]
        self.queries = nn.Parameter(torch.randn(settings["queries"], width))
        layer = nn.TransformerDecoderLayer(
            width, settings["heads"], settings["feedforward"], settings["dropout"], batch_first=True
        )
        self.abstractor = nn.TransformerDecoder(layer, settings["layers"])

    def token_count(self, pooled: torch.Tensor) -> int:
        return len(self.queries)

    def forward(
        self,
        pooled: torch.Tensor,
        reference: torch.Tensor | None = None,
        comparison: torch.Tensor | None = None,
        other: torch.Tensor | None = None,
    ) -> torch.Tensor:
        queries = self.queries.to(pooled.dtype).expand(len(pooled), -1, -1)
        tokens: torch.Tensor = self.projector(self.abstractor(queries, pooled))
        return tokens


class PoolingConnector(Connector):
    """Multi-stage pooling: each stage's mean and deviation, a coarse grid of a middle stage, and pixel statistics.

    With a reference, the tokens of an image also contain its difference from the reference: a small network would
    otherwise use its depth to subtract one set of tokens from another. Differences of pooled vectors show what changed;
    with ``comparison``, pixelwise statistics of the two images show how much.

    ``pool`` has no weights, so a frozen tower's output can be stored as one short vector per image. The vector is
    standardized with the mean and deviation over the training images (buffers ``mean``, ``deviation``; those of the
    comparison statistics are ``comparison_mean`` and ``comparison_deviation``).

    In a comparison without a reference, if the network has ``pair``, the tokens of Image B also contain the evidence
    that it is better than Image A, from the differences of the two: what variants of an image have in common cancels
    out, and a small difference remains.

    If the network has ``findings``, it has ``Heads``, which tell what one image alone shows; its tokens do not change.

    Settings: ``grid`` cells per side (default 3), ``grid_stages`` indexes of the stages on the grid, ``summary_tokens``
    and ``hidden`` units of the mixture over everything, ``dropout``, ``comparison`` (whether ``comparison_statistics``
    are used), ``pair`` (whether Image B is compared with Image A), ``findings`` (whether there are heads).
    """

    SETTINGS = {
        "grid": 3,
        "grid_stages": [1, 3],
        "summary_tokens": 8,
        "hidden": 512,
        "dropout": 0.1,
        "comparison": False,
        "pair": False,
        "findings": False,
    }
    mean: torch.Tensor
    deviation: torch.Tensor
    comparison_mean: torch.Tensor
    comparison_deviation: torch.Tensor
    compared: nn.Sequential | None
    heads: Heads | None

    def __init__(self, config: DepictQAConfig, widths: list[int], statistics: int, hidden: int):
        super().__init__(config, widths, statistics, hidden)
        settings: dict[str, Any] = {**self.SETTINGS, **config.connector}
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
            # No dropout: each of these values is a measurement, with little redundancy.
            self.compared = _mixture(COMPARISON_STATISTICS, settings["hidden"], hidden * self.summary_tokens, 0.0)
            for last in self.compared[-1].parameters():  # a judge that learns to compare starts unchanged
                nn.init.zeros_(last)
        self.native = native_shapes(config)
        for name, (channels, _) in self.native.items():
            self.register_buffer(f"{name}_mean", torch.zeros(channels))
            self.register_buffer(f"{name}_deviation", torch.ones(channels))
            mix = _mixture(4 * channels, settings["hidden"], hidden * self.summary_tokens, 0.1)
            self.add_module(f"{name}_mix", mix)
            self.add_module(f"{name}_cells", nn.Linear(2 * channels, hidden))
        for name in self.native_outputs():  # a new tower changes nothing at first
            nn.init.zeros_(self.get_parameter(name))
        self.pairs = bool(settings["pair"])
        if self.pairs:
            width = (1 + len(self.native)) * settings["hidden"] + self.global_width
            width += sum(6 * channels for channels, _ in self.native.values())
            self.paired = _mixture(width, settings["hidden"], 1, settings["dropout"])
            self.pair_tokens = nn.Linear(1, hidden * self.summary_tokens, bias=False)
            nn.init.zeros_(self.pair_tokens.weight)
        self.heads = None
        if settings["findings"]:
            channels_of = [channels for channels, _ in self.native.values()]
            self.heads = Heads(self.global_width + 4 * sum(channels_of), channels_of, settings["hidden"])
        self.total = total
        self.pooled_width = total + sum(channels * grid**2 for channels, grid in self.native.values())
        self.cells = nn.Linear(self.cell, hidden)
        self.positions = nn.Parameter(torch.randn(self.grid**2, hidden) * 0.02)
        self.norm = nn.LayerNorm(hidden)

    def native_outputs(self) -> list[str]:
        """Names of the parameters of the last layers behind the towers for native size: they scale what these add."""
        layers = [layer for name in self.native for layer in (f"{name}_mix.{MIXTURE_OUTPUT}", f"{name}_cells")]
        return [f"{layer}.{parameter}" for layer in layers for parameter in ("weight", "bias")]

    def pool(self, features: Features) -> torch.Tensor:
        means, deviations = zip(*(mean_and_deviation(m, least=1e-12) for m in features.maps))
        parts = [*means, *deviations]
        if features.statistics is not None:
            parts.append(features.statistics.float())
        cells = [F.adaptive_avg_pool2d(features.maps[i].float(), self.grid) for i in self.grid_stages]
        parts.append(torch.cat(cells, 1).flatten(2).transpose(1, 2).flatten(1))  # [B, grid² · cell]
        parts += [features.native[name].float().flatten(1) for name in self.native]
        return torch.cat(parts, 1)

    def token_count(self, pooled: torch.Tensor) -> int:
        return self.summary_tokens + self.grid**2

    def forward(
        self,
        pooled: torch.Tensor,
        reference: torch.Tensor | None = None,
        comparison: torch.Tensor | None = None,
        other: torch.Tensor | None = None,
    ) -> torch.Tensor:
        standard = self._standardise(pooled[:, : self.total], self.mean, self.deviation)
        summary = self.mix(standard[:, : self.global_width])
        if reference is not None:
            gap = standard - self._standardise(reference[:, : self.total], self.mean, self.deviation)
            summary = summary + self.differ(_amplified(gap[:, : self.global_width]))
        if comparison is not None and self.compared is not None:
            summary = summary + self.compared(self.standardise_comparison(comparison))
        if other is not None and self.pairs:
            summary = summary + self.pair_tokens(self.advantage(self.pair_features(pooled), self.pair_features(other)))
        cells = self.cells(standard[:, self.global_width :].unflatten(1, (self.grid**2, self.cell))) + self.positions
        for name, (overall, by_cell) in self._native(pooled).items():
            summary = summary + self.get_submodule(f"{name}_mix")(overall)
            cells = cells + self.get_submodule(f"{name}_cells")(by_cell)
        return self.norm(torch.cat([summary.unflatten(1, (self.summary_tokens, -1)), cells], 1))

    def mixtures(self) -> list[nn.Sequential]:
        """``mix``, and that of each tower for images at native size."""
        return [self.mix, *(self.get_submodule(f"{name}_mix") for name in self.native)]  # type: ignore[list-item]

    def summary_inputs(self, pooled: torch.Tensor) -> list[torch.Tensor]:
        """What each of ``mixtures`` sees of pooled features [B, V]."""
        whole = self._standardise(pooled[:, : self.total], self.mean, self.deviation)[:, : self.global_width]
        return [whole, *(overall for overall, _ in self._native(pooled).values())]

    def findings(self, pooled: torch.Tensor) -> Findings:
        """What the heads find in images, from their pooled features [B, V]."""
        if self.heads is None:
            raise ValueError("this connector has no heads")
        return self.heads(*self.head_inputs(pooled))

    def head_inputs(self, pooled: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The inputs of the heads, from pooled features [B, V]: those of ``Heads.forward``."""
        grids = [grid.flatten(2) for grid in self._native_grids(pooled).values()]
        return torch.cat(self.summary_inputs(pooled), 1), grids

    def pair_features(self, pooled: torch.Tensor) -> PairFeatures:
        """What of pooled features [B, V] is compared with that of another image."""
        values = self.summary_inputs(pooled)
        hidden = [mixture[:-1](seen) for mixture, seen in zip(self.mixtures(), values)]
        return PairFeatures(hidden, values, [grid.flatten(2) for grid in self._native_grids(pooled).values()])

    def advantage(self, own: PairFeatures, other: PairFeatures) -> torch.Tensor:
        """The evidence [B, 1] that an image is better than the other one, in log odds; with the two swapped it has the
        opposite sign."""
        return (self.paired(own.differences(other)) - self.paired(other.differences(own))) / 2

    def native_maps(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        """The part of pooled features [B, V] of each tower for images at native size, [B, C, grid, grid]."""
        shapes = self.native.values()
        parts = pooled[:, self.total :].split([channels * grid**2 for channels, grid in shapes], 1)
        return {n: part.unflatten(1, (c, g, g)) for (n, (c, g)), part in zip(self.native.items(), parts)}

    def _native(self, pooled: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """What the towers for native size tell of the whole image [B, 4C] and of each cell [B, grid², 2C]."""
        found = {}
        for name, grid in self._native_grids(pooled).items():
            cells = torch.cat([F.adaptive_avg_pool2d(grid, self.grid), F.adaptive_max_pool2d(grid, self.grid)], 1)
            found[name] = _overall(grid), cells.flatten(2).transpose(1, 2)
        return found

    def _native_grids(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        """``native_maps``, standardized."""
        found = {}
        for name, values in self.native_maps(pooled).items():
            mean, deviation = (self.get_buffer(f"{name}_{what}")[:, None, None] for what in ("mean", "deviation"))
            found[name] = self._standardise(values, mean, deviation)
        return found

    def standardise_comparison(self, comparison: torch.Tensor) -> torch.Tensor:
        """Standardize comparison statistics [B, COMPARISON_STATISTICS] for ``compared``."""
        return self._standardise(comparison, self.comparison_mean, self.comparison_deviation)

    def _standardise(self, values: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
        deviation = deviation.float().clamp(min=1e-6)  # half precision rounds the smallest ones to 0
        return ((values - mean) / deviation).clamp(-8, 8).to(self.cells.weight.dtype)


def _overall(grid: torch.Tensor) -> torch.Tensor:
    """Mean, deviation, largest and third largest value of standardized maps [B, C, grid, grid] over the parts of the
    image, [B, 4C]: damage to a tenth of the area hardly moves a mean."""
    parts = grid.flatten(2)
    top = parts.topk(min(3, parts.shape[2]), 2).values
    spread = (one.to(parts) for one in mean_and_deviation(grid, least=1e-12))
    return torch.cat([*spread, top[:, :, 0], top[:, :, -1]], 1)


def _amplified(gap: torch.Tensor) -> torch.Tensor:
    """The root of differences, with their sign: small ones count, too. The gradient at 0 is 0."""
    return gap.sign() * gap.abs().clamp(min=torch.finfo(gap.dtype).tiny).sqrt()


MIXTURE_OUTPUT = 7
"""Index of the last layer of a mixture."""


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


CONNECTORS: dict[str, type[Connector]] = {
    "linear": LinearConnector,
    "abstractor": AbstractorConnector,
    "pooling": PoolingConnector,
}
