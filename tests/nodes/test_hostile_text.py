"""Markup in names, labels, questions and answers stays text in the front end; none becomes part of the page."""

import copy

import pytest
from comfyui.front_end import load_nodes, needs_chromium, open_page, queue
from comfyui.linked import graph_of, pictures, values
from PIL import Image
from tiny import make_tiny_checkpoint

pytestmark = needs_chromium
HOSTILE = "<img src=x onerror='window.hostile=1'>"
SHOWN = "img src=x onerror='window.hostile=1'"
TWO = pictures("sharp.png, noisy.png")
NAMES = values(HOSTILE, "b")
SHOWING = {
    "DepictQA_LoadFolder": {"folder": "input/hostile"},
    "DepictQA_IdentifyDistortions": {"images": TWO, "names": NAMES},
    "DepictQA_DescribeImages": {"images": TWO, "question": HOSTILE, "max_new_tokens": 16},
    "DepictQA_CompareImages": {"image_a": TWO, "image_b": pictures("wide.png"), "question": HOSTILE},
    "DepictQA_ScoreImages": {"images": TWO, "names": NAMES},
    "DepictQA_RankImages": {"images": TWO, "names": NAMES},
    "DepictQA_FilterImages": {"images": TWO, "names": NAMES, "min_score": 100.0},
    "DepictQA_CompareModels": {"images": TWO, "labels": NAMES},
    "DepictQA_SaveScoredImages": {"images": TWO, "filename_prefix": f"{HOSTILE}/{HOSTILE} %label%", "labels": NAMES},
    "DepictQA_CollectPreferences": {"images": TWO, "picked": "1", "collection": HOSTILE},
}
REFUSED = {
    "DepictQA_ScoreImages": {"images": pictures("nan"), "names": values(HOSTILE)},
    "DepictQA_SaveScoredImages": {"images": TWO, "filename_prefix": f"../{HOSTILE}"},
    "DepictQA_CollectPreferences": {"images": TWO, "picked": HOSTILE},
    "DepictQA_LoadFolder": {"folder": f"input/{HOSTILE}"},
}
SETTLED = 700  # milliseconds: what is drawn of a text is drawn, and what would run has run
MARKUP = """() => window.hostile === 1 || document.querySelector("img[src='x']") !== null"""
OPEN_MENU = """(name) => {
  const widget = app.graph.nodes.flatMap((node) => node.widgets ?? []).find((widget) => widget.name === name);
  const options = widget.options.values;
  const event = new MouseEvent('click', {clientX: 300, clientY: 300});
  new LiteGraph.ContextMenu(typeof options === 'function' ? options(widget) : options, {event});
}"""


@pytest.fixture(scope="module")
def hostile(server, tiny):
    """A picture, a folder and a checkpoint whose names are markup."""
    for folder in ("hostile", HOSTILE):
        (server.input / folder).mkdir()
    Image.new("RGB", (40, 30)).save(server.input / "hostile" / f"{HOSTILE}.png")
    make_tiny_checkpoint(server.models / HOSTILE)


def nodes_of(server, class_type, inputs):
    nodes = graph_of(server, class_type, **copy.deepcopy(inputs))
    if "Describe" in class_type or "CompareImages" in class_type:
        nodes["writes"] = {"class_type": "Test_Writes", "inputs": {"model": ["load", 0], "text": HOSTILE}}
        nodes["node"]["inputs"]["model"] = ["writes", 0]
    wanted = {"node", "load", "writes"} | {name for name in nodes if name.startswith("in_")}
    return {name: node for name, node in nodes.items() if name in wanted}


@pytest.mark.parametrize("class_type", SHOWING)
def test_no_markup_in_what_a_node_shows(server, hostile, page, class_type):
    open_page(page, server)
    load_nodes(page, nodes_of(server, class_type, SHOWING[class_type]))
    ended = queue(page)
    assert ended.startswith("execution_success"), ended
    page.wait_for_timeout(SETTLED)
    assert not page.evaluate(MARKUP)
