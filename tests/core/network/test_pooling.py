"""Pooling of feature maps."""

import torch

from depictqa_core.network.pooling import mean_and_deviation


def test_they_are_those_of_all_places_and_have_gradients():
    maps = torch.randn(3, 5, 7, 9, generator=torch.Generator().manual_seed(0)) * 4 + 2
    maps[1, 2] = 6.0  # even
    maps.requires_grad_()
    mean, deviation = mean_and_deviation(maps, least=1e-12)
    exact = maps.detach().double()
    assert torch.allclose(mean.double(), exact.mean((2, 3)), atol=1e-5)
    assert torch.allclose(deviation.double(), exact.std((2, 3), correction=0), atol=1e-5) and deviation[1, 2] == 1e-6
    (mean.sum() + deviation.sum()).backward()
    assert torch.isfinite(maps.grad).all() and maps.grad[0].abs().max() > 0
    half, spread = mean_and_deviation(maps.detach().half(), least=1e-12)
    assert half.dtype == spread.dtype == torch.float32 and torch.allclose(spread, deviation, atol=1e-2)
