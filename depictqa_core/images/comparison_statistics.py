"""Pixelwise comparison statistics of an image and its reference: the components of full-reference metrics.

Both images are resized to the reference's size and pooled to about 256 px on the short side, as for structural
similarity (Wang et al. 2004). The statistics are the published summaries and the quantiles of the similarity maps of
SSIM, GMSD, HaarPSI and MDSI, tone curves, error spectra, and the location of the error.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from .pixel_statistics import CPU, luma, share, soft_histogram

COMPARISON_STATISTICS = 281
"""Number of values of ``comparison_statistics``."""
SHORT = 256
"""Images are pooled by the integer factor that brings their short side closest to this."""
_SMALLEST = 32
_LOW = torch.tensor([0.01, 0.05, 0.25, 0.5, 0.75], **CPU)
_SPREAD = torch.tensor([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99], **CPU)


def comparison_statistics(rgb: np.ndarray, reference: np.ndarray) -> torch.Tensor:
    """Compute all comparison statistics of one image and its reference.

    Args:
        rgb, reference: uint8 [H, W, 3] and [H', W', 3]; an image of another size is resized to the reference's.

    Returns:
        float32 [COMPARISON_STATISTICS]: finite numbers of order one, without physical unit.
    """
    x = _pooled(rgb, reference)  # [2, 3, h, w], 0..255: the image, then its reference
    y = luma(x[:, :1], x[:, 1:2], x[:, 2:])  # [2, 1, h, w]
    chroma = torch.cat([x[:, :1] - y, x[:, 2:] - y], 1) * 0.6
    channels = torch.cat([y, chroma], 1)
    error = channels[0] - channels[1]  # [3, h, w]
    parts = [
        _tone(x, channels, error),
        _errors(error),
        _spectra(channels),
        _structure(x, y),
        _gradients(channels),
        _haar(channels),
        _deviation(x, y),
        _places(error, y[1]),
    ]
    return torch.nan_to_num(torch.cat(parts), nan=0.0, posinf=20.0, neginf=-20.0).clamp(-20, 20)


def _pooled(rgb: np.ndarray, reference: np.ndarray) -> torch.Tensor:
    if rgb.shape != reference.shape:
        size = reference.shape[1], reference.shape[0]
        rgb = np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize(size, Image.Resampling.BICUBIC))
    pair = torch.from_numpy(np.stack([rgb, reference])).permute(0, 3, 1, 2).contiguous().float()
    factor = max(1, round(min(pair.shape[2:]) / SHORT))
    pair = F.avg_pool2d(pair, factor) if factor > 1 else pair
    rows, columns = (max(0, _SMALLEST - side) for side in pair.shape[2:])
    return F.pad(pair, (0, columns, 0, rows), mode="replicate") if rows or columns else pair


def _log(x: torch.Tensor, floor: float) -> torch.Tensor:
    return torch.log(x.clamp(min=0) + floor)


def _ratio(a: torch.Tensor, b: torch.Tensor, floor: float) -> torch.Tensor:
    return torch.log((a + floor) / (b + floor))


def _quantiles(values: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Compute quantiles of every fourth value of [..., h, w] by nearest rank."""
    some = values[..., ::2, ::2].flatten().numpy()
    ranks = (levels * (len(some) - 1)).round().long().numpy()
    return torch.from_numpy(np.partition(some, ranks)[ranks])  # far faster than a full sort


