"""The shipped workflows, run as they ship: the bundled model, ComfyUI's own example image, nothing else."""

import csv
import json

import numpy as np
import pytest
import torch
from comfyui.comfy_server import PACK
from comfyui.stand_in_diffusion import BLURS, Decoder
from comfyui.ui_format import to_api

WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))


def node_of(graph, class_type):
    return next(key for key, node in graph.items() if node["class_type"] == class_type)


def rows_of(markdown: str) -> list[list[str]]:
    """The cells of the table in a report."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture(scope="module")
def run_workflow(server):
    def run(name):
        """Run a workflow as it ships; stand-ins take the place of a diffusion model and of its sampling."""
        workflow = json.loads((PACK / "workflows" / f"{name}.json").read_text())
        graph = to_api(workflow, server.get("/object_info"))
        for node in graph.values():
            if node["class_type"] in ("CheckpointLoaderSimple", "KSampler"):
                node["class_type"] = f"Test_{node['class_type']}"
        return graph, server.run(graph)

    return run


SHIPPED = [
    "best_of_n",
    "check_images",
    "collect_preferences",
    "compare_models",
    "compare_with_reference",
    "filter_bad_samples",
    "generate_until_good",
    "judge_a_folder",
    "judge_from_text_encoder",
    "quality_map",
    "rank_a_batch",
]


def test_all_are_here():
    assert [path.stem for path in WORKFLOWS] == SHIPPED
    for path in WORKFLOWS:
        assert path.with_suffix(".jpg").exists()


def test_rank_a_batch(run_workflow, server):
    graph, run = run_workflow("rank_a_batch")
    shown = server.images(run, node_of(graph, "PreviewImage"))
    assert len(shown) == 4
    places = rows_of(run.text(node_of(graph, "PreviewAny")))
    ranks = [int(place[1].split()[0].rstrip(".=")) for place in places]
    assert len(places) == 4 and ranks == sorted(ranks)
    assert places[0][1].endswith("image 1")  # the undistorted image


def test_compare_with_reference(run_workflow, server):
    graph, run = run_workflow("compare_with_reference")
    assert len(server.images(run, node_of(graph, "PreviewImage"))) == 1
    ((_, verdict, _, _, text),) = rows_of(run.text(node_of(graph, "PreviewAny")))
    assert verdict == "image A is better" and text


def test_best_of_n_refines_the_best_only(run_workflow, server):
    graph, run = run_workflow("best_of_n")
    (best,) = server.images(run, node_of(graph, "PreviewImage"))
    (refined,) = server.images(run, node_of(graph, "SaveImage"))
    assert (best.size, refined.size) == ((512, 512), (768, 768))
    ranks = run.outputs[node_of(graph, "DepictQA_RankImages")]["depictqa"][0]["rows"]
    assert ranks[0]["cells"][1] == f"1. image {1 + BLURS.index(0.0)}"
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
    saved = {node["inputs"]["filename_prefix"]: key for key, node in graph.items() if node["class_type"] == "SaveImage"}
    assert len(server.images(run, saved["DepictQA/passed"])) == 1
    assert len(server.images(run, saved["DepictQA/rejected"])) == 3
    rows = rows_of(run.text(node_of(graph, "PreviewAny")))
    assert [row[2] == "passed" for row in rows] == [True, False, False, False]  # the undistorted image is first


def test_compare_models(run_workflow, server):
    graph, run = run_workflow("compare_models")
    assert len(server.images(run, node_of(graph, "PreviewImage"))) == 1
    table = run.text(node_of(graph, "PreviewAny")).splitlines()
    assert table[2].split()[1] == "sharp"  # the undistorted one stands first; few comparisons make no rank certain
    assert "9 comparisons in 3 groups" in " ".join(table) and "too few groups" in " ".join(table)


def test_judge_a_folder(run_workflow, server):
    graph, run = run_workflow("judge_a_folder")
    pictures = [path for path in server.input.iterdir() if path.suffix == ".png"]
    saved = server.images(run, node_of(graph, "DepictQA_SaveScoredImages"))
    assert len(saved) == len(pictures) > 3
    listed = (server.base / "output" / "DepictQA" / "judged" / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert len(listed) >= 1 + len(pictures)
    labels = {row["label"] for row in csv.DictReader(listed)}
    assert labels == {path.name for path in pictures}
    files = run.text(node_of(graph, "DepictQA_SaveScoredImages"))
    assert all(f"_{path.stem}_" in files for path in pictures)
    (sheet,) = server.images(run, node_of(graph, "SaveImage"))
    assert min(sheet.size) > 500


def test_collect_preferences(server):
    """As it ships nothing is picked; then the user types a number and runs it again."""
    workflow = json.loads((PACK / "workflows" / "collect_preferences.json").read_text())
    graph = to_api(workflow, server.get("/object_info"))
    node, best = node_of(graph, "DepictQA_CollectPreferences"), node_of(graph, "PreviewImage")
    first = server.run(graph)
    assert "Nothing recorded" in first.text(node) and best not in first.outputs
    graph[node]["inputs"]["picked"] = "1"
    second = server.run(graph)
    assert "2 in all" in second.text(node) and len(server.images(second, best)) == 1
    records = server.base / "output" / "depictqa" / "preferences" / "records" / "preferences.json"
    assert len(json.loads(records.read_text())) == 2


def test_quality_map(run_workflow, server):
    graph, run = run_workflow("quality_map")
    heat, mask = (server.images(run, key)[0] for key, node in graph.items() if node["class_type"] == "PreviewImage")
    assert heat.width == mask.width == 768
    bad = np.asarray(mask.convert("L"))
    assert bad[:384, 384:].mean() > bad[384:].mean() + 60  # the blurred corner against the lower half
    assert run.text(node_of(graph, "PreviewAny")).startswith("x ")
