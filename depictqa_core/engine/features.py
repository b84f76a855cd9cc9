"""Vision features: every image is encoded once, in parallel on a CPU, and cached within a memory budget."""

from collections.abc import Callable, Container

import psutil  # accelerate brings it
import torch

from ..images.size_policy import SizePolicy
from ..network.connector import PoolingConnector
from ..network.model import DepictQAModel, pooled_shape
from ..network.vision import Prepared, prepare, prepare_comparison
from ..runtime.byte_cache import ByteCache
from ..runtime.threads import parallel
from ..typicality import TypicalityModel, summarize
from .feature_keys import FeatureKey, Roles, distinct_feature_keys

FACT_BYTES, ENTRY_BYTES = 64 * 2**20, 256
"""Budget of the stored typicalities, and of what the heads find; and what an entry takes with its key."""
_Key = str | tuple[str, str]
"""Content key of an image, or those of an image and its reference."""

CACHED_IMAGES = 256
"""Images of the largest size whose features fit by default: a ranking shows each of them many times."""
LEAST_BYTES, LARGEST_SHARE = 256 * 2**20, 0.25
"""Bounds of the default budget: bytes, and a share of the free memory, which wins."""


def bytes_per_image(model: DepictQAModel) -> int:
    """Bytes that the features of an image of the largest size take, from the configuration of a network alone."""
    config = model.config
    policy = SizePolicy(**config.size)
    pooled = pooled_shape(config, *policy.padded(policy.short, max(policy.short, policy.long)))
    stored = torch.float32 if len(pooled) == 1 else next(model.vision.parameters()).dtype  # pooled vectors are float32
    return pooled.numel() * stored.itemsize


def default_budget(model: DepictQAModel) -> int:
    """Bytes of vision features that are cached for a network by default."""
    wanted = max(LEAST_BYTES, CACHED_IMAGES * bytes_per_image(model))
    return min(wanted, int(LARGEST_SHARE * psutil.virtual_memory().available))


class VisionFeatures:
    """The vision tower of a network with a cache of its features. Safe to use from several threads.

    Args:
        model: a DepictQAModel.
        budget: bytes of the cache; the least recently used features go first.
        typicality_model: the distribution of the features of training images, or None.

    Attributes:
        typicality: the typicality of every image that was encoded, by its content key.
        findings: what the heads find in it, float32 [NUMBERS]; empty for a network without heads.
    """

    def __init__(self, model: DepictQAModel, budget: int, typicality_model: TypicalityModel | None = None) -> None:
        self.model, self.cache = model, ByteCache(budget)
        self.typicality_model, self.typicality = typicality_model, ByteCache(FACT_BYTES)
        self.findings = ByteCache(FACT_BYTES)

    @property
    def pairs(self) -> bool:
        """Whether the embeddings of Image B depend on Image A."""
        return self.model.connector.pairs

    @property
    def heads(self) -> PoolingConnector | None:
        """The connector, if it has heads."""
        connector = self.model.connector
        return connector if isinstance(connector, PoolingConnector) and connector.heads is not None else None

    @torch.inference_mode()
    def encode(self, shown: list[Roles], check: Callable[[], None]) -> dict[_Key, torch.Tensor]:
        """Compute everything that ``DepictQAModel.connect`` needs about sets of images, on the device of the network.

        Args:
            shown: sets of images by role.
            check: called after each image, so that Cancel does not wait for a whole batch.

        Returns:
            the features of every image by its content key, and, for networks that compare, by the keys of an image and
            its reference how the two differ.
        """
        model, alone = self.model, encodes_alone(self.model)
        images = {image.key: image for one in shown for image in one.values()}
        wanted: list[_Key] = [*images]
        if model.config.connector.get("comparison"):
            keys = distinct_feature_keys(shown, pairs=False)
            wanted += [(key.image, key.reference) for key in keys if key.reference is not None]
        features: dict[_Key, torch.Tensor] = {}
        for key in wanted:
            cached: torch.Tensor | None = self.cache.get(key)
            if cached is not None:
                features[key] = cached
        missing = [key for key in wanted if key not in features]

        def compute(key: _Key) -> torch.Tensor | Prepared | None:
            if isinstance(key, tuple):
                image, reference = key
                return prepare_comparison(images[image], images[reference], model.config)
            prepared = prepare(images[key], model.config)
            return model.encode([prepared])[0] if alone else prepared

        computed = list(zip(missing, parallel(compute, missing, lambda row: check())))
        prepared = {key: row for key, row in computed if isinstance(row, Prepared)}
        encoded = dict(zip(prepared, model.encode(list(prepared.values())))) if prepared else {}
        for key, row in [*((key, row) for key, row in computed if isinstance(row, torch.Tensor)), *encoded.items()]:
            features[key] = row.to("cpu", copy=True)  # a view would hold its whole batch in memory
            self.cache.put(key, features[key], row.numel() * row.element_size())
        for key in images:
            self._store_facts(key, features[key])
        device = next(model.parameters()).device
        return {key: features[key].to(device) for key in wanted}

    def _store_facts(self, key: str, row: torch.Tensor) -> None:
        """Compute the typicality of an image, and what the heads find in it, from its features."""
        if self.typicality_model is not None and self.typicality.get(key) is None:
            self.typicality.put(key, float(self.typicality_model(summarize(row)[None])[0]), ENTRY_BYTES)
        if self.heads is not None:
            self.find(self.heads, key, row)

    @torch.inference_mode()
    def find(self, heads: PoolingConnector, key: str, row: torch.Tensor) -> torch.Tensor:
        """Return what the heads find in an image, float32 [NUMBERS]: stored, or computed from its features; of each
        image alone, so that a batch equals single runs."""
        found: torch.Tensor | None = self.findings.get(key)
        if found is None:
            found = heads.findings(row[None].to(next(heads.parameters()).device)).numbers()[0].float().cpu()
            self.findings.put(key, found, ENTRY_BYTES + found.nbytes)
        return found

    @torch.inference_mode()
    def embeddings(
        self, shown: list[Roles], check: Callable[[], None], known: Container[FeatureKey] = ()
    ) -> dict[FeatureKey, torch.Tensor]:
        """Compute the language-model embeddings [T, hidden] of every image; arguments as in ``encode``.

        Args:
            known: keys whose embeddings are not needed.
        """
        features = self.encode(shown, check)
        keys = [key for key in distinct_feature_keys(shown, self.pairs) if key not in known]
        check()
        rows = self.model.connect(
            [features[key.image] for key in keys],
            [None if key.reference is None else features[key.reference] for key in keys],
            [None if key.reference is None else features.get((key.image, key.reference)) for key in keys],
            [None if key.other is None else features[key.other] for key in keys],
        )
        return dict(zip(keys, rows))


def encodes_alone(model: DepictQAModel) -> bool:
    """Whether the vision tower is fastest on one image at a time: on a CPU, whose cores then work in parallel."""
    return next(model.vision.parameters()).device.type == "cpu"
