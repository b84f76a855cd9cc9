"""What training reads: files of records, and pictures as the vision tower takes them or as it saw them."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from depictqa_core import tasks
from depictqa_core.errors import DepictQAError, DocumentError, ImageError
from depictqa_core.images.comparison_statistics import COMPARISON_STATISTICS
from depictqa_core.images.image import WHOLE, Picture, SizePolicy
from depictqa_core.loading.checkpoint import file_hash
from depictqa_core.network.config import DepictQAConfig
from depictqa_core.network.connector import CONNECTORS
from depictqa_core.network.model import DepictQAModel
from depictqa_core.network.vision import (
    PREPROCESSING,
    TOWERS,
    Prepared,
    empty_inputs,
    prepare,
    prepare_comparison,
    statistics_width,
)
from depictqa_core.prompts import REFERENCE, A, B
from depictqa_core.storage.documents import named

from ..dataset.records.image_paths import image_path, read_image
from ..dataset.records.models import DESCRIPTION, read_record_list, training_problem
from .row_file import RowFile

# ---------------------------------------------------------------------- records


def read_records(path: str | Path, error: type[DepictQAError] = DocumentError) -> list[dict]:
    """Read one file of records (a JSON list, facts 3.4); raises ``error`` as ``documents.read_json`` does."""
    return read_record_list(path, where=f"the record file {named(path)}", error=error)


def read_parts(root: str | Path, parts: dict[str, float]) -> tuple[list[list[dict]], list[float]]:
    """Read the training records that a recipe names.

    Args:
        root: data root: the files are looked for in its folder ``records``, then relative to the root itself, as in the
            layout of the published data set (``<set>/metas/*.json``).
        parts: file name or pattern -> weight; each file of a pattern has that weight.

    Returns:
        (the records of each file, the weight of each file)

    Raises:
        FileNotFoundError: nothing fits a name; says which files there are.
        DocumentError: a record that cannot be learned from, named by file and id.
    """
    root, read, weights = Path(root), [], []
    for name, weight in parts.items():
        for file in _record_files(root, name):
            records = read_records(file)
            for index, record in enumerate(records):
                if problem := training_problem(record):
                    key = f" (id {record.get('id')})" if isinstance(record, dict) else ""
                    raise DocumentError(f"{file}, record {index}{key}: {problem}")
            if records:
                read.append(records)
                weights.append(weight)
    if not read:
        raise DocumentError(f"the files of records in {root} are empty")
    return read, weights


def _record_files(root: Path, name: str) -> list[Path]:
    """The files that a name or pattern of a recipe stands for."""
    for folder in (root / "records", root):
        try:
            found = [folder / name] if (folder / name).is_file() else sorted(folder.glob(name))
        except (ValueError, NotImplementedError) as error:
            raise DocumentError(f"parts: {name!r} is no file name or pattern below {root} ({error})") from None
        if files := [file for file in found if file.is_file()]:
            return files
    there = ", ".join(sorted(path.relative_to(root).as_posix() for path in root.glob("**/*.json"))[:20])
    raise FileNotFoundError(
        f"no records '{name}' in {root} or its folder records; it holds {there or 'no record files'}"
    )


def picture_paths(record: dict, task_type: str) -> dict[str, str]:
    """The picture path behind each prompt role of a record; single tasks show their picture in role A."""
    if task_type == DESCRIPTION:
        return {A: record["image"]}
    known = tasks.setting(task_type)
    roles = ([REFERENCE] if known.reference else []) + ([A, B] if known.pair else [A])
    return dict(zip(roles, (record[field] for field in known.fields)))


# ---------------------------------------------------------------------- pictures


@dataclass(frozen=True)
class Shown:
    """What the network sees in one picture (pixels, or what a frozen tower made of them), and the tokens it takes;
    ``comparison`` is what the picture shows beside its reference, for connectors that take it."""

    content: Prepared | torch.Tensor
    tokens: int
    comparison: torch.Tensor | None = None


class LivePictures:
    """Pictures as the vision tower takes them, read when they are asked for.

    Args:
        root: folder that the image paths of records are relative to.
        also: a folder of our own images, see ``image_path``.
    """

    def __init__(self, config: DepictQAConfig, root: str | Path, also: str | Path | None = None):
        self.config, self.policy = config, SizePolicy(**config.size)
        self._roots = Path(root), also
        self.compares = bool(config.connector.get("comparison"))
        # The tower and the connector without weights say how many tokens a picture of some size becomes.
        with torch.device("meta"):
            tower = TOWERS[config.vision["kind"]](config)
            connector = CONNECTORS[config.connector["kind"]](config, tower.widths, statistics_width(config), 8)

        @cache
        def count(height: int, width: int) -> int:
            with torch.device("meta"), torch.no_grad():
                return connector.token_count(connector.pool(tower(*empty_inputs(config, height, width)))[0])

        self.count = count
        """Tokens of a padded picture of some height and width."""
        self._size = lru_cache(maxsize=2**20)(self._read_size)

    def tokens(self, path: str, keep: tuple[float, float] = WHOLE) -> int:
        """How many tokens a picture will take; only its header is read. 0 for one that cannot be read."""
        try:
            resized = self.policy.resized(*self._size(path))
        except Exception:  # whatever Pillow makes of a damaged file; show() says what is wrong
            return 0
        return self.count(*self.policy.padded(*self.policy.cropped(*resized, keep)))

    def show(self, path: str, keep: tuple[float, float] = WHOLE, reference: str | None = None) -> Shown:
        """Read one picture (paths relative to the root), perhaps beside its reference; raises ImageError."""
        prepared = prepare(self._read(path), self.config, keep)
        comparison = self.compare(path, reference, keep) if reference else None
        return Shown(prepared, self.count(*prepared.pixels.shape[1:]), comparison)

    def compare(self, path: str, reference: str, keep: tuple[float, float] = WHOLE) -> torch.Tensor | None:
        """What a picture shows beside its reference, or None where the connector takes nothing of that."""
        if not self.config.connector.get("comparison"):
            return None
        return prepare_comparison(self._read(path), self._read(reference), self.config, keep)

    def blank(self) -> Shown:
        """Stands in for a picture that cannot be read, where the record's loss does not count."""
        prepared = prepare(Picture(np.zeros((self.policy.min, self.policy.min, 3), np.uint8), "blank"), self.config)
        return Shown(prepared, self.count(*prepared.pixels.shape[1:]))

    def file(self, path: str) -> Path:
        """The file behind an image path of a record; raises ImageError for one outside the root."""
        root, also = self._roots
        return image_path(root, path, also)

    def _read(self, path: str) -> Picture:
        root, also = self._roots
        return read_image(root, path, also)

    def _read_size(self, path: str) -> tuple[int, int]:
        with Image.open(self.file(path)) as image:
            turned = image.getexif().get(0x0112, 1) >= 5  # orientations on their side
            return (image.width, image.height) if turned else (image.height, image.width)


class FeatureStore:
    """What a frozen tower saw in every picture, and pictures beside their references, computed once and kept in files.

    Only for connectors whose pooled features are one vector per picture. Interrupted work goes on where it stopped. A
    row is found again by the bytes of its image files, in files that are named after the tower, its settings and the
    version of preprocessing: whatever of these is another one is computed again.

    Attributes:
        index: readable path -> key of its row.
        unreadable: path -> what is wrong with it.
    """

    def __init__(self, folder: str | Path, model: DepictQAModel, root: str | Path, also: str | Path | None = None):
        self.model, self.live = model, LivePictures(model.config, root, also)
        stamp, width = tower_stamp(model), model.connector.pooled_width
        self._seen = RowFile(Path(folder), f"features-{stamp}", width)
        self._compared = RowFile(Path(folder), f"comparisons-{stamp}", COMPARISON_STATISTICS)
        self._tokens = model.connector.token_count(torch.empty(width))
        self.index: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}

    def fill(self, paths: list[str], pairs: list[tuple[str, str]] = ()) -> "FeatureStore":
        """Make sure that every readable path has its features, and every (path, reference) its comparison.

        Comparisons are made only for a connector that takes them.
        """
        keys = dict(zip(paths, self._keys(paths)))
        shown = {key: path for path, key in reversed(keys.items())}
        self._seen.fill(
            list(shown), lambda key: self.model.encode([self.live.show(shown[key]).content])[0], "vision features"
        )
        self.index |= {path: key for path, key in keys.items() if key in self._seen.index}
        self.unreadable |= {path: self._seen.failed[key] for path, key in keys.items() if key in self._seen.failed}
        if self.live.compares:
            beside = {self._pair(*pair): pair for pair in pairs if all(path in self.index for path in pair)}
            self._compared.fill(list(beside), lambda key: self.live.compare(*beside[key]), "comparisons")
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
        """Statistics of a picture beside its reference."""
        return self._compared[self._pair(path, reference)]

    def tokens(self, path: str, keep: tuple[float, float] = WHOLE) -> int:
        """How many tokens a picture takes: the same for every picture."""
        return self._tokens

    def show(self, path: str, keep: tuple[float, float] = WHOLE, reference: str | None = None) -> Shown:
        """What the tower saw; raises ImageError for a picture that could not be read."""
        compared = self.compare(path, reference) if reference and self.live.compares else None
        return Shown(self[path], self._tokens, compared)

    def blank(self) -> Shown:
        """Stands in for a picture that cannot be read, where the record's loss does not count."""
        return Shown(torch.zeros(self._seen.width), self._tokens)


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
