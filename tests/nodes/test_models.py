"""Compare Models in a real ComfyUI: labels and groups find their pictures, only fair pairs meet."""

import csv
import io
import json

import pytest
from comfyui.linked import graph_of, pictures, values

THREE = "sharp.png, blurred.png, noisy.png"


@pytest.fixture(scope="module")
def compare(server, tiny):
    def run(expect_error=False, **inputs):
        graph = graph_of(server, "DepictQA_CompareModels", **inputs)
        return server.run(graph, expect_error=expect_error)

    return run


def pairs_of(run):
    return [(p["picture_a"], p["picture_b"], p["group"]) for p in json.loads(run.text("report"))["pairs"]]


def test_one_label_per_batch(compare, server):
    run = compare(images=pictures(THREE, as_batch=True), images_2=pictures(THREE, as_batch=True), labels="a\nb")
    assert pairs_of(run) == [(f"image {i}", f"image {i + 3}", f"#{i}") for i in (1, 2, 3)]
    report = json.loads(run.text("report"))
    assert [(s["rank"], s["ties"]) for s in report["results"]] == [
        (1, 3),
        (1, 3),
    ]  # the same pictures: nobody is better
    assert report["results"][0]["tied_with_next"]
    assert "cannot be told apart" in run.text("table")
    assert run.texts("ranked_labels") == [run.text("best_label"), *run.texts("ranked_labels")[1:]] == ["a", "b"]
    rows = list(csv.DictReader(io.StringIO(run.text("csv"))))
    assert [row["label"] for row in rows] == ["a", "b"]
    assert run.text("chart").startswith("(1, ")
    shown = server.images(run, "node")
    assert len(shown) == 1 and min(shown[0].size) > 200


def test_groups_decide_who_meets(compare):
    labels, groups = values("a", "b", "a", "b", "a"), values("cat", "dog", "dog", "cat", "bird")
    run = compare(images=pictures("sharp.png, blurred.png, noisy.png, wide.png, small"), labels=labels, groups=groups)
    assert pairs_of(run) == [("image 1", "image 4", "cat"), ("image 2", "image 3", "dog")]
    assert "image 5" in json.loads(run.text("report"))["notices"][0]


def test_the_progress_bar_moves_and_a_relabelled_run_asks_nothing(compare):
    first = compare(images=pictures("random:1, random:2, random:3, random:4"), labels="a\na\nb\nb")
    assert first.progress["node"][-1][0] == first.progress["node"][-1][1] == 4  # two pairs in both orders
    again = compare(images=pictures("random:1, random:2, random:3, random:4"), labels="x\nx\ny\ny")
    assert "node" in again.executed and "node" not in again.progress
    assert set(again.texts("ranked_labels")) == {"x", "y"}


def test_with_a_reference(compare):
    run = compare(images=pictures(THREE), labels="a\nb\nc", reference=pictures("sharp.png"))
    assert len(pairs_of(run)) == 3


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"labels": "only one"}, ["labels", "1 arrived", "3"]),
        ({"labels": "a\na\na"}, ["labels", "'a'", "two different"]),
        ({"labels": "a\nb\nc", "groups": values("x", "y")}, ["groups", "2 arrived", "3"]),
        ({"labels": "a\nb\nc", "groups": values("x", "y", "z")}, ["groups", "nothing to compare"]),
        ({"labels": "a\nb\nc", "reference": pictures("sharp.png, wide.png")}, ["reference", "2"]),
        ({"labels": "a\nb\nc", "images": pictures("sharp.png, nan, wide.png")}, ["image 2", "NaN"]),
    ],
)
def test_bad_input_is_one_readable_line(compare, inputs, words):
    run = compare(expect_error=True, **{"images": pictures(THREE), **inputs})
    message = run.error["exception_message"].strip()
    assert run.error["node_id"] == "node" and "\n" not in message
    assert all(word in message for word in words), message
