"""Nodes whose answer is a picture: drawn pages become IMAGE tensors, and are shown on the node."""

from collections.abc import Sequence

import numpy as np
import torch
from comfy_api.latest import io, ui
from PIL import Image
from server import PromptServer

from .shown import Table


def to_image(page: Image.Image) -> torch.Tensor:
    """An RGB page as IMAGE, float32 ``[1, H, W, 3]`` in 0..1."""
    return torch.from_numpy(np.asarray(page.convert("RGB"), np.float32) / 255)[None]


def to_batch(pages: Sequence[Image.Image]) -> torch.Tensor:
    """Pages of one size as one IMAGE batch ``[B, H, W, 3]``."""
    return torch.cat([to_image(page) for page in pages])


def drawn_output(cls, *values, images: Sequence[torch.Tensor], text: str, table: Table | None = None) -> io.NodeOutput:
    """The node's output, with pictures shown on the node, and words under it and in the run's history.

    Args:
        images: what to show, each ``[B, H, W, 3]``.
        table: what web/depictqa.js draws beside them.
    """
    PromptServer.instance.send_progress_text(text, cls.hidden.unique_id)
    shown = [entry for image in images for entry in ui.PreviewImage(image).as_dict()["images"]]
    return io.NodeOutput(
        *values, ui={"images": shown, "text": [text]} | ({"depictqa": [table.to_ui()]} if table else {})
    )
