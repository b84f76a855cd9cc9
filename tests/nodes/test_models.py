"""Compare Models in a real ComfyUI: labels and groups find their images, only fair pairs meet."""

import csv
import io
import json

import pytest
from comfyui.linked import graph_of, pictures, values
from comfyui.named_pictures import THREE
from PIL import Image


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
    ]  # the same images: nobody is better
    assert report["results"][0]["tied_with_next"]
    assert "are tied" in run.text("table")
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
    assert "image 5 (a, bird)" in json.loads(run.text("report"))["notices"][0]


def test_a_label_that_met_no_other_is_said_to_be_uncompared_and_has_no_place(compare):
    labels, groups = values("a", "b", "lone"), values("cat", "cat", "bird")
    run = compare(images=pictures(THREE), labels=labels, groups=groups)
    assert sorted(run.texts("ranked_labels")) == ["a", "b"] and len(run.texts("strengths")) == 2
    last = json.loads(run.text("report"))["results"][-1]
    assert (last["label"], last["rank"], last["strength"]) == ("lone", None, None)
    assert "not compared" in run.text("table") and "nan" not in (run.text("table") + run.text("node")).lower()


def test_one_label_per_linked_input_whatever_it_brings(compare):
    """Lists, as two folder loaders bring them, and a batch beside a list."""
    two, one = "sharp.png, wide.png", "blurred.png, small"
    run = compare(images=pictures(two), images_2=pictures(one), labels="a\nb")
    assert pairs_of(run) == [("image 1", "image 3", "#1"), ("image 2", "image 4", "#2")]
    run = compare(images=pictures(THREE, as_batch=True), images_2=pictures(THREE), labels="a\nb")
    assert len(pairs_of(run)) == 3 and "notices" not in json.loads(run.text("report"))
    unnamed = compare(images=pictures(THREE), images_2=pictures(THREE, as_batch=True), labels="")
    assert sorted(unnamed.texts("ranked_labels")) == ["A", "B"]


def test_pictures_that_met_by_position_where_some_are_missing_are_doubted(compare):
    run = compare(images=pictures(THREE), images_2=pictures("sharp.png, noisy.png"), labels="a\nb")
    assert "(a 3, b 2)" in run.text("node") and "Link groups" in run.text("node")


@pytest.fixture(scope="module")
def models(server):
    """input/models with the folders A and B of the same four images, of which A/0.jpg is broken."""
    folder = server.input / "models"
    for name in "AB":
        (folder / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (64, 48), (60 * number, 90, 90)).save(folder / name / f"{number}.jpg")
    (folder / "A" / "0.jpg").write_bytes(b"no image")
    return folder


def from_folder(server, groups):
    """The graph of Compare Models behind one folder loader, one of whose outputs is linked to groups."""
    outputs = server.get("/object_info/DepictQA_LoadFolder")["DepictQA_LoadFolder"]["output_name"]
    graph = graph_of(server, "DepictQA_CompareModels")
    given = {"folder": "input/models", "subfolders": True, "start": 0, "limit": 100}
    graph["folder"] = {"class_type": "DepictQA_LoadFolder", "inputs": given}
    for name, output in {"images": "images", "labels": "folders", "groups": groups}.items():
        graph["node"]["inputs"][name] = ["folder", outputs.index(output)]
    return graph


def test_folders_of_which_one_picture_is_broken_meet_by_name(server, tiny, models):
    run = server.run(from_folder(server, "base_names"))
    assert pairs_of(run) == [(f"image {i}", f"image {i + 4}", str(i)) for i in (1, 2, 3)]
    assert "image 4 (B, 0)" in json.loads(run.text("report"))["notices"][0]


def test_names_with_folders_in_place_of_groups_tell_what_to_link(server, tiny, models):
    run = server.run(from_folder(server, "names"), expect_error=True)
    message = run.error["exception_message"].strip()
    assert "nothing to compare" in message and "base_names" in message and "'A/1.jpg'" in message


def test_the_progress_bar_moves_and_a_relabelled_run_asks_nothing(compare):
    first = compare(images=pictures("random:1, random:2, random:3, random:4"), labels="a\na\nb\nb")
    assert first.progress["node"][-1][0] == first.progress["node"][-1][1] == 4  # two pairs in both orders
    again = compare(images=pictures("random:1, random:2, random:3, random:4"), labels="x\nx\ny\ny")
    assert "node" in again.executed and "node" not in again.progress
    assert set(again.texts("ranked_labels")) == {"x", "y"}


def test_with_a_reference(compare):
    given = {"images": pictures("blurred.png, noisy.png"), "labels": "a\nb"}
    plain, beside = compare(**given), compare(**given, reference=pictures("sharp.png"))
    assert len(pairs_of(beside)) == 1
    plain, beside = (json.loads(run.text("report"))["pairs"][0]["probability_a"] for run in (plain, beside))
    assert abs(plain - beside) > 1e-3


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"labels": "only one"}, ["labels", "1 values", "3"]),
        ({"labels": "a\nb", "images_2": pictures("small"), "images_3": pictures("small")}, ["give 5", "or 3", "input"]),
        ({"labels": "a\na\na"}, ["labels", "'a'", "two different"]),
        ({"labels": "a\nb\nc", "groups": values("x", "y")}, ["groups", "2 values", "3"]),
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
