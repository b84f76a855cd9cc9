"""Rank Images and Filter Images in graphs of a real ComfyUI: which images go on, and what follows them."""

import json

import pytest
from comfyui.linked import graph_of, pictures, values
from comfyui.named_pictures import MIXED, THREE, arrived, different


def latents(indexes):
    return [f"(1, 4, 4, 4) [{float(index)}] [{index}]" for index in indexes]


def masks(indexes):
    return [f"(1, 32, 32) [{float(index)}]" for index in indexes]


def texts(indexes):
    return [f"text {index}" for index in indexes]


def numbers(run, name):
    return [float(text) for text in run.texts(name)]


@pytest.fixture(scope="module")
def scores(server, graph):
    """The scores of THREE, as the node that scores gives them."""
    return numbers(server.run(graph("DepictQA_ScoreImages", images=THREE)), "scores")


@pytest.mark.parametrize(("names", "as_batch"), [(THREE, True), (MIXED, False)])
@pytest.mark.parametrize("method", ["pairs", "score"])
def test_rank_sorts_the_untouched_pictures_and_what_follows_them(server, graph, names, as_batch, method):
    inputs = {"images": names, "as_batch": as_batch, "method": method, "followers": 3}
    run = server.run(graph("DepictQA_RankImages", **inputs))
    indexes = [int(text) for text in run.texts("indexes")]
    assert sorted(indexes) == [0, 1, 2]
    sent = arrived(server, names)
    assert run.texts("ranked_images") == [sent[index] for index in indexes]
    assert run.texts("best_image") == [sent[indexes[0]]]
    assert run.texts("ranked_latents") == latents(indexes)
    assert run.texts("ranked_masks") == masks(indexes)
    assert run.texts("ranked_texts") == texts(indexes)
    strengths = numbers(run, "strengths")
    assert strengths == sorted(strengths, reverse=True)
    bounds = zip(numbers(run, "lows"), strengths, numbers(run, "highs"), strict=True)
    assert all(low <= strength <= high for low, strength, high in bounds)
    report = json.loads(run.text("report"))
    assert [place["index"] for place in report["results"]] == indexes
    assert [str(place["rank"]) for place in report["results"]] == run.texts("ranks")
    assert report["method"] == method
    assert len(run.texts("reasons")) == len(run.texts("scores")) == 3


def test_rank_top_k_cuts_the_lists_but_not_the_report(server, graph):
    every = server.run(graph("DepictQA_RankImages", images=THREE))
    top = server.run(graph("DepictQA_RankImages", images=THREE, top_k=2))
    assert top.texts("ranked_images") == every.texts("ranked_images")[:2]
    assert top.texts("indexes") == every.texts("indexes")[:2]
    assert top.text("report") == every.text("report")
    assert "node" not in top.progress  # only top_k changed: nothing is judged again


def test_rank_asks_no_more_pairs_than_the_budget(server, graph):
    run = server.run(graph("DepictQA_RankImages", images=different(8, 500), budget=9, with_reasons=False))
    assert json.loads(run.text("report"))["comparisons"] == 9
    assert len(run.texts("ranked_images")) == 8


def test_rank_with_reference_and_one_picture(server, graph):
    run = server.run(graph("DepictQA_RankImages", images="sharp.png", reference="sharp.png@256x192"))
    assert run.texts("indexes") == ["0"]
    assert "256 x 192" in json.loads(run.text("report"))["notices"][0]


def test_filter_parts_pictures_and_what_follows_them(server, graph, scores):
    limit = sorted(scores)[1]
    passed = [index for index in range(3) if scores[index] >= limit]
    rejected = [index for index in range(3) if scores[index] < limit]
    run = server.run(graph("DepictQA_FilterImages", images=THREE, min_score=limit, followers=3))
    sent = arrived(server, THREE)
    for name, indexes in (("passed", passed), ("rejected", rejected)):
        assert run.texts(f"{name}_images") == [sent[index] for index in indexes]
        assert numbers(run, f"{name}_scores") == [scores[index] for index in indexes]
        assert run.texts(f"{name}_indexes") == [str(index) for index in indexes]
        assert run.texts(f"{name}_latents") == latents(indexes)
        assert run.texts(f"{name}_masks") == masks(indexes)
        assert run.texts(f"{name}_texts") == texts(indexes)
    assert run.texts("passed_count") == ["2"]
    assert f"below {limit:g}" in run.texts("reasons")[0]
    results = json.loads(run.text("report"))["results"]
    assert [result["passed"] for result in results] == [index in passed for index in range(3)]


@pytest.mark.parametrize(("criterion", "value"), [("top_k", 1), ("best_percent", 30)])
def test_filter_relative_to_the_others(server, graph, scores, criterion, value):
    run = server.run(graph("DepictQA_FilterImages", images=THREE, min_score=0, **{criterion: value}))
    assert run.texts("passed_indexes") == [str(scores.index(max(scores)))]


