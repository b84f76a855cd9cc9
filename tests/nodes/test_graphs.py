"""The judging nodes in graphs of a real ComfyUI, with a tiny random model: what goes in and what comes out."""

import json

import pytest
from comfyui.named_pictures import MIXED, THREE, arrived

OTHER_SIZES = "sharp.png@256x192, wide.png@100x40, small@32x32"


@pytest.mark.parametrize(
    ("names", "as_batch", "reference"),
    [
        (THREE, True, None),
        (THREE, False, "sharp.png"),
        (THREE, True, THREE),
        (MIXED, False, None),
        (MIXED, False, MIXED),
        (MIXED, False, OTHER_SIZES),
    ],
)
def test_score(server, graph, names, as_batch, reference):
    run = server.run(graph("DepictQA_ScoreImages", images=names, as_batch=as_batch, reference=reference))
    scores = [float(text) for text in run.texts("scores")]
    assert len(scores) == 3 and all(0 <= score <= 100 for score in scores)
    assert all(0 <= float(text) <= 50 for text in run.texts("spreads"))
    report = json.loads(run.text("report"))
    assert [result["score"] for result in report["results"]] == pytest.approx(scores, abs=1e-5)
    assert [result["picture"] for result in report["results"]] == ["image 1", "image 2", "image 3"]
    assert len(report.get("notices", [])) == (3 if reference == OTHER_SIZES else 0)


