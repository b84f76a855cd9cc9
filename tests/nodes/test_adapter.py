"""A LoRA adapter of a vision-language model in graphs of a real ComfyUI."""

import pytest
from comfyui.named_pictures import THREE
from tiny_vlms import make_tiny_adapter, make_tiny_vlm

from depictqa_core.judge import load_judge


def test_an_adapter_opens_next_to_its_base_and_ranks(server, graph):
    base = make_tiny_vlm(server.models / "tiny-base", "qwen2_5_vl")
    make_tiny_adapter(server.models / "tiny-adapter", base)
    graphs = [graph("DepictQA_ScoreImages", checkpoint=name, images=THREE) for name in ("tiny-base", "tiny-adapter")]
    of_base, of_adapter = ([float(text) for text in server.run(nodes).texts("scores")] for nodes in graphs)
    assert of_adapter != pytest.approx(of_base, abs=0.1)
    files = [str(server.input / name) for name in THREE.split(", ")]
    judge = load_judge(server.models / "tiny-adapter", "cpu")
    assert of_adapter == pytest.approx([found.score for found in judge.score(files)], abs=1e-2)
    ranked = server.run(graph("DepictQA_RankImages", checkpoint="tiny-adapter", images=THREE))
    assert sorted(map(float, ranked.texts("scores"))) == pytest.approx(sorted(of_adapter), abs=1e-2)
