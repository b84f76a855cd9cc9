"""Vision towers: from images to feature maps of one or several stages and pixel statistics."""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoBackbone, AutoConfig, CLIPVisionModel

from ..images.comparison_statistics import comparison_statistics
from ..images.image import RGBImage
from ..images.pixel_statistics import STATISTICS, pixel_statistics
from ..images.size_policy import WHOLE, SizePolicy, centre, fit, to_pixels
from .config import DepictQAConfig
from .efficientnet import LITE0_STAGES, blocks, feature_maps
from .local_vision import LocalTower
from .tile_vision import TileTower

PREPROCESSING = 2
"""Version of the preprocessing: decoding, resizing, normalization, statistics. Stored features of another version are
computed again, so increase it with every change of the results."""


Native = list[torch.Tensor] | None
"""The images at native size, uint8 [3, H, W] each, for towers that look at them there."""
NATIVE_TOWERS: dict[str, type[LocalTower] | type[TileTower]] = {"local": LocalTower, "tiles": TileTower}
"""Towers for images at native size, by the name of their settings in ``config.vision``."""


@dataclass
class Prepared:
    """The input of a tower for one image: ``pixels`` float32 [3, H, W], ``statistics`` float32 [STATISTICS] or None."""

    pixels: torch.Tensor
    statistics: torch.Tensor | None = None
    native: torch.Tensor | None = None


@dataclass
class Features:
    """The vision features of images of one size.

    Attributes:
        maps: feature maps [B, C_i, H_i, W_i], finest stage first.
        statistics: float [B, STATISTICS], or None for towers without them.
        native: float [B, C, grid, grid] of each of ``NATIVE_TOWERS`` that the tower has.
    """

    maps: list[torch.Tensor]
    statistics: torch.Tensor | None = None
    native: dict[str, torch.Tensor] = field(default_factory=dict)


class Tower(nn.Module):
    """The interface of all vision towers: pixels [B, 3, H, W] and statistics [B, STATISTICS] in, ``Features`` out.

    Attributes:
        uses_statistics: whether it passes on pixel statistics.
        widths: channels of each feature map.
    """

    uses_statistics = False
    widths: list[int]

    def __init__(self, config: DepictQAConfig):
        super().__init__()


class ClipTower(Tower):
    """CLIP ViT at native resolution: patch features of the last block, without the final norm (method.md 1.2).

    Position embeddings are resized (bicubic, aligned corners) if the grid differs from the trained one.
    """

    def __init__(self, config: DepictQAConfig):
        super().__init__(config)
        clip = CLIPVisionModel(config.vision_config())
        inner = getattr(clip, "vision_model", clip)  # transformers 5 dropped the inner module
        self.patch_embedding = inner.embeddings.patch_embedding
        self.class_embedding = inner.embeddings.class_embedding
        self.position_embedding = nn.Parameter(inner.embeddings.position_embedding.weight.detach().clone())
        self.pre_layernorm = inner.pre_layrnorm
        self.encoder = inner.encoder
        self.widths = [clip.config.hidden_size]

    def forward(self, pixels: torch.Tensor, statistics: torch.Tensor | None = None, native: Native = None) -> Features:
        patches = self.patch_embedding(pixels.to(self.patch_embedding.weight.dtype))  # [B, C, h, w]
        h, w = patches.shape[2:]
        hidden = patches.flatten(2).transpose(1, 2)
        hidden = torch.cat([self.class_embedding.expand(len(hidden), 1, -1), hidden], 1) + self._positions(h, w)
        hidden = self.encoder(inputs_embeds=self.pre_layernorm(hidden)).last_hidden_state[:, 1:]
        return Features([hidden.transpose(1, 2).unflatten(2, (h, w))])

    def _positions(self, h: int, w: int) -> torch.Tensor:
        first, rest = self.position_embedding[:1], self.position_embedding[1:]
        side = int(len(rest) ** 0.5)
        if (h, w) == (side, side):
            return self.position_embedding
        grid = rest.T.reshape(1, -1, side, side)
        grid = F.interpolate(grid, (h, w), mode="bicubic", align_corners=True)
        return torch.cat([first, grid[0].flatten(1).T])


