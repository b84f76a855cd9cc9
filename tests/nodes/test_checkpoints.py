"""Checkpoints as graphs name them: chosen from the model folders only, damaged ones refused in one readable line."""

import json
import os
import pickle

import pytest
from PIL import Image
from tiny import make_tiny_checkpoint, make_tiny_encoder


class _Bomb:
    """A pickle that writes a file when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def weights(folder):
    files = sorted(folder.glob("*.safetensors"))
    assert files
    return files


def truncate(folder, _):
    for path in weights(folder):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def delete_weights(folder, _):
    for path in weights(folder):
        path.unlink()


def delete_config(folder, _):
    (folder / "config.json").unlink()


def empty(folder, _):
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()


def pickle_in_its_place(folder, witness):
    for path in weights(folder):
        path.write_bytes(pickle.dumps(_Bomb(witness)))


def pickle_beside(folder, witness):
    delete_weights(folder, witness)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb(witness)))


DAMAGES = [truncate, delete_weights, delete_config, empty, pickle_in_its_place, pickle_beside]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_broken_checkpoint_is_one_readable_line_and_the_server_lives(server, graph, tmp_path, damage):
    name = f"broken_{damage.__name__}"
    make_tiny_checkpoint(server.models / name)
    damage(server.models / name, tmp_path / "witness")
    run = server.run(graph("DepictQA_ScoreImages", checkpoint=name, images="sharp.png"), expect_error=True)
    message = run.error["exception_message"].strip()
    assert run.error["node_id"] == "load"
    assert "\n" not in message and name in message, message
    assert damage is not delete_config or "config.json" in message, message
    assert not (tmp_path / "witness").exists()
    assert "DepictQA_LoadModel" in server.get("/object_info")
    server.run(graph("DepictQA_ScoreImages", images="sharp.png"))


@pytest.mark.parametrize("name", ["../depictqa/tiny", "../../input", "tiny/../tiny", "/etc", ".", "", "gone", "tiny/"])
def test_names_that_are_not_offered_are_refused(server, graph, name):
    run = server.run(graph("DepictQA_ScoreImages", checkpoint=name, images="sharp.png"), expect_error=True)
    message = run.error["exception_message"].strip()
    assert run.error["node_id"] == "load"
    assert "\n" not in message and "models/depictqa" in message and "tiny" in message


def test_bundled_comes_first_then_the_folders(server, tiny):
    options = server.get("/object_info/DepictQA_LoadModel")["DepictQA_LoadModel"]["input"]["required"]["checkpoint"][1]
    assert options["options"][0] == options["default"] == "depictqa-mini (bundled)"
    assert tiny in options["options"]


def test_only_folders_with_a_checkpoint_are_listed(server, tiny, graph):
    """Training keeps its state beside the checkpoint, in NAME.run."""
    for name in ("mine.run/state", "empty_folder", "pictures"):
        (server.models / name).mkdir(parents=True, exist_ok=True)
    (server.models / "mine.run" / "loss.csv").write_text("step,loss\n")
    (server.models / "mine.run" / "state" / "optimiser.pt").write_bytes(b"not read")
    (server.models / "pictures" / "model.safetensors").write_bytes(b"")
    options = server.get("/object_info/DepictQA_LoadModel")["DepictQA_LoadModel"]["input"]["required"]["checkpoint"][1]
    assert not {"mine.run", "empty_folder", "pictures"} & set(options["options"]) and tiny in options["options"]
    run = server.run(graph("DepictQA_ScoreImages", checkpoint="mine.run", images="sharp.png"), expect_error=True)
    assert "there is no checkpoint 'mine.run'" in run.error["exception_message"]


def test_a_changed_checkpoint_is_loaded_again(server, graph):
    make_tiny_checkpoint(server.models / "changing")
    ask = graph("DepictQA_ScoreImages", checkpoint="changing", images="sharp.png")
    server.run(ask)
    assert server.run(ask).executed == []
    truncate(server.models / "changing", None)
    assert server.run(ask, expect_error=True).error["node_id"] == "load"


@pytest.mark.parametrize("place", ["ckpt.pt", "wild/ckpt.pt"])
def test_a_raw_delta_is_listed_and_its_error_is_the_command_that_imports_it(server, graph, place):
    """Named as it lies: models/depictqa/ckpt.pt and models/depictqa/wild/ckpt.pt."""
    raw = server.models / place
    raw.parent.mkdir(exist_ok=True)
    raw.write_bytes(b"not read")
    name = place.split("/")[0]
    info = server.get("/object_info/DepictQA_LoadModel")["DepictQA_LoadModel"]
    assert name in info["input"]["required"]["checkpoint"][1]["options"]
    run = server.run(graph("DepictQA_ScoreImages", checkpoint=name, images="sharp.png"), expect_error=True)
    message = run.error["exception_message"].strip()
    raw.unlink()
    assert run.error["node_id"] == "load" and "\n" not in message
    out = server.models / name.removesuffix(".pt")
    assert (
        f'-m depictqa_core import --clip ViT-L-14.pt --llm VICUNA_FOLDER --delta "{raw}" --out "{out}-imported"'
        in message
    )


@pytest.mark.parametrize("edit", ["position", "picture", "more", "removed"])
def test_edited_anchors_are_read_again(server, graph, edit):
    folder = server.base / "models" / "depictqa_anchors" / f"edited_{edit}"
    folder.mkdir(parents=True)
    anchors = [{"file": f"{i}.png", "position": 50 * i} for i in range(3)]
    for i in range(3):
        Image.new("RGB", (32, 32), (80 * i, 40, 200)).save(folder / f"{i}.png")
    (folder / "anchors.json").write_text(json.dumps({"anchors": anchors}))
    make_tiny_checkpoint(server.models / "no_scores", tasks=("identification", "rating"))
    ask = graph("DepictQA_ScoreImages", checkpoint="no_scores", images="sharp.png")
    ask["load"]["inputs"]["anchors"] = folder.name
    before = server.run(ask).text("scores")
    assert server.run(ask).executed == []
    if edit == "picture":
        stat = (folder / "1.png").stat()
        Image.new("RGB", (32, 32), (80, 40, 201)).save(folder / "1.png")
        os.utime(folder / "1.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif edit == "removed":
        (folder / "2.png").unlink()
    else:
        anchors = [*anchors, {"file": "1.png", "position": 51}] if edit == "more" else anchors[::-1]
        anchors[0] = {**anchors[0], "position": 20}
        (folder / "anchors.json").write_text(json.dumps({"anchors": anchors}))
    again = server.run(ask, expect_error=edit == "removed")
    assert "load" in again.executed
    if edit == "removed":
        assert "2.png" in again.error["exception_message"]
    else:
        assert again.text("scores") != before


def test_an_edited_encoder_is_read_again(server, graph):
    folder = server.base / "models" / "depictqa_encoders" / "edited"
    make_tiny_encoder(folder)
    ask = graph("DepictQA_DescribeImages", images="sharp.png", max_new_tokens=16)
    ask["load"]["inputs"]["encoder"] = "edited"
    server.run(ask)
    assert server.run(ask).executed == []
    stat = (folder / "model.safetensors").stat()
    make_tiny_encoder(folder, seed=1)
    os.utime(folder / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "load" in server.run(ask).executed
    (folder / "config.json").unlink()
    run = server.run(ask, expect_error=True)
    assert run.error["node_id"] == "load" and "no config.json" in run.error["exception_message"]


def test_own_anchors_and_encoders_are_folders_of_their_own(server, graph):
    info = server.get("/object_info/DepictQA_LoadModel")["DepictQA_LoadModel"]["input"]["optional"]
    for kind, folder in (("anchors", "anchors"), ("encoder", "encoders")):
        assert info[kind][1]["options"][0] == info[kind][1]["default"] == "built in"
        ask = graph("DepictQA_ScoreImages", images="sharp.png")
        ask["load"]["inputs"][kind] = "../depictqa"
        run = server.run(ask, expect_error=True)
        assert f"models/depictqa_{folder}" in run.error["exception_message"]
