"""Generate Until Good in a real ComfyUI: a loop in one run, what it keeps, what it asks for again, and Cancel."""

import json
import time
import urllib.error

import pytest
from comfyui.linked import graph_of, values
from PIL import Image

END = "DepictQA_GenerateUntilGoodEnd"
LINKED = ("best_image", "best_score", "best_seed", "best_latent", "best_text", "found", "rounds", "report")


@pytest.fixture
def unfinished(server):
    return server.base / "output" / "DepictQA" / "unfinished"


def loop_graph(server, seed=0, **inputs):
    """Start, a stand-in sampler, End; brightness of the seeds 0 to 4: 10, 60, 30, 80, 20 percent."""
    nodes = graph_of(server, END, **{"images": ["sampler", 0], "loop": ["start", 0], **inputs})
    nodes["node"]["inputs"] |= {"latents": ["sampler", 1], "texts": ["sampler", 2]}
    nodes["load"] = {"class_type": "Test_BrightJudge", "inputs": {}}
    nodes["start"] = {"class_type": "DepictQA_GenerateUntilGoodStart", "inputs": {"seed": seed}}
    nodes["sampler"] = {"class_type": "Test_Shades", "inputs": {"seed": ["start", 1], "round": ["start", 2]}}
    del nodes["best_mask"]  # nothing is linked to masks
    return nodes


def rounds_of(run):
    """How often the sampler ran."""
    return sum(node.endswith("sampler") for node in run.executed)


def test_rounds_follow_until_an_image_is_good(server, unfinished):
    run = server.run(loop_graph(server, min_score=70))
    assert [run.text(name) for name in ("best_seed", "best_text", "found", "rounds")] == [
        "3",
        "prompt 3 4",
        "True",
        "4",
    ]
    assert float(run.text("best_score")) == pytest.approx(80, abs=0.3) and rounds_of(run) == 4
    assert run.text("best_image").startswith("(1, 16, 16, 3)") and "[3.0] [0]" in run.text("best_latent")
    rounds = json.loads(run.text("report"))["results"]
    assert [(one["round"], one["seed"], one["image"], one["passed"]) for one in rounds] == [
        (1, 0, 1, False),
        (2, 1, 1, False),
        (3, 2, 1, False),
        (4, 3, 1, True),
    ]
    shown = run.outputs["node.4.node"]["depictqa"][0]
    assert "Good after 4 rounds: seed 3" in shown["notes"] and shown["rows"][0]["thumbnails"]
    assert "node" not in run.outputs  # its first answer would be shown again by a cached run
    assert not list(unfinished.glob("*.png"))
    again = server.run(loop_graph(server, min_score=70))
    assert again.executed == [] and again.text("best_seed") == "3"


def test_a_start_that_is_cached_under_another_id_still_begins_its_loop(server):
    graph = loop_graph(server, seed=400, min_score=70)
    server.run(graph)
    graph["begin"] = graph.pop("start")
    graph["node"]["inputs"]["loop"] = ["begin", 0]
    graph["sampler"]["inputs"] = {"seed": ["begin", 1], "round": ["begin", 2]}
    assert server.run(graph).text("best_seed") == "403"


def test_the_stored_answer_of_the_end_is_that_of_the_last_round(server):
    workflow = {"id": "a loop"}
    graph = loop_graph(server, seed=300, min_score=70)
    body = {"prompt": graph, "client_id": "nobody", "extra_data": {"extra_pnginfo": {"workflow": workflow}}}
    run = server.post("/prompt", body)["prompt_id"]
    while run not in server.get("/history"):
        time.sleep(0.05)
    answers = server.get("/depictqa/answers/a%20loop")
    assert "Good after 4 rounds: seed 303" in answers["node"]["notes"]


def test_the_budget_ends_the_loop_and_the_best_is_passed_on(server):
    graph = {"seed": 100, "min_score": 90, "max_rounds": 3}
    run = server.run(loop_graph(server, **graph, report_format="markdown"))
    assert [run.text(name) for name in ("best_seed", "found", "rounds")] == ["101", "False", "3"]
    assert "Not good after 3 rounds: max_rounds (3) is spent. The best has seed 101" in run.text("report")
    more = server.run(loop_graph(server, **{**graph, "max_rounds": 5}))
    assert more.text("best_seed") == "103" and rounds_of(more) == 2  # what was sampled before is not sampled again
    nothing = server.run(loop_graph(server, **graph, otherwise="pass nothing"))
    assert "best_image" not in nothing.outputs and nothing.text("found") == "False"


def test_another_node_can_have_a_say(server):
    run = server.run(loop_graph(server, min_score=0, max_rounds=2, passed=values(False, True)))
    assert (run.text("rounds"), run.text("best_seed"), run.text("found")) == ("1", "0", "True")
    assert float(run.text("best_score")) == pytest.approx(5, abs=0.3)  # the darker one, as the other may not pass


def test_a_cancelled_loop_keeps_its_best_on_the_disk_and_resumes(server, unfinished):
    def cancel(kind, data):
        if kind == "executing" and data["node"] == "node.6.sampler":
            server.post("/interrupt", {})

    graph = loop_graph(server, seed=2**64 - 2, min_score=100, max_rounds=1000)
    run = server.run(graph, expect_error=True, on_message=cancel)
    assert run.interrupted and 6 <= rounds_of(run) < 1000
    (path,) = unfinished.glob("*.png")
    with Image.open(path) as kept:
        facts = json.loads(kept.text["depictqa"])
        assert json.loads(kept.text["prompt"])["sampler"]["class_type"] == "Test_Shades"
    assert (facts["seed"], facts["prompt"]) in [(1, "prompt 1 4"), (3, "prompt 3 6")]  # Cancel may come a bit later
    assert f"seed {facts['seed']}" in path.name
    graph["node"]["inputs"]["max_rounds"] = 6
    again = server.run(graph)
    assert rounds_of(again) <= 1 and again.text("rounds") == "6"  # at most the round that was cancelled
    assert not list(unfinished.glob("*.png"))


def test_a_loop_that_is_stopped_by_hand_passes_on_its_best(server):
    def stop(kind, data):
        if kind == "executing" and data["node"] == "node.4.sampler":
            server.post("/depictqa/loops/node/stop", {})

    run = server.run(loop_graph(server, seed=200, min_score=99, max_rounds=1000), on_message=stop)
    assert run.text("found") == "False" and 4 <= int(run.text("rounds")) < 1000
    assert run.text("best_seed") in ("201", "203") and "best_image" in run.outputs
    with pytest.raises(urllib.error.HTTPError, match="404"):
        server.post("/depictqa/loops/node/stop", {})


def test_images_that_do_not_depend_on_the_start_are_refused(server):
    graph = loop_graph(server)
    graph["sampler"]["inputs"] = {"seed": 7, "round": 1}
    message = server.run(graph, expect_error=True).error["exception_message"]
    assert "link its seed" in message
