"""A server that is killed inside a loop and started again: what was finished is there, and the best so far, too."""

import json

import pytest
import websocket
from comfyui.linked import graph_of, values
from PIL import Image

FOLDER = "DepictQA/killed"


def keep_graph(server, seed, *scores):
    nodes = graph_of(server, "DepictQA_KeepBest", images=["sampler", 0], folder=FOLDER, keep=2, scores=values(*scores))
    nodes["sampler"] = {"class_type": "Test_Shades", "inputs": {"seed": seed, "round": 1}}
    return {name: node for name, node in nodes.items() if name not in ("best_seeds", "best_prompts")}


def loop_graph(server, max_rounds):
    """A loop whose images never are good; the brightest of the seeds 500, 501 ... is that of 503."""
    nodes = graph_of(server, "DepictQA_GenerateUntilGoodEnd", images=["sampler", 0], loop=["start", 0])
    nodes["node"]["inputs"] |= {"min_score": 100, "max_rounds": max_rounds}
    nodes["load"] = {"class_type": "Test_BrightJudge", "inputs": {}}
    nodes["start"] = {"class_type": "DepictQA_GenerateUntilGoodStart", "inputs": {"seed": 500}}
    nodes["sampler"] = {"class_type": "Test_Shades", "inputs": {"seed": ["start", 1], "round": ["start", 2]}}
    return {name: node for name, node in nodes.items() if name not in ("best_latent", "best_mask", "best_text")}


@pytest.mark.slow
def test_the_best_so_far_and_what_was_finished_outlive_a_killed_server(server):
    def kill(kind, data):
        if kind == "executing" and data["node"] == "node.7.sampler":
            server.kill()

    server.run(keep_graph(server, 0, 40.0, 50.0))
    with pytest.raises((websocket.WebSocketException, OSError)):
        server.run(loop_graph(server, 1000), on_message=kill)
    unfinished = server.base / "output" / "DepictQA" / "unfinished"
    (path,) = unfinished.glob("*_seed 503_*.png")
    with Image.open(path) as image:
        assert image.getpixel((0, 0)) == (204,) * 3  # whole, 80 percent
        facts = json.loads(image.text["depictqa"])
        assert (facts["seed"], facts["round"]) == (503, 4) and facts["score"] == pytest.approx(80, abs=0.3)
        assert json.loads(image.text["prompt"])["start"]["inputs"] == {"seed": 500}  # it can be opened as a workflow
    server.start()
    again = server.run(loop_graph(server, 6))  # nothing is cached: all rounds run again, and find the same
    assert sum(node.endswith("sampler") for node in again.executed) == 6
    assert (again.text("best_seed"), again.text("found"), path.exists()) == ("503", "False", False)
    kept = server.run(keep_graph(server, 1, 45.0, 30.0))
    assert (kept.texts("best_scores"), kept.text("seen")) == (["50.0", "45.0"], "4")
