"""Pixel statistics of a picture at its native resolution: what distortions leave in histograms, gradients and blocks.

Resizing destroys these traces, so they are taken before any resize. Everything is a mean over pixels, so pictures of
any size give comparable numbers; large pictures are read through nine evenly spread tiles, which bounds the cost.
"""

import numpy as np
import torch
import torch.nn.functional as F

STATISTICS = 974
"""How many numbers ``pixel_statistics`` gives."""
WHOLE_PIXELS = 288 * 288
TILE = 96
_EDGES = torch.tensor([0.5, 1.5, 3.0, 5.0, 8.0, 12.0, 18.0, 28.0, 44.0, 70.0, 110.0])


def pixel_statistics(rgb: np.ndarray) -> torch.Tensor:
    """All statistics of one picture.

    Args:
        rgb: uint8 [H, W, 3], at least 32 pixels on each side (smaller pictures are padded by their edge).

    Returns:
        float32 [STATISTICS]: finite numbers of order one, without physical unit.
    """
    tiles, rows, columns = _tiles(rgb)
    x = tiles.float()  # [N, 3, h, w], 0..255
    y = _luma(x)  # [N, 1, h, w]
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
    """The pixels as uint8 [N, 3, h, w] with each tile's row and column coordinates in -1..1 of the whole picture."""
    height, width = rgb.shape[:2]
    if min(height, width) < 32:
        rgb = np.pad(rgb, ((0, max(0, 32 - height)), (0, max(0, 32 - width)), (0, 0)), mode="edge")
        height, width = rgb.shape[:2]
    picture = torch.tensor(rgb).permute(2, 0, 1)
    rows = torch.linspace(-1, 1, height)
    columns = torch.linspace(-1, 1, width)
    if height * width <= WHOLE_PIXELS:
        return picture[None], rows[None], columns[None]
    h, w = min(height, TILE), min(width, TILE)
    # Offsets are multiples of 8 so that the block grids of JPEG stay aligned with ours.
    tops = sorted({(height - h) * i // 2 // 8 * 8 for i in range(3)})
    lefts = sorted({(width - w) * i // 2 // 8 * 8 for i in range(3)})
    corners = [(top, left) for top in tops for left in lefts]
    return (
        torch.stack([picture[:, top : top + h, left : left + w] for top, left in corners]),
        torch.stack([rows[top : top + h] for top, _ in corners]),
        torch.stack([columns[left : left + w] for _, left in corners]),
    )


def _luma(x: torch.Tensor) -> torch.Tensor:
    return 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]


def _log(x: torch.Tensor, floor: float = 1e-3) -> torch.Tensor:
    return torch.log(x.clamp(min=0) + floor)


def _histogram(channel: torch.Tensor) -> torch.Tensor:
    """Share of pixels at each of the 256 grey levels, [256]."""
    return torch.bincount(channel.round().clamp(0, 255).to(torch.int64).flatten(), minlength=256) / channel.numel()


def _comb(histogram: torch.Tensor) -> torch.Tensor:
    """How regular, gappy and spiky a histogram is: traces of quantisation, gamma curves and stretched contrast. [16]"""
    occupied = histogram > 0
    where = occupied.nonzero().flatten()
    low, high = (int(where[0]), int(where[-1])) if len(where) else (0, 0)
    inside = histogram[low : high + 1]
    smooth = F.avg_pool1d(F.pad(histogram[None, None], (3, 3), mode="replicate"), 7, 1)[0, 0]
    spikes = (histogram - smooth).abs().sum()
    alternate = (histogram[1:-1] - 0.5 * (histogram[:-2] + histogram[2:])).abs().sum()
    spectrum = torch.fft.rfft(histogram).abs()  # [129]
    bands = torch.stack([spectrum[a:b].mean() for a, b in ((4, 8), (8, 16), (16, 32), (32, 64), (64, 96), (96, 129))])
    summary = torch.stack(
        [
            (inside == 0).float().mean(),
            occupied.float().mean(),
            spikes,
            alternate,
            histogram.max().sqrt(),
            -(histogram * (histogram + 1e-9).log()).sum() / 5,
            histogram[0].sqrt(),
            histogram[255].sqrt(),
            torch.tensor(low / 255),
            torch.tensor(high / 255),
        ]
    )
    return torch.cat([summary, _log(bands, 1e-4)])


def _moments(values: torch.Tensor) -> torch.Tensor:
    """Mean, deviation, skewness and kurtosis of each row, [R, N] -> [4R]; on the 0..255 scale brought to order one."""
    mean = values.mean(1, keepdim=True)
    centred = values - mean
    std = centred.square().mean(1).sqrt()
    scaled = centred / (std[:, None] + 1e-3)
    squared = scaled * scaled
    third, fourth = (squared * scaled).mean(1), (squared * squared).mean(1)
    signed = third.sign() * torch.log1p(third.abs())
    return torch.cat([mean[:, 0] / 64 - 2, _log(std, 0.1), signed, torch.log1p(fourth)])


def _tone(x, y, chroma, value, saturation) -> torch.Tensor:
    """Brightness, contrast, saturation and the fine structure of their histograms."""
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
    combs = torch.cat([_comb(histogram) for histogram in histograms])
    cumulative = histograms[3:6].cumsum(1)
    levels = torch.tensor([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
    quantiles = torch.searchsorted(cumulative, levels.expand(3, 7).contiguous()).flatten() / 128 - 1
    flat = torch.cat([x.transpose(0, 1).flatten(1), chroma.transpose(0, 1).flatten(1) + 128])  # [5, pixels]
    correlation = torch.nan_to_num(torch.corrcoef(flat))[torch.tensor([0, 0, 1, 3]), torch.tensor([1, 2, 2, 4])]
    colourful = _log(chroma.abs().mean((0, 2, 3)), 0.05)
    return torch.cat([coarse, combs, quantiles, _moments(flat), correlation, colourful])


def _soft_histogram(magnitude: torch.Tensor) -> torch.Tensor:
    index = torch.bucketize(magnitude.flatten(), _EDGES)
    return (torch.bincount(index, minlength=12) / index.numel()).sqrt()


def _gradients(x, y, chroma) -> torch.Tensor:
    """Distributions of first differences at three scales, in luma and colour."""
    parts = []
    level = y
    for scale in range(3):
        dx, dy = level.diff(dim=3), level.diff(dim=2)
        for d in (dx, dy):
            parts += [_soft_histogram(d.abs()), _moments(d.flatten()[None])[1:]]
        second = level[:, :, 1:-1, 1:-1] * 4 - level[:, :, :-2, 1:-1] - level[:, :, 2:, 1:-1]
        second = second - level[:, :, 1:-1, :-2] - level[:, :, 1:-1, 2:]
        parts += [_soft_histogram(second.abs() / 2), _moments(second.flatten()[None])[1:]]
        if scale < 2:
            level = F.avg_pool2d(level, 2)
    exact = torch.cat([(x.diff(dim=3) == 0).float().mean((0, 2, 3)), (x.diff(dim=2) == 0).float().mean((0, 2, 3))])
    small = F.avg_pool2d(chroma, 2)
    colour = torch.cat([c.diff(dim=d).abs().mean((0, 2, 3)) for c in (chroma, small) for d in (2, 3)])
    return torch.cat([*parts, exact, _log(colour, 0.02)])


def _autocorrelation(signal: torch.Tensor, lags: int) -> torch.Tensor:
    """Normalised autocorrelation along the last axis at lags 1..lags, mean over all others, [lags]."""
    signal = signal - signal.mean()
    power = signal.square().mean() + 1e-3
    n = signal.shape[-1]
    return torch.stack([(signal[..., lag:] * signal[..., : n - lag]).mean() for lag in range(1, lags + 1)]) / power


def _periodicity(y: torch.Tensor) -> torch.Tensor:
    """Self-similarity of gradients and the energy of pixel columns and rows: blur extents, pixel and JPEG grids."""
    parts = []
    for image in (y, y.transpose(2, 3)):
        d = image.diff(dim=3)
        energy = d.abs().mean((1, 2))  # [N, w-1]: mean step between neighbouring columns
        parts += [_autocorrelation(d, 12), _autocorrelation(d.transpose(2, 3), 3), _autocorrelation(energy, 12)]
        phase = torch.arange(energy.shape[1]) % 8
        per_phase = torch.zeros(8).index_add_(0, phase.repeat(len(energy)), energy.flatten())
        per_phase = per_phase / torch.bincount(phase, minlength=8) / len(energy)
        parts += [_log(per_phase / (energy.mean() + 1e-2), 0.05), (d == 0).float().mean((0, 1, 2)).std()[None] * 4]
        zero_columns = energy < 0.02 * energy.mean()
        parts += [zero_columns.float().mean()[None]]
    return torch.cat(parts)


def _dct_matrix() -> torch.Tensor:
    k, n = torch.arange(8)[:, None], torch.arange(8)[None]
    matrix = torch.cos(torch.pi * (n + 0.5) * k / 8) * 0.5
    matrix[0] /= 2**0.5
    return matrix


_DCT = _dct_matrix()


def _dct(channel: torch.Tensor) -> torch.Tensor:
    """8×8 block DCT on the grid of the picture's origin, [N, 1, h, w] -> [blocks, 8, 8]."""
    h, w = channel.shape[2] // 8 * 8, channel.shape[3] // 8 * 8
    blocks = channel[:, 0, :h, :w].reshape(-1, h // 8, 8, w // 8, 8).permute(0, 1, 3, 2, 4).reshape(-1, 8, 8)
    return _DCT @ blocks @ _DCT.T


def _blocks(y, chroma) -> torch.Tensor:
    """Energy and zeros of block DCT coefficients, and what share of their values sits on a lattice."""
    coefficients = _dct(y - 128)
    energy = _log(coefficients.abs().mean(0), 0.05).flatten()
    zeros = (coefficients.abs() < 0.6).float().mean(0).flatten()
    radius = (torch.arange(8)[:, None] + torch.arange(8)[None]).flatten()
    parts = [energy, zeros]
    for index in range(2):
        c = _dct(chroma[:, index : index + 1]).abs().mean(0).flatten()
        parts.append(_log(torch.stack([c[radius == r].mean() for r in range(1, 13, 2)]), 0.05))
    block_std = coefficients.square().flatten(1)[:, 1:].mean(1).sqrt()  # contrast inside each block
    quantiles = torch.quantile(block_std, torch.tensor([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98]))
    return torch.cat([*parts, _log(quantiles, 0.05)])


def _residuals(x, y, chroma) -> torch.Tensor:
    """What a small average does not explain: noise, its colour, its dependence on brightness, impulses, ringing."""
    stack = torch.cat([x, y, chroma], 1)  # [N, 6, h, w]
    rows = stack[:, :, :-2] + stack[:, :, 1:-1] + stack[:, :, 2:]
    smooth = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9  # 3×3 mean
    residual = stack[:, :, 1:-1, 1:-1] - smooth
    flat = residual.transpose(0, 1).flatten(1)
    parts = [_moments(flat)[6:]]
    correlation = torch.nan_to_num(torch.corrcoef(flat[:3]))[torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])]
    luma = residual[:, 3:4]
    parts += [correlation, _autocorrelation(luma, 3), _autocorrelation(luma.transpose(2, 3), 3)]
    diagonal = (luma[..., 1:, 1:] * luma[..., :-1, :-1]).mean() / (luma.square().mean() + 1e-3)
    parts.append(diagonal[None])
    local = F.avg_pool2d(residual.square(), 8).sqrt()  # [N, 6, h/8, w/8]
    spread = torch.tensor([0.02, 0.1, 0.25, 0.5, 0.75, 0.95])
    parts.append(_log(torch.quantile(local.transpose(0, 1).flatten(1), spread, dim=1), 0.05).flatten())
    bright = F.avg_pool2d(smooth[:, 3:4], 8).flatten()
    band = (bright / 256 * 6).long().clamp(0, 5)
    for channel in (0, 3):
        sums = torch.zeros(6).index_add_(0, band, local[:, channel].flatten())
        count = torch.bincount(band, minlength=6)
        parts.append(torch.where(count > 0, _log(sums / count.clamp(min=1), 0.05), torch.zeros(6)))
    around = (smooth[:, :3] * 9 - x[:, :, 1:-1, 1:-1]) / 8
    step = x[:, :, 1:-1, 1:-1] - around
    centre = x[:, :, 1:-1, 1:-1]
    impulses = [(step > t).float().mean() for t in (40, 90)] + [(step < -t).float().mean() for t in (40, 90)]
    impulses += [((centre == 255) & (step > 30)).float().mean(), ((centre == 0) & (step < -30)).float().mean()]
    parts.append(torch.stack(impulses).sqrt() * 4)
    level, octaves = stack[:, 3:], []
    for _ in range(5):
        if min(level.shape[2:]) < 4:
            octaves.append(octaves[-1])
            continue
        coarse = F.avg_pool2d(level, 2)
        back = F.interpolate(coarse, scale_factor=2, mode="nearest")
        octaves.append((level[:, :, : back.shape[2], : back.shape[3]] - back).square().mean((0, 2, 3)).sqrt())
        level = coarse
    octaves = _log(torch.stack(octaves), 0.02)  # [5, 3]
    return torch.cat([*parts, octaves.flatten(), octaves.diff(dim=0).flatten()])


def _directions(y, rows, columns) -> torch.Tensor:
    """Change along four directions at several distances, and radial against tangential change: motion and zoom blur."""
    h, w = y.shape[2:]
    energies = []
    for lag in (1, 2, 3, 5, 8):
        energies += [
            (y[..., lag:] - y[..., : w - lag]).abs().mean(),
            (y[..., lag:, :] - y[..., : h - lag, :]).abs().mean(),
            (y[..., lag:, lag:] - y[..., : h - lag, : w - lag]).abs().mean(),
            (y[..., lag:, : w - lag] - y[..., : h - lag, lag:]).abs().mean(),
        ]
    energies = _log(torch.stack(energies), 0.05).view(5, 4)
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
    energy = torch.zeros(8).index_add_(0, bins, (gx * gx + gy * gy).sqrt().flatten())
    energy = energy / (energy.sum() + 1e-3)
    return torch.cat([shape, ordered.flatten(), torch.stack(rings), energy, energy.sort().values])
