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
        pixels = tiles.to(self.embed.weight.dtype, memory_format=torch.channels_last)
        maps = feature_maps(self.stem, self.stages, pixels.div_(127.5).sub_(1))
        means, deviations = zip(*(mean_and_deviation(m, least=1e-6) for m in maps))
        pooled = torch.cat([*means, *deviations], 1)
        features: torch.Tensor = nn.functional.gelu(self.embed(self.norm(pooled.to(self.embed.weight.dtype))))
        return features

    def cut(self, image: torch.Tensor) -> torch.Tensor:
        """The tiles of an image, uint8 [3, H, W]: uint8 [grid², 3, h, w], row by row."""
        return torch.stack([image[:, rows, columns] for rows, columns in self._places(image)])

    def _places(self, image: torch.Tensor) -> list[tuple[slice, slice]]:
        """The rows and the columns of each tile of an image [3, H, W]."""
        rows, columns = (self._spread(size) for size in image.shape[1:])
        return [(row, column) for row in rows for column in columns]

    def _spread(self, size: int) -> list[slice]:
        """The pixels of each tile along one side of an image."""
        length, steps = min(self.side, size), self.grid - 1
        rest = size - length
        starts = [rest * number // steps for number in range(self.grid)] if steps else [rest // 2]
        return [slice(start, start + length) for start in starts]

    def _features(self, image: torch.Tensor) -> torch.Tensor:
        """Features float32 [grid², channels] of the tiles of an image; equal tiles of a small one are judged once."""
        places = [(rows.start, columns.start) for rows, columns in self._places(image)]
        distinct = list(dict.fromkeys(places))
        tiles = self.cut(image)[[places.index(place) for place in distinct]]
        features = self.judge(tiles.to(self.embed.weight.device)).float()
        return features[[distinct.index(place) for place in places]]

    def forward(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Features of the tiles of each image.

        Args:
            images: uint8 [3, H, W] each, of any sizes.

        Returns:
            float32 [B, width, grid, grid]
        """
        found = [self._features(image) for image in images]
        return torch.stack([one.T.unflatten(1, (self.grid, self.grid)) for one in found])
