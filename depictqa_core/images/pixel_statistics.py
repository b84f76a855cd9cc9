"""Pixel statistics of an image at native resolution: traces of distortions in histograms, gradients and blocks.

Resizing destroys these traces, so they are computed before it. All statistics are means over pixels, so they are
comparable for images of any size; of large images, nine evenly spread tiles are used, which limits the cost.
"""

from collections.abc import Callable
from typing import TypedDict

import numpy as np
import torch
import torch.nn.functional as F

from .pixels import LUMA

STATISTICS = 974
"""Number of values of ``pixel_statistics``."""
WHOLE_PIXELS = 288 * 288
TILE = 96


class _Made(TypedDict):
    dtype: torch.dtype
    device: str


CPU: _Made = {"dtype": torch.float32, "device": "cpu"}
"""For every new tensor, because torch's default dtype and device are process-wide."""
_HALF_EDGES = torch.tensor([1, 3, 6, 10, 16, 24, 36, 56, 88, 140, 220], device="cpu")
"""Upper edges of all but the last bin of ``soft_histogram``, in half grey levels."""


def pixel_statistics(rgb: np.ndarray) -> torch.Tensor:
    """Compute all statistics of one image.

    Args:
        rgb: uint8 [H, W, 3], at least 32 pixels on each side (smaller images are padded by their edge).

    Returns:
        float32 [STATISTICS]: finite numbers of order one, without physical unit.
    """
    tiles, rows, columns = _tiles(rgb)
    x = tiles.float()
    y = luma(*x)
    planes = torch.stack([*x, y, (x[0] - y) * 0.6, (x[2] - y) * 0.6])  # [6, N, h, w]: red, green, blue, luma, chroma
    pyramid = _pyramid(planes[3:])
    parts = [
        _tone(tiles, planes),
        _gradients(planes, pyramid),
        _periodicity(y),
        _blocks(planes[3:]),
        _residuals(planes, pyramid),
        _directions(y, rows, columns),
    ]
    return torch.nan_to_num(torch.cat(parts), nan=0.0, posinf=20.0, neginf=-20.0)


