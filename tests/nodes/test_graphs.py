"""The nodes in graphs of a real ComfyUI, with a tiny random model: what goes in, comes out, and goes wrong."""

import json
import threading

import pytest

THREE = "sharp.png, blurred.png, noisy.png"
MIXED = "sharp.png, wide.png, small"


def different(count, start=0):
    """Names of so many different pictures."""
    return ", ".join(f"random:{seed}" for seed in range(start, start + count))


def arrived(server, names):
    """What the sink shows for these pictures when they are sent to it directly."""
    source = {"class_type": "Test_Pictures", "inputs": {"names": names, "as_batch": False, "copies": 1}}
    sink = {"class_type": "Test_Arrived", "inputs": {"images": ["1", 0]}}
    return server.run({"1": source, "2": sink}).texts("2")


@pytest.mark.parametrize(("names", "as_batch"), [(THREE, True), (THREE, False), (MIXED, False)])
@pytest.mark.parametrize("reference", [None, "sharp.png", THREE])
def test_score(server, graph, names, as_batch, reference):
    run = server.run(graph("DepictQA_ScoreImages", images=names, as_batch=as_batch, reference=reference))
    scores = [float(text) for text in run.texts("scores")]
    assert len(scores) == 3 and all(0 <= score <= 100 for score in scores)
    assert all(0 <= float(text) <= 50 for text in run.texts("spreads"))
    report = json.loads(run.text("report"))
    assert [round(result["score"], 4) for result in report["results"]] == [round(score, 4) for score in scores]
    assert [result["picture"] for result in report["results"]] == ["image 1", "image 2", "image 3"]
    assert run.text("node").count("\n") == 2


def test_the_progress_bar_moves(server, graph):
    run = server.run(graph("DepictQA_ScoreImages", images=different(42)))
    values = [value for value, _ in run.progress["node"]]
    assert values == sorted(values)
    assert {total for _, total in run.progress["node"]} == {42}
    assert len(set(values)) > 1 and values[-1] == 42


@pytest.mark.parametrize(("names", "as_batch"), [(THREE, True), (MIXED, False)])
@pytest.mark.parametrize("method", ["pairs", "score"])
def test_rank_sorts_the_untouched_pictures(server, graph, names, as_batch, method):
    run = server.run(graph("DepictQA_RankImages", images=names, as_batch=as_batch, method=method))
    indexes = [int(text) for text in run.texts("indexes")]
    assert sorted(indexes) == [0, 1, 2]
    sent = arrived(server, names)
    assert run.texts("ranked_images") == [sent[index] for index in indexes]
    assert run.texts("best_image") == [sent[indexes[0]]]
    strengths = [float(text) for text in run.texts("strengths")]
    assert strengths == sorted(strengths, reverse=True)
    report = json.loads(run.text("report"))
    assert [place["index"] for place in report["results"]] == indexes
    assert report["method"] == method
    assert len(run.texts("reasons")) == len(run.texts("scores")) == 3


def test_rank_top_k_cuts_the_lists_but_not_the_report(server, graph):
    every = server.run(graph("DepictQA_RankImages", images=THREE))
    top = server.run(graph("DepictQA_RankImages", images=THREE, top_k=2))
    assert top.texts("ranked_images") == every.texts("ranked_images")[:2]
    assert top.texts("indexes") == every.texts("indexes")[:2]
    assert top.text("report") == every.text("report")
    assert "node" not in top.progress  # only top_k changed: nothing is judged again


def test_rank_with_reference_and_one_picture(server, graph):
    run = server.run(graph("DepictQA_RankImages", images="sharp.png", reference="wide.png"))
    assert run.texts("indexes") == ["0"]


@pytest.mark.parametrize("detail", ["detailed", "brief"])
@pytest.mark.parametrize("reference", [None, "sharp.png"])
def test_describe(server, graph, detail, reference):
    inputs = {"detail": detail, "reference": reference, "max_new_tokens": 16}
    run = server.run(graph("DepictQA_DescribeImages", images=MIXED, **inputs))
    results = json.loads(run.text("report"))["results"]
    assert run.texts("descriptions") == [result["text"] for result in results]
    assert len(results) == len(run.texts("confidences")) == 3


