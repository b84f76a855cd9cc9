"""The templates, run as they ship: the bundled model and the samples of the pack, nothing else."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from comfyui.comfy_server import PACK
from comfyui.stand_in_diffusion import BLURS, Decoder
from comfyui.templates import WORKFLOWS, node_of, rows_of, template_graph, with_pick
from PIL import Image
from served import serving
from tiny_vlms import make_tiny_vlm

from depictqa_core.judge import load_judge

SAMPLES = PACK / "workflows" / "samples"
SHIPPED = [
    "best_of_n",
    "check_images",
    "collect_preferences",
    "compare_models",
    "compare_with_reference",
    "filter_bad_samples",
    "generate_until_good",
    "judge_a_folder",
    "judge_from_server",
    "judge_from_text_encoder",
    "judge_video",
    "own_criteria",
    "quality_map",
    "rank_a_batch",
    "score_if_else",
]
DEPRECATED = {"ImageBatch", "ImageCrop"}  # so titled in newer versions of ComfyUI
TITLE, GAP = 30, 20  # pixels: the title above a node, the space that must be left between nodes


@pytest.fixture(scope="module")
def run_workflow(server):
    def run(name, **options):
        graph = template_graph(name, server)
        return graph, server.run(graph, **options)

    return run


def sample(name: str) -> np.ndarray:
    with Image.open(SAMPLES / name) as image:
        return np.asarray(image.convert("RGB"), np.float32)


def test_all_are_here():
    assert [path.stem for path in WORKFLOWS] == SHIPPED
    index = (PACK / "workflows" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(?:.+?)\]\((\w+)\.json\) \|", index, flags=re.M) == SHIPPED
    for path in WORKFLOWS:
        with Image.open(path.with_suffix(".jpg")) as thumbnail:
            assert thumbnail.size == (640, 480)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_template_explains_itself_and_its_nodes_stand_apart(path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    nodes = workflow["nodes"]
    (note,) = [node for node in nodes if node["type"] == "MarkdownNote"]
    assert f"[{note['title']}]({path.name})" in (PACK / "workflows" / "README.md").read_text(encoding="utf-8")
    (text,) = note["widgets_values"]
    assert 3 <= len(re.findall(r"[.!](?:\s|$)", text.replace("...", ""))) <= 4, "a note has three sentences"
    assert not DEPRECATED & {node["type"] for node in nodes}
    assert "example.png" not in json.dumps(workflow)  # a child's drawing, which the judge does not know
    boxes = [(*node["pos"], *node["size"]) for node in nodes]
    for place, (x, y, width, height) in enumerate(boxes):
        for left, top, wide, high in boxes[place + 1 :]:
            beside = x + width + GAP <= left or left + wide + GAP <= x
            assert beside or y + height + TITLE + GAP <= top or top + high + TITLE + GAP <= y, (path.stem, left, top)


def test_rank_a_batch(run_workflow, server):
    graph, run = run_workflow("rank_a_batch")
    shown = server.images(run, node_of(graph, "PreviewImage"))
    (saved,) = server.images(run, node_of(graph, "SaveImage"))
    names = [place[1].split()[-1] for place in rows_of(run, node_of(graph, "DepictQA_RankImages"))]
    assert len(shown) == len(names) == 8 and {names[0], names[1]} == {"raccoon_clean.jpg", "portrait_clean.jpg"}
    raccoons = [f"raccoon_{how}.jpg" for how in ("clean", "soft", "compressed", "blurred")]
    assert [name for name in names if name in raccoons] == raccoons
    for image in (shown[0], saved):
        assert np.abs(np.asarray(image, np.float32) - sample(f"photographs/{names[0]}")).max() < 1


def test_compare_with_reference(run_workflow, server):
    graph, run = run_workflow("compare_with_reference")
    (better,) = server.images(run, node_of(graph, "PreviewImage"))
    assert np.abs(np.asarray(better, np.float32) - sample("photographs/raccoon_soft.jpg")).max() < 1
    ((_, verdict, _, _, text),) = rows_of(run, node_of(graph, "DepictQA_CompareImages"))
    assert verdict == "image A is better" and text


def test_best_of_n_refines_the_best_only(run_workflow, server):
    graph, run = run_workflow("best_of_n")
    (best,) = server.images(run, node_of(graph, "PreviewImage"))
    (refined,) = server.images(run, node_of(graph, "SaveImage"))
    assert (best.size, refined.size) == ((512, 512), (768, 768))
    assert rows_of(run, node_of(graph, "DepictQA_RankImages"))[0][1] == f"1. image {1 + BLURS.index(0.0)}"
    sharp = Decoder().decode(torch.zeros(1, 4, 96, 96))[0].numpy() * 255
    assert np.abs(np.asarray(refined, np.float32) - sharp).max() < 1  # its latents followed it


def test_generate_until_good_ends_with_the_sharp_image(run_workflow, server):
    graph, run = run_workflow("generate_until_good")
    (saved,) = server.images(run, node_of(graph, "DepictQA_SaveScoredImages"))
    sharp = Decoder().decode(torch.zeros(1, 4, 64, 64))[0].numpy() * 255
    assert np.abs(np.asarray(saved, np.float32) - sharp).max() < 1
    (file,) = run.texts(node_of(graph, "DepictQA_SaveScoredImages"))[0].splitlines()
    assert file.endswith(f"_{BLURS.index(0.0)}_hot-air balloons over a valley, photograph, morning light_00001_.png")


def test_filter_bad_samples_saves_both_branches(run_workflow, server):
    graph, run = run_workflow("filter_bad_samples")
    decided = {row[1]: row[2] for row in rows_of(run, node_of(graph, "DepictQA_FilterImages"))}
    assert {name for name, reason in decided.items() if reason == "passed"} == {
        "portrait_clean.jpg",
        "raccoon_clean.jpg",
        "raccoon_soft.jpg",
    }
    assert "noise (" in decided["portrait_noisy.jpg"]  # by the list of distortions, whatever its score
    assert len(server.images(run, node_of(graph, "SaveImage", filename_prefix="DepictQA/passed"))) == 3
    assert len(server.images(run, node_of(graph, "SaveImage", filename_prefix="DepictQA/rejected"))) == 5


def test_score_if_else_repairs_only_what_has_a_low_score(run_workflow, server):
    graph, run = run_workflow("score_if_else")
    repaired = node_of(graph, "SaveImage", filename_prefix="DepictQA/repaired")
    passed = node_of(graph, "SaveImage", filename_prefix="DepictQA/as it is")
    assert len(server.images(run, repaired)) == 1 and passed not in run.outputs
    before, after = (
        float(rows_of(run, node_of(graph, f"DepictQA_{name}"))[0][0]) for name in ("FilterImages", "ScoreImages")
    )
    assert before < 80 < after
    graph[node_of(graph, "DepictQA_LoadFolder")]["inputs"]["start"] = 5  # the clean one
    again = server.run(graph)
    assert passed in again.outputs and repaired not in again.outputs and not again.error


def test_compare_models(run_workflow, server):
    graph, run = run_workflow("compare_models")
    assert len(server.images(run, node_of(graph, "PreviewImage"))) == 1
    node = node_of(graph, "DepictQA_CompareModels")
    assert rows_of(run, node)[0][0] == "sharp"
    notes = " ".join(run.outputs[node]["depictqa"][0]["notes"])
    assert "9 comparisons in 3 groups" in notes and "too few groups" in notes


def test_judge_a_folder(run_workflow, server):
    graph, run = run_workflow("judge_a_folder")
    pictures = sorted(SAMPLES.glob("*.jpg"))
    saved = server.images(run, node_of(graph, "DepictQA_SaveScoredImages"))
    assert len(saved) == len(pictures) > 3
    listed = (server.base / "output" / "DepictQA" / "judged" / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert {row["label"] for row in csv.DictReader(listed)} == {path.name for path in pictures}
    files = run.text(node_of(graph, "DepictQA_SaveScoredImages"))
    assert all(f"_{path.stem}_" in files for path in pictures)
    (sheet,) = server.images(run, node_of(graph, "SaveImage"))
    assert min(sheet.size) > 500


def test_collect_preferences(server):
    """Without a page the fallback picks, and nothing is recorded; a pick is passed on and recorded."""
    graph = template_graph("collect_preferences", server)
    node, best = node_of(graph, "DepictQA_CollectPreferences"), node_of(graph, "PreviewImage")
    first = server.run(graph)
    assert "Nothing recorded" in first.text(node) and len(server.images(first, best)) == 1
    graph[node_of(graph, "DepictQA_PickImages")]["inputs"]["wait"] = "always"
    second = server.run(graph, on_message=with_pick(server, 2))
    assert "3 in all" in second.text(node)
    (picked,) = server.images(second, best)
    assert np.abs(np.asarray(picked, np.float32) - sample("photographs/raccoon_clean.jpg")).max() < 1
    records = server.base / "output" / "depictqa" / "preferences" / "records" / "preferences.json"
    assert len(json.loads(records.read_text())) == 3


def test_quality_map(run_workflow, server):
    graph, run = run_workflow("quality_map")
    heat, mask = (server.images(run, key)[0] for key, node in graph.items() if node["class_type"] == "PreviewImage")
    assert heat.width == mask.width == 512
    bad = np.asarray(mask.convert("L"))
    assert bad[192:, :256].mean() > bad[:192, 256:].mean() + 60  # the blurred leaves against the opposite corner


def test_judge_video_finds_where_it_is_out_of_focus(server):
    graph = template_graph("judge_video", server)
    node = node_of(graph, "DepictQA_JudgeVideo")
    graph["scores"] = {"class_type": "Test_Arrived", "inputs": {"items": [node, 3]}}
    run = server.run(graph)
    scores = [float(text) for text in run.texts("scores")]
    assert len(scores) == 24 and max(scores[9:15]) < min(scores[:8] + scores[17:])
    start, end = map(float, re.search(r"worst segment ([\d.]+) to ([\d.]+) s", run.text(node)).groups())
    assert 1.0 <= start < end <= 2.0
    assert all(key in run.outputs for key, one in graph.items() if one["class_type"] == "PreviewImage")


def test_own_criteria_with_a_model_of_ones_own(server):
    make_tiny_vlm(server.models / "own-criteria", "qwen2_5_vl")
    graph = template_graph("own_criteria", server)
    rank = node_of(graph, "DepictQA_RankImages")
    graph[node_of(graph, "DepictQA_LoadModel")]["inputs"]["checkpoint"] = "own-criteria"
    first = server.run(graph)
    assert len(server.images(first, node_of(graph, "PreviewImage"))) == 4
    graph[rank]["inputs"]["criterion"] = "number of leaves"
    strengths = [[row[-1] for row in sorted(rows_of(run, rank))] for run in (first, server.run(graph))]
    assert strengths[0] != strengths[1]  # the criterion is asked


def test_judge_from_server(server):
    graph = template_graph("judge_from_server", server)
    load, score = node_of(graph, "DepictQA_LoadServer"), node_of(graph, "DepictQA_ScoreImages")
    with serving(load_judge(device="cpu")) as served:
        graph[load]["inputs"] |= {"url": served.base, "model_name": "depictqa-mini"}
        run = server.run(graph)
    scores = {row[1]: float(row[0]) for row in rows_of(run, score)}
    assert scores["raccoon_clean.jpg"] > scores["raccoon_soft.jpg"] > scores["raccoon_blurred.jpg"]
    assert "depictqa-mini" in run.text(node_of(graph, "PreviewAny"))
    assert len(rows_of(run, node_of(graph, "DepictQA_DescribeImages"))) == 4
