"""Copies on the disk of the best image of a loop that is not finished: for a run that is cancelled or killed."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io

from ..depictqa_core.images.image import RGBImage
from ..depictqa_core.storage.files import readable_file_errors, write_file
from ..depictqa_core.storage.saved_images import image_data
from .saved_files import file_texts, to_file_image

FOLDER = Path("DepictQA", "unfinished")
"""Where the copies are, in ComfyUI's output folder."""
KEY_LENGTH = 12


def store(cls: type[io.ComfyNode], single: torch.Tensor, picture: RGBImage, facts: dict[str, Any]) -> Path:
    """Write the copy of an image, with what is known of it in name and metadata; the same image has the same file.

    Args:
        cls: the running node.
        single: IMAGE ``[1, H, W, C]``.
        picture: the same, checked.
        facts: at least ``score`` and ``seed``.

    Raises:
        DepictQAError: the file cannot be written.
    """
    path = path_of(picture, facts)
    with readable_file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_file(path, image_data(to_file_image(single, picture.name), file_texts(cls, facts)))
    return path


def path_of(picture: RGBImage, facts: dict[str, Any]) -> Path:
    """Return where the copy of an image is; arguments as in ``store``."""
    name = f"{facts['score']:05.1f}_seed {facts['seed']}_{picture.key[:KEY_LENGTH]}.png"
    return Path(folder_paths.get_output_directory()) / FOLDER / name


def remove(*paths: Path | None) -> None:
    """Remove copies that are there and can be removed."""
    for path in filter(None, paths):
        with suppress(OSError):
            path.unlink()
