"""What the network sees of pictures: encoded once, side by side on a CPU, kept within a memory budget."""

from collections.abc import Callable

import psutil  # accelerate brings it
import torch

from ..images.image import Picture, SizePolicy
from ..network.connector import CONNECTORS
from ..network.vision import TOWERS, empty_inputs, prepare, prepare_comparison, statistics_width
from ..runtime.byte_cache import ByteCache
from ..runtime.threads import parallel
from .slots import Slot, distinct_slots

KEPT_IMAGES = 256
"""Images of the largest size whose features there is room for by default: a ranking shows each of them many times."""
LEAST_BYTES, LARGEST_SHARE = 256 * 2**20, 0.25
"""Bounds of the default budget: bytes, and a share of the free memory, which counts for more."""


def bytes_per_image(model) -> int:
    """Bytes that the features of an image of the largest size take, from the configuration of a network alone."""
    config = model.config
    policy = SizePolicy(**config.size)
    with torch.device("meta"), torch.no_grad():
        tower = TOWERS[config.vision["kind"]](config)
        connector = CONNECTORS[config.connector["kind"]](config, tower.widths, statistics_width(config), 8)
        height, width = policy.padded(policy.short, max(policy.short, policy.long))
        pooled = connector.pool(tower(*empty_inputs(config, height, width)))[0]
    kept = torch.float32 if pooled.dim() == 1 else next(model.vision.parameters()).dtype  # pooled vectors are float32
    return pooled.numel() * kept.itemsize


def default_budget(model) -> int:
    """Bytes of vision features that are kept for a network where nobody says how many."""
    wanted = max(LEAST_BYTES, KEPT_IMAGES * bytes_per_image(model))
    return min(wanted, int(LARGEST_SHARE * psutil.virtual_memory().available))


class Sight:
    """The vision tower of a network with its cache. Safe to use from several threads.

    Args:
        model: a DepictQAModel.
        budget: bytes of what is kept, the least recently used go first.
    """

    def __init__(self, model, budget: int):
        self.model, self.kept = model, ByteCache(budget)

    @torch.inference_mode()
    def see(self, shown: list[dict[str, Picture]], check: Callable[[], None]) -> dict:
        """Everything that ``DepictQAModel.connect`` needs about sets of pictures, on the device of the network.

        Args:
            shown: sets of pictures by role.
            check: called after each picture, so that Cancel does not wait for a whole batch.

        Returns:
            by content key what the vision tower saw in a picture, and, for networks that compare, by ``Slot`` how a
            picture differs from its reference.
        """
        model, alone = self.model, encodes_alone(self.model)
        pictures = {picture.key: picture for one in shown for picture in one.values()}
        wanted = list(pictures)
        if model.config.connector.get("comparison"):
            wanted += [slot for slot in distinct_slots(shown) if slot[1] is not None]
        seen = {key: self.kept.get(key) for key in wanted}
        missing = [key for key in wanted if seen[key] is None]

        def look(key):
            if key not in pictures:
                picture, reference = key
                return prepare_comparison(pictures[picture], pictures[reference], model.config)
            prepared = prepare(pictures[key], model.config)
            return model.encode([prepared])[0] if alone else prepared

        found = dict(zip(missing, parallel(look, missing, check)))
        if not alone:
            unseen = [key for key in missing if key in pictures]
            found |= zip(unseen, model.encode([found[key] for key in unseen]))
        for key, row in found.items():
            seen[key] = row.to("cpu", copy=True)  # a view would keep its whole batch alive
            self.kept.put(key, seen[key], row.numel() * row.element_size())
        device = next(model.parameters()).device
        return {key: row.to(device) for key, row in seen.items()}

    @torch.inference_mode()
    def tokens(self, shown: list[dict[str, Picture]], check: Callable[[], None]) -> dict[Slot, torch.Tensor]:
        """Language-model embeddings [T, hidden] of every picture in its slot; arguments as in ``see``."""
        seen, slots = self.see(shown, check), distinct_slots(shown)
        check()
        rows = self.model.connect(
            [seen[key] for key, _ in slots],
            [seen.get(reference) for _, reference in slots],
            [seen.get(slot) for slot in slots],
        )
        return dict(zip(slots, rows))


def encodes_alone(model) -> bool:
    """Whether the vision tower is fastest on one picture at a time: a CPU, whose cores then work side by side."""
    return next(model.vision.parameters()).device.type == "cpu"
