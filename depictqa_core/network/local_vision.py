"""The local tower: what every part of an image shows at native size, which says what is damaged where.

Overviews are resized and pixel statistics are taken from nine tiles, so neither sees a scratch in a corner of a large
image. Here statistics of every cell of 32 x 32 pixels are taken (fixed filters: they need no training and see noise,
blur and lattices at once), and a small network with a view of the neighbours and of the whole judges each cell.
"""

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


def cell_statistics(image: torch.Tensor) -> torch.Tensor:
    """Statistics of every cell of an image.

    Args:
        image: uint8 [3, H, W]. It is continued at the right and at the bottom to whole cells.

    Returns:
        float32 [CELL_STATISTICS, ceil(H / CELL), ceil(W / CELL)]
    """
    bottom, right = (-size % CELL + _MARGIN for size in image.shape[1:])
    image = torch.cat([image, image[:, -1:].expand(-1, bottom, -1)], 1)
    image = torch.cat([image, image[:, :, -1:].expand(-1, -1, right)], 2)
    rows, columns = (range(0, size - _MARGIN, BLOCK) for size in image.shape[1:])
    reach = BLOCK + _MARGIN
    blocks = [[_block(image[:, y : y + reach, x : x + reach].float()) for x in columns] for y in rows]
    return torch.cat([torch.cat(row, 2) for row in blocks], 1)


def _block(rgb: torch.Tensor) -> torch.Tensor:
    """Statistics of the cells of a block [3, h + margin, w + margin], float 0..255."""
    h, w = (size - _MARGIN for size in rgb.shape[1:])
    red, green, blue = rgb
    luma = luma_of(red, green, blue)
    kinds: list[str] = []
    maps: list[torch.Tensor] = []

    def add(kind: str, x: torch.Tensor, scale: int = 1) -> None:
        """Take a map's means in the parts of cells: the sum over rows first, which is the fast one."""
        size = _SUB // scale
        rows = x[: h // scale].unflatten(0, (-1, size)).sum(1)
        kinds.append(kind)
        maps.append(rows[:, : w // scale].unflatten(1, (-1, size)).sum(2).div_(size * size))

    z = luma
    for scale in (1, 2, 4):
        z = z if scale == 1 else _halved(z)
        across, down = z[:, 1:] - z[:, :-1], z[1:] - z[:-1]
        add("spread", across.abs(), scale)
        add("spread", down.abs(), scale)
        add("spread", (across[1:] - across[:-1]).abs_(), scale)
        if scale < 4:
            for d, e in ((across[:, :-1], across[:, 1:]), (down[:-1], down[1:])):
                add("ratio", d * e, scale)
                add("log", d * d, scale)
        if scale == 1:
            lattice, before = _lattice(across[:h, :w], down[:h, :w]), len(maps)
            across.eq_(0), down.eq_(0)
            add("mean", across[:-1] * down[:, :-1])
            add("mean", across)
            add("mean", down)
    for lag in (3, 8):
        add("log", (luma[:, lag:] - luma[:, :-lag]).abs_())
        add("log", (luma[lag:] - luma[:-lag]).abs_())
    for chroma in (red - luma, blue - luma):
        across, down = chroma[:, 1:] - chroma[:, :-1], chroma[1:] - chroma[:-1]
        add("spread", (across[1:] - across[:-1]).abs_())
        add("log", across.abs_())
        add("log", down.abs_())
    for plane in (red, green, blue):
        add("tone", plane)
    least, greatest = rgb.amin(0), rgb.amax(0)
    add("spread", greatest - least)
    add("mean", least.lt_(3))
    add("mean", greatest.gt_(252))
    found = _summaries(kinds, torch.stack(maps))
    return torch.cat([*found[:before], lattice, *found[before:]])


def _halved(plane: torch.Tensor) -> torch.Tensor:
    """Means of squares of 2×2 pixels, [h, w] -> [h/2, w/2]; on a CPU, much faster than pooling."""
    rows = plane[::2] + plane[1::2]
    return (rows[:, ::2] + rows[:, 1::2]).mul_(0.25)


def _summaries(kinds: list[str], maps: torch.Tensor) -> list[torch.Tensor]:
    """Statistics of cells, [1 or 3, cells, cells] of each kind, from means in their parts, [kinds, parts, parts]."""
    size = CELL // _SUB
    parts = maps.unflatten(2, (-1, size)).unflatten(1, (-1, size)).permute(2, 4, 0, 1, 3).flatten(0, 1)
    mean, logs = parts.mean(0), (parts + 0.1).log()
    spreads, tones = (torch.stack([x.mean(0), x.amin(0), x.amax(0)], 1) for x in (logs, parts / 64))
    found = {
        "mean": mean[:, None],
        "log": (mean[:, None] + 0.1).log(),
        "spread": spreads,  # mean, and the least and greatest of the parts
        "tone": tones,
        "ratio": (mean[:-1] / (mean[1:] + 1))[:, None],  # to the power, which comes next
    }
    return [found[kind][index] for index, kind in enumerate(kinds)]


def _lattice(across: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Lines and periods: how the changes are spread over the rows, and over the columns, of each cell.

    Args:
        across, down: the changes [h, w] from column to column, and from row to row.

    Returns:
        [16, h / CELL, w / CELL]
    """
    steps = []  # for each row, then for each column: their means in each cell, [cells, cells, CELL]
    for change in (down, across):
        both = change, change.abs()
        if change is down:
            steps += [x.unflatten(1, (-1, CELL)).mean(2).unflatten(0, (-1, CELL)).transpose(1, 2) for x in both]
        else:
            steps += [x.unflatten(0, (-1, CELL)).mean(1).unflatten(1, (-1, CELL)) for x in both]
    signed, strong = torch.stack(steps).unflatten(0, (2, 2)).unbind(1)  # each [2, cells, cells, CELL]
    level = strong.mean(-1) + 0.1
    maps = [signed.abs().amax(-1) + 0.1, (strong.amax(-1) + 0.1) / level]
    for period in _PERIODS:
        folded = strong.unflatten(-1, (-1, period)).mean(-2) + 0.1
        maps += [folded.amax(-1) / level, folded.amin(-1) / level]
    return torch.stack(maps, 1).flatten(0, 1).log()


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
