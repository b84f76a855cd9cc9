"""Vision features of all images of a run, computed once and kept in files."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from depictqa_core.errors import ImageError
from depictqa_core.images.comparison_statistics import COMPARISON_STATISTICS
from depictqa_core.images.size_policy import WHOLE
from depictqa_core.loading.checkpoint_folder import file_hash
from depictqa_core.network.connector import PoolingConnector
from depictqa_core.network.model import DepictQAModel
from depictqa_core.network.vision import PREPROCESSING

from .image_features import ImageFeatures, LiveImages
from .row_file import RowFile


class FeatureStore:
    """Features of a frozen tower and comparison statistics, computed once and stored in files.

    Only for connectors whose pooled features are one vector per image. Interrupted work is resumed. The key of a row is
    the bytes of its image files; the file name depends on the tower, its settings and the version of preprocessing. If
    any of these changes, the features are computed again.

    Attributes:
        index: readable path -> key of its row.
        unreadable: path -> the reason.
    """

    def __init__(self, folder: str | Path, model: DepictQAModel, root: str | Path, also: str | Path | None = None):
        self.model, self.live = model, LiveImages(model.config, root, also)
        stamp = tower_stamp(model)
        width = pooling(model).pooled_width
        self._seen = RowFile(Path(folder), f"features-{stamp}", width)
        self._compared = RowFile(Path(folder), f"comparisons-{stamp}", COMPARISON_STATISTICS)
        self._tokens = model.connector.token_count(torch.empty(width))
        self.index: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}

    def fill(self, paths: list[str], pairs: Sequence[tuple[str, str]] = ()) -> "FeatureStore":
        """Make sure that every readable path has its features, and every (path, reference) its comparison.

        Comparisons are made only for a connector that takes them.
        """
        keys = dict(zip(paths, self._keys(paths)))
        shown = {key: path for path, key in reversed(keys.items())}
        self._seen.fill(
            list(shown), lambda key: self.model.encode([self.live.prepare(shown[key])])[0], "vision features"
        )
        self.index |= {path: key for path, key in keys.items() if key in self._seen.index}
        self.unreadable |= {path: self._seen.failed[key] for path, key in keys.items() if key in self._seen.failed}
        if self.live.compares:
            beside = {self._pair(*pair): pair for pair in pairs if all(path in self.index for path in pair)}
            self._compared.fill(list(beside), lambda key: self.live.statistics(*beside[key]), "comparisons")
        return self

    def _keys(self, paths: list[str]) -> list[str]:
        """The hash of each file; of the path where the file cannot be read, which then has no row."""

        def key(path: str) -> str:
            try:
                return file_hash(self.live.file(path))
            except (OSError, ImageError):
                return hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(key, paths))

    def _pair(self, path: str, reference: str) -> str:
        return f"{self.index[path]} {self.index[reference]}"

    def __getitem__(self, path: str) -> torch.Tensor:
        if path not in self.index:
            raise ImageError(self.unreadable.get(path, f"{path}: its features were not computed"))
        return self._seen[self.index[path]]

    def compare(self, path: str, reference: str) -> torch.Tensor:
        """Return the comparison statistics of an image and its reference."""
        return self._compared[self._pair(path, reference)]

    def tokens(self, path: str, keep: tuple[float, float] = WHOLE) -> int:
        """Return the number of tokens of an image: the same for every image."""
        return self._tokens

    def show(self, path: str, keep: tuple[float, float] = WHOLE, reference: str | None = None) -> ImageFeatures:
        """Return the stored features; raise ImageError for an image that could not be read."""
        compared = self.compare(path, reference) if reference and self.live.compares else None
        return ImageFeatures(self[path], self._tokens, compared)

    def blank(self) -> ImageFeatures:
        """Return a placeholder for an image that cannot be read, in a record whose loss does not count."""
        return ImageFeatures(torch.zeros(self._seen.width), self._tokens)


def pooling(model: DepictQAModel) -> PoolingConnector:
    """Return the connector of a network whose pooled features are one vector per image; else raise ValueError."""
    if not isinstance(model.connector, PoolingConnector):
        raise ValueError("features are stored for the connector kind pooling only: leave out cache_features")
    return model.connector


def tower_stamp(model: DepictQAModel) -> str:
    """A hash of all that pooled features depend on apart from the image: tower, settings, version of preprocessing."""
    config, found = model.config, hashlib.sha256()
    pooling = {key: value for key, value in config.connector.items() if key in ("kind", "grid", "grid_stages")}
    settings = [PREPROCESSING, config.vision, config.size, config.mean, config.std, pooling]
    found.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.vision.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:16]
