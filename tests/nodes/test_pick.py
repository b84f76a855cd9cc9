"""Pick Images in a real ComfyUI: answered over HTTP, by the fallback, cancelled; what belongs to an image follows."""

import copy
import json
import urllib.error

import pytest
from comfyui.linked import graph_of, pictures, values
from comfyui.named_pictures import THREE, arrived

ASKED = "depictqa.pick"
FACTS = {"scores": values(10.0, 90.0, 50.0), "ranks": values(3, 1, 2), "names": values("a", "b", "c")}


def pick_graph(server, **inputs):
    nodes = graph_of(server, "DepictQA_PickImages", **{"images": pictures(THREE), "wait": "always", **inputs})
    nodes["followers"] = {"class_type": "Test_Followers", "inputs": {"count": 3}}
    nodes["in_seeds"] = {"class_type": "Test_Values", "inputs": {"json": "[11, 22, 33]"}}
    linked = {name: ["followers", slot] for slot, name in enumerate(("latents", "masks", "texts"))}
    nodes["node"]["inputs"] |= linked | {"seeds": ["in_seeds", 0]}
    if "scores" not in inputs:
        del nodes["picked_scores"]  # what is not linked must not be asked for
    return nodes


def post(server, pick, body):
    """The status and the JSON of an answer to a pick."""
    try:
        return 200, server.post(f"/depictqa/picks/{pick}", body)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def answering(server, *bodies):
    """What a program does with the message that asks for a pick; and what it was told."""
    said = []

    def on_message(kind, data):
        if kind == ASKED:
            said.extend([data, *(post(server, data["id"], body) for body in bodies)])

    return said, on_message


def test_a_pick_over_http_takes_along_what_belongs_to_the_images(server):
    bad = [{"picked": [3]}, {"picked": [0, 0]}, {"picked": [0, 1, 2]}, {"picked": [True]}, {"picked": "1"}, {}, []]
    said, on_message = answering(server, *bad, {"picked": [2, 0]}, {"picked": [1]})
    run = server.run(pick_graph(server, most=2, again=1, **FACTS), on_message=on_message)
    asked, *refused, (status, answer), (late, _) = said
    assert [(image["name"], image["score"], image["rank"]) for image in asked["images"]] == [
        ("a", 10.0, 3),
        ("b", 90.0, 1),
        ("c", 50.0, 2),
    ]
    assert 0 < asked["seconds_left"] <= 600 and asked["most"] == 2
    assert server.fetch(
        "/view?filename={filename}&subfolder={subfolder}&type={type}".format(**asked["images"][0]["file"])
    )
    assert [code for code, _ in refused] == [400] * len(bad) and all(body["error"] for _, body in refused)
    assert (status, answer, late) == (200, {"picked": [2, 0]}, 404)
    sent = arrived(server, THREE)
    assert run.texts("picked_images") == [sent[2], sent[0]]
    assert run.texts("picked_indexes") == ["2", "0"] and run.texts("picked_seeds") == ["33", "11"]
    assert run.texts("picked_texts") == ["text 2", "text 0"] and run.texts("picked_names") == ["c", "a"]
    assert [text.split("[")[1] for text in run.texts("picked_latents")] == ["2.0] ", "0.0] "]
    assert [text.split()[-1] for text in run.texts("picked_masks")] == ["[2.0]", "[0.0]"]
    assert run.texts("picked_scores") == ["50.0", "10.0"]
    assert (run.text("picked"), run.text("picked_count"), run.text("by_hand")) == ("3, 1", "2", "True")
    assert server.get("/depictqa/picks") == {"picks": []}


@pytest.mark.parametrize(
    ("inputs", "indexes"),
    [
        ({"scores": FACTS["scores"]}, ["1", "2"]),
        ({"scores": values(10.0, float("nan"), 50.0)}, ["2", "0"]),
        ({"ranks": FACTS["ranks"]}, ["1", "2"]),
        ({}, ["0", "1"]),
        ({"scores": FACTS["scores"], "fallback": "first"}, ["0", "1"]),
        ({"fallback": "all"}, ["0", "1", "2"]),
        ({"fallback": "none"}, None),
    ],
)
def test_a_run_without_a_page_falls_back_at_once(server, inputs, indexes):
    run = server.run(pick_graph(server, wait="for the page", fallback_count=2, **inputs))
    assert ("picked_indexes" not in run.outputs) if indexes is None else run.texts("picked_indexes") == indexes
    assert (run.text("by_hand"), run.text("picked")) == ("False", "")
    assert "the fallback picked" in run.text("node")


def test_nobody_answers_in_time(server):
    run = server.run(pick_graph(server, timeout=1, scores=FACTS["scores"]))
    assert run.texts("picked_indexes") == ["1"] and "Nobody answered in time" in run.text("node")
    assert server.get("/depictqa/picks") == {"picks": []}


def test_cancel_ends_a_pick(server):
    def cancel(kind, _):
        if kind == ASKED:
            server.post("/interrupt", {})

    assert server.run(pick_graph(server, again=2), on_message=cancel).interrupted
    assert server.get("/depictqa/picks") == {"picks": []}


def test_two_picks_wait_at_the_same_time(server):
    nodes = pick_graph(server, again=3)
    nodes["other"] = copy.deepcopy(nodes["node"])
    nodes["other"]["inputs"]["again"] = 5  # ComfyUI runs equal nodes as one
    nodes["shows"] = {"class_type": "Test_Arrived", "inputs": {"items": ["other", 1]}}
    asked = {}

    def on_message(kind, data):
        if kind == ASKED:
            asked[data["node"]] = data["id"]
            if len(asked) == 2:  # the later one is answered first
                assert post(server, asked["other"], {"picked": [2]})[0] == 200
                assert post(server, asked["node"], {"picked": []})[0] == 200

    run = server.run(nodes, on_message=on_message)
    assert run.texts("shows") == ["2"] and run.text("picked_count") == "0" and "picked_images" not in run.outputs


@pytest.mark.parametrize("reference", [None, pictures("wide.png@128x96")])
def test_a_pick_is_recorded_for_the_images_that_were_shown(server, reference):
    given = {"reference": reference} if reference else {}
    nodes = pick_graph(server, again=4, **given)
    collect = {"preference": "picked", "pairs": "all", "margin": 0.0, "collection": f"picked {bool(reference)}"}
    collect |= {"images": ["in_images", 0], "picked": ["node", 10], "picked_on": ["node", 11]}
    if reference:
        collect["reference"] = ["in_reference", 0]
    nodes["collect"] = {"class_type": "DepictQA_CollectPreferences", "inputs": collect}
    nodes["best"] = {"class_type": "Test_Arrived", "inputs": {"items": ["collect", 0]}}
    _, on_message = answering(server, {"picked": [1]})
    run = server.run(nodes, on_message=on_message)
    assert "2 new" in run.text("collect") and run.texts("best") == [arrived(server, THREE)[1]]
    nodes["node"]["inputs"] |= {"wait": "never"}
    assert "Nothing recorded" in server.run(nodes).text("collect")  # the fallback is nobody's preference


def test_what_does_not_fit_the_images_is_refused(server):
    for inputs, words in [
        ({"scores": values(1.0, 2.0)}, ["scores", "2 values", "3 images"]),
        ({"fallback": "worst"}, ["fallback", "worst", "best by score"]),
    ]:
        message = server.run(pick_graph(server, **inputs), expect_error=True).error["exception_message"]
        assert all(word in message for word in words), message
