"""One ComfyUI server for all node tests, and the graphs and pictures that they share."""

import numpy as np
import pytest
from comfyui.comfy_server import ComfyServer, comfy_folder
from PIL import Image, ImageFilter
from tiny import make_tiny_checkpoint


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A running ComfyUI that has this pack and a few pictures of different sizes in its input folder."""
    server = ComfyServer(tmp_path_factory.mktemp("comfyui"))
    for name, picture in sample_pictures().items():
        picture.save(server.input / name)
    (server.input / "example.png").write_bytes((comfy_folder() / "input" / "example.png").read_bytes())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def tiny(server) -> str:
    """The name of a tiny checkpoint with random weights in the server's models/depictqa: quick, and sense-free."""
    make_tiny_checkpoint(server.models / "tiny")
    return "tiny"


@pytest.fixture(scope="session")
def graph(server, tiny):
    """Builds the graph of one node of the pack: model and pictures linked in, each output shown by a node."""
    object_info = server.get("/object_info")

    def build(class_type, checkpoint=tiny, reference=None, as_batch=False, **inputs):
        """
        Args:
            class_type: node id of the pack.
            checkpoint: name of the checkpoint.
            reference: names of the reference pictures, or None for an unlinked input.
            as_batch: True sends the pictures as one batch (equal sizes), False as a list.
            inputs: widget values by name; for the image inputs, names of pictures such as "sharp.png, wide.png".
        """
        info = object_info[class_type]
        load = {"checkpoint": checkpoint, "device": "auto", "dtype": "auto"}
        nodes = {"load": {"class_type": "DepictQA_LoadModel", "inputs": load}}
        values = {name: spec[1]["default"] for name, spec in info["input"]["required"].items() if "default" in spec[1]}
        nodes["node"] = {"class_type": class_type, "inputs": {**values, **inputs, "model": ["load", 0]}}
        if reference is not None:
            nodes["node"]["inputs"]["reference"] = reference
        for name, spec in {**info["input"]["required"], **info["input"].get("optional", {})}.items():
            if spec[0] == "IMAGE" and name in nodes["node"]["inputs"]:
                names = nodes["node"]["inputs"][name]
                source = {"names": names, "as_batch": as_batch, "copies": 1}
                nodes[f"pictures_{name}"] = {"class_type": "Test_Pictures", "inputs": source}
                nodes["node"]["inputs"][name] = [f"pictures_{name}", 0]
        for index, (name, kind) in enumerate(zip(info["output_name"], info["output"], strict=True)):
            show, field = ("Test_Arrived", "images") if kind == "IMAGE" else ("PreviewAny", "source")
            nodes[name] = {"class_type": show, "inputs": {field: ["node", index]}}
        return nodes

    return build


def sample_pictures() -> dict[str, Image.Image]:
    """sharp.png, blurred.png, noisy.png of 96 x 128 and wide.png of 80 x 200 pixels (height x width)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:96, 0:128]
    waves = np.stack([np.sin(x / 9 + y / 17), np.cos(x / 5 - y / 7), np.sin(x * y / 900)], axis=-1)
    sharp = Image.fromarray(np.uint8(127 + 100 * waves))
    noisy = np.clip(np.asarray(sharp) + rng.normal(0, 50, (96, 128, 3)), 0, 255)
    return {
        "sharp.png": sharp,
        "blurred.png": sharp.filter(ImageFilter.GaussianBlur(4)),
        "noisy.png": Image.fromarray(np.uint8(noisy)),
        "wide.png": sharp.resize((200, 80)),
    }
