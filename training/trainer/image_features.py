"""Images as training takes them: pixels, or stored features of a frozen tower."""

from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from depictqa_core.images.image import RGBImage
from depictqa_core.images.size_policy import WHOLE, SizePolicy
from depictqa_core.network.config import DepictQAConfig
from depictqa_core.network.connector import CONNECTORS
from depictqa_core.network.vision import TOWERS, Prepared, empty_inputs, prepare, prepare_comparison, statistics_width

from ..dataset.records.image_paths import image_path, read_image


@dataclass(frozen=True)
class ImageFeatures:
    """The inputs of the network for one image (pixels, or features of a frozen tower), and its number of tokens;
    ``comparison`` has the comparison statistics with its reference, for connectors that use them."""

    content: Prepared | torch.Tensor
    tokens: int
    comparison: torch.Tensor | None = None


class ImageFiles:
    """The image files that records name.

    Args:
        root: folder that the image paths of records are relative to.
        also: a folder of our own images, see ``image_path``.
    """

    def __init__(self, root: str | Path, also: str | Path | None = None):
        self._roots = Path(root), also
        self.size = lru_cache(maxsize=2**20)(self._read_size)
        """(height, width) of an image, from its header."""

    def file(self, path: str) -> Path:
        """The file behind an image path of a record; raises ImageError for one outside the root."""
        root, also = self._roots
        return image_path(root, path, also)

    def read(self, path: str) -> RGBImage:
        """Decode an image; raises ImageError for one that cannot be read."""
        root, also = self._roots
        return read_image(root, path, also)

    def _read_size(self, path: str) -> tuple[int, int]:
        with Image.open(self.file(path)) as image:
            turned = image.getexif().get(0x0112, 1) >= 5  # orientations on their side
            return (image.width, image.height) if turned else (image.height, image.width)


class LiveImages(ImageFiles):
    """Images as inputs of the vision tower, loaded on demand.

    Args:
        root, also: as in ``ImageFiles``.
    """

    def __init__(self, config: DepictQAConfig, root: str | Path, also: str | Path | None = None):
        super().__init__(root, also)
        self.config, self.policy = config, SizePolicy(**config.size)
        self.compares = bool(config.connector.get("comparison"))
        # The tower and the connector without weights say how many tokens an image of some size becomes.
        with torch.device("meta"):
            tower = TOWERS[config.vision["kind"]](config)
            connector = CONNECTORS[config.connector["kind"]](config, tower.widths, statistics_width(config), 8)

        @cache
        def count(height: int, width: int) -> int:
            with torch.device("meta"), torch.no_grad():
                return connector.token_count(connector.pool(tower(*empty_inputs(config, height, width)))[0])

        self.count = count
        """Tokens of a padded image of some height and width."""

    def tokens(self, path: str, keep: tuple[float, float] = WHOLE) -> int:
        """Return the number of tokens of an image from its header; 0 for one that cannot be read."""
        try:
            resized = self.policy.resized(*self.size(path))
        except Exception:  # whatever Pillow makes of a damaged file; show() says what is wrong
            return 0
        return self.count(*self.policy.padded(*self.policy.cropped(*resized, keep)))

    def show(self, path: str, keep: tuple[float, float] = WHOLE, reference: str | None = None) -> ImageFeatures:
        """Load one image (paths relative to the root), optionally with its reference; raise ImageError if
        unreadable."""
        prepared = self.prepare(path, keep)
        comparison = self.compare(path, reference, keep) if reference else None
        return ImageFeatures(prepared, self.count(*prepared.pixels.shape[1:]), comparison)

    def compare(self, path: str, reference: str, keep: tuple[float, float] = WHOLE) -> torch.Tensor | None:
        """Return the comparison statistics of an image and its reference, or None if the connector does not use
        them."""
        return self.statistics(path, reference, keep) if self.compares else None

    def prepare(self, path: str, keep: tuple[float, float] = WHOLE) -> Prepared:
        """Load one image as the input of the tower."""
        return prepare(self.read(path), self.config, keep)

    def statistics(self, path: str, reference: str, keep: tuple[float, float] = WHOLE) -> torch.Tensor:
        """Compute the comparison statistics of an image and its reference."""
        found = prepare_comparison(self.read(path), self.read(reference), self.config, keep)
        if found is None:
            raise ValueError("this connector compares no images with their references")
        return found

    def blank(self) -> ImageFeatures:
        """Return a placeholder for an image that cannot be read, in a record whose loss does not count."""
        prepared = prepare(RGBImage(np.zeros((self.policy.min, self.policy.min, 3), np.uint8), "blank"), self.config)
        return ImageFeatures(prepared, self.count(*prepared.pixels.shape[1:]))
