"""Collect Preferences in a real ComfyUI: picks, ratings and orders become records; no pick, no record."""

import json
import subprocess

import pytest
from comfyui.linked import graph_of, pictures, values
from comfyui.named_pictures import THREE
from PIL import Image


@pytest.fixture
def collect(server, request):
    def run(expect_error=False, **inputs):
        given = {"images": pictures(THREE), "collection": f"test_{abs(hash(request.node.name))}", **inputs}
        return server.run(graph_of(server, "DepictQA_CollectPreferences", **given), expect_error=expect_error)

    return run


def wins(server, run):
    """(better, worse) by name of the image, for every record of the folder that a run has written to."""
    folder = server.base / "output" / "depictqa" / run.text("folder").rsplit("/", 1)[1]
    names = {}
    for name in ("sharp", "blurred", "noisy", "wide"):
        with Image.open(server.input / f"{name}.png") as image:
            names[image.convert("RGB").tobytes()] = name

    def name(path):
        with Image.open(folder / path) as image:
            return names[image.tobytes()]

    found = set()
    for record in json.loads((folder / "records" / "preferences.json").read_text()):
        a, b = name(record["image_A"]), name(record["image_B"])
        assert record["conversations"][1]["value"] == ("Image A" if record["A_better_B"] else "Image B")
        found.add((a, b) if record["A_better_B"] else (b, a))
    return found


def looked(collect, picked, **inputs):
    """A pick as people make it: first the images are shown, then the pick is entered."""
    collect(**inputs)
    return collect(picked=picked, **inputs)


def refused(run):
    """Whether a pick was recorded nowhere, and the node says so."""
    stale = "was made on other images" in run.text("node")
    assert not stale or (run.text("new_records") == "0" and "best_images" not in run.outputs)
    return stale


OTHERS = [
    "wide.png, blurred.png, noisy.png",  # one is new
    "blurred.png, sharp.png, noisy.png",  # the same in another order
    "sharp.png, blurred.png",
    "random:1, random:2, random:3, random:4",
]


@pytest.mark.parametrize("names", OTHERS)
def test_a_pick_made_on_other_images_is_not_recorded(collect, names):
    assert not refused(collect(picked="2"))
    assert refused(collect(picked="2", images=pictures(names)))
    assert refused(collect(picked="2", images=pictures(names), pairs="neighbours"))  # nor after any other change
    assert not refused(looked(collect, picked="1", images=pictures(names)))


def test_a_pick_made_next_to_another_reference_is_not_recorded(collect):
    one, other = {"reference": pictures("sharp.png")}, {"reference": pictures("blurred.png")}
    assert not refused(collect(picked="2", **one))
    assert refused(collect(picked="2", **other))


def test_a_pick_entered_while_other_images_were_shown_is_not_recorded(collect):
    collect()
    assert refused(collect(picked="1", images=pictures("wide.png, noisy.png")))
    assert collect(picked="2", images=pictures("wide.png, noisy.png")).text("new_records") == "1"


def test_the_front_end_says_which_images_a_pick_was_made_on(collect):
    assert refused(collect(picked="1", picked_on=""))  # nothing was shown before
    code = collect(picked_on="").outputs["node"]["depictqa_pick"][0]["code"]
    assert refused(collect(picked="1", picked_on=code[::-1]))
    run = collect(picked="1", picked_on=code)
    assert (run.text("new_records"), run.outputs["node"]["depictqa_pick"][0]["stale"]) == ("2", None)
    other = collect(picked="1", picked_on=code, images=pictures("wide.png, noisy.png"))
    assert refused(other) and other.outputs["node"]["depictqa_pick"][0]["stale"] == "1"
    assert other.outputs["node"]["depictqa_pick"][0]["code"] in other.text("node")
    new = other.outputs["node"]["depictqa_pick"][0]["code"]
    assert collect(picked="1", picked_on=new, images=pictures("wide.png, noisy.png")).text("new_records") == "1"


def test_a_pick_that_comes_over_a_link_belongs_to_the_images_shown_before_it_changed(collect):
    """The front end then has no code to send."""
    assert refused(collect(picked=values("1"), picked_on=""))
    assert collect(picked=values("2"), picked_on="").text("new_records") == "2"
    assert refused(collect(picked=values("2"), picked_on="", images=pictures("wide.png, noisy.png")))


