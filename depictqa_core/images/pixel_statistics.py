"""Pixel statistics of an image at native resolution: traces of distortions in histograms, gradients and blocks.

Resizing destroys these traces, so they are computed before it. All statistics are means over pixels, so they are
comparable for images of any size; of large images, nine evenly spread tiles are used, which limits the cost.
"""

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
    x = tiles.float()  # [N, 3, h, w], 0..255
    y = luma(x[:, :1], x[:, 1:2], x[:, 2:])  # [N, 1, h, w]
    chroma = torch.cat([x[:, :1] - y, x[:, 2:] - y], 1) * 0.6
    value, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    saturation = torch.where(value > 0, (value - low) / value.clamp(min=1) * 255, torch.zeros_like(value))
    parts = [
        _tone(x, y, chroma, value, saturation),
        _gradients(x, y, chroma),
        _periodicity(y),
        _blocks(y, chroma),
        _residuals(x, y, chroma),
        _directions(y, rows, columns),
    ]
    return torch.nan_to_num(torch.cat(parts), nan=0.0, posinf=20.0, neginf=-20.0)


def _tiles(rgb: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return tiles uint8 [N, 3, h, w] with their row and column coordinates in -1..1 of the whole image."""
    height, width = rgb.shape[:2]
    if min(height, width) < 32:
        rgb = np.pad(rgb, ((0, max(0, 32 - height)), (0, max(0, 32 - width)), (0, 0)), mode="edge")
        height, width = rgb.shape[:2]
    picture = torch.tensor(rgb, device="cpu").permute(2, 0, 1)
    rows = torch.linspace(-1, 1, height, **CPU)
    columns = torch.linspace(-1, 1, width, **CPU)
    if height * width <= WHOLE_PIXELS:
        return picture[None], rows[None], columns[None]
    h, w = min(height, TILE), min(width, TILE)
    # Offsets are multiples of 8, so that JPEG block grids stay aligned with ours.
    tops = sorted({(height - h) * i // 2 // 8 * 8 for i in range(3)})
    lefts = sorted({(width - w) * i // 2 // 8 * 8 for i in range(3)})
    corners = [(top, left) for top in tops for left in lefts]
    return (
        torch.stack([picture[:, top : top + h, left : left + w] for top, left in corners]),
        torch.stack([rows[top : top + h] for top, _ in corners]),
        torch.stack([columns[left : left + w] for _, left in corners]),
    )


def luma(red: torch.Tensor, green: torch.Tensor, blue: torch.Tensor) -> torch.Tensor:
    """Compute the luma of three planes of one shape, in their values."""
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _log(x: torch.Tensor, floor: float = 1e-3) -> torch.Tensor:
    return torch.log(x.clamp(min=0) + floor)


def _histogram(channel: torch.Tensor) -> torch.Tensor:
    """Compute the share of pixels at each of the 256 grey levels, [256]."""
    levels = channel.flatten().round().clamp_(0, 255).to(torch.int32)
    return torch.bincount(levels, minlength=256).float() / channel.numel()


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


def _tone(
    x: torch.Tensor, y: torch.Tensor, chroma: torch.Tensor, value: torch.Tensor, saturation: torch.Tensor
) -> torch.Tensor:
    """Compute brightness, contrast, saturation and the fine structure of their histograms."""
    channels = [
        x[:, 0],
        x[:, 1],
        x[:, 2],
        y[:, 0],
        value[:, 0],
        saturation[:, 0],
        chroma[:, 0] + 128,
        chroma[:, 1] + 128,
    ]
    histograms = torch.stack([_histogram(channel) for channel in channels])  # [8, 256]
    coarse = histograms.view(8, 32, 8).sum(2).sqrt().flatten()
    combs = _comb(histograms).flatten()
    cumulative = histograms[3:6].cumsum(1)
    levels = torch.tensor([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99], **CPU)
    quantiles = torch.searchsorted(cumulative, levels.expand(3, 7).contiguous()).flatten().float() / 128 - 1
    flat = torch.cat([x.transpose(0, 1).flatten(1), chroma.transpose(0, 1).flatten(1) + 128])  # [5, pixels]
    correlation = torch.nan_to_num(torch.corrcoef(flat))[[0, 0, 1, 3], [1, 2, 2, 4]]
    colourful = _log(chroma.abs().mean((0, 2, 3)), 0.05)
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


def _gradients(x: torch.Tensor, y: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
    """Compute distributions of first differences at three scales, in luma and color."""
    parts = []
    level = y
    for scale in range(3):
        dx, dy = level.diff(dim=3), level.diff(dim=2)
        for d in (dx, dy):
            parts += [soft_histogram(d.abs()), _moments(d.flatten()[None])[1:]]
        second = level[:, :, 1:-1, 1:-1] * 4 - level[:, :, :-2, 1:-1] - level[:, :, 2:, 1:-1]
        second = second - level[:, :, 1:-1, :-2] - level[:, :, 1:-1, 2:]
        parts += [soft_histogram(second.abs() / 2), _moments(second.flatten()[None])[1:]]
        if scale < 2:
            level = F.avg_pool2d(level, 2)
    exact = torch.stack([share(channel.diff(dim=dim) == 0) for dim in (2, 1) for channel in x.unbind(1)])
    small = F.avg_pool2d(chroma, 2)
    colour = torch.cat([c.diff(dim=d).abs().mean((0, 2, 3)) for c in (chroma, small) for d in (2, 3)])
    return torch.cat([*parts, exact, _log(colour, 0.02)])


def _autocorrelation(signal: torch.Tensor, lags: int) -> torch.Tensor:
    """Compute the normalized autocorrelation along the last axis at lags 1..lags, mean over all others, [lags]."""
    signal = signal - signal.mean()
    power = signal.square().mean() + 1e-3
    n = signal.shape[-1]
    return torch.stack([(signal[..., lag:] * signal[..., : n - lag]).mean() for lag in range(1, lags + 1)]) / power


def _periodicity(y: torch.Tensor) -> torch.Tensor:
    """Compute self-similarity of gradients and the energy of columns and rows: blur sizes, pixel and JPEG grids."""
    parts = []
    for image in (y, y.transpose(2, 3)):
        d = image.diff(dim=3)
        energy = d.abs().mean((1, 2))  # [N, w-1]: mean step between adjacent columns
        parts += [_autocorrelation(d, 12), _autocorrelation(d.transpose(2, 3), 3), _autocorrelation(energy, 12)]
        phase = torch.arange(energy.shape[1], device="cpu") % 8
        per_phase = torch.zeros(8, **CPU).index_add_(0, phase.repeat(len(energy)), energy.flatten())
        per_phase = per_phase / torch.bincount(phase, minlength=8) / len(energy)
        parts += [_log(per_phase / (energy.mean() + 1e-2), 0.05), (d == 0).float().mean((0, 1, 2)).std()[None] * 4]
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
    """Compute the 8×8 block DCT on the grid of the image's origin, [N, 1, h, w] -> [blocks, 8, 8]."""
    h, w = channel.shape[2] // 8 * 8, channel.shape[3] // 8 * 8
    blocks = channel[:, 0, :h, :w].reshape(-1, h // 8, 8, w // 8, 8).permute(0, 1, 3, 2, 4).reshape(-1, 8, 8)
    return _DCT @ blocks @ _DCT.T


def _blocks(y: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
    """Compute energy and zeros of block DCT coefficients, and the share of their values on a lattice."""
    coefficients = _dct(y - 128)
    energy = _log(coefficients.abs().mean(0), 0.05).flatten()
    zeros = (coefficients.abs() < 0.6).float().mean(0).flatten()
    radius = (torch.arange(8, device="cpu")[:, None] + torch.arange(8, device="cpu")[None]).flatten()
    parts = [energy, zeros]
    for index in range(2):
        c = _dct(chroma[:, index : index + 1]).abs().mean(0).flatten()
        parts.append(_log(torch.stack([c[radius == r].mean() for r in range(1, 13, 2)]), 0.05))
    block_std = coefficients.square().flatten(1)[:, 1:].mean(1).sqrt()  # contrast inside each block
    quantiles = torch.quantile(block_std, torch.tensor([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98], **CPU))
    return torch.cat([*parts, _log(quantiles, 0.05)])


def _residuals(x: torch.Tensor, y: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
    """Measure the residual of a small average: noise, its color, its dependence on brightness, impulses, ringing."""
    stack = torch.cat([x, y, chroma], 1).transpose(0, 1).contiguous()  # [6, N, h, w]
    rows = (stack[:, :, :-2] + stack[:, :, 1:-1]).add_(stack[:, :, 2:])
    smooth = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:]).div_(9)  # 3×3 mean
    residual = stack[:, :, 1:-1, 1:-1] - smooth
    flat = residual.flatten(1)
    parts = [_moments(flat)[6:]]
    correlation = torch.nan_to_num(torch.corrcoef(flat[:3]))[[0, 0, 1], [1, 2, 2]]
    luma = residual[3]
    parts += [correlation, _autocorrelation(luma, 3), _autocorrelation(luma.transpose(1, 2), 3)]
    diagonal = (luma[:, 1:, 1:] * luma[:, :-1, :-1]).mean() / (luma.square().mean() + 1e-3)
    parts.append(diagonal[None])
    local = F.avg_pool2d(residual.square_(), 8).sqrt_().flatten(1)  # [6, blocks]; the residual is not used any more
    spread = torch.tensor([0.02, 0.1, 0.25, 0.5, 0.75, 0.95], **CPU)
    parts.append(_log(torch.quantile(local, spread, dim=1), 0.05).flatten())
    bright = F.avg_pool2d(smooth[3], 8).flatten()
    band = (bright / 256 * 6).long().clamp(0, 5)
    for channel in (0, 3):
        sums = torch.zeros(6, **CPU).index_add_(0, band, local[channel])
        count = torch.bincount(band, minlength=6)
        parts.append(torch.where(count > 0, _log(sums / count.clamp(min=1), 0.05), torch.zeros(6, **CPU)))
    centre = stack[:3, :, 1:-1, 1:-1]
    step = centre - (smooth[:3] * 9 - centre) / 8
    impulses = [share(step > t) for t in (40, 90)] + [share(step < -t) for t in (40, 90)]
    impulses += [share((centre == 255) & (step > 30)), share((centre == 0) & (step < -30))]
    parts.append(torch.stack(impulses).sqrt() * 4)
    level = stack[3:]
    octaves: list[torch.Tensor] = []
    for _ in range(5):
        if min(level.shape[2:]) < 4:
            octaves.append(octaves[-1])
            continue
        coarse = F.avg_pool2d(level, 2)
        back = F.interpolate(coarse, scale_factor=2, mode="nearest")
        octaves.append((level[:, :, : back.shape[2], : back.shape[3]] - back).square_().mean((1, 2, 3)).sqrt())
        level = coarse
    energies = _log(torch.stack(octaves), 0.02)  # [5, 3]
    return torch.cat([*parts, energies.flatten(), energies.diff(dim=0).flatten()])


def _directions(y: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Measure change along four directions at several distances, and radially and tangentially: motion and zoom
    blur."""
    h, w = y.shape[2:]
    changes = []
    for lag in (1, 2, 3, 5, 8):
        changes += [
            (y[..., lag:] - y[..., : w - lag]).abs().mean(),
            (y[..., lag:, :] - y[..., : h - lag, :]).abs().mean(),
            (y[..., lag:, lag:] - y[..., : h - lag, : w - lag]).abs().mean(),
            (y[..., lag:, : w - lag] - y[..., : h - lag, lag:]).abs().mean(),
        ]
    energies = _log(torch.stack(changes), 0.05).view(5, 4)
    shape = (energies - energies.mean(1, keepdim=True)).flatten()
    ordered = energies.sort(dim=1).values
    gx = (y[..., 1:-1, 2:] - y[..., 1:-1, :-2]) / 2
    gy = (y[..., 2:, 1:-1] - y[..., :-2, 1:-1]) / 2
    r, c = rows[:, None, 1:-1, None], columns[:, None, None, 1:-1]
    length = (r * r + c * c).sqrt() + 1e-3
    radial = ((gx * c + gy * r) / length).abs()
    tangential = ((gx * r - gy * c) / length).abs()
    rings = []
    for inner, outer in ((0, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 1.5)):
        mask = ((length >= inner) & (length < outer)).float()
        total = mask.sum() + 1e-3
        a, b = (radial * mask).sum() / total, (tangential * mask).sum() / total
        rings += [_log(a, 0.1), _log(b, 0.1) - _log(a, 0.1)]
    angle = torch.atan2(gy, gx) % torch.pi
    bins = (angle / torch.pi * 8).long().clamp(0, 7).flatten()
    energy = torch.zeros(8, **CPU).index_add_(0, bins, (gx * gx + gy * gy).sqrt().flatten())
    energy = energy / (energy.sum() + 1e-3)
    return torch.cat([shape, ordered.flatten(), torch.stack(rings), energy, energy.sort().values])
