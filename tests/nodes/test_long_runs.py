"""Long runs in a real ComfyUI: the best images stay on the disk, waiting runs are removed, folders are judged once."""

import json
import os
import time
import uuid

import numpy as np
import pytest
from comfyui.linked import graph_of, values
from PIL import Image

WORKFLOW = "5a1ec0de-0000-4000-8000-000000000001"


def keep_graph(server, seed, **inputs):
    """A stand-in sampler whose two images are kept with given scores."""
    nodes = graph_of(server, "DepictQA_KeepBest", images=["sampler", 0], folder="DepictQA/long run", **inputs)
    nodes["sampler"] = {"class_type": "Test_Shades", "inputs": {"seed": seed, "round": 1}}
    return nodes


def test_the_best_of_several_runs_stay_in_the_folder(server):
    folder = server.base / "output" / "DepictQA" / "long run"
    origin = {"seeds": values(2**64 - 1), "prompts": values("a cat")}
    first = server.run(keep_graph(server, 0, keep=2, scores=values(40.0, 50.0), **origin))
    assert (first.texts("best_scores"), first.text("seen"), first.text("reached")) == (["50.0", "40.0"], "2", "False")
    later = {"seeds": values(7), "prompts": values("a dog")}
    run = server.run(keep_graph(server, 1, keep=2, target_score=50, scores=values(45.5, 90.0), **later))
    assert run.texts("best_scores") == ["90.0", "50.0"] and run.text("reached") == "True"
    assert run.texts("best_seeds") == ["7", str(2**64 - 1)] and run.texts("best_prompts") == ["a dog", "a cat"]
    assert run.texts("best_images")[0].startswith("(1, 16, 16, 3)") and run.text("seen") == "4"
    names = ["090.0_seed 7_00001_.png", f"050.0_seed {2**64 - 1}_00001_.png"]
    assert run.texts("files") == [f"DepictQA/long run/{name}" for name in names]
    assert sorted(path.name for path in folder.glob("*.png")) == sorted(names)
    with Image.open(folder / names[0]) as saved:
        assert saved.text["depictqa_prompt"] == "a dog" and saved.getpixel((0, 0)) == (140,) * 3  # 55 percent
    assert [entry["score"] for entry in json.loads((folder / "best.json").read_text())["images"]] == [90, 50]


@pytest.mark.parametrize("folder", ["../outside", "", "/tmp/absolute"])
def test_folders_that_lead_out_are_refused(server, folder):
    graph = keep_graph(server, 2, scores=values(1.0))
    graph["node"]["inputs"]["folder"] = folder
    message = server.run(graph, expect_error=True).error["exception_message"]
    assert message.startswith("folder")


def queue(server, graph, workflow):
    body = {
        "prompt": graph,
        "client_id": uuid.uuid4().hex,
        "extra_data": {"extra_pnginfo": {"workflow": {"id": workflow}}},
    }
    return server.post("/prompt", body)["prompt_id"]


def test_stop_removes_the_waiting_runs_of_its_workflow_only(server):
    blocker = graph_of(server, "DepictQA_PickImages", images=["sampler", 0], wait="always")
    blocker = {"node": blocker["node"], "sampler": {"class_type": "Test_Shades", "inputs": {"seed": 3, "round": 1}}}
    running = queue(server, blocker, "other")
    while not (picks := server.get("/depictqa/picks")["picks"]):
        time.sleep(0.05)
    stop = {"node": {"class_type": "DepictQA_StopAutoQueue", "inputs": {"stop": ["in", 0], "remove_waiting": True}}}
    stop["in"] = {"class_type": "Test_Values", "inputs": {"json": "[false, true]"}}
    first, second, third = queue(server, stop, WORKFLOW), queue(server, stop, WORKFLOW), queue(server, stop, "other")
    server.post(f"/depictqa/picks/{picks[0]['id']}", {"picked": [0]})
    while third not in server.get("/history"):
        time.sleep(0.05)
    history = server.get("/history")
    assert running in history and first in history and second not in history
    assert history[first]["outputs"]["node"]["depictqa_stop"] == [True]
    assert history[first]["outputs"]["node"]["depictqa"][0]["notes"] == ["Stopped: 1 waiting run removed"]


