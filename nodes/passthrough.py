"""Latents, masks, texts and seeds that are selected and sorted together with their images."""

from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from .inputs import per_image

TYPES = {"latents": io.Latent, "masks": io.Mask, "texts": io.String, "seeds": io.Int}
USUAL = ("latents", "masks", "texts")
TOOLTIPS = {
    "latents": "Optional: the latents of the images, one per image in the same order. They are passed on "
    "together with their image.",
    "masks": "Optional: masks, one per image in the same order or one for all. They are passed on together"
    " with their image.",
    "texts": "Optional: texts such as prompts, one per image in the same order or one for all. They are "
    "passed on together with their image.",
    "seeds": "Optional: the seeds of the images, one per image in the same order or one for all. They are "
    "passed on together with their image.",
}


def follower_inputs(names: tuple[str, ...] = USUAL) -> list:
    """The optional inputs of these names; what has a widget of its own is linked all the same."""
    widgets: dict[str, dict[str, Any]] = {
        "texts": {"force_input": True},
        "seeds": {"force_input": True, "max": 2**64 - 1},
    }
    return [TYPES[name].Input(name, optional=True, tooltip=TOOLTIPS[name], **widgets.get(name, {})) for name in names]


def follower_outputs(prefix: str, names: tuple[str, ...] = USUAL) -> list:
    """The list outputs ``<prefix>_latents``, ``<prefix>_masks`` and so on."""
    return [
        TYPES[name].Output(
            f"{prefix}_{name}",
            display_name=f"{prefix}_{name}",
            is_output_list=True,
            tooltip=f"What was linked to {name}, in the order of {prefix}_images.",
        )
        for name in names
    ]


UNSCORED = ExecutionBlocker("scores: this checkpoint does not score images; use one that does, or ranks and strengths.")
"""Takes the place of scores that there are not: no node gets a NaN for one."""


class Followers:
    """The values of the inputs of ``follower_inputs``, one item per image.

    Args:
        count: number of images.
        linked: by name, the inputs of an ``is_input_list`` node, None if not linked.

    Raises:
        TaskError: there is neither one item for all nor one per image.
    """

    def __init__(self, count: int, **linked: list | None):
        single = {"latents": _single_latents, "masks": _single_masks}
        self._items = {
            name: _each(count, name, items and single.get(name, list)(items)) for name, items in linked.items()
        }

    def choose(self, indexes: list[int]) -> list[list]:
        """Return the values of the outputs of ``follower_outputs`` for these images, in this order."""
        return [
            [ExecutionBlocker(f"{name}: nothing is linked to this input of the node that selects the images.")]
            if items is None
            else branch([items[index] for index in indexes])
            for name, items in self._items.items()
        ]


def branch(items: list) -> list:
    """Return the value of a list output; an empty list blocks the nodes behind it without an error."""
    return items or [ExecutionBlocker(None)]


def _each(count: int, name: str, items: list | None) -> list | None:
    return None if items is None else per_image(name, items, count)


def _single_latents(latents: list[dict]) -> list[dict]:
    """Split batches ``{"samples": [B, ...], ...}`` into latents of single images; values with B entries are split."""
    singles = []
    for latent in latents:
        count = len(latent["samples"])
        for i in range(count):
            singles.append({key: _entry(value, i, count) for key, value in latent.items()})
    return singles


def _entry(value: Any, index: int, count: int) -> Any:
    split = hasattr(value, "__len__") and not isinstance(value, (str, dict)) and len(value) == count
    return value[index : index + 1] if split else value


def _single_masks(masks: list) -> list:
    """Split ``[B, H, W]`` or ``[H, W]`` into masks ``[1, H, W]``."""
    batches = [mask if mask.ndim > 2 else mask[None] for mask in masks]
    return [batch[i : i + 1] for batch in batches for i in range(len(batch))]
