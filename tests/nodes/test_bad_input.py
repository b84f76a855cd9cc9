"""Bad input in a real ComfyUI: one readable line at the node, a server that lives, nothing lost that was finished."""

import json
import threading

import pytest
from comfyui.named_pictures import THREE, different

RESIZED = "reference: 128 x 96"
BAD_INPUTS = [
    ("ScoreImages", {"images": "sharp.png, nan"}, ["image 2", "NaN"]),
    ("ScoreImages", {"images": "empty"}, ["image", "no image"]),
    ("RankImages", {"images": "empty"}, ["image", "no image"]),
    ("FilterImages", {"images": "empty"}, ["image", "no image"]),
    ("IdentifyDistortions", {"images": "nan"}, ["image 1", "NaN"]),
    ("ScoreImages", {"images": THREE, "reference": "sharp.png, wide.png"}, ["reference", "2", "3"]),
    ("ScoreImages", {"images": "sharp.png", "reference": "nan"}, ["reference", "NaN"]),
    ("ScoreImages", {"images": "sharp.png, wide.png", "reference": "sharp.png"}, ["image 2", "200 x 80", "5%"]),
    ("CompareImages", {"image_a": "sharp.png", "image_b": "wide.png", "reference": "wide.png"}, ["image A", "5%"]),
    ("DescribeImages", {"images": "sharp.png", "detail": "poetic"}, ["detail", "poetic", "brief"]),
    ("IdentifyDistortions", {"images": "sharp.png", "count": "9"}, ["count", "'9'", "any"]),
    ("RankImages", {"images": THREE, "method": "dice"}, ["method", "dice", "pairs"]),
    ("RankImages", {"images": THREE, "followers": 2}, ["latents", "2", "3 images"]),
    ("FilterImages", {"images": THREE, "followers": 4}, ["latents", "4", "3 images"]),
    ("FilterImages", {"images": THREE, "distortions": "grain"}, ["distortions", "grain", "noise"]),
    ("CompareImages", {"image_a": THREE, "image_b": "sharp.png, wide.png"}, ["image_a", "image_b", "3 and 2"]),
    ("CompareImages", {"image_a": "nan", "image_b": "sharp.png"}, ["image A", "NaN"]),
    ("ScoreImages", {"images": "sharp.png", "memory": "never"}, ["memory", "never", "free after use"]),
]


@pytest.mark.parametrize(("class_type", "inputs", "words"), BAD_INPUTS)
def test_bad_input_is_one_readable_line_and_the_server_lives(server, graph, class_type, inputs, words):
    run = server.run(graph(f"DepictQA_{class_type}", **inputs), expect_error=True)
    message = run.error["exception_message"].strip()
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert run.error["node_id"] == ("load" if "memory" in inputs else "node")
    server.run(graph("DepictQA_ScoreImages", images="sharp.png"))


@pytest.mark.parametrize("name", ["grey", "alpha", "small", "sharp.png@3x2000"])
def test_unusual_pictures_are_judged(server, graph, name):
    run = server.run(graph("DepictQA_ScoreImages", images=name))
    assert len(run.texts("scores")) == 1


def test_a_picture_of_67_million_pixels_is_judged_and_passed_on(server, graph):
    nodes = graph("DepictQA_FilterImages", images="huge", min_score=0, best_percent=99)
    run = server.run({key: nodes[key] for key in ("load", "node", "pictures_images", "passed_count", "passed_scores")})
    assert run.texts("passed_count") == ["1"] and 0 <= float(run.texts("passed_scores")[0]) <= 100


def test_a_batch_that_does_not_fit_is_halved(server, graph):
    names = different(6, 700)
    halved = server.run(graph("DepictQA_ScoreImages", images=names, most=2))
    whole = server.run(graph("DepictQA_ScoreImages", images=names))
    assert [float(text) for text in halved.texts("scores")] == pytest.approx(
        [float(text) for text in whole.texts("scores")], abs=1e-3
    )


def test_what_does_not_fit_alone_is_said_at_the_node(server, graph):
    run = server.run(graph("DepictQA_ScoreImages", images="random:720", most=0), expect_error=True)
    message = run.error["exception_message"].strip()
    assert run.error["node_id"] == "node" and "\n" not in message
    assert "memory" in message and "image 1" in message
    server.run(graph("DepictQA_ScoreImages", images="random:720"))


def test_two_graphs_at_once_get_their_own_answers(server, graph):
    graphs = [graph("DepictQA_ScoreImages", images=different(5, start)) for start in (800, 820)]
    runs = [None, None]

    def queue(index):
        runs[index] = server.run(graphs[index])

    threads = [threading.Thread(target=queue, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, start in enumerate((800, 820)):
        alone = server.run(graph("DepictQA_ScoreImages", images=f"random:{start + 3}"))
        score = json.loads(runs[index].text("report"))["results"][3]["score"]
        assert score == pytest.approx(float(alone.texts("scores")[0]), abs=1e-3)
