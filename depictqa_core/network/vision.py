"""Vision towers: from images to feature maps of one or several stages and pixel statistics."""

from dataclasses import dataclass

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
from .local_vision import LocalTower

PREPROCESSING = 2
"""Version of the preprocessing: decoding, resizing, normalization, statistics. Stored features of another version are
computed again, so increase it with every change of the results."""


Native = list[torch.Tensor] | None
"""The images at native size, uint8 [3, H, W] each, for towers with a local tower."""


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
        local: float [B, C, grid, grid], evidence of the local tower, or None for towers without one.
    """

    maps: list[torch.Tensor]
    statistics: torch.Tensor | None = None
    local: torch.Tensor | None = None


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


# EfficientNet-Lite0 (Apache-2.0): repeats, kernel, stride, expansion, output channels of each stage.
LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class _Conv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding; batch norm is folded into its weight and bias."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        k, s = self.kernel_size[0], self.stride[0]
        if k > 1:
            rows, columns = (max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[2:])
            x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return super().forward(x)


class _InvertedBottleneck(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.expand = _Conv(inputs, hidden, 1) if expansion > 1 else None
        self.depthwise = _Conv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = _Conv(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = F.relu6(self.expand(x)) if self.expand is not None else x
        hidden = self.project(F.relu6(self.depthwise(hidden)))
        return x + hidden if self.residual else hidden


class CnnTower(Tower):
    """EfficientNet-Lite0 with all its stages, and pixel statistics computed before any resize."""

    uses_statistics = True

    def __init__(self, config: DepictQAConfig):
        super().__init__(config)
        stages = config.vision.get("stages", LITE0_STAGES)
        width = config.vision.get("stem", 32)
        self.stem = _Conv(3, width, 3, 2)
        self.stages = nn.ModuleList()
        self.widths = []
        for repeats, kernel, stride, expansion, outputs in stages:
            blocks = []
            for index in range(repeats):
                blocks.append(_InvertedBottleneck(width, outputs, kernel, stride if index == 0 else 1, expansion))
                width = outputs
            self.stages.append(nn.Sequential(*blocks))
            self.widths.append(outputs)
        self.local = LocalTower(**config.vision["local"]) if config.vision.get("local") else None

    def forward(self, pixels: torch.Tensor, statistics: torch.Tensor | None = None, native: Native = None) -> Features:
        x = pixels.to(self.stem.weight.dtype, memory_format=torch.channels_last)
        x = F.relu6(self.stem(x))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return Features(maps, statistics, self.local(native) if self.local is not None else None)


TOWERS: dict[str, type[Tower]] = {"clip": ClipTower, "backbone": BackboneTower, "cnn": CnnTower}


def prepare(picture: RGBImage, config: DepictQAConfig, keep: tuple[float, float] = WHOLE) -> Prepared:
    """Preprocess one image: resized, padded, normalized pixels, and its statistics.

    ``keep`` crops to these shares of height and width, for training; the statistics are those of the crop.
    """
    pixels = to_pixels(fit(picture, SizePolicy(**config.size), keep), config.mean, config.std)
    if not TOWERS[config.vision["kind"]].uses_statistics:
        return Prepared(pixels)
    kept = _kept(picture, keep)
    native = torch.tensor(kept).permute(2, 0, 1) if config.vision.get("local") else None
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


def local_shape(config: DepictQAConfig) -> tuple[int, int]:
    """Channels and grid of the evidence that the local tower of this config gives; (0, 0) without one."""
    if not config.vision.get("local"):
        return 0, 0
    with torch.device("meta"):
        tower = LocalTower(**config.vision["local"])
    return tower.width, tower.grid


def empty_inputs(config: DepictQAConfig, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor | None, Native]:
    """Inputs of the tower for an image without content, on the default device: (pixels, statistics, native)."""
    statistics = torch.empty(1, statistics_width(config)) if statistics_width(config) else None
    native = [torch.empty(3, height, width, dtype=torch.uint8)] if config.vision.get("local") else None
    return torch.empty(1, 3, height, width), statistics, native


def statistics_width(config: DepictQAConfig) -> int:
    """Return the number of pixel statistics of the tower of this config."""
    return STATISTICS if TOWERS[config.vision["kind"]].uses_statistics else 0
