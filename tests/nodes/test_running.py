"""How the nodes run in a real ComfyUI: progress, Cancel, answers that are kept, memory that is given back."""

import os

import pytest
from comfyui.linked import graph_of, pictures, values
from comfyui.named_pictures import THREE, different
from tiny import make_tiny_checkpoint


def cancelled(server, nodes, kind):
    """Run a graph and cancel it when the judging node first shows a text, or progress that is not nothing."""
    done = []

    def cancel(message, data):
        if message == kind and data.get("node") == "node" and data.get("value", 1) and not done:
            done.append(True)
            server.post("/interrupt", {})

    run = server.run(nodes, expect_error=True, on_message=cancel)
    assert run.interrupted and run.error is None
    return run


def held(server, after):
    """Class names of the models that ComfyUI's memory management holds after a graph."""
    nodes = {**after, "held": {"class_type": "Test_LoadedModels", "inputs": {"after": ["node", 0]}}}
    return server.run(nodes).outputs["held"]["text"]


def test_the_progress_bar_moves(server, graph):
    run = server.run(graph("DepictQA_ScoreImages", images=different(42)))
    values = [value for value, _ in run.progress["node"]]
    assert values == sorted(values)
    assert {total for _, total in run.progress["node"]} == {42}
    assert len(set(values)) > 1 and values[-1] == 42


def test_a_second_run_does_no_work(server, graph):
    first = server.run(graph("DepictQA_RankImages", images=THREE, top_k=1))
    second = server.run(graph("DepictQA_RankImages", images=THREE, top_k=1))
    assert second.executed == [] and not second.progress
    assert second.outputs == first.outputs


def test_cancel_stops_a_long_ranking_and_what_was_found_stays(server, graph):
    nodes = graph("DepictQA_RankImages", images=different(60, 100))
    run = cancelled(server, nodes, "progress")
    value, total = run.progress["node"][-1]
    assert value < total / 2
    again = cancelled(server, nodes, "progress")
    assert max(count for count, _ in again.progress["node"][:2]) >= value > 0  # found before, not asked again
    server.run(graph("DepictQA_ScoreImages", images="noisy.png"))


LONG = {
    "DepictQA_IdentifyDistortions": {},
    "DepictQA_ScoreImages": {},
    "DepictQA_FilterImages": {},
    "DepictQA_QualitySheet": {},
    "DepictQA_CompareModels": {},
    "DepictQA_QualityMap": {"tile": 32},
    "DepictQA_SaveScoredImages": {"filename_prefix": "cancelled/%index%"},
}


@pytest.mark.parametrize("class_type", LONG)
def test_cancel_stops_every_node_that_works_long(server, tiny, class_type):
    """It stops soon after its first sign of progress, the server goes on, and the same graph can be run again."""
    first = list(LONG).index(class_type) * 1000  # images that no other test has asked about
    names = ", ".join(f"random:{first + number}@{640 if 'Map' in class_type else 320}x240" for number in range(80))

    def nodes_for(names):
        labels = {"labels": values(*"ab" * (names.count(",") // 2 + 1))} if "Models" in class_type else {}
        nodes = graph_of(server, class_type, images=pictures(names), **labels, **LONG[class_type])
        return {name: node for name, node in nodes.items() if not name.endswith(("latents", "masks", "texts"))}

    nodes = nodes_for(names)
    run = cancelled(server, nodes, "progress")
    value, total = run.progress["node"][-1]
    assert value < total
    server.run(nodes_for("sharp.png, noisy.png"))
    if class_type == "DepictQA_SaveScoredImages":  # whole images, each with its line
        folder = server.base / "output" / "cancelled"
        listed = (folder / "scores.csv").read_text(encoding="utf-8").splitlines()
        assert len(listed) - 1 == len(list(folder.glob("*.png"))) < 80


def test_cancel_stops_in_the_middle_of_one_answer(server, graph):
    nodes = graph("DepictQA_DescribeImages", images="random:1", max_new_tokens=2048)
    run = cancelled(server, nodes, "text")
    assert run.progress["node"][-1] == (0, 1)


def test_free_memory_unloads_the_judge_and_it_comes_back(server, graph):
    nodes = graph("DepictQA_ScoreImages", images="blurred.png, sharp.png")
    assert "DepictQAWeights" in held(server, nodes)
    before = [float(score) for score in server.run(nodes).texts("scores")]
    server.free()
    only_held = {"node": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}}
    assert "DepictQAWeights" not in held(server, only_held)
    again = server.run(nodes)
    assert "node" in again.executed
    assert [float(score) for score in again.texts("scores")] == pytest.approx(before, abs=1e-3)


@pytest.mark.parametrize("memory", ["keep in memory", "free after use"])
def test_answers_outlive_freed_memory(server, graph, memory):
    nodes = graph("DepictQA_ScoreImages", images=different(48, 3000 if memory[0] == "k" else 3100), memory=memory)
    before = server.run(nodes)
    server.free()
    again = server.run(nodes)
    assert {"load", "node"} <= set(again.executed) and not again.progress.get("node")
    assert again.text("report") == before.text("report")


def test_what_a_cancelled_run_found_outlives_freed_memory(server, graph):
    nodes = graph("DepictQA_RankImages", images=different(60, 3200))
    run = cancelled(server, nodes, "progress")
    value, total = run.progress["node"][-1]
    server.free()
    again = cancelled(server, nodes, "progress")
    assert max(count for count, _ in again.progress["node"][:2]) >= value > 0 and value < total


def test_answers_of_before_do_not_count_for_a_checkpoint_that_has_changed(server, graph):
    """Also where size and time of the weights are as before."""
    make_tiny_checkpoint(server.models / "renewed", seed=1)
    nodes = graph("DepictQA_ScoreImages", checkpoint="renewed", images=THREE)
    before = server.run(nodes).texts("scores")
    weights = next((server.models / "renewed").glob("*.safetensors"))
    stat = weights.stat()
    make_tiny_checkpoint(server.models / "renewed", seed=2)
    for path in (server.models / "renewed").iterdir():
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert weights.stat().st_size == stat.st_size
    assert server.run(nodes).texts("scores") != before
    make_tiny_checkpoint(server.models / "renewed", seed=1)
    assert [float(text) for text in server.run(nodes).texts("scores")] == pytest.approx(
        [float(text) for text in before], abs=1e-3
    )


def test_a_judge_that_is_freed_after_use_answers_the_same(server, graph):
    kept = server.run(graph("DepictQA_ScoreImages", images=THREE))
    server.free()
    nodes = graph("DepictQA_ScoreImages", images=THREE, memory="free after use")
    assert "DepictQAWeights" not in held(server, nodes)
    freed = server.run(nodes)
    more = server.run(graph("DepictQA_ScoreImages", images=THREE + ", wide.png", memory="free after use"))
    scores = [float(score) for score in kept.texts("scores")]
    assert [float(score) for score in freed.texts("scores")] == pytest.approx(scores, abs=1e-3)
    assert "load" not in more.executed  # the loader's output is cached, the weights are read again
    assert [float(score) for score in more.texts("scores")[:3]] == pytest.approx(scores, abs=1e-3)
    assert len(more.texts("scores")) == 4