@pytest.mark.slow
def test_every_one_of_many_queued_runs_ends_and_is_in_the_list(server):
    """Runs that are queued at once, as by Run (Instant): each with another image, so that nothing is cached."""
    count = 30
    keep = {"images": ["image", 0], "scores": ["score", 0], "keep": 4, "folder": "DepictQA/many", "target_score": 0.0}
    graph = {
        "load": {"class_type": "Test_BrightJudge", "inputs": {}},
        "score": {"class_type": "DepictQA_ScoreImages", "inputs": {"model": ["load", 0], "images": ["image", 0]}},
        "node": {"class_type": "DepictQA_KeepBest", "inputs": keep},
        "scores": {"class_type": "Test_Arrived", "inputs": {"items": ["score", 0]}},
    }
    queued = []
    for seed in range(count):
        inputs = {"names": f"random:{5000 + seed}", "as_batch": False, "copies": 1}
        graph["image"] = {"class_type": "Test_Pictures", "inputs": inputs}
        queued.append(queue(server, graph, WORKFLOW))
    deadline = time.monotonic() + 120
    while queued[-1] not in (history := server.get("/history")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [history[run]["status"]["status_str"] for run in queued] == ["success"] * count
    scores = [float(history[run]["outputs"]["scores"]["text"][0]) for run in queued]
    best = json.loads((server.base / "output" / "DepictQA" / "many" / "best.json").read_text())
    assert best["seen"] == count == len(set(scores))
    assert [entry["score"] for entry in best["images"]] == pytest.approx(sorted(scores, reverse=True)[:4])
    assert server.get("/queue") == {"queue_running": [], "queue_pending": []}


@pytest.fixture
def shades(server):
    """input/shades: 12 grey images, one per brightness, and a damaged one."""
    folder = server.input / "shades"
    folder.mkdir(exist_ok=True)
    for shade in range(12):
        Image.fromarray(np.full((8, 8, 3), 20 * shade, np.uint8)).save(folder / f"{shade}.png")
    (folder / "damaged.png").write_bytes((folder / "3.png").read_bytes()[:40])
    return folder


def folder_graph(server, **inputs):
    nodes = graph_of(server, "DepictQA_BestOfFolder", folder="input/shades", **inputs)
    nodes["load"] = {"class_type": "Test_BrightJudge", "inputs": {}}
    return nodes


def test_a_folder_is_judged_once_and_its_best_are_loaded(server, shades):
    run = server.run(folder_graph(server, keep=3))
    assert run.texts("names") == ["11.png", "10.png", "9.png"] and run.text("judged") == "12"
    assert float(run.texts("best_scores")[0]) == pytest.approx(220 / 2.55)
    assert run.texts("best_images")[0].startswith("(1, 8, 8, 3)")
    notes = run.outputs["node"]["depictqa"][0]["notes"]
    assert notes[0] == "The best 3 of 12 images of input/shades" and notes[1].startswith("left out: damaged.png: ")
    assert run.progress["node"][-1] == (13, 13)
    Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(shades / "5b.png")
    os.remove(shades / "11.png")
    again = server.run(folder_graph(server, keep=2))
    assert again.texts("names") == ["5b.png", "10.png"] and again.text("judged") == "12"
    assert again.progress["node"][0][0] == 13  # what was judged before is read from the table
    assert server.run(folder_graph(server, keep=2)).executed == []


def test_a_folder_without_images_is_refused_in_words_of_the_node(server, shades):
    (server.input / "hollow shades").mkdir(exist_ok=True)
    graph = folder_graph(server)
    graph["node"]["inputs"]["folder"] = "input/hollow shades"
    message = server.run(graph, expect_error=True).error["exception_message"]
    assert "turn subfolders on" in message and "--recursive" not in message
