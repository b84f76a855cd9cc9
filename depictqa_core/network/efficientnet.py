"""The convolutions of EfficientNet-Lite0, without batch norm: it is folded into the convolution before it."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

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
        if k == 1:  # a matrix product: on a CPU, faster than a convolution
            return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        left, right, top, bottom = sides = self.sides(x)
        if left == right == top == bottom:  # the convolution pads without a copy
            return F.conv2d(x, self.weight, self.bias, s, left, groups=self.groups)
        return super().forward(F.pad(x, sides))

    def sides(self, x: torch.Tensor) -> tuple[int, int, int, int]:
        """Rows and columns of zeros that a map needs: left, right, top, bottom."""
        k, s = self.kernel_size[0], self.stride[0]
        rows, columns = (max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[2:])
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2


class _InvertedBottleneck(nn.Module):
    """What a convolution returns is changed in place: a new map each time would take a third longer."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.expand = _Conv(inputs, hidden, 1) if expansion > 1 else None
        self.depthwise = _Conv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = _Conv(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.expand is None:
            hidden = self.depthwise(x)
        elif self.depthwise.stride[0] == 1:
            hidden = self.depthwise(F.relu6(self.expand(x), inplace=True))
        else:
            hidden = self._expand_padded(self.expand, x)
        hidden = self.project(F.relu6(hidden, inplace=True))
        return hidden.add_(x) if self.residual else hidden

    def _expand_padded(self, expand: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Expand and convolve, padded before the expansion: that copies a sixth of what padding after it would."""
        left, right, top, bottom = sides = self.depthwise.sides(x)
        hidden: torch.Tensor = expand(F.pad(x, sides))
        height, width = hidden.shape[2:]
        for edge in hidden[:, :, :top], hidden[:, :, height - bottom :]:
            edge.zero_()
        for edge in hidden[..., :left], hidden[..., width - right :]:
            edge.zero_()
        hidden = F.relu6(hidden, inplace=True)
        depthwise = self.depthwise
        return F.conv2d(hidden, depthwise.weight, depthwise.bias, depthwise.stride, groups=depthwise.groups)


def blocks(stages: Iterable[Sequence[int]], stem: int = 32) -> tuple[nn.Module, nn.ModuleList, list[int]]:
    """Make the layers of a network.

    Args:
        stages: as in ``LITE0_STAGES``.
        stem: output channels of the first convolution.

    Returns:
        (first convolution, stages, output channels of each stage)
    """
    made, widths, width = nn.ModuleList(), [], stem
    for repeats, kernel, stride, expansion, outputs in stages:
        stage = []
        for index in range(repeats):
            stage.append(_InvertedBottleneck(width, outputs, kernel, stride if index == 0 else 1, expansion))
            width = outputs
        made.append(nn.Sequential(*stage))
        widths.append(outputs)
    return _Conv(3, stem, 3, 2), made, widths


def feature_maps(stem: nn.Module, stages: nn.ModuleList, pixels: torch.Tensor) -> list[torch.Tensor]:
    """Apply the layers of ``blocks`` to pixels [B, 3, H, W]; return the map of each stage, the finest first."""
    dtype = stem.get_parameter("weight").dtype
    x = F.relu6(stem(pixels.to(dtype, memory_format=torch.channels_last)), inplace=True)
    maps = []
    for stage in stages:
        x = stage(x)
        maps.append(x)
    return maps