def test_filter_by_distortions_decides_without_scores_and_passes_them_on(server, graph, scores):
    run = server.run(graph("DepictQA_FilterImages", images=THREE, min_score=0, distortions="any", probability=0.0))
    results = json.loads(run.text("report"))["results"]
    assert [result["passed"] for result in results] == [False] * 3
    assert numbers(run, "rejected_scores") == pytest.approx(scores, abs=1e-3)
    assert all(result["identification"] for result in results)
    assert (run.text("passed_count"), run.text("rejected_count"), run.text("any_passed")) == ("0", "3", "False")


@pytest.mark.parametrize("chosen", [{"__value__": ["noise", "blur"]}, {"__value__": ["blur"]}, "blur, noise"])
def test_filter_by_distortions_chosen_in_the_list(server, graph, chosen):
    """The list is one criterion with the text; a list comes wrapped from the page, as a bare one would be a link."""
    run = server.run(graph("DepictQA_FilterImages", images=THREE, min_score=0, distortions="noise", reject=chosen))
    text = server.run(graph("DepictQA_FilterImages", images=THREE, min_score=0, distortions="noise, blur"))
    assert run.text("report") == text.text("report")
    wrong = graph("DepictQA_FilterImages", images=THREE, reject={"__value__": ["blurr"]})
    assert "blurr is not known" in server.run(wrong, expect_error=True).error["exception_message"]


@pytest.mark.parametrize("least", [0, 100])
def test_an_empty_branch_stops_silently_and_the_rest_goes_on(server, graph, least):
    run = server.run(graph("DepictQA_FilterImages", images=THREE, min_score=least, followers=3))
    full, empty = ("rejected", "passed") if least else ("passed", "rejected")
    assert len(run.texts(f"{full}_images")) == len(run.texts(f"{full}_latents")) == 3
    names = [f"{empty}_{name}" for name in ("images", "scores", "indexes", "latents", "masks", "texts")]
    assert not any(name in run.outputs for name in names)
    assert run.texts("passed_count") == ["0" if least else "3"]
    assert run.error is None


def test_another_threshold_does_not_judge_again(server, graph):
    names = different(4, 600)
    first = server.run(graph("DepictQA_FilterImages", images=names, min_score=10))
    assert "node" in first.progress
    again = server.run(graph("DepictQA_FilterImages", images=names, min_score=90, min_confidence=0.2))
    assert "node" in again.executed and "node" not in again.progress


@pytest.mark.parametrize("class_type", ["DepictQA_RankImages", "DepictQA_FilterImages"])
def test_followers_that_are_not_linked_are_named(server, graph, class_type):
    nodes = graph(class_type, images=THREE, followers=3)
    del nodes["node"]["inputs"]["masks"]
    run = server.run(nodes, expect_error=True)
    assert "masks" in run.error["exception_message"] and "linked" in run.error["exception_message"]


def test_one_text_for_all(server, graph):
    nodes = graph("DepictQA_RankImages", images=THREE, followers=1)
    for name in ("latents", "masks"):
        del nodes["node"]["inputs"][name], nodes[f"ranked_{name}"]
    assert server.run(nodes).texts("ranked_texts") == ["text 0"] * 3


NAMED = ["A/x.png", "B/x.png", "c.png"]


@pytest.mark.parametrize("class_type", ["ScoreImages", "IdentifyDistortions", "RankImages", "FilterImages"])
def test_names_stand_in_table_report_and_errors(server, tiny, class_type):
    def run(names, shown=THREE, expect_error=False):
        nodes = graph_of(server, f"DepictQA_{class_type}", images=pictures(shown), names=values(*names))
        for key in [key for key in nodes if key.endswith(("latents", "masks", "texts"))]:
            del nodes[key]  # nothing is linked to those inputs
        return server.run(nodes, expect_error=expect_error)

    done = run(NAMED)
    assert sorted(result["picture"] for result in json.loads(done.text("report"))["results"]) == NAMED
    assert all(name in done.text("node") for name in NAMED) and "image 1" not in done.text("node")
    message = run(NAMED, "sharp.png, nan, wide.png", expect_error=True).error["exception_message"]
    assert "B/x.png" in message and "NaN" in message
    message = run(NAMED[:2], expect_error=True).error["exception_message"]
    assert message.strip() == "names: 2 values for 3 images; link one per image."


def test_a_shared_rank_is_marked_as_shared(server, graph):
    table = server.run(graph("DepictQA_RankImages", images="sharp.png, sharp.png, sharp.png")).text("node")
    assert table.count("1= image ") == 3
