"""Markup in names, labels, questions and answers stays text in the front end; none becomes part of the page."""

import copy
import json

import pytest
from comfyui.front_end import load_nodes, needs_chromium, open_page, queue, wait_for_answer
from comfyui.linked import graph_of, pictures, values
from PIL import Image
from tiny import make_tiny_checkpoint

pytestmark = needs_chromium
HOSTILE = "<img src=x onerror='window.hostile=1'>"
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
AGAIN = {"DepictQA_CollectPreferences": {"pairs": "neighbours"}}
REFUSED = {
    "DepictQA_ScoreImages": {"images": pictures("nan"), "names": values(HOSTILE)},
    "DepictQA_SaveScoredImages": {"images": TWO, "filename_prefix": f"../{HOSTILE}"},
    "DepictQA_CollectPreferences": {"images": TWO, "collection": f"../{HOSTILE}"},
    "DepictQA_LoadFolder": {"folder": f"input/{HOSTILE}/gone"},
    "DepictQA_RankImages": {"images": TWO, "checkpoint": f"{HOSTILE} damaged".translate(str.maketrans("<>", "‹›"))},
}
SETTLED = 700  # milliseconds: what is drawn of a text is drawn, and what would run has run
MARKUP = """() => window.hostile === 1 || document.querySelector("img[src='x'], a[href*='onerror']") !== null"""
CLEAR = "() => { window.hostile = 0; app.extensionManager.dialog?.closeDialog?.(); }"
OPEN_MENU = """(name) => {
  const widget = app.graph.nodes.flatMap((node) => node.widgets ?? []).find((widget) => widget.name === name);
  const options = widget.options.values;
  const event = new MouseEvent('click', {clientX: 300, clientY: 300});
  new LiteGraph.ContextMenu(typeof options === 'function' ? options(widget) : options, {event});
}"""


@pytest.fixture(scope="module")
def hostile(server, tiny):
    """An image, folders and a checkpoint whose names are markup."""
    for folder in ("hostile", HOSTILE):
        (server.input / folder).mkdir()
        Image.new("RGB", (40, 30)).save(server.input / folder / f"{HOSTILE}.png")
        (server.input / folder / f"{HOSTILE}.heic").touch()
    for name in (HOSTILE, f"{HOSTILE} damaged"):
        make_tiny_checkpoint(server.models / name)
    (server.models / f"{HOSTILE} damaged" / "config.json").unlink()


@pytest.fixture(scope="module")
def opened(server, new_page, hostile):
    """One page for all graphs; they take its time to open only once."""
    with new_page() as page:
        open_page(page, server)
        yield page


@pytest.fixture
def page(opened):
    opened.evaluate(CLEAR)
    yield opened
    opened.wait_for_timeout(SETTLED)
    assert not opened.evaluate(MARKUP)


def nodes_of(server, class_type, inputs):
    nodes = graph_of(server, class_type, **copy.deepcopy(inputs))
    if class_type in ("DepictQA_DescribeImages", "DepictQA_CompareImages"):
        nodes["writes"] = {"class_type": "Test_Writes", "inputs": {"model": ["load", 0], "text": HOSTILE}}
        nodes["node"]["inputs"]["model"] = ["writes", 0]
    wanted = {"node", "load", "writes"} | {name for name in nodes if name.startswith("in_")}
    return {name: node for name, node in nodes.items() if name in wanted}


@pytest.mark.parametrize("class_type", SHOWING)
def test_what_a_node_shows_is_text(server, page, class_type):
    load_nodes(page, nodes_of(server, class_type, SHOWING[class_type]))
    ended = queue(page)
    assert ended.startswith("execution_success"), ended
    wait_for_answer(page, "onerror=")


@pytest.mark.parametrize("class_type", REFUSED)
def test_what_an_error_says_is_text(server, page, class_type):
    load_nodes(page, nodes_of(server, class_type, REFUSED[class_type]))
    ended = queue(page)
    assert ended.startswith("execution_error") and "onerror=" in ended, ended


@pytest.mark.parametrize(
    ("class_type", "widget"), [("DepictQA_LoadModel", "checkpoint"), ("DepictQA_LoadFolder", "folder")]
)
def test_what_a_menu_offers_is_text(server, page, class_type, widget):
    load_nodes(page, nodes_of(server, class_type, {}))
    page.evaluate(OPEN_MENU, widget)
    menu = page.locator(".litecontextmenu").last
    assert "onerror=" in menu.inner_text()


def test_what_a_menu_offers_can_be_chosen(server, hostile):
    info = server.get("/object_info")
    offered = {name: info[f"DepictQA_{name}"]["input"]["required"] for name in ("LoadModel", "LoadFolder")}
    options = [*offered["LoadModel"]["checkpoint"][1]["options"], *offered["LoadFolder"]["folder"][1]["options"]]
    assert not set("<>") & set("".join(options))
    (checkpoint,) = [name for name in options if name.startswith("‹") and not name.endswith("damaged")]
    (folder,) = [name for name in options if name.startswith("input/‹")]
    for chosen in (checkpoint, HOSTILE):
        run = server.run(graph_of(server, "DepictQA_ScoreImages", checkpoint=chosen, images=TWO, names=NAMES))
        assert json.loads(run.text("report"))["results"][0]["picture"] == HOSTILE and "<" not in run.text("report")
    for chosen in (folder, f"input/{HOSTILE}"):
        run = server.run(graph_of(server, "DepictQA_LoadFolder", folder=chosen))
        assert run.text("names") == f"{HOSTILE}.png"  # the output is the name itself
        assert "onerror=" in run.text("report") and "<" not in run.text("report")


@pytest.mark.parametrize("class_type", SHOWING)
def test_messages_to_the_front_end_hold_no_markup(server, hostile, class_type):
    """Also where another front end would show them: the text of the run's history and what is sent while it runs."""
    run = server.run(nodes_of(server, class_type, {**SHOWING[class_type], **AGAIN.get(class_type, {})}))
    for text in [*run.streamed["node"], run.text("node")]:
        assert not set("<>") & set(text)
    assert "onerror=" in run.text("node")
