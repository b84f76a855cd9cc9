"""The tile tower: a convolutional network that was trained end to end on what damages images, at native size.

The overview is resized, and its tower knows photographs from ImageNet. The tiles are seen as they are, by layers that
learned distortions and faults of photographs and drawings directly (``training.trainer.tile_tower``). Their number is
fixed, so the cost does not grow with the image.
"""

import torch
from torch import nn

from .efficientnet import LITE0_STAGES, blocks, feature_maps
from .pooling import mean_and_deviation

STAGES = LITE0_STAGES[:5]
"""The stages of EfficientNet-Lite0 that see a tile; the last two know objects and would add more than half."""


class TileTower(nn.Module):
    """Features of ``grid`` x ``grid`` tiles, spread evenly over an image at native size; they overlap in a small one.

    Args:
        channels: features of a tile.
        grid: tiles per side.
        side: side of a tile in pixels; less where the image is smaller.
    """

    def __init__(self, channels: int, grid: int = 3, side: int = 128) -> None:
        super().__init__()
        self.width, self.grid, self.side = channels, grid, side
        self.stem, self.stages, widths = blocks(STAGES)
        self.norm = nn.LayerNorm(2 * sum(widths))
        self.embed = nn.Linear(2 * sum(widths), channels)

    def judge(self, tiles: torch.Tensor) -> torch.Tensor:
        """Features [B, channels] of tiles, uint8 [B, 3, h, w]."""
        maps = feature_maps(self.stem, self.stages, tiles.to(self.embed.weight.dtype) / 127.5 - 1)
        means, deviations = zip(*(mean_and_deviation(m, least=1e-6) for m in maps))
        pooled = torch.cat([*means, *deviations], 1)
        features: torch.Tensor = nn.functional.gelu(self.embed(self.norm(pooled.to(self.embed.weight.dtype))))
        return features

    def cut(self, image: torch.Tensor) -> torch.Tensor:
        """The tiles of an image, uint8 [3, H, W]: uint8 [grid², 3, h, w], row by row."""
        (h, tops), (w, lefts) = (self._places(size) for size in image.shape[1:])
        return torch.stack([image[:, top : top + h, left : left + w] for top in tops for left in lefts])

    def _places(self, size: int) -> tuple[int, list[int]]:
        """Length of a tile and the first pixel of each, along one side of an image."""
        length, steps = min(self.side, size), self.grid - 1
        rest = size - length
        return length, [rest * number // steps for number in range(self.grid)] if steps else [rest // 2]

    def forward(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Features of the tiles of each image.

        Args:
            images: uint8 [3, H, W] each, of any sizes.

        Returns:
            float32 [B, width, grid, grid]
        """
        device = self.embed.weight.device
        found = [self.judge(self.cut(image).to(device)).float() for image in images]
        return torch.stack([one.T.unflatten(1, (self.grid, self.grid)) for one in found])
