"""Quality Sheet and Quality Map in a real ComfyUI: pages, maps and masks; a display option asks the judge nothing."""

import json

import pytest
from comfyui.linked import graph_of, pictures, values
from comfyui.named_pictures import MIXED, THREE


@pytest.fixture
def run(server, tiny):
    def run(class_type, expect_error=False, **inputs):
        return server.run(graph_of(server, class_type, **inputs), expect_error=expect_error)

    return run


@pytest.mark.parametrize(("names", "as_batch"), [(THREE, True), (MIXED, False)])
@pytest.mark.parametrize("style", ["cards", "bars"])
def test_sheets_of_batches_and_lists(run, server, names, as_batch, style):
    done = run("DepictQA_QualitySheet", images=pictures(names, as_batch), style=style)
    assert done.text("sheets").startswith("(1, ")
    results = json.loads(done.text("report"))["results"]
    assert [result["picture"] for result in results] == ["image 1", "image 2", "image 3"]
    assert all(0 <= result["score"]["score"] <= 100 and result["identification"]["text"] for result in results)
    assert len(server.images(done, "node")) == 1


def test_pages_are_a_batch_and_a_display_option_asks_nothing(run, server):
    names = ", ".join(f"random:{i}" for i in range(100, 107))
    first = run("DepictQA_QualitySheet", images=pictures(names))
    assert first.progress["node"]
    paged = run("DepictQA_QualitySheet", images=pictures(names), per_page=3, order="best first", style="bars")
    assert "node" in paged.executed and "node" not in paged.progress
    assert paged.text("sheets").startswith("(3, ") and len(server.images(paged, "node")) == 3
    scores = [result["score"]["score"] for result in json.loads(paged.text("report"))["results"]]
    assert scores == sorted(scores, reverse=True)
    captioned = run("DepictQA_QualitySheet", images=pictures(names), captions=values(*"abcdefg"))
    assert [result["caption"] for result in json.loads(captioned.text("report"))["results"]] == list("abcdefg")


def test_what_was_scored_before_is_not_scored_again(run):
    run("DepictQA_ScoreImages", images=pictures("random:200, random:201"))
    run("DepictQA_IdentifyDistortions", images=pictures("random:200, random:201"))
    assert "node" not in run("DepictQA_QualitySheet", images=pictures("random:200, random:201")).progress


def test_maps_are_as_large_as_their_pictures(run, server):
    done = run("DepictQA_QualityMap", images=pictures(MIXED), tile=32, legend=False)
    sizes = ["(1, 96, 128", "(1, 80, 200", "(1, 16, 16"]
    for shown, masked, size in zip(done.texts("heat_maps"), done.texts("masks"), sizes, strict=True):
        assert shown.startswith(f"{size}, 3)") and masked.startswith(f"{size})")
    results = json.loads(done.text("report"))["results"]
    assert [len(result["tiles"]) * len(result["tiles"][0]) for result in results] == [5 * 7, 4 * 12, 1]
    assert done.texts("worst_regions")[2].startswith("x 0 to 16, y 0 to 16: ")
    for result, text, score in zip(results, done.texts("worst_regions"), done.texts("worst_scores"), strict=True):
        left, top, right, bottom = result["worst"]["box"]
        assert text == f"x {left} to {right}, y {top} to {bottom}: {result['worst']['score']:.0f}"
        assert float(score) == pytest.approx(result["worst"]["score"], abs=1e-4)
        assert result["worst"]["score"] == pytest.approx(min(map(min, result["tiles"])), abs=0.01)
    assert len(server.images(done, "node")) == 3


def test_a_map_moves_its_bar_by_tiles_and_a_display_option_asks_nothing(run):
    first = run("DepictQA_QualityMap", images=pictures("random:300, random:301"), tile=32)
    tiles = sum(len(row) for result in json.loads(first.text("report"))["results"] for row in result["tiles"])
    assert first.progress["node"][-1] == (tiles, tiles) and tiles > 2
    again = run(
        "DepictQA_QualityMap", images=pictures("random:300, random:301"), tile=32, scale="relative", boxes=False
    )
    assert "node" in again.executed and "node" not in again.progress
    assert again.texts("masks") != first.texts("masks")
    assert again.texts("worst_scores") == first.texts("worst_scores")


def test_a_map_beside_its_reference(run):
    plain = run("DepictQA_QualityMap", images=pictures("blurred.png"))
    beside = run("DepictQA_QualityMap", images=pictures("blurred.png"), reference=pictures("sharp.png"))
    assert plain.texts("masks") != beside.texts("masks")


BAD = [
    ("DepictQA_QualitySheet", {"captions": values("a", "b")}, ["captions", "2 values", "3"]),
    ("DepictQA_QualitySheet", {"style": "pie"}, ["style", "pie", "cards"]),
    ("DepictQA_QualitySheet", {"images": pictures("empty")}, ["image", "no image"]),
    ("DepictQA_QualityMap", {"scale": "log"}, ["scale", "log", "relative"]),
    ("DepictQA_QualityMap", {"images": pictures("nan")}, ["image 1", "NaN"]),
    ("DepictQA_QualityMap", {"reference": pictures("sharp.png, wide.png")}, ["reference", "2"]),
]


@pytest.mark.parametrize(("class_type", "inputs", "words"), BAD)
def test_bad_input_is_one_readable_line(run, class_type, inputs, words):
    done = run(class_type, expect_error=True, **{"images": pictures(THREE), **inputs})
    message = done.error["exception_message"].strip()
    assert done.error["node_id"] == "node" and "\n" not in message
    assert all(word in message for word in words), message
