"""Outputs of nodes that draw: pages become IMAGE tensors and are shown on the node."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io, ui
from PIL import Image

from ..depictqa_core.images.image import RGBImage
from .ui import Table, node_output


def to_image(page: Image.Image) -> torch.Tensor:
    """Convert an RGB page to IMAGE, float32 ``[1, H, W, 3]`` in 0..1."""
    return torch.from_numpy(np.asarray(page.convert("RGB"), np.float32) / 255)[None]


def to_batch(pages: Sequence[Image.Image]) -> torch.Tensor:
    """Convert pages of one size to one IMAGE batch ``[B, H, W, 3]``."""
    return torch.cat([to_image(page) for page in pages])


def drawn_output(
    cls: type[io.ComfyNode],
    *values: object,
    images: Sequence[torch.Tensor],
    text: str,
    table: Table | None = None,
    **ui_lists: Any,
) -> io.NodeOutput:
    """Return the node's output, with images shown on the node, and text under it and in the run's history.

    Args:
        images: the batches to show, each ``[B, H, W, 3]``.
        table: the table that web/depictqa.js draws next to them; None draws the lines of the text.
        ui_lists: additional lists for the front end.
    """
    shown = [entry for image in images for entry in ui.PreviewImage(image).as_dict()["images"]]
    return node_output(cls, *values, table=table or Table(notes=text.splitlines()), text=text, images=shown, **ui_lists)


def to_tensor(picture: RGBImage) -> torch.Tensor:
    """Convert a checked image to IMAGE ``[1, H, W, 3]``, or ``[1, H, W, 4]`` if it was read with its alpha."""
    levels = picture.rgb if picture.rgba is None else picture.rgba
    return torch.from_numpy(levels.astype(np.float32) / 255)[None]
