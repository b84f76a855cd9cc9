"""Custom nodes for tests only: a source of lists and batches of any pictures, and a sink that tells what arrived."""

import hashlib
import os

import folder_paths
import numpy as np
import torch
from PIL import Image

SPECIAL = {
    "nan": lambda: torch.full((1, 32, 32, 3), float("nan")),
    "alpha": lambda: torch.linspace(0, 1, 32 * 32 * 4).reshape(1, 32, 32, 4),
    "grey": lambda: torch.linspace(0, 1, 32 * 32).reshape(1, 32, 32, 1),
    "small": lambda: torch.linspace(0, 1, 16 * 16 * 3).reshape(1, 16, 16, 3),
    "empty": lambda: torch.zeros((0, 32, 32, 3)),
}


class Pictures:
    """Pictures by file name (input folder), by the names in SPECIAL or "random:SEED": a list of batches of ``copies``."""

    CATEGORY, FUNCTION = "tests", "run"
    RETURN_TYPES, OUTPUT_IS_LIST = ("IMAGE",), (True,)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "names": ("STRING", {"default": ""}),
                "as_batch": ("BOOLEAN", {"default": False}),
                "copies": ("INT", {"default": 1}),
            }
        }

    def run(self, names, as_batch, copies):
        pictures = [_picture(name.strip()).repeat(copies, 1, 1, 1) for name in names.split(",")]
        return ([torch.cat(pictures)] if as_batch else pictures,)


class Arrived:
    """Shows shape and hash of every picture that arrives, one text per list item."""

    CATEGORY, FUNCTION, OUTPUT_NODE = "tests", "run", True
    RETURN_TYPES, INPUT_IS_LIST = (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images):
        return {"ui": {"text": [f"{tuple(image.shape)} {_hash(image)}" for image in images]}}


def _picture(name):
    if name in SPECIAL:
        return SPECIAL[name]()
    if name.startswith("random:"):  # as many different pictures as a test needs
        return torch.rand((1, 48, 64, 3), generator=torch.Generator().manual_seed(int(name.removeprefix("random:"))))
    with Image.open(os.path.join(folder_paths.get_input_directory(), name)) as image:
        return torch.from_numpy(np.asarray(image.convert("RGB")).astype(np.float32) / 255)[None]


def _hash(image):
    return hashlib.sha256(image.cpu().numpy().tobytes()).hexdigest()[:12]


NODE_CLASS_MAPPINGS = {"Test_Pictures": Pictures, "Test_Arrived": Arrived}