def _tiles(rgb: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return tiles uint8 [3, N, h, w] with their row and column coordinates in -1..1 of the whole image."""
    height, width = rgb.shape[:2]
    if min(height, width) < 32:
        rgb = np.pad(rgb, ((0, max(0, 32 - height)), (0, max(0, 32 - width)), (0, 0)), mode="edge")
        height, width = rgb.shape[:2]
    image = torch.tensor(rgb, device="cpu").permute(2, 0, 1)
    rows = torch.linspace(-1, 1, height, **CPU)
    columns = torch.linspace(-1, 1, width, **CPU)
    if height * width <= WHOLE_PIXELS:
        return image[:, None].contiguous(), rows[None], columns[None]
    h, w = min(height, TILE), min(width, TILE)
    # Offsets are multiples of 8, so that JPEG block grids stay aligned with ours.
    tops = sorted({(height - h) * i // 2 // 8 * 8 for i in range(3)})
    lefts = sorted({(width - w) * i // 2 // 8 * 8 for i in range(3)})
    corners = [(top, left) for top in tops for left in lefts]
    return (
        torch.stack([image[:, top : top + h, left : left + w] for top, left in corners], 1),
        torch.stack([rows[top : top + h] for top, _ in corners]),
        torch.stack([columns[left : left + w] for _, left in corners]),
    )


def luma(red: torch.Tensor, green: torch.Tensor, blue: torch.Tensor) -> torch.Tensor:
    """Compute the luma of three planes of one shape, in their values."""
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _log(x: torch.Tensor, floor: float = 1e-3) -> torch.Tensor:
    return torch.log(x.clamp(min=0) + floor)


def _flags(compare: Callable[..., torch.Tensor], x: torch.Tensor, bound: float) -> torch.Tensor:
    """Compare as ``compare`` does, to 0 and 1 in the dtype of ``x``: much faster than to bool."""
    return compare(x, bound, out=torch.empty_like(x))


def _pyramid(planes: torch.Tensor) -> list[torch.Tensor]:
    """Compute the pixels of up to five scales, each half of the one before: a list of [4, C, N, h/2, w/2], the pixels
    at the four places of squares of 2×2. Their mean is the next scale."""
    scales: list[torch.Tensor] = []
    while len(scales) < 5 and min(planes.shape[2:]) >= 4:
        h, w = planes.shape[2] // 2 * 2, planes.shape[3] // 2 * 2
        scales.append(torch.stack([planes[..., top:h:2, left:w:2] for top in (0, 1) for left in (0, 1)]))
        planes = scales[-1].mean(0)
    return scales


def _histogram(channel: torch.Tensor) -> torch.Tensor:
    """Compute the share of pixels at each of the 256 grey levels, [256]."""
    if channel.is_floating_point():
        channel = channel.round().clamp_(0, 255).to(torch.int32)
    return torch.bincount(channel.flatten(), minlength=256).float() / channel.numel()


def _quantiles(values: torch.Tensor, shares: list[float]) -> torch.Tensor:
    """Compute quantiles of each row, [R, N] -> [R, shares]; torch.quantile is slow."""
    ranks = torch.tensor(shares, **CPU) * (values.shape[1] - 1)
    ordered, below = values.sort(1).values, ranks.long()
    return torch.lerp(ordered[:, below], ordered[:, ranks.ceil().long()], ranks - below)


def _comb(histograms: torch.Tensor) -> torch.Tensor:
    """Measure periodicity, gaps and peaks of histograms: traces of quantization, gamma curves and stretched contrast.

    Args:
        histograms: [C, 256].

    Returns:
        [C, 16]
    """
    occupied = histograms > 0
    low, high = occupied.byte().argmax(1), 255 - occupied.flip(1).byte().argmax(1)
    gaps = 1 - occupied.sum(1).float() / (high - low + 1)
    smooth = F.avg_pool1d(F.pad(histograms[:, None], (3, 3), mode="replicate"), 7, 1)[:, 0]
    spikes = (histograms - smooth).abs().sum(1)
    alternate = (histograms[:, 1:-1] - 0.5 * (histograms[:, :-2] + histograms[:, 2:])).abs().sum(1)
    entropy = -(histograms * (histograms + 1e-9).log()).sum(1) / 5
    ends = histograms.amax(1).sqrt(), entropy, histograms[:, 0].sqrt(), histograms[:, 255].sqrt()
    summary = torch.stack(
        [gaps, occupied.float().mean(1), spikes, alternate, *ends, low.float() / 255, high.float() / 255], 1
    )
    spectrum = torch.fft.rfft(histograms).abs()  # [C, 129]
    bounds = (4, 8), (8, 16), (16, 32), (32, 64), (64, 96), (96, 129)
    bands = torch.stack([spectrum[:, first:last].mean(1) for first, last in bounds], 1)
    return torch.cat([summary, _log(bands, 1e-4)], 1)


def _moments(values: torch.Tensor) -> torch.Tensor:
    """Compute mean, deviation, skewness and kurtosis of each row (0..255), [R, N] -> [4R], scaled to order one."""
    mean, sums = values.mean(1), []
    for row, middle in zip(values, mean):  # a row at a time stays in the cache; dot products need no copies
        centred = row - middle
        squared = centred * centred
        sums.append(torch.stack([squared.sum(), squared.dot(centred), squared.dot(squared)]))
    second, third, fourth = torch.stack(sums, 1) / values.shape[1]
    std = second.sqrt()
    third, fourth = third / (std + 1e-3) ** 3, fourth / (std + 1e-3) ** 4
    signed = third.sign() * torch.log1p(third.abs())
    return torch.cat([mean / 64 - 2, _log(std, 0.1), signed, torch.log1p(fourth)])


def _tone(tiles: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """Compute brightness, contrast, saturation and the fine structure of their histograms."""
    value, low = tiles.amax(0), tiles.amin(0)
    saturation = (value - low) / value.clamp(min=1).float() * 255
    chroma = planes[4:].flatten(1)
    shifted = chroma + 128
    channels = [*tiles, planes[3], value, saturation, *shifted]
    histograms = torch.stack([_histogram(channel) for channel in channels])  # [8, 256]
    coarse = histograms.view(8, 32, 8).sum(2).sqrt().flatten()
    combs = _comb(histograms).flatten()
    cumulative = histograms[3:6].cumsum(1)
    levels = torch.tensor([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99], **CPU)
    quantiles = torch.searchsorted(cumulative, levels.expand(3, 7).contiguous()).flatten().float() / 128 - 1
    flat = torch.cat([planes[:3].flatten(1), shifted])  # [5, pixels]
    correlation = torch.nan_to_num(torch.corrcoef(flat))[[0, 0, 1, 3], [1, 2, 2, 4]]
    colourful = _log(chroma.abs().mean(1), 0.05)
    return torch.cat([coarse, combs, quantiles, _moments(flat), correlation, colourful])


def soft_histogram(magnitude: torch.Tensor) -> torch.Tensor:
    """Compute the square roots of the shares of twelve bins, whose width grows with the magnitude, [12]."""
    halves = (magnitude.flatten() * 2).ceil_().clamp_(max=221).to(torch.int32)
    counts = torch.bincount(halves, minlength=222).cumsum(0)
    below = torch.cat([counts[_HALF_EDGES], counts[-1:]])
    return (below.diff(prepend=below.new_zeros(1)).float() / halves.numel()).sqrt()


def share(condition: torch.Tensor) -> torch.Tensor:
    """Compute the share of True."""
    return condition.count_nonzero().float() / condition.numel()


def _gradients(planes: torch.Tensor, pyramid: list[torch.Tensor]) -> torch.Tensor:
    """Compute distributions of first differences at three scales, in luma and color."""
    parts = []
    for level in (planes[3], *(scale[:, 0].mean(0) for scale in pyramid[:2])):
        dx, dy = level.diff(dim=2), level.diff(dim=1)
        second = level[:, 1:-1, 1:-1] * 4 - level[:, :-2, 1:-1] - level[:, 2:, 1:-1]
        second = (second - level[:, 1:-1, :-2]).sub_(level[:, 1:-1, 2:])
        for d, scale in ((dx, 1), (dy, 1), (second, 2)):
            parts += [soft_histogram(d.abs().div_(scale)), _moments(d.flatten()[None])[1:]]
    exact = torch.cat([planes[:3].diff(dim=dim).eq_(0).mean((1, 2, 3)) for dim in (3, 2)])
    fine, small = planes[4:], pyramid[0][:, 1:].mean(0)
    colour = torch.cat([c.diff(dim=d).abs_().mean((1, 2, 3)) for c in (fine, small) for d in (2, 3)])
    return torch.cat([*parts, exact, _log(colour, 0.02)])


def _autocorrelation(signal: torch.Tensor, *lags: int) -> torch.Tensor:
    """Compute the normalized autocorrelation along the last axes at the first lags of each, mean over all others.

    Args:
        signal: [..., n] with as many last axes as lags.
        lags: number of lags along the last axis, along the one before and so on.

    Returns:
        [sum of lags]
    """
    signal = signal - signal.mean()
    power = signal.square().mean() + 1e-3
    # With zeros behind each row, a lag is a shift of all values at once: products over the end of a row are zero.
    padded = F.pad(signal, [side for lag in lags for side in (0, lag)])
    flat, means = padded.flatten(), []
    for axis, most in enumerate(lags, 1):
        step, n = padded.stride(-axis), signal.shape[-axis]
        for lag in range(1, most + 1):
            count = signal.numel() // n * (n - lag)
            means.append((flat[lag * step :] * flat[: -lag * step]).sum() / count)
    return torch.stack(means) / power


def _periodicity(y: torch.Tensor) -> torch.Tensor:
    """Compute self-similarity of gradients and the energy of columns and rows: blur sizes, pixel and JPEG grids."""
    parts = []
    for image in (y, y.transpose(1, 2).contiguous()):
        d = image.diff(dim=2)
        energy = d.abs().mean(1)  # [N, w-1]: mean step between adjacent columns
        parts += [_autocorrelation(d, 12, 3), _autocorrelation(energy, 12)]
        phase = torch.arange(energy.shape[1], device="cpu") % 8
        per_phase = torch.zeros(8, **CPU).index_add_(0, phase.repeat(len(energy)), energy.flatten())
        per_phase = per_phase / torch.bincount(phase, minlength=8) / len(energy)
        parts += [_log(per_phase / (energy.mean() + 1e-2), 0.05), d.eq_(0).mean((0, 1)).std()[None] * 4]
        zero_columns = energy < 0.02 * energy.mean()
        parts += [zero_columns.float().mean()[None]]
    return torch.cat(parts)


def _dct_matrix() -> torch.Tensor:
    k, n = torch.arange(8, **CPU)[:, None], torch.arange(8, **CPU)[None]
    matrix = torch.cos(torch.pi * (n + 0.5) * k / 8) * 0.5
    matrix[0] /= 2**0.5
    return matrix


_DCT = _dct_matrix()


def _dct(channel: torch.Tensor) -> torch.Tensor:
    """Compute the 8×8 block DCT on the grid of the image's origin, [N, h, w] -> [blocks, 8, 8]."""
    h, w = channel.shape[1] // 8 * 8, channel.shape[2] // 8 * 8
    blocks = channel[:, :h, :w].reshape(-1, h // 8, 8, w // 8, 8).permute(0, 1, 3, 2, 4).reshape(-1, 8, 8)
    return _DCT @ blocks @ _DCT.T


def _blocks(planes: torch.Tensor) -> torch.Tensor:
    """Compute energy and zeros of block DCT coefficients, and the share of their values on a lattice."""
    coefficients = _dct(planes[0] - 128)
    strengths = coefficients.abs()
    energy = _log(strengths.mean(0), 0.05).flatten()
    zeros = strengths.lt_(0.6).mean(0).flatten()
    radius = (torch.arange(8, device="cpu")[:, None] + torch.arange(8, device="cpu")[None]).flatten()
    parts = [energy, zeros]
    for chroma in planes[1:]:
        c = _dct(chroma).abs_().mean(0).flatten()
        parts.append(_log(torch.stack([c[radius == r].mean() for r in range(1, 13, 2)]), 0.05))
    block_std = coefficients.square_().flatten(1)[:, 1:].mean(1).sqrt()  # contrast inside each block
    quantiles = _quantiles(block_std[None], [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98])[0]
    return torch.cat([*parts, _log(quantiles, 0.05)])


def _residuals(planes: torch.Tensor, pyramid: list[torch.Tensor]) -> torch.Tensor:
    """Measure the residual of a small average: noise, its color, its dependence on brightness, impulses, ringing."""
    smooth = torch.empty_like(planes[..., 1:-1, 1:-1], memory_format=torch.contiguous_format)
    for plane, out in zip(planes, smooth):  # 3×3 mean; one plane after another stays in the cache
        rows = (plane[:, :-2] + plane[:, 1:-1]).add_(plane[:, 2:])
        torch.add(rows[..., :-2], rows[..., 1:-1], out=out).add_(rows[..., 2:]).div_(9)
    residual = planes[..., 1:-1, 1:-1] - smooth
    flat, luma = residual.flatten(1), residual[3]
    correlation = torch.nan_to_num(torch.corrcoef(flat[:3]))[[0, 0, 1], [1, 2, 2]]
    parts = [_moments(flat)[6:], correlation, _autocorrelation(luma, 3, 3)]
    diagonal = (luma[:, 1:, 1:] * luma[:, :-1, :-1]).mean() / (luma.square().mean() + 1e-3)
    parts.append(diagonal[None])
    h, w = luma.shape[1] // 8 * 8, luma.shape[2] // 8 * 8
    energy = residual.square_()[..., :h, :w].unflatten(2, (-1, 8)).sum(3)  # the residual is not used any more
    local = energy.unflatten(3, (-1, 8)).sum(4).div_(64).sqrt_().flatten(1)  # [6, blocks]
    parts.append(_log(_quantiles(local, [0.02, 0.1, 0.25, 0.5, 0.75, 0.95]), 0.05).T.flatten())
    bright = F.avg_pool2d(smooth[3], 8).flatten()
    band = (bright / 256 * 6).long().clamp(0, 5)
    count = torch.bincount(band, minlength=6)
    for channel in (0, 3):
        sums = torch.zeros(6, **CPU).index_add_(0, band, local[channel])
        parts.append(torch.where(count > 0, _log(sums / count.clamp(min=1), 0.05), torch.zeros(6, **CPU)))
    centre = planes[:3, :, 1:-1, 1:-1].flatten()
    step = centre - (smooth[:3].flatten() * 9 - centre) / 8
    counts = [_flags(torch.gt, step, t).sum() for t in (40, 90)] + [_flags(torch.lt, step, -t).sum() for t in (40, 90)]
    counts += [
        _flags(torch.gt, step, 30).mul_(_flags(torch.eq, centre, 255)).sum(),
        _flags(torch.lt, step, -30).mul_(_flags(torch.eq, centre, 0)).sum(),
    ]
    parts.append((torch.stack(counts) / step.numel()).sqrt() * 4)
    octaves = [(scale - scale.mean(0)).square_().mean((0, 2, 3, 4)).sqrt() for scale in pyramid]
    octaves += octaves[-1:] * (5 - len(octaves))
    energies = _log(torch.stack(octaves), 0.02)  # [5, 3]
    return torch.cat([*parts, energies.flatten(), energies.diff(dim=0).flatten()])


def _directions(y: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Measure change along four directions at several distances, and radially and tangentially: motion and zoom
    blur."""
    h, w = y.shape[1:]
    changes = []
    for lag in (1, 2, 3, 5, 8):
        changes += [
            (y[..., lag:] - y[..., : w - lag]).abs_().mean(),
            (y[..., lag:, :] - y[..., : h - lag, :]).abs_().mean(),
            (y[..., lag:, lag:] - y[..., : h - lag, : w - lag]).abs_().mean(),
            (y[..., lag:, : w - lag] - y[..., : h - lag, lag:]).abs_().mean(),
        ]
    energies = _log(torch.stack(changes), 0.05).view(5, 4)
    shape = (energies - energies.mean(1, keepdim=True)).flatten()
    ordered = energies.sort(dim=1).values
    gx = (y[..., 1:-1, 2:] - y[..., 1:-1, :-2]) / 2
    gy = (y[..., 2:, 1:-1] - y[..., :-2, 1:-1]) / 2
    r, c = rows[:, 1:-1, None], columns[:, None, 1:-1]
    length = (r * r + c * c).sqrt() + 1e-3
    radial = ((gx * c + gy * r) / length).abs_()
    tangential = ((gx * r - gy * c) / length).abs_()
    inside = torch.stack([_flags(torch.lt, length, outer) for outer in (0.3, 0.6, 0.9, 1.5)])
    masks = torch.cat([inside[:1], inside.diff(dim=0)]).flatten(1)  # [4 rings, pixels]
    means = masks @ torch.stack([radial, tangential]).flatten(1).T / (masks.sum(1, keepdim=True) + 1e-3)
    logs = _log(means, 0.1)
    rings = torch.stack([logs[:, 0], logs[:, 1] - logs[:, 0]], 1).flatten()
    angle = torch.atan2(gy, gx) % torch.pi
    bins = (angle / torch.pi * 8).long().clamp_(0, 7).flatten()
    energy = torch.zeros(8, **CPU).index_add_(0, bins, (gx * gx + gy * gy).sqrt().flatten())
    energy = energy / (energy.sum() + 1e-3)
    return torch.cat([shape, ordered.flatten(), rings, energy, energy.sort().values])
