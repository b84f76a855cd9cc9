"""Load Judge From Server in a real ComfyUI: answers of a stub, facts, and where the key goes."""

import pytest
from chat_server import chat_server
from comfyui.named_pictures import THREE
from served import serving
from vlm_server import silent, vllm

from depictqa_core.judge import load_judge


def with_server(graph, base, **options):
    nodes = graph("DepictQA_ScoreImages", images=THREE)
    loader = {"url": base, "model_name": "m", "concurrency": 2, "cache_answers": True, **options}
    nodes["load"] = {"class_type": "DepictQA_LoadServer", "inputs": loader}
    nodes["facts"] = {"class_type": "Test_Arrived", "inputs": {"items": ["load", 1]}}
    return nodes


def test_images_are_scored_by_a_model_on_a_server(server, graph):
    with chat_server(vllm()) as stub:
        run = server.run(with_server(graph, stub.base))
        facts = run.text("facts")
        assert "probabilities: exact" in facts and "model: m" in facts and "key: none" in facts
        assert len(run.texts("scores")) == 3 and all(0 <= float(score) <= 100 for score in run.texts("scores"))
        assert not any("Authorization" in headers for headers in stub.headers)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"url": "models/x"}, "url: give the address"), ({"model_name": " "}, "give the name of the model")],
)
def test_mistakes_are_one_line(server, graph, options, words):
    with chat_server(vllm()) as stub:
        run = server.run(with_server(graph, stub.base, **options), expect_error=True)
        assert words in run.error["exception_message"]


def test_a_server_without_log_probabilities_needs_votes(server, graph):
    with chat_server(silent()) as stub:
        refused = server.run(with_server(graph, stub.base), expect_error=True)
        assert "gives no log-probabilities" in refused.error["exception_message"]
        run = server.run(with_server(graph, stub.base, votes=2))
        assert "shares of 2 sampled answers" in run.text("facts")


def test_a_judge_of_depictqa_serve_answers_as_the_loaded_one(server, graph, tiny):
    wanted = server.run(graph("DepictQA_ScoreImages", images=THREE)).texts("scores")
    with serving(load_judge(server.models / tiny, "cpu")) as served:
        run = server.run(with_server(graph, served.base, model_name="tiny-cnn"))
    assert "probabilities: exact: those of the served judge" in run.text("facts")
    assert list(map(float, run.texts("scores"))) == pytest.approx(list(map(float, wanted)), abs=1e-3)
