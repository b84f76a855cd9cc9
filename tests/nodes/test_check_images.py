"""Check Images, criteria and prompts in graphs of a real ComfyUI, with a tiny vision-language model."""

import json

import pytest
from comfyui.comfy_server import PACK
from comfyui.named_pictures import MIXED, THREE, arrived
from comfyui.templates import node_of, rows_of, template_graph
from tiny_vlms import make_tiny_vlm

CHECK = {"question": "Is it sharp?", "answers": "yes, no", "pass_answer": "Yes"}


@pytest.fixture(scope="module")
def vlm(server) -> str:
    """The name of a tiny vision-language model in the server's models/depictqa."""
    make_tiny_vlm(server.models / "tiny-vlm", "qwen2_5_vl")
    return "tiny-vlm"


def test_the_loader_lists_the_folder(server, vlm):
    spec = server.get("/object_info/DepictQA_LoadModel")["DepictQA_LoadModel"]["input"]["required"]["checkpoint"]
    assert vlm in (spec[1].get("options") or spec[0])


@pytest.mark.parametrize("names", [THREE, MIXED])
def test_images_go_by_their_answer_with_what_follows_them(server, graph, vlm, names):
    run = server.run(graph("DepictQA_CheckImages", checkpoint=vlm, images=names, followers=3, threshold=0.0, **CHECK))
    assert run.texts("passed") == ["True"] * 3 and run.texts("passed_images") == arrived(server, names)
    chances = [float(text) for text in run.texts("probabilities")]
    for text, chance in zip(run.texts("all_probabilities"), chances, strict=True):
        assert json.loads(text)["yes"] == pytest.approx(chance, abs=1e-6)
    middle = sorted(chances)[1]
    again = server.run(
        graph("DepictQA_CheckImages", checkpoint=vlm, images=names, followers=3, threshold=middle, **CHECK)
    )
    passed = [index for index, chance in enumerate(chances) if chance >= middle]
    rest = [index for index in range(3) if index not in passed]
    for branch, indexes in (("passed", passed), ("rejected", rest)):
        assert [int(text) for text in again.texts(f"{branch}_indexes")] == indexes
        assert again.texts(f"{branch}_images") == [arrived(server, names)[index] for index in indexes]
        assert again.texts(f"{branch}_texts") == [f"text {index}" for index in indexes]
    rows = json.loads(again.text("report"))["results"]
    assert [row["passed"] for row in rows] == [index in passed for index in range(3)]


@pytest.mark.parametrize("about", [{"criterion": "sharpness"}, {"prompt": "waves"}])
def test_scores_ranks_comparisons_and_filters_by_a_criterion(server, graph, vlm, about):
    plain = server.run(graph("DepictQA_ScoreImages", checkpoint=vlm, images=THREE))
    scored = server.run(graph("DepictQA_ScoreImages", checkpoint=vlm, images=THREE, **about))
    assert scored.texts("scores") != plain.texts("scores")
    ranked = server.run(graph("DepictQA_RankImages", checkpoint=vlm, images=THREE, **about))
    assert sorted(map(float, ranked.texts("scores"))) == pytest.approx(sorted(map(float, scored.texts("scores"))))
    filtered = server.run(graph("DepictQA_FilterImages", checkpoint=vlm, images=THREE, min_score=0.0, top_k=1, **about))
    assert filtered.texts("passed_scores") == [max(scored.texts("scores"), key=float)]
    pair = {"image_a": "sharp.png", "image_b": "noisy.png"}
    assert server.run(graph("DepictQA_CompareImages", checkpoint=vlm, **pair, **about)).texts("explanations") == [""]


def test_the_bundled_model_refuses_at_the_node(server, graph):
    for node, options in (("CheckImages", CHECK), ("ScoreImages", {"criterion": "x"}), ("RankImages", {"prompt": "x"})):
        asked = graph(f"DepictQA_{node}", checkpoint="depictqa-mini (bundled)", images=THREE, **options)
        assert "not supported by depictqa-mini" in server.run(asked, expect_error=True).error["exception_message"]


def test_the_workflow_runs_with_a_model_of_ones_own(server, vlm):
    graph = template_graph("check_images", server)
    graph[node_of(graph, "DepictQA_LoadModel")]["inputs"]["checkpoint"] = vlm
    rows = rows_of(server.run(graph), node_of(graph, "DepictQA_CheckImages"))
    assert [row[0] for row in rows] == sorted(path.name for path in (PACK / "workflows/samples/photographs").iterdir())
    assert all(row[-1] in ("passed", "rejected") for row in rows)
