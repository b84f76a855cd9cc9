"""The shipped workflows, run as they ship: the bundled model, ComfyUI's own example picture, nothing else."""

import json

import pytest
from comfyui.comfy_server import PACK
from comfyui.ui_format import to_api

WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))


def node_of(graph, class_type):
    return next(key for key, node in graph.items() if node["class_type"] == class_type)


@pytest.fixture(scope="module")
def run_workflow(server):
    def run(name):
        workflow = json.loads((PACK / "workflows" / f"{name}.json").read_text())
        graph = to_api(workflow, server.get("/object_info"))
        return graph, server.run(graph)

    return run


def test_both_are_here():
    assert [path.stem for path in WORKFLOWS] == ["compare_with_reference", "rank_a_batch"]
    for path in WORKFLOWS:
        assert path.with_suffix(".jpg").exists()


def test_rank_a_batch(run_workflow, server):
    graph, run = run_workflow("rank_a_batch")
    shown = server.images(run, node_of(graph, "PreviewImage"))
    assert len(shown) == 4
    report = json.loads(run.text(node_of(graph, "PreviewAny")))
    assert report["checkpoint"] == "depictqa-mini"
    assert [place["rank"] for place in report["results"]] == sorted(place["rank"] for place in report["results"])
    assert report["results"][0]["index"] == 0  # the undistorted picture


def test_compare_with_reference(run_workflow, server):
    graph, run = run_workflow("compare_with_reference")
    assert len(server.images(run, node_of(graph, "PreviewImage"))) == 1
    report = json.loads(run.text(node_of(graph, "PreviewAny")))
    assert report["results"][0]["verdict"] == "A"
    assert report["results"][0]["text"]
