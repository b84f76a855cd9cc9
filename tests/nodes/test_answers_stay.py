"""What a node has said stays on it, by its words, when nodes are made anew; pairs under a slider; picks in the page."""

import json

import pytest
from comfyui.front_end import ENDS, load_nodes, needs_chromium, open_page, queue
from comfyui.linked import graph_of, pictures, values

pytestmark = needs_chromium
EIGHT = "sharp.png, noisy.png, wide.png, " + ", ".join(f"random:{seed}" for seed in range(5))
FRESH = """() => {
  const box = document.querySelector('.depictqa-answers');
  const bottom = box.getBoundingClientRect().bottom;
  const rows = [...box.querySelectorAll('tbody tr')].filter((row) => row.getBoundingClientRect().bottom <= bottom);
  return {rows: rows.length, overflow: box.scrollWidth - box.clientWidth,
          heads: [...box.querySelectorAll('th')].map((head) => head.textContent)};
}"""
EDIT = """() => {
  const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
  tracker.checkState();
  const node = app.graph.nodes.find((node) => node.title === 'load');
  node.pos = [node.pos[0] + 10, node.pos[1]];
  tracker.checkState();
}"""
UNDONE = "() => app.extensionManager.workflow.activeWorkflow.changeTracker.redoQueue.length === 1"
SAME = "(text) => document.querySelector('.depictqa-answers')?.textContent === text"
SHOW = """() => {
  const [node, canvas] = [app.graph.nodes.find((node) => node.title === 'node'), app.canvas];
  canvas.ds.scale = 1;
  canvas.ds.offset = [60 - node.pos[0], 60 - node.pos[1]];
  canvas.setDirty(true, true);
}"""


@pytest.fixture(scope="module")
def page(server, new_page):
    """One page for all tests; it takes its time to open only once."""
    with new_page() as page:
        open_page(page, server)
        yield page


def load(page, server, class_type, **inputs):
    """One node and what is linked to it, in an open page."""
    nodes = graph_of(server, class_type, **inputs)
    shown = {key: node for key, node in nodes.items() if key in ("node", "load") or key.startswith("in_")}
    load_nodes(page, shown, f"test {class_type}")
    page.evaluate(SHOW)


def test_an_answer_stays_on_its_node(server, page, tiny):
    load(page, server, "DepictQA_RankImages", images=pictures(EIGHT), method="score")
    assert queue(page).startswith("execution_success")
    page.wait_for_selector(".depictqa-answers tbody tr", state="visible")
    fresh = page.evaluate(FRESH)
    assert fresh["rows"] >= 6 and fresh["overflow"] <= 0 and fresh["heads"][:3] == ["", "score", "image"]
    box = page.locator(".depictqa-answers").first
    text = box.text_content()
    assert "image 8" in text
    box.locator("th", has_text="score").click()  # from the worst on
    first = box.locator("tbody tr").first.text_content()
    assert text.endswith(first)
    box.locator("tbody img").first.click()
    page.locator(".depictqa-large img").wait_for(state="visible")
    page.keyboard.press("Escape")
    assert page.locator(".depictqa-large").count() == 0

    page.evaluate(EDIT)
    page.keyboard.press("Control+z")
    page.wait_for_function(UNDONE)
    page.wait_for_function(SAME, arg=text)
    page.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait_for_function("() => app.graph.nodes.length === 0")
    assert page.locator(".depictqa-answers td").count() == 0
    page.locator(".workflow-tab", has_text="test").last.click()
    page.wait_for_function(SAME, arg=text)
    saved = page.evaluate("() => JSON.stringify(app.graph.serialize())")
    assert "image 8" not in saved  # it comes from the server, not out of the graph
    page.reload()
    page.wait_for_function("() => window.app?.graph?.nodes?.length > 0")
    page.wait_for_function(SAME, arg=text)
    page.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait_for_function("() => app.graph.nodes.length === 0")
    page.evaluate("(graph) => app.loadGraphData(JSON.parse(graph))", saved)  # as an opened file is
    page.wait_for_function(SAME, arg=text)