class BackboneTower(Tower):
    """Any transformers backbone, with one feature map per stage in ``out_features`` of its config."""

    def __init__(self, config: DepictQAConfig):
        super().__init__(config)
        settings = dict(config.vision["config"])
        backbone = AutoConfig.for_model(settings.pop("model_type"), **settings)
        self.backbone = AutoBackbone.from_config(backbone)
        self.widths = list(self.backbone.channels)

    def forward(self, pixels: torch.Tensor, statistics: torch.Tensor | None = None, native: Native = None) -> Features:
        dtype = next(self.backbone.parameters()).dtype
        return Features(list(self.backbone(pixels.to(dtype)).feature_maps))


class CnnTower(Tower):
    """EfficientNet-Lite0 with all its stages, and pixel statistics computed before any resize."""

    uses_statistics = True

    def __init__(self, config: DepictQAConfig):
        super().__init__(config)
        stages = config.vision.get("stages", LITE0_STAGES)
        self.stem, self.stages, self.widths = blocks(stages, config.vision.get("stem", 32))
        for name in native_towers(config):
            setattr(self, name, NATIVE_TOWERS[name](**config.vision[name]))
        self.native_towers = native_towers(config)

    def forward(self, pixels: torch.Tensor, statistics: torch.Tensor | None = None, native: Native = None) -> Features:
        found = {name: getattr(self, name)(native) for name in self.native_towers}
        return Features(feature_maps(self.stem, self.stages, pixels), statistics, found)


TOWERS: dict[str, type[Tower]] = {"clip": ClipTower, "backbone": BackboneTower, "cnn": CnnTower}


def prepare(picture: RGBImage, config: DepictQAConfig, keep: tuple[float, float] = WHOLE) -> Prepared:
    """Preprocess one image: resized, padded, normalized pixels, and its statistics.

    ``keep`` crops to these shares of height and width, for training; the statistics are those of the crop.
    """
    pixels = to_pixels(fit(picture, SizePolicy(**config.size), keep), config.mean, config.std)
    if not TOWERS[config.vision["kind"]].uses_statistics:
        return Prepared(pixels)
    kept = _kept(picture, keep)
    native = torch.tensor(kept).permute(2, 0, 1) if native_towers(config) else None
    return Prepared(pixels, pixel_statistics(kept), native)


def prepare_comparison(
    picture: RGBImage, reference: RGBImage, config: DepictQAConfig, keep: tuple[float, float] = WHOLE
) -> torch.Tensor | None:
    """Compute the comparison statistics of an image and its reference, or None if the connector does not use them."""
    if not config.connector.get("comparison"):
        return None
    return comparison_statistics(_kept(picture, keep), _kept(reference, keep))


def _kept(picture: RGBImage, keep: tuple[float, float]) -> np.ndarray:
    height, width = (max(1, round(side * share)) for side, share in zip(picture.rgb.shape, keep))
    return centre(picture.rgb, height, width)


def native_towers(config: DepictQAConfig) -> list[str]:
    """Those of ``NATIVE_TOWERS`` that a tower of this config has."""
    return [name for name in NATIVE_TOWERS if config.vision.get(name)]


def native_shapes(config: DepictQAConfig) -> dict[str, tuple[int, int]]:
    """Channels and grid of what each of the ``native_towers`` gives."""
    with torch.device("meta"):
        towers = {name: NATIVE_TOWERS[name](**config.vision[name]) for name in native_towers(config)}
    return {name: (tower.width, tower.grid) for name, tower in towers.items()}


def empty_inputs(config: DepictQAConfig, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor | None, Native]:
    """Inputs of the tower for an image without content, on the default device: (pixels, statistics, native)."""
    statistics = torch.empty(1, statistics_width(config)) if statistics_width(config) else None
    native = [torch.empty(3, height, width, dtype=torch.uint8)] if native_towers(config) else None
    return torch.empty(1, 3, height, width), statistics, native


def statistics_width(config: DepictQAConfig) -> int:
    """Return the number of pixel statistics of the tower of this config."""
    return STATISTICS if TOWERS[config.vision["kind"]].uses_statistics else 0
