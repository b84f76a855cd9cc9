"""The local tower: a small CNN over every pixel of an image at native size, which says what is damaged where.

Overviews are resized and pixel statistics are taken from nine tiles, so neither sees a scratch in a corner of a large
image. This network is cheap enough (about 2,800 multiplications a pixel) to cover all of it.
"""

import torch
import torch.nn.functional as F
from torch import nn

CELL = 32
"""Side of the square of pixels that one cell of the map stands for."""
BLOCK = 512
"""Side in pixels of the blocks that are read one after another: activations of a 4096 px image would take gigabytes."""


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class LocalTower(nn.Module):
    """Evidence of local damage on a grid, from the pixels of the whole image at native size.

    Args:
        channels: kinds of evidence per cell; what they mean is decided in training (``training.trainer.local``).
        grid: cells per side of the pooled map.
        widths: channels of the five stages, each at half the resolution of the one before, down to ``CELL``.
    """

    def __init__(self, channels: int, grid: int = 6, widths: tuple[int, ...] = (24, 40, 64, 96, 128)):
        super().__init__()
        self.grid, self.width = grid, 2 * channels
        # Four neighbouring pixels become twelve channels: nothing is lost, and no activation has the full resolution.
        layers, before = [nn.PixelUnshuffle(2)], 12
        for index, width in enumerate(widths):
            layers += [nn.Conv2d(before, width, 3, 2 if index else 1, 1), nn.ReLU()]
            if index >= len(widths) - 2:
                layers.append(_Residual(width))
            before = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(before, channels, 1)

    def cells(self, image: torch.Tensor) -> torch.Tensor:
        """Evidence float [channels, ceil(H / CELL), ceil(W / CELL)] of one image, uint8 [3, H, W]."""
        rows = [
            torch.cat([self._block(column) for column in row.split(BLOCK, 2)], 2) for row in image.split(BLOCK, 1)
        ]
        return torch.cat(rows, 1)

    def _block(self, block: torch.Tensor) -> torch.Tensor:
        weight = self.head.weight
        block = block[None].to(weight.device, weight.dtype, memory_format=torch.channels_last) / 127.5 - 1
        bottom, right = -block.shape[2] % CELL, -block.shape[3] % CELL
        if bottom or right:
            block = F.pad(block, (0, right, 0, bottom), mode="replicate")
        return self.head(self.body(block))[0]

    def forward(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Mean and maximum of the evidence in ``grid`` x ``grid`` parts of each image.

        Args:
            images: uint8 [3, H, W] each, of any sizes.

        Returns:
            float32 [B, width, grid, grid]: first the means, then the maxima.
        """
        maps = [self.cells(image).float() for image in images]
        return torch.stack(
            [torch.cat([F.adaptive_avg_pool2d(m, self.grid), F.adaptive_max_pool2d(m, self.grid)]) for m in maps]
        )
