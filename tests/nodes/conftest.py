"""One ComfyUI server for all node tests, and the graphs and images that they share."""

import os
from contextlib import contextmanager

import numpy as np
import pytest
from comfyui.comfy_server import ComfyServer, comfy_folder
from comfyui.front_end import CHROMIUM, NODES, WAIT
from PIL import Image, ImageFilter
from tiny import make_tiny_checkpoint

KEEP = "keep in memory"
FOLLOWERS = ("latents", "masks", "texts")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A running ComfyUI that has this pack and a few images of different sizes in its input folder."""
    server = ComfyServer(tmp_path_factory.mktemp("comfyui"))
    found = server.get("/system_stats")["system"]["comfyui_version"]
    assert found == os.environ.get("EXPECTED_COMFYUI", found)
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
    """Builds the graph of one node of the pack: model and images linked in, each output shown by a node."""
    object_info = server.get("/object_info")

    def build(
        class_type, checkpoint=tiny, as_batch=False, followers=None, memory="keep in memory", most=None, **inputs
    ):
        """
        Args:
            class_type: node id of the pack.
            checkpoint: name of the checkpoint.
            as_batch: True sends the images as one batch (equal sizes), False as a list.
            followers: how many latents, masks and texts are linked; None links none.
            memory: value of that widget of the loader.
            most: images that the network can see at once before it runs out of memory; None is no limit.
            inputs: widget values by name; for the image inputs, names of images such as "sharp.png, wide.png".
        """
        info = object_info[class_type]
        specs = {**info["input"]["required"], **info["input"].get("optional", {})}
        load = {"checkpoint": checkpoint, "device": "auto", "dtype": "auto", "memory": memory}
        nodes = {"load": {"class_type": "DepictQA_LoadModel", "inputs": load}}
        judge = ["load", 0]
        if most is not None:
            nodes["little"] = {"class_type": "Test_LittleMemory", "inputs": {"model": judge, "most": most}}
            judge = ["little", 0]
        values = {name: spec[1]["default"] for name, spec in info["input"]["required"].items() if "default" in spec[1]}
        values |= {name: value for name, value in inputs.items() if value is not None} | {"model": judge}
        nodes["node"] = {"class_type": class_type, "inputs": values}
        for name in [name for name, spec in specs.items() if spec[0] == "IMAGE" and name in values]:
            source = {"names": values[name], "as_batch": as_batch, "copies": 1}
            nodes[f"pictures_{name}"] = {"class_type": "Test_Pictures", "inputs": source}
            values[name] = [f"pictures_{name}", 0]
        if followers is not None:
            nodes["followers"] = {"class_type": "Test_Followers", "inputs": {"count": followers}}
            values |= {name: ["followers", index] for index, name in enumerate(FOLLOWERS)}
        for index, name in enumerate(info["output_name"]):
            if followers is not None or not name.endswith(FOLLOWERS):
                nodes[name] = {"class_type": "Test_Arrived", "inputs": {"items": ["node", index]}}
        return nodes

    return build


@pytest.fixture(scope="session")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def new_page(server, browser):
    """Opens a page of the front end with its first-run dialogs out of the way; the errors it prints fail the test."""
    for setting in ("TutorialCompleted", "InstalledVersion"):
        server.post("/api/settings", {f"Comfy.{setting}": "1.32.9" if setting == "InstalledVersion" else True})
    server.post("/api/settings", {"Comfy.VueNodes.Enabled": NODES == "2.0"})

    @contextmanager
    def opened():
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(WAIT)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        page.close()
        assert errors == []

    return opened


@pytest.fixture
def page(new_page):
    with new_page() as page:
        yield page


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
