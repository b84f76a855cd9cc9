"""The local tower: what every part of an image shows at native size, which says what is damaged where.

Overviews are resized and pixel statistics are taken from nine tiles, so neither sees a scratch in a corner of a large
image. Here statistics of every cell of 32 x 32 pixels are taken (fixed filters: they need no training and see noise,
blur and lattices at once), and a small network with a view of the neighbours and of the whole judges each cell.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from ..images.pixel_statistics import luma as luma_of

CELL = 32
"""Side of the square of pixels that one cell of the map stands for."""
BLOCK = 512
"""Side in pixels of the blocks that are read one after another: their intermediate maps fit into the cache."""
_SUB = 8  # side in pixels of the parts of a cell whose least and greatest values count
_MARGIN = 16  # pixels to the right of and below a block that its filters see
_PERIODS = (2, 4, 8)  # of lattices, in pixels
_Cut = Callable[[torch.Tensor], torch.Tensor]


def cell_statistics(image: torch.Tensor) -> torch.Tensor:
    """Statistics of every cell of an image.

    Args:
        image: uint8 [3, H, W]. It is continued at the right and at the bottom to whole cells.

    Returns:
        float32 [CELL_STATISTICS, ceil(H / CELL), ceil(W / CELL)]
    """
    bottom, right = -image.shape[1] % CELL + _MARGIN, -image.shape[2] % CELL + _MARGIN
    image = F.pad(image[None].float(), (0, right, 0, bottom), mode="replicate")[0]
    rows, columns = (range(0, size - _MARGIN, BLOCK) for size in image.shape[1:])
    reach = BLOCK + _MARGIN
    return torch.cat([torch.cat([_block(image[:, y : y + reach, x : x + reach]) for x in columns], 2) for y in rows], 1)


def _block(rgb: torch.Tensor) -> torch.Tensor:
    """Statistics of the cells of a block [3, h + margin, w + margin], float 0..255."""
    h, w = (size - _MARGIN for size in rgb.shape[1:])
    red, green, blue = rgb
    luma = luma_of(red, green, blue)
    found = []

    def cut(x: torch.Tensor, scale: int = 1) -> torch.Tensor:
        return x[: h // scale, : w // scale]

    def spread(x: torch.Tensor, scale: int = 1, log: bool = True) -> None:
        """Mean of a map in each cell, and the least and greatest mean of the parts of the cell."""
        parts = F.avg_pool2d(cut(x, scale)[None], _SUB // scale)
        parts = (parts + 0.1).log() if log else parts
        size = CELL // _SUB
        found.extend([F.avg_pool2d(parts, size), -F.max_pool2d(-parts, size), F.max_pool2d(parts, size)])

    def mean(x: torch.Tensor, scale: int = 1) -> torch.Tensor:
        return F.avg_pool2d(cut(x, scale)[None], CELL // scale)

    def log_mean(x: torch.Tensor, scale: int = 1) -> None:
        found.append((mean(x, scale) + 0.1).log())

    for scale in (1, 2, 4):
        z = luma if scale == 1 else F.avg_pool2d(luma[None], scale)[0]
        across, down = z[:, 1:] - z[:, :-1], z[1:] - z[:-1]
        spread(across.abs(), scale)
        spread(down.abs(), scale)
        spread((across[1:] - across[:-1]).abs(), scale)
        if scale < 4:
            for d, e in ((across[:, :-1], across[:, 1:]), (down[:-1], down[1:])):
                power = mean(d.square(), scale)
                found.append(mean(d * e, scale) / (power + 1))
                found.append((power + 0.1).log())
        if scale == 1:
            _lattice(across, down, cut, found)
            found.append(mean((across[:-1] == 0).float() * (down[:, :-1] == 0)))
            found.extend([mean((across == 0).float()), mean((down == 0).float())])
    for lag in (3, 8):
        log_mean((luma[:, lag:] - luma[:, :-lag]).abs())
        log_mean((luma[lag:] - luma[:-lag]).abs())
    for chroma in (red - luma, blue - luma):
        across, down = chroma[:, 1:] - chroma[:, :-1], chroma[1:] - chroma[:-1]
        spread((across[1:] - across[:-1]).abs())
        log_mean(across.abs())
        log_mean(down.abs())
    for plane in (red, green, blue):
        spread(plane, log=False)
        found[-3:] = [one / 64 for one in found[-3:]]
    spread(rgb.amax(0) - rgb.amin(0))
    found.extend([mean((rgb.amin(0) < 3).float()), mean((rgb.amax(0) > 252).float())])
    return torch.cat(found)


def _lattice(across: torch.Tensor, down: torch.Tensor, cut: _Cut, found: list[torch.Tensor]) -> None:
    """Lines and periods: how the changes are spread over the rows, and over the columns, of each cell."""
    for change, turned in ((cut(down), False), (cut(across).T, True)):
        steps = F.avg_pool2d(torch.stack([change, change.abs()]), (1, CELL))  # [2, rows, cells]
        signed, strong = steps.unflatten(1, (-1, CELL)).transpose(2, 3)  # each [cells, cells, CELL]
        level = strong.mean(-1) + 0.1
        maps = [(signed.abs().amax(-1) + 0.1).log(), ((strong.amax(-1) + 0.1) / level).log()]
        for period in _PERIODS:
            folded = strong.unflatten(-1, (-1, period)).mean(-2) + 0.1
            maps += [(folded.amax(-1) / level).log(), (folded.amin(-1) / level).log()]
        found.extend((one.T if turned else one)[None] for one in maps)


CELL_STATISTICS = 82
"""Statistics of a cell."""


class LocalTower(nn.Module):
    """Evidence of local damage on a grid, from the pixels of the whole image at native size.

    Args:
        channels: kinds of evidence per cell; what they mean is decided in training (``training.trainer.local_tower``).
        grid: cells per side of the pooled map.
        hidden: units of the layers that judge a cell.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, channels: int, grid: int = 6, hidden: int = 96) -> None:
        super().__init__()
        self.grid, self.width = grid, 2 * channels
        self.register_buffer("mean", torch.zeros(CELL_STATISTICS))
        self.register_buffer("deviation", torch.ones(CELL_STATISTICS))
        self.own = nn.Conv2d(CELL_STATISTICS, hidden, 1)
        self.around = nn.ModuleList(
            nn.Conv2d(hidden, hidden, 3, padding=reach, dilation=reach, padding_mode="replicate") for reach in (1, 2)
        )
        self.whole = nn.Linear(2 * hidden, hidden)
        self.head = nn.Sequential(nn.Conv2d(hidden, hidden, 1), nn.GELU(), nn.Conv2d(hidden, channels, 1))

    def judge(self, statistics: torch.Tensor) -> torch.Tensor:
        """Evidence [B, channels, h, w] from the statistics of the cells of images, [B, CELL_STATISTICS, h, w]."""
        x = (statistics - self.mean[:, None, None]) / self.deviation[:, None, None].float().clamp(min=1e-6)
        x = F.gelu(self.own(x.clamp(-8, 8).to(self.own.weight.dtype)))
        context = self.whole(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))  # a cell is judged against the others
        x = x + context[:, :, None, None]
        for layer in self.around:
            x = x + F.gelu(layer(x))
        evidence: torch.Tensor = self.head(x)
        return evidence

    def cells(self, image: torch.Tensor) -> torch.Tensor:
        """Evidence float [channels, ceil(H / CELL), ceil(W / CELL)] of one image, uint8 [3, H, W]."""
        return self.judge(cell_statistics(image.to(self.mean.device))[None])[0]

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