def test_nothing_is_recorded_until_something_is_picked(collect, server):
    run = collect()
    assert run.text("new_records") == run.text("all_records") == "0"
    assert "Nothing recorded" in run.text("node")
    assert "best_images" not in run.outputs  # that branch stops, the others go on
    assert len(server.images(run, "node")) == 1


def test_a_pick_is_better_than_the_rest_and_passes_on(collect, server):
    run = collect(picked="3")
    assert wins(server, run) == {("noisy", "sharp"), ("noisy", "blurred")}
    again = looked(collect, picked="1", images=pictures("noisy.png, wide.png"))
    assert run.texts("best_images") == again.texts("best_images")


def test_picks_in_order_and_neighbours(collect, server):
    run = collect(picked="3, 1")
    assert wins(server, run) == {("noisy", "sharp"), ("noisy", "blurred"), ("sharp", "blurred")}


def test_ratings_and_order(collect, server):
    run = collect(preference="ratings", ratings=values(3.0, 5.0, 3.4), margin=0.5)
    assert wins(server, run) == {("blurred", "sharp"), ("blurred", "noisy")}
    run = collect(preference="order", pairs="neighbours")
    assert wins(server, run) == {("sharp", "blurred"), ("blurred", "noisy")}  # the first overturns an earlier one
    assert (run.text("new_records"), run.text("all_records")) == ("1", "2")


def test_the_same_pick_again_changes_nothing_and_another_wins(collect, server):
    collect(picked="1", images=pictures("sharp.png, wide.png"))
    again = looked(collect, picked="2", images=pictures("wide.png, sharp.png"))
    assert (again.text("new_records"), again.text("all_records")) == ("0", "1")
    other = looked(collect, picked="2", images=pictures("sharp.png, wide.png"))
    assert (other.text("new_records"), other.text("all_records")) == ("1", "1")
    assert wins(server, other) == {("wide", "sharp")}


@pytest.mark.parametrize(
    ("picked", "pairs", "found"),
    [
        ("1", "all", {("sharp", "wide")}),
        ("1, 2, 3", "neighbours", {("sharp", "wide")}),  # 1 and 2 are one image: its neighbour is 3
        ("1, 3, 2", "all", {("sharp", "wide")}),  # not also worse than wide
    ],
)
def test_of_equal_pictures_one_is_compared_and_the_rest_goes_on(collect, server, picked, pairs, found):
    run = collect(images=pictures("sharp.png, sharp.png, wide.png"), picked=picked, pairs=pairs)
    assert wins(server, run) == found
    assert "image 2 is the same image as image 1: left out" in run.text("node")


def test_nothing_but_equal_pictures_is_no_record(collect):
    run = collect(images=pictures("sharp.png, sharp.png"), picked="1")
    assert run.text("all_records") == "0" and len(run.texts("best_images")) == 1
    assert "same image" in run.text("node") and "-m training" not in run.text("node")


def test_the_shown_command_runs_from_any_folder(collect, server, tmp_path):
    run = collect(picked="1")
    command = run.text("command")
    assert command in run.text("node") and f'--data "{run.text("folder")}"' in command
    assert f'--output "{server.models / "mine"}"' in command
    done = subprocess.run(  # --plan reads recipe and records, and trains nothing
        f"{command} --plan", check=False, shell=True, capture_output=True, text=True, timeout=200, cwd=tmp_path
    )
    assert done.returncode == 0 and "parameters" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"picked": "4"}, ["picked", "4", "3 arrived"]),
        ({"picked": "0"}, ["picked", "no image 0"]),
        ({"picked": "best"}, ["picked", "'best'"]),
        ({"picked": "1, 1"}, ["picked", "twice"]),
        ({"preference": "ratings"}, ["ratings", "nothing is linked"]),
        ({"preference": "ratings", "ratings": values(1.0, 2.0)}, ["ratings", "2 values", "3"]),
        ({"preference": "dice"}, ["preference", "dice"]),
        ({"pairs": "some"}, ["pairs", "some"]),
        ({"collection": "../../away"}, ["collection", "leads out"]),
        ({"collection": "/tmp/away"}, ["collection", "absolute"]),
        ({"collection": " "}, ["collection", "empty"]),
        ({"images": pictures("nan, sharp.png"), "picked": "1"}, ["image 1", "NaN"]),
    ],
)
def test_bad_input_is_one_readable_line(collect, inputs, words):
    run = collect(expect_error=True, **inputs)
    message = run.error["exception_message"].strip()
    assert run.error["node_id"] == "node" and "\n" not in message
    assert all(word in message for word in words), message