def test_a_pair_is_shown_under_a_slider(server, page, tiny):
    two = {"image_a": pictures("sharp.png, wide.png"), "image_b": pictures("noisy.png, wide.png")}
    load(page, server, "DepictQA_CompareImages", **two)
    assert queue(page).startswith("execution_success")
    pair = page.locator(".depictqa-pair")
    pair.locator("img").first.wait_for(state="visible")
    assert "Probability that A is better" in pair.text_content() and "pair 1 of 2" in pair.text_content()
    slider = pair.locator("input")
    slider.focus()
    page.keyboard.press("Home")
    assert "0%" in pair.locator(".frame").get_attribute("style")
    pair.get_by_title("Next pair").click()
    assert "pair 2 of 2" in pair.text_content()
    pair.get_by_title("Where the images differ").click()
    page.locator(".depictqa-large img").wait_for(state="visible")


def test_two_pages_pick_one_is_closed_and_the_other_loaded_again(server, page, new_page):
    load(page, server, "DepictQA_PickImages", images=pictures(EIGHT), scores=values(*range(8)), timeout=0)
    graph = page.evaluate("() => app.graph.serialize()")

    def waits(shown):
        shown.wait_for_selector(".depictqa-pick .card >> nth=7", state="attached")
        return shown.locator(".depictqa-pick .card")

    page.evaluate(ENDS)
    page.evaluate("() => app.queuePrompt(0)")
    assert "1. 0.0" in waits(page).first.text_content()
    with new_page() as other:
        open_page(other, server)
        other.evaluate("(graph) => app.loadGraphData(graph)", graph)
        waits(other).nth(2).click()  # the same pick, and it is no answer yet
        assert "continue with 1" in other.locator(".depictqa-pick .go").text_content()
    (pick,) = server.get("/depictqa/picks")["picks"]  # a closed page ends nothing
    assert len(pick["images"]) == 8
    page.reload()  # as when the browser was closed and the last workflow is restored
    assert "8. 7.0" in waits(page).last.text_content()
    page.evaluate(SHOW)
    page.evaluate(ENDS)
    page.locator(".depictqa-pick").focus()
    for key in ("3", "5", "5", "ArrowRight", "Space", "Enter"):  # 5 is taken back
        page.keyboard.press(key)
    assert page.evaluate("() => window.ended").startswith("execution_success")
    page.wait_for_selector(".depictqa-answers td", state="attached")
    assert "You picked 2 of 8 images" in page.locator(".depictqa-answers").first.text_content()
    (output,) = [run["outputs"]["node"] for run in server.get("/history").values() if pick["node"] in run["outputs"]][
        -1:
    ]
    cells = [row["cells"] for row in output["depictqa"][0]["rows"]]
    assert [name for place, name, *_ in sorted(cells) if place] == ["image 3", "image 1"]
    assert json.dumps(server.get("/depictqa/picks")) == '{"picks": []}'


@pytest.mark.parametrize("before", ["DepictQA_QualitySheet"])
def test_a_node_shows_no_image_of_another_node_that_had_its_id(server, page, tiny, before):
    load(page, server, before, images=pictures("sharp.png"))
    assert queue(page).startswith("execution_success")
    page.wait_for_selector(".depictqa-answers .images img", state="attached")
    twice = "() => Object.values(app.nodeOutputs).some((output) => output.depictqa && output.images)"
    assert page.evaluate(twice) is False  # Nodes 2.0 would show them next to the answers once more
    load(page, server, "DepictQA_LoadFolder", folder="input")
    state = "() => { const node = app.graph.nodes[0]; return [node.type, node.imgs?.length ?? 0]; }"
    page.wait_for_timeout(500)
    assert page.evaluate(state) == ["DepictQA_LoadFolder", 0]
    assert page.locator(".depictqa-answers img").count() == 0
    assert queue(page).startswith("execution_success")
    page.wait_for_selector(".depictqa-answers tbody img", state="attached")
    assert page.evaluate(state) == ["DepictQA_LoadFolder", 0]
    assert page.locator(".depictqa-answers .images").count() == 0
