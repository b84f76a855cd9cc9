"""Load Images From Folder in a real ComfyUI: what arrives, what is left out, what is read again, and Cancel."""

import hashlib
import os

import numpy as np
import pytest
from comfyui.comfy_server import PACK
from comfyui.linked import graph_of
from PIL import Image


@pytest.fixture(scope="module")
def shots(server):
    """input/shots: two images, a turned, a damaged and a hidden one, and one in a folder further in."""
    folder = server.input / "shots"
    (folder / "sdxl").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for name, size in {
        "x10.png": (40, 60, 3),
        "x2.png": (50, 40, 4),
        ".hidden.png": (40, 40, 3),
        "sdxl/y.png": (40, 40, 3),
    }.items():
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(folder / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(rng.integers(0, 256, (40, 70, 3), np.uint8)).save(folder / "turned.jpg", exif=turned)
    (folder / "x3.png").write_bytes((folder / "x10.png").read_bytes()[:99])
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def load(server, shots):
    def run(expect_error=False, **inputs):
        given = {"folder": "input/shots", "subfolders": False, "start": 0, "limit": 100, **inputs}
        return server.run(graph_of(server, "DepictQA_LoadFolder", **given), expect_error=expect_error)

    return run


def arrived(picture: Image.Image) -> str:
    """How Test_Arrived shows the pixels of an RGB image."""
    pixels = (np.asarray(picture, np.float32) / 255)[None]
    return f"{pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()[:12]}"


def test_pictures_arrive_in_natural_order_as_the_judge_sees_them(load, shots):
    run = load()
    assert run.texts("names") == ["turned.jpg", "x2.png", "x10.png"]
    assert run.texts("folders") == ["shots"] * 3
    assert run.texts("base_names") == ["turned", "x2", "x10"]
    on_white = Image.new("RGBA", (40, 50), "white")
    on_white.alpha_composite(Image.open(shots / "x2.png"))
    turned, clear, plain = run.texts("images")
    assert turned.startswith("(1, 70, 40, 3) ")
    assert plain == arrived(Image.open(shots / "x10.png"))
    assert clear.startswith("(1, 50, 40, 3) ") and clear != arrived(Image.open(shots / "x2.png").convert("RGB"))
    whole, masked, _ = run.texts("masks")
    assert whole == "(1, 70, 40) [0.0]"
    alpha = 1 - np.asarray(Image.open(shots / "x2.png"), np.float32)[None, :, :, 3] / 255
    assert masked == f"(1, 50, 40) {np.unique(alpha).tolist()}"
    kept = load(keep_alpha=True).texts("images")
    assert kept[1] == arrived(Image.open(shots / "x2.png")) and [kept[0], kept[2]] == [turned, plain]
    assert "3 of 4 images" in run.text("report") and "left out: x3.png" in run.text("report")
    assert str(shots) not in run.text("report") + run.text("node")
    assert run.progress["node"][-1] == (4, 4)


def test_folders_inside_and_parts_of_a_folder(load):
    run = load(subfolders=True)
    assert run.texts("names")[-1] == "sdxl/y.png" and run.texts("folders")[-1] == "sdxl"
    assert run.texts("base_names")[-1] == "y"
    assert load(start=1, limit=2).texts("names") == ["x2.png"]  # and the damaged x3.png
    assert load(folder="input/shots/sdxl").texts("names") == ["y.png"]


def test_the_widget_offers_the_folders_below_input_and_output(server, shots):
    info = server.get("/object_info/DepictQA_LoadFolder")["DepictQA_LoadFolder"]
    offered = info["input"]["required"]["folder"][1]["options"]
    assert {"input", "output", "input/shots", "input/shots/sdxl"} <= set(offered)


def test_the_samples_of_the_pack_need_no_copy(server, load):
    spec = server.get("/object_info/DepictQA_LoadFolder")["DepictQA_LoadFolder"]["input"]["required"]["folder"]
    assert {"samples", "samples/photographs", "samples/models/sharp"} <= set(spec[1].get("options") or spec[0])
    files = sorted(path.name for path in (PACK / "workflows" / "samples" / "photographs").iterdir())
    run = load(folder="samples/photographs", start=1, limit=2)
    assert run.texts("names") == files[1:3] and run.texts("folders") == ["photographs"] * 2
    assert run.text("report") == f"2 of {len(files)} images of samples/photographs"
    error = load(folder="samples/../samples", expect_error=True).error["exception_message"]
    assert "leads out of the folder" in error and str(PACK) not in error


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"folder": "input/../../secret"}, "leads out of the folder"),
        ({"folder": "/etc"}, "absolute path"),
        ({"folder": "models"}, "is not in ComfyUI's input or output folder"),
        ({"folder": "input/nowhere"}, "there is no folder"),
        ({"folder": "input/hollow"}, "turn subfolders on"),
        ({"folder": "input/hollow", "subfolders": True}, "there are no images"),
        ({"folder": "input/broken"}, "none of the 1 images can be read"),
        ({"folder": "input/broken"}, "a.png: is not an image of a supported format"),
        ({"start": 9}, "there are 4 images"),
    ],
)
def test_what_cannot_be_loaded_is_told(load, server, shots, inputs, message):
    for name in ("hollow", "broken"):
        (server.input / name).mkdir(exist_ok=True)
    (server.input / "broken" / "a.png").write_bytes(b"no image")
    run = load(expect_error=True, **inputs)
    assert str(server.base) not in run.error["exception_message"]
    assert message in run.error["exception_message"] and run.error["node_id"] == "node"
    assert load().texts("names")


def test_files_are_read_again_only_when_they_change(load, shots):
    load(folder="input/shots/sdxl")
    assert load(folder="input/shots/sdxl").executed == []
    os.utime(shots / "sdxl" / "y.png", (1, 1))
    assert "node" in load(folder="input/shots/sdxl").executed


def test_cancel_stops_between_two_pictures(server):
    many = server.input / "many"
    many.mkdir()
    for index in range(60):
        Image.fromarray(np.full((900, 900, 3), index, np.uint8)).save(many / f"{index}.png")
    nodes = graph_of(server, "DepictQA_LoadFolder", folder="input/many", subfolders=False, start=0, limit=100)
    done = []

    def cancel(message, data):
        if message == "progress" and data.get("node") == "node" and not done:
            done.append(True)
            server.post("/interrupt", {})

    run = server.run(nodes, expect_error=True, on_message=cancel)
    assert run.interrupted and run.progress["node"][-1][0] < 60