def _tone(x: torch.Tensor, channels: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """Compute PSNR, linear fits of the channels to the reference's, and the error by grey level of the reference."""
    mse = (x[0] - x[1]).square().mean((1, 2))
    psnr = 10 * torch.log10(255**2 / mse.clamp(min=0.65))  # at most 50 dB, where no difference is visible
    total = 10 * torch.log10(255**2 / mse.mean().clamp(min=0.65))
    a, b = channels.flatten(2)  # [3, pixels]
    mean_a, mean_b = a.mean(1), b.mean(1)
    centred_a, centred_b = a - mean_a[:, None], b - mean_b[:, None]
    var_a, var_b, covariance = (
        torch.linalg.vecdot(one, other) / a.shape[1]
        for one, other in ((centred_a, centred_a), (centred_b, centred_b), (centred_a, centred_b))
    )
    gain = covariance / (var_b + 1)
    unexplained = (var_a - covariance.square() / (var_b + 1)).clamp(min=0).sqrt()
    size_a, size_b = a.abs().mean(1), b.abs().mean(1)
    saturation = (x.amax(1) - x.amin(1)).mean((1, 2))
    extremes = torch.stack([torch.stack([share(one <= 2), share(one >= 253)]) for one in x])  # [2, 2]
    level = (b[0] / 32).long().clamp(0, 7)
    count = torch.bincount(level, minlength=8).float()
    e = error[0].flatten()
    curve = torch.zeros(8, **CPU).index_add_(0, level, e) / count.clamp(min=1)
    around = torch.zeros(8, **CPU).index_add_(0, level, e.square()) / count.clamp(min=1) - curve.square()
    return torch.cat(
        [
            torch.cat([psnr, total[None]]) / 10 - 3,
            (mean_a - mean_b) / 20,
            _ratio(var_a, var_b, 1.0),
            gain.clamp(-1, 4),
            covariance / (var_a * var_b).clamp(min=1e-6).sqrt().clamp(min=1),
            _log(unexplained, 0.1),
            _ratio(size_a, size_b, 0.5),
            _ratio(saturation[0], saturation[1], 0.5)[None],
            extremes[0].sqrt() - extremes[1].sqrt(),
            curve / 20,
            _log(around.clamp(min=0).sqrt(), 0.1),
            (count / count.sum()).sqrt(),
        ]
    )


def _errors(error: torch.Tensor) -> torch.Tensor:
    """Compute the distribution of the error, and its correlation between adjacent pixels and between channels."""
    parts = [_quantiles(error[0], _SPREAD) / 20]
    parts += [soft_histogram(channel.abs()) for channel in error]
    flat = error.flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    std = (torch.linalg.vecdot(centred, centred) / flat.shape[1]).sqrt()
    scaled = centred / (std[:, None] + 0.05)
    squared = scaled * scaled
    third, fourth = (torch.linalg.vecdot(squared, other) / flat.shape[1] for other in (scaled, squared))
    parts += [_log(std, 0.05), torch.log1p(fourth), third.clamp(-8, 8) / 2]
    parts.append(torch.stack([scaled[i].dot(scaled[j]) for i, j in ((0, 1), (0, 2), (1, 2))]) / flat.shape[1])
    d = error[0] - error[0].mean()
    power = d.square().mean() + 0.05
    for lag in (1, 2, 3, 4, 8):
        parts.append(torch.stack([(d[:, lag:] * d[:, :-lag]).mean(), (d[lag:] * d[:-lag]).mean()]) / power)
    parts.append(torch.stack([(d[1:, 1:] * d[:-1, :-1]).mean(), (d[1:, :-1] * d[:-1, 1:]).mean()]) / power)
    return torch.cat(parts)


def _spectra(channels: torch.Tensor) -> torch.Tensor:
    """Compute the energy of error, image and reference in five octaves, and their correlation in each."""
    level = channels
    parts: list[torch.Tensor] = []
    for _ in range(5):
        if min(level.shape[2:]) < 2:
            parts.append(parts[-1])
            continue
        coarse = F.avg_pool2d(level, 2)
        back = F.interpolate(coarse, scale_factor=2, mode="nearest")
        a, b = (level[:, :, : back.shape[2], : back.shape[3]] - back).flatten(2)  # [3, pixels]
        energy_a, energy_b, common = a.square().mean(1), b.square().mean(1), (a * b).mean(1)
        difference = (energy_a + energy_b - 2 * common).clamp(min=0).sqrt()
        agreement = common / (energy_a * energy_b + 1e-4).sqrt()
        parts.append(torch.cat([_log(difference, 0.02), _ratio(energy_a, energy_b, 0.02) / 2, agreement]))
        level = coarse
    return torch.cat(parts)


def _window() -> list[float]:
    weights = [math.exp(-((offset - 5) ** 2) / (2 * 1.5**2)) for offset in range(11)]
    return [weight / sum(weights) for weight in weights]


_GAUSSIAN = _window()


def _blur(maps: torch.Tensor) -> torch.Tensor:
    """Apply the Gaussian window of SSIM (11 px, sigma 1.5); maps too small for it are averaged over 3×3."""
    if min(maps.shape[2:]) < 11:
        return F.avg_pool2d(maps, 3, 1, 1, count_include_pad=False)
    for dim in (2, 3):  # sums of shifted maps: several times faster on a CPU than a convolution per channel
        length = maps.shape[dim] - 10
        total = maps.narrow(dim, 0, length) * _GAUSSIAN[0]
        for offset in range(1, 11):
            total.add_(maps.narrow(dim, offset, length), alpha=_GAUSSIAN[offset])
        maps = total
    return maps


def _similarities(pair: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the luminance and contrast-structure maps of SSIM for [2, C, h, w] in 0..255, each [C, h', w']."""
    a, b = pair
    mean_a, mean_b, aa, bb, ab = _blur(torch.stack([a, b, a * a, b * b, a * b]))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    variance = (aa - mean_a**2).clamp(min=0) + (bb - mean_b**2).clamp(min=0)
    return luminance, (2 * (ab - mean_a * mean_b) + c2) / (variance + c2)


def _structure(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Compute SSIM of the colour image, and its two factors at this and three coarser scales (Wang et al. 2004,
    2003)."""
    parts, level = [], x
    for scale in range(4):
        luminance, structure = _similarities(level)
        if not scale:
            colour = (luminance * structure).mean((1, 2))
            parts += [colour, colour.mean()[None]]
        parts += [torch.stack([luminance.mean(), structure.mean(), structure.std()]), _quantiles(structure, _LOW)]
        level = F.avg_pool2d(level if scale else y, 2)
    return torch.cat(parts)


def _gradient(maps: torch.Tensor) -> torch.Tensor:
    """Compute the gradient magnitude by Prewitt filters, [N, C, h, w] -> [N, C, h, w], with zero padding."""
    padded = F.pad(maps, (1, 1, 1, 1))
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    columns = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    dx, dy = rows[..., 2:] - rows[..., :-2], columns[..., 2:, :] - columns[..., :-2, :]
    return (dx * dx + dy * dy).sqrt() / 3


def _alike(a: torch.Tensor, b: torch.Tensor, c: float) -> torch.Tensor:
    return (2 * a * b + c) / (a * a + b * b + c)


def _gradients(channels: torch.Tensor) -> torch.Tensor:
    """Compute gradient magnitude similarity at three scales (Xue et al. 2014), and the sign of the difference."""
    level, parts = F.avg_pool2d(channels, 2), []
    for scale in range(3):
        a, b = _gradient(level)
        similarity = _alike(a, b, 170.0)
        parts += [similarity[0].std()[None] * 4, similarity.mean((1, 2)), _quantiles(similarity[0], _LOW)]
        parts.append(_ratio(a.mean((1, 2)), b.mean((1, 2)), 0.2))
        if scale < 2:
            level = F.avg_pool2d(level, 2)
    return torch.cat(parts)


def _haar(channels: torch.Tensor) -> torch.Tensor:
    """Compute HaarPSI (Reisenhofer et al. 2018) and quantiles of its similarity maps."""
    y, red, blue = channels.unbind(1)  # colour differences to luma, times 0.6
    yiq = torch.stack([y, (0.736 * red - 0.268 * blue) / 0.6, (0.478 * red + 0.413 * blue) / 0.6], 1)
    pair = F.pad(F.avg_pool2d(yiq, 2), (4, 4, 4, 4))
    coefficients = []
    for size in (2, 4, 8):
        half = size // 2
        rows = F.avg_pool2d(pair[:, :1], (half, size), 1)
        columns = F.avg_pool2d(pair[:, :1], (size, half), 1)
        vertical = (rows[:, :, :-half] - rows[:, :, half:]).abs() * half * size
        horizontal = (columns[..., :-half] - columns[..., half:]).abs() * half * size
        side = pair.shape[2] - 8 + 1, pair.shape[3] - 8 + 1
        skip = 4 - half
        maps = torch.cat([vertical, horizontal], 1)[:, :, skip:, skip:]
        coefficients.append(maps[:, :, : side[0], : side[1]] / size)  # [2, 2, h, w]
    first, second = (_alike(c[0], c[1], 30.0) for c in coefficients[:2])
    fine = (first + second) / 2
    weights = torch.maximum(*coefficients[2])
    colour = F.avg_pool2d(pair[:, 1:], 2, 1)[:, :, 3:, 3:][:, :, : fine.shape[1], : fine.shape[2]].abs()
    chroma = _alike(colour[0], colour[1], 30.0).mean(0, keepdim=True)
    similarity = torch.cat([fine, chroma])
    weights = torch.cat([weights, weights.mean(0, keepdim=True)])
    share = (torch.sigmoid(4.2 * similarity) * weights).sum() / weights.sum().clamp(min=1e-3)
    index = (torch.logit(share.clamp(0.5, 1 - 1e-6)) / 4.2).square()
    each = (similarity * weights).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1e-3)
    return torch.cat([index.clamp(max=1.0)[None], each, _quantiles(fine, _LOW), _quantiles(chroma, _LOW)])


def _deviation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Compute MDSI (Nafchi et al. 2016): the deviation of gradient and chromaticity similarity, combined and alone."""
    fused = (y[0] + y[1]) / 2
    a, b, f = _gradient(torch.cat([y[:, 0], fused])[:, None])[:, 0]
    gradients = _alike(a, b, 140.0) + _alike(a, f, 55.0) - _alike(b, f, 55.0)
    red, green, blue = x.unbind(1)
    hue = torch.stack([0.30 * red + 0.04 * green - 0.35 * blue, 0.34 * red - 0.60 * green + 0.17 * blue], 1)
    cross, power = (hue[0] * hue[1]).sum(0), hue.square().sum((0, 1))
    colours = (2 * cross + 550) / (power + 550)
    both = 0.6 * gradients + 0.4 * colours
    rooted = both.sign() * both.abs().sqrt().sqrt()
    deviation = (rooted - rooted.mean()).abs().mean().sqrt().sqrt()
    parts = [deviation[None], both.mean()[None], both.std()[None], colours.mean()[None], colours.std()[None]]
    return torch.cat([*parts, _quantiles(both, _LOW), _quantiles(colours, _LOW)])


def _places(error: torch.Tensor, luma: torch.Tensor) -> torch.Tensor:
    """Compute the share of the error in each cell of a 3×3 grid, and in areas of low, medium and high detail."""
    size = error.abs().mean(0, keepdim=True)[None]  # [1, 1, h, w]
    mean = size.mean() + 0.2
    grid = _ratio(F.adaptive_avg_pool2d(size, 3).flatten(), mean, 0.2)
    level = F.avg_pool2d(luma[None], 2)
    detail = F.avg_pool2d((level - F.avg_pool2d(level, 5, 1, 2, count_include_pad=False)).abs(), 3, 1, 1)
    size = F.avg_pool2d(size, 2)
    low, high = _quantiles(detail, torch.tensor([0.33, 0.75], **CPU))
    areas = [detail <= low, (detail > low) & (detail <= high), detail > high]
    by_detail = torch.stack([(size * area).sum() / area.sum().clamp(min=1) for area in areas])
    blocks = F.avg_pool2d(size, 4, ceil_mode=True, count_include_pad=False)
    return torch.cat([grid, _ratio(by_detail, mean, 0.2), _log(_quantiles(blocks, _SPREAD), 0.1)])