@pytest.mark.parametrize("reference", [None, "sharp.png", "sharp.png, wide.png"])
def test_compare_pair_by_pair(server, graph, reference):
    inputs = {
        "image_a": "sharp.png, wide.png",
        "image_b": "blurred.png, small",
        "reference": reference,
        "explain": False,
    }
    run = server.run(graph("DepictQA_CompareImages", **inputs))
    a, b = arrived(server, inputs["image_a"]), arrived(server, inputs["image_b"])
    wins = [text == "True" for text in run.texts("a_wins")]
    assert run.texts("winners") == [a[i] if wins[i] else b[i] for i in range(2)]
    assert wins == [verdict in ("A", "tie") for verdict in run.texts("verdicts")]
    assert all(0 <= float(text) <= 1 for text in run.texts("probabilities") + run.texts("disagreements"))
    assert run.texts("explanations") == ["", ""]
    assert len(json.loads(run.text("report"))["results"]) == 2


def test_compare_one_with_all_and_explain(server, graph):
    run = server.run(graph("DepictQA_CompareImages", image_a="sharp.png", image_b="noisy.png, wide.png", explain=True))
    assert len(run.texts("verdicts")) == 2
    assert all(result["text"] for result in json.loads(run.text("report"))["results"])


def test_equal_pictures_tie_and_a_is_passed_on(server, graph):
    run = server.run(graph("DepictQA_CompareImages", image_a="sharp.png", image_b="sharp.png", explain=False))
    assert (run.texts("verdicts"), run.texts("a_wins")) == (["tie"], ["True"])


@pytest.mark.parametrize("name", ["grey", "alpha", "small"])
def test_unusual_pictures_are_judged(server, graph, name):
    run = server.run(graph("DepictQA_ScoreImages", images=name))
    assert len(run.texts("scores")) == 1


BAD_INPUTS = [
    ("DepictQA_ScoreImages", {"images": "sharp.png, nan"}, ["image 2", "NaN"]),
    ("DepictQA_ScoreImages", {"images": "empty"}, ["image"]),
    ("DepictQA_ScoreImages", {"images": THREE, "reference": "sharp.png, wide.png"}, ["reference", "2", "3"]),
    ("DepictQA_ScoreImages", {"images": "sharp.png", "reference": "nan"}, ["reference", "NaN"]),
    ("DepictQA_DescribeImages", {"images": "sharp.png", "detail": "poetic"}, ["detail", "poetic", "brief"]),
    ("DepictQA_RankImages", {"images": THREE, "method": "dice"}, ["method", "dice", "pairs"]),
    ("DepictQA_CompareImages", {"image_a": THREE, "image_b": "sharp.png, wide.png"}, ["image_a", "image_b", "3 and 2"]),
    ("DepictQA_CompareImages", {"image_a": "nan", "image_b": "sharp.png"}, ["image A", "NaN"]),
]


@pytest.mark.parametrize(("class_type", "inputs", "words"), BAD_INPUTS)
def test_bad_input_is_one_readable_line_and_the_server_lives(server, graph, class_type, inputs, words):
    run = server.run(graph(class_type, **inputs), expect_error=True)
    message = run.error["exception_message"].strip()
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert run.error["node_id"] == "node"
    server.run(graph("DepictQA_ScoreImages", images="sharp.png"))


def test_a_second_run_does_no_work(server, graph):
    first = server.run(graph("DepictQA_RankImages", images=THREE, top_k=1))
    second = server.run(graph("DepictQA_RankImages", images=THREE, top_k=1))
    assert second.executed == []
    shown_again = {key: value for key, value in first.outputs.items() if key != "node"}  # no output node of its own
    assert {key: value for key, value in second.outputs.items() if key != "node"} == shown_again


def test_cancel_stops_a_long_ranking(server, graph):
    names = ", ".join(["sharp.png", "blurred.png", "noisy.png"] * 20)
    cancelled = threading.Event()

    def cancel(kind, data):
        if kind == "progress" and data["node"] == "node" and not cancelled.is_set():
            cancelled.set()
            server.post("/interrupt", {})

    run = server.run(graph("DepictQA_RankImages", images=names), expect_error=True, on_message=cancel)
    assert run.interrupted and run.error is None
    value, total = run.progress["node"][-1]
    assert value < total / 2
    server.run(graph("DepictQA_ScoreImages", images="noisy.png"))


def test_the_model_comes_back_after_free_memory(server, graph):
    ask = graph("DepictQA_ScoreImages", images="blurred.png, sharp.png")
    before = [float(score) for score in server.run(ask).texts("scores")]
    server.post("/free", {"unload_models": True, "free_memory": True})
    server.run(graph("DepictQA_ScoreImages", images="wide.png"))
    again = server.run(ask)
    assert "node" in again.executed
    assert [float(score) for score in again.texts("scores")] == pytest.approx(before, abs=1e-3)
