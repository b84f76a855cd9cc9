"""Image files that nodes write: exact pixels, the graph in the metadata, and what is known of the image."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from comfy.cli_args import args
from comfy_api.latest import io
from PIL import Image

from ..depictqa_core.images.image import as_image


def to_file_image(single: torch.Tensor, name: str, with_alpha: bool = True) -> Image.Image:
    """Convert one IMAGE ``[1, H, W, C]`` to 8 bits per channel.

    Args:
        name: of the image, in errors.
        with_alpha: False blends alpha onto white.

    Raises:
        ImageError: its pixels would differ from the input: NaN, values outside 0..1, ...
    """
    checked = as_image(single, name)
    levels = np.rint(single[0].cpu().float().numpy() * 255).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)
    return image if with_alpha or image.mode != "RGBA" else Image.fromarray(checked.rgb)


def file_texts(cls: type[io.ComfyNode], facts: Mapping[str, Any], kind: str = "png") -> dict[str, str]:
    """Return the metadata of a file; none where ComfyUI was started with ``--disable-metadata``.

    Args:
        cls: the running node, with the hidden inputs ``prompt`` and ``extra_pnginfo``.
        facts: what is known of the image; None is left out.
        kind: as in ``save_image``.
    """
    return {} if args.disable_metadata else {**_graph(cls), **_facts(facts, kind)}


def _facts(facts: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Return the facts as JSON; for a PNG also each fact separately, readable in any viewer."""
    known = {key: value for key, value in facts.items() if value is not None and key != "index"}
    texts = {key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in known.items()}
    single = {f"depictqa_{key}": text for key, text in texts.items()} if kind == "png" else {}
    return {**single, "depictqa": json.dumps(known)}


def _graph(cls: type[io.ComfyNode]) -> dict[str, str]:
    """Return ComfyUI's metadata, which restore the graph when the image is dropped on the canvas."""
    chunks = {} if cls.hidden.prompt is None else {"prompt": cls.hidden.prompt}
    return {key: json.dumps(value) for key, value in {**chunks, **(cls.hidden.extra_pnginfo or {})}.items()}
