"""In the page: the answer of a loop is on its end and stays there, and Stop Auto Queue ends auto queue."""

import pytest
from comfyui.front_end import load_nodes, needs_chromium, open_page, queue, wait_for_answer

pytestmark = needs_chromium
SETTINGS = "app.extensionManager.queueSettings"
GOOD = "Good after 4 rounds: seed 3"

FIXED = """() => app.graph.nodes.find((node) => node.title === 'start').widgets
  .filter((widget) => widget.name === 'control_after_generate').forEach((widget) => { widget.value = 'fixed'; })"""


@pytest.fixture(scope="module")
def page(server, new_page):
    """One page for both tests; it takes its time to open only once."""
    with new_page() as page:
        open_page(page, server)
        yield page


def test_the_answer_of_the_last_round_stays_on_the_end(server, page):
    end = {"model": ["load", 0], "images": ["sampler", 0], "loop": ["start", 0], "min_score": 71, "max_rounds": 10}
    end |= {"distortions": "", "probability": 0.4}
    nodes = {
        "load": {"class_type": "Test_BrightJudge", "inputs": {}},
        "start": {"class_type": "DepictQA_GenerateUntilGoodStart", "inputs": {"seed": 0}},
        "sampler": {"class_type": "Test_Shades", "inputs": {"seed": ["start", 1], "round": ["start", 2]}},
        "node": {"class_type": "DepictQA_GenerateUntilGoodEnd", "inputs": end},
    }
    load_nodes(page, nodes)
    page.evaluate(FIXED)
    assert queue(page).startswith("execution_success")
    said = wait_for_answer(page, GOOD)
    assert "best: round 4" in said and "round 1" in said
    stored = server.get(f"/depictqa/answers/{page.evaluate('() => app.graph.id')}")
    id_of_end = page.evaluate("() => String(app.graph.nodes.find((node) => node.title === 'node').id)")
    assert list(stored) == [id_of_end] and GOOD in stored[id_of_end]["notes"]
    assert queue(page).startswith("execution_success")  # from the cache
    assert wait_for_answer(page, GOOD) == said


def test_the_page_leaves_its_auto_queue_mode(page):
    for stops, mode in (("false", "change"), ("true", "disabled"), ("true", "disabled")):  # the last run is cached
        stop = {"class_type": "DepictQA_StopAutoQueue", "inputs": {"stop": ["in", 0], "remove_waiting": True}}
        load_nodes(page, {"in": {"class_type": "Test_Values", "inputs": {"json": f"[{stops}]"}}, "node": stop})
        page.evaluate(f"() => {{ {SETTINGS}.mode = 'change'; }}")
        assert queue(page).startswith("execution_success")
        page.wait_for_function(f"(mode) => {SETTINGS}.mode === mode", arg=mode)
        page.evaluate(f"() => {{ {SETTINGS}.mode = 'disabled'; }}")
