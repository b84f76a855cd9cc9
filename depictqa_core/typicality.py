"""How typical an image is of the images that a checkpoint was trained on, from its vision features.

Probabilities and intervals are calibrated on images like the training images. An image unlike all of them (a drawing
for a model of photographs, static, a huge enlargement) gets equally confident answers, but nothing is known of their
errors. Typicality is the share of training images whose features are farther from the mean than those of the image.
The distance is the Mahalanobis distance under probabilistic principal component analysis (Tipping and Bishop 1999):
exact in the span of the first components, with one variance for all that is left. Typicality is a rank among training
images, as in conformal outlier detection, and no probability of being right: a typical image can be judged wrongly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import CheckpointError, quoted
from .storage.files import write_file

if TYPE_CHECKING:
    import torch

TYPICALITY = "typicality.safetensors"
"""File in a checkpoint folder; without it nothing is known of how typical images are."""
COMPONENTS, QUANTILES = 64, 201
"""Maximum number of principal components, and number of quantiles that are stored."""
HELD_OUT = 5
"""One of this many groups of images is left out of the fit, and gives the quantiles."""
LEAST_IMAGES = 100
"""Minimum number of images for a fit."""
_NAMES = ("mean", "scale", "components", "variances", "residual", "quantiles")


@dataclass(frozen=True, eq=False)
class TypicalityModel:
    """The distribution of the vision features of training images.

    Attributes:
        mean, scale: float32 [V], by which features are standardized.
        components: float32 [K, V], orthonormal rows.
        variances: float32 [K], of the standardized features along each component.
        residual: float32 [1], variance of the standardized features along each direction that is left.
        quantiles: float32 [Q], evenly spaced quantiles of the distance of training images that were left out of the
            fit, from the least to the largest distance.

    Raises:
        ValueError: a shape or a value is impossible.
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    variances: np.ndarray
    residual: np.ndarray
    quantiles: np.ndarray

    def __post_init__(self) -> None:
        values = [getattr(self, name) for name in _NAMES]
        if any(value.dtype != np.float32 or not np.isfinite(value).all() for value in values):
            raise ValueError("a tensor is not float32, or contains NaN or Inf")
        width, count = self.width, len(self.variances)
        shapes = [(width,), (width,), (count, width), (count,), (1,), (len(self.quantiles),)]
        if any(value.shape != shape for value, shape in zip(values, shapes)) or len(self.quantiles) < 2:
            raise ValueError("the shapes of its tensors do not fit together")
        if any(value.min(initial=1) <= 0 for value in (self.scale, self.variances, self.residual)):
            raise ValueError("a scale or variance is not above 0")
        if np.any(np.diff(self.quantiles) < 0):
            raise ValueError("its quantiles are not in order")

    @property
    def width(self) -> int:
        """Number of values in the features of an image."""
        return len(self.mean)

    @property
    def digest(self) -> str:
        """SHA-256 of all values."""
        return hashlib.sha256(b"".join(getattr(self, name).tobytes() for name in _NAMES)).hexdigest()

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Compute the squared Mahalanobis distance of features [N, V] from the training images, float64 [N]."""
        rows = (np.asarray(features, np.float64) - self.mean) / self.scale
        along = rows @ self.components.T.astype(np.float64)
        left = np.maximum((rows**2).sum(1) - (along**2).sum(1), 0)
        found: np.ndarray = (along**2 / self.variances).sum(1) + left / float(self.residual[0])
        return found

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Compute the typicality of features [N, V]: the share 0..1 of training images that are less typical, [N]."""
        shares = np.linspace(0, 1, len(self.quantiles))
        return 1 - np.interp(self.distances(features), self.quantiles, shares, left=0.0, right=1.0)


def summarize(features: torch.Tensor) -> np.ndarray:
    """Return the features of one image as one vector, float32 [V]: patch features [T, C] are averaged over patches."""
    whole = features if features.dim() == 1 else features.float().mean(0)
    found: np.ndarray = whole.float().cpu().numpy()
    return found


def fit(features: np.ndarray, groups: np.ndarray) -> TypicalityModel:
    """Fit the distribution of the features of training images.

    Args:
        features: float [N, V], one row per image.
        groups: [N], what images belong together, such as the versions of one scene: whole groups are left out of the
            fit for the quantiles, so that a new image of a known kind is as typical as a training image.

    Raises:
        ValueError: there are fewer than `LEAST_IMAGES` images, or too few groups.
    """
    places = np.unique(groups, return_inverse=True)[1]
    left_out = places % HELD_OUT == 0
    if len(features) < LEAST_IMAGES or left_out.all() or not left_out.any():
        raise ValueError(f"typicality needs at least {LEAST_IMAGES} images of several scenes, got {len(features)}")
    rows = np.asarray(features, np.float64)
    mean, deviation = rows[~left_out].mean(0), rows[~left_out].std(0)
    scale = np.maximum(deviation, np.maximum(1e-3 * np.abs(mean), 1e-6))  # nearly constant: no huge distances
    known = (rows[~left_out] - mean) / scale
    _, singular, components = np.linalg.svd(known, full_matrices=False)
    variances = singular**2 / len(known)
    count = min(COMPONENTS, len(known) // 4, rows.shape[1] - 1)
    residual = variances[count:].sum() / (rows.shape[1] - count)
    spread = [np.maximum(values, 1e-9) for values in (variances[:count], [residual])]
    parts = [np.asarray(values, np.float32) for values in (mean, scale, components[:count], *spread)]
    found = dict(zip(_NAMES, parts))
    distances = TypicalityModel(**found, quantiles=np.zeros(2, np.float32)).distances(rows[left_out])
    quantiles = np.quantile(distances, np.linspace(0, 1, QUANTILES))
    return TypicalityModel(**found, quantiles=quantiles.astype(np.float32))


def store(model: TypicalityModel, folder: str | Path) -> Path:
    """Write the file of a checkpoint folder, and return its path."""
    from safetensors.numpy import save

    path = Path(folder) / TYPICALITY
    write_file(path, save({name: np.ascontiguousarray(getattr(model, name)) for name in _NAMES}))
    return path


def load(folder: str | Path, width: Callable[[], int]) -> TypicalityModel | None:
    """Read the file of a checkpoint folder; None where there is none.

    Args:
        folder: the checkpoint folder.
        width: gives the number of values that its network has for an image (``summarize``).

    Raises:
        CheckpointError: the file is damaged, or of another network.
    """
    from safetensors.numpy import load_file

    path = Path(folder) / TYPICALITY
    if not path.is_file():
        return None
    remedy = "download the folder again, or fit it with python -m training typicality"
    try:
        tensors = load_file(str(path))
        model = TypicalityModel(*(tensors[name] for name in _NAMES))
    except Exception as error:  # safetensors raises errors of its own
        raise CheckpointError(f"{path} cannot be used ({quoted(error)}); {remedy}") from error
    if model.width != (wanted := width()):
        raise CheckpointError(
            f"{path} is of another network: it has {model.width} values per image instead of {wanted}; {remedy}"
        )
    return model
