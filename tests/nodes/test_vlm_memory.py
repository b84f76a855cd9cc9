"""A vision-language model in ComfyUI's memory management: unloaded, moved in part, loaded again, cancelled."""

import pytest
from comfyui.named_pictures import different
from tiny_vlms import make_tiny_vlm


@pytest.fixture(scope="module")
def vlm(server) -> str:
    """The name of a tiny vision-language model in the server's models/depictqa."""
    make_tiny_vlm(server.models / "tiny-qwen", "qwen2_5_vl")
    return "tiny-qwen"


def scores(server, nodes):
    return [float(text) for text in server.run(nodes).texts("scores")]


def test_it_is_unloaded_and_loaded_again(server, graph, vlm):
    nodes = graph("DepictQA_ScoreImages", checkpoint=vlm, images=different(2, 5000))
    before = scores(server, nodes)
    server.free(free_memory=False)
    again = server.run(graph("DepictQA_ScoreImages", checkpoint=vlm, images=different(4, 5000)))
    assert "load" not in again.executed  # the same judge, whose weights came back
    assert [float(text) for text in again.texts("scores")][:2] == pytest.approx(before, abs=1e-3)
    assert len(again.texts("scores")) == 4
    freed = graph("DepictQA_ScoreImages", checkpoint=vlm, images=different(4, 5100), memory="free after use")
    kept = graph("DepictQA_ScoreImages", checkpoint=vlm, images=different(4, 5100))
    assert scores(server, freed) == pytest.approx(scores(server, kept), abs=1e-3)


def test_weights_that_were_moved_away_in_part_come_back(server, graph, vlm):
    whole = graph("DepictQA_ScoreImages", checkpoint=vlm, images=different(3, 5200), memory="free after use")
    wanted = scores(server, whole)
    server.free()
    nodes = graph("DepictQA_RankImages", checkpoint=vlm, images=different(3, 5200))
    nodes["part"] = {"class_type": "Test_PartlyUnloaded", "inputs": {"model": ["load", 0]}}
    nodes["node"]["inputs"]["model"] = ["part", 0]
    run = server.run(nodes)
    assert 0.3 < float(run.text("part")) < 1
    assert sorted(map(float, run.texts("scores"))) == pytest.approx(sorted(wanted), abs=1e-3)


def test_cancel_stops_within_a_ranking_and_the_next_run_works(server, graph, vlm):
    done = []

    def cancel(message, data):
        if message == "progress" and data.get("node") == "node" and data.get("value", 0) and not done:
            done.append(True)
            server.post("/interrupt", {})

    nodes = graph("DepictQA_RankImages", checkpoint=vlm, images=different(24, 5300))
    run = server.run(nodes, expect_error=True, on_message=cancel)
    assert run.interrupted and run.error is None
    value, total = run.progress["node"][-1]
    assert value < total / 2
    assert len(scores(server, graph("DepictQA_ScoreImages", checkpoint=vlm, images=different(2, 5300)))) == 2


def test_cancel_stops_in_the_middle_of_one_answer(server, graph, vlm):
    done = []

    def cancel(message, data):
        if data.get("node") == "node" and message == "text" and not done:
            done.append(True)
            server.post("/interrupt", {})

    nodes = graph("DepictQA_DescribeImages", checkpoint=vlm, images="random:5400", max_new_tokens=2048)
    run = server.run(nodes, expect_error=True, on_message=cancel)
    assert run.interrupted and run.progress["node"][-1] == (0, 1)