@pytest.mark.parametrize(("names", "as_batch"), [(THREE, True), (MIXED, False)])
@pytest.mark.parametrize("count", ["any", "1", "2"])
def test_identify(server, graph, names, as_batch, count):
    run = server.run(graph("DepictQA_IdentifyDistortions", images=names, as_batch=as_batch, count=count))
    results = json.loads(run.text("report"))["results"]
    assert run.texts("distortions") == [", ".join(result["labels"]) or "none" for result in results]
    assert run.texts("undistorted") == [str(not result["labels"]) for result in results]
    assert len(results) == 3
    if count != "any":
        assert {len(result["labels"]) for result in results} <= {0, int(count)}
    for text, result in zip(run.texts("probabilities"), results, strict=True):
        assert json.loads(text) == {item["label"]: item["probability"] for item in result["probabilities"]}
        assert sum(json.loads(text).values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("detail", ["detailed", "brief"])
@pytest.mark.parametrize("reference", [None, MIXED])
def test_describe(server, graph, detail, reference):
    inputs = {"detail": detail, "reference": reference, "max_new_tokens": 16}
    run = server.run(graph("DepictQA_DescribeImages", images=MIXED, **inputs))
    results = json.loads(run.text("report"))["results"]
    assert run.texts("descriptions") == [result["text"] for result in results]
    assert len(results) == len(run.texts("confidences")) == 3


def test_a_description_appears_while_it_is_written(server, graph):
    run = server.run(graph("DepictQA_DescribeImages", images="random:900", max_new_tokens=400))
    first, *_, last = run.streamed["node"]
    description = run.texts("descriptions")[0].translate(str.maketrans("<>", "‹›"))  # shown without markup
    assert last == run.text("node") and description in last
    assert first.startswith("image 1: ") and len(first) < len(last)


def test_another_question_gets_another_answer(server, graph):
    own = {"question": "Is there any banding in the sky?", "max_new_tokens": 16}
    asked = server.run(graph("DepictQA_DescribeImages", images=THREE, **own))
    usual = server.run(graph("DepictQA_DescribeImages", images=THREE, max_new_tokens=16))
    assert asked.texts("descriptions") != usual.texts("descriptions")


@pytest.mark.parametrize("reference", [None, "sharp.png, small", "sharp.png@256x192, small@32x32"])
def test_compare_pair_by_pair(server, graph, reference):
    pairs = {"image_a": "sharp.png, small", "image_b": "blurred.png, small@64x64"}
    run = server.run(graph("DepictQA_CompareImages", **pairs, reference=reference, explain=False))
    a, b = arrived(server, pairs["image_a"]), arrived(server, pairs["image_b"])
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


@pytest.mark.parametrize(("reference", "width"), [(None, 128), ("sharp.png", 2 * 128 + 8)])
def test_a_pair_of_one_shape_has_a_difference_map(server, graph, reference, width):
    """An old graph has no switch and gets no map; a pair of two shapes has none either, and says so."""
    pair = {"image_a": "noisy.png", "image_b": "blurred.png", "reference": reference, "explain": False}
    run = server.run(graph("DepictQA_CompareImages", **pair, difference_map=True))
    (drawn,) = run.texts("difference_maps")
    assert drawn.startswith("(1, ") and f", {width}, 3)" in drawn
    assert run.outputs["node"]["depictqa"][0]["pairs"][0]["difference"]["filename"].endswith(".jpg")
    old = server.run(graph("DepictQA_CompareImages", **pair))
    assert "difference_maps" not in old.outputs and old.texts("winners") == run.texts("winners")
    if reference is None:
        other = {**pair, "image_b": "wide.png"}
        shapes = server.run(graph("DepictQA_CompareImages", **other, difference_map=True))
        assert "difference_maps" not in shapes.outputs
        assert "1 of 1 without a difference map: the aspect ratios differ" in shapes.text("node")


def test_equal_pictures_tie_and_a_is_passed_on(server, graph):
    run = server.run(graph("DepictQA_CompareImages", image_a="sharp.png", image_b="sharp.png", explain=False))
    assert (run.texts("verdicts"), run.texts("a_wins")) == (["tie"], ["True"])


@pytest.mark.parametrize("class_type", ["IdentifyDistortions", "DescribeImages", "ScoreImages", "RankImages"])
def test_a_judging_node_needs_nothing_behind_it_and_shows_its_answers(server, graph, class_type):
    nodes = graph(f"DepictQA_{class_type}", images=THREE)
    run = server.run({key: nodes[key] for key in ("load", "node", "pictures_images")})
    (table,) = run.outputs["node"]["depictqa"]
    assert len(table["rows"]) == 3
    for row in table["rows"]:
        assert len(row["cells"]) == len(table["columns"])
        picture = server.fetch(f"/view?type=temp&subfolder={table['folder']}&filename={row['thumbnails'][0]}")
        assert picture.startswith(b"\xff\xd8\xff")
    assert run.text("node").count("image 1") == 1


def test_a_report_is_a_table_to_read_or_json_for_a_program(server, graph):
    """A graph that says nothing gets JSON, as before there was a choice; a new node asks for the table."""
    options = server.get("/object_info/DepictQA_ScoreImages")["DepictQA_ScoreImages"]["input"]["optional"]
    assert options["report_format"][1]["default"] == "markdown"
    nodes = graph("DepictQA_ScoreImages", images=THREE, report_format="markdown", names=["names", 0])
    nodes["names"] = {"class_type": "Test_Values", "inputs": {"json": json.dumps(["a|b <i>", "[c](d)", "e"])}}
    run = server.run(nodes)
    rows = [line for line in run.text("report").splitlines() if line.startswith("| ")]
    assert rows[0] == "| score | image | 95 % interval | confidence |" and len(rows) == 5
    assert "a\\|b ‹i›" in rows[2] and "\\[c](d)" in rows[3] and "<" not in run.text("report")
    assert run.texts("scores")[0].startswith(rows[2].split("|")[1].strip()[:2])
    nodes["node"]["inputs"]["report_format"] = "csv"
    message = server.run(nodes, expect_error=True).error["exception_message"]
    assert "report_format" in message and "markdown, json" in message


def test_many_rows_are_cut_on_the_node_but_not_in_the_report(server, graph):
    run = server.run(graph("DepictQA_ScoreImages", images=", ".join(["sharp.png"] * 103)))
    (table,) = run.outputs["node"]["depictqa"]
    assert len(table["rows"]) == 100 and "103" in table["notes"][-1]
    assert len(json.loads(run.text("report"))["results"]) == len(run.texts("scores")) == 103
