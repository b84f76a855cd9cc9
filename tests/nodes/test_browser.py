"""The nodes in today's front end, in headless Chromium: answers are drawn on the node, as a table or at least as text.

Screenshots go to the folder that DEPICTQA_SCREENSHOTS names.
"""

import json
import os
from pathlib import Path

import pytest
from comfyui.comfy_server import PACK
from comfyui.front_end import load_nodes, needs_chromium, open_page, queue, wait_for_answer
from comfyui.linked import graph_of, pictures
from comfyui.templates import WORKFLOWS

pytestmark = needs_chromium
OVERLAPS = """() => {
  const box = ({title, pos, size}) => [title, pos[0], pos[1] - 30, size[0], size[1] + 30];
  const boxes = app.graph.nodes.map(box);
  const apart = ([, x, y, w, h], [, left, top, wide, high]) =>
    x >= left + wide || left >= x + w || y >= top + high || top >= y + h;
  return boxes.flatMap((a, place) => boxes.slice(place + 1).filter((b) => !apart(a, b)).map((b) => [a[0], b[0]]));
}"""
ANSWERS = """(type) => app.graph.nodes.find((node) => node.type === type)
  .widgets.find((widget) => widget.name === 'depictqa_answers')?.element"""
SHOW_NODE = """(type) => {
  const node = app.graph.nodes.find((node) => node.type === type);
  const canvas = app.canvas;
  canvas.ds.scale = 1;
  canvas.ds.offset = [120 - node.pos[0], 160 - node.pos[1]];
  canvas.setDirty(true, true);
}"""
SAYS = "(text) => document.querySelector('.depictqa-choices p')?.textContent === text"
QUALITY = "quality (excellent|good|fair|poor|bad)"
WATCH = """(pattern) => {
  const look = () => { window.seen ||= new RegExp(pattern).test(document.body.textContent); };
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
# front ends from 1.54 on delete the text of a node when the run ends: without the script nothing can keep it
KEEPS_TEXT = """() => {
  const [major, minor] = window.__COMFYUI_FRONTEND_VERSION__.split('.').map(Number);
  return major === 1 && minor < 54;
}"""
SAVED = "() => app.graph.serialize().nodes.map((node) => (node.widgets_values ?? []).length)"


def opened(page, server, name: str) -> list[int]:
    """Load a shipped workflow as a template is loaded; the number of values that each node would save."""
    open_page(page, server)
    workflow = json.loads((PACK / "workflows" / f"{name}.json").read_text())
    page.evaluate("(graph) => app.loadGraphData(graph)", workflow)
    saved: list[int] = page.evaluate(SAVED)
    return saved


def screenshot(page, name: str) -> bytes:
    picture = page.screenshot()
    if folder := os.environ.get("DEPICTQA_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.png").write_bytes(picture)
    return picture


@pytest.mark.parametrize(
    ("name", "class_type", "rows"),
    [
        ("rank_a_batch", "DepictQA_RankImages", 8),
        ("filter_bad_samples", "DepictQA_FilterImages", 8),
        ("compare_with_reference", "DepictQA_CompareImages", 1),
    ],
)
def test_answers_are_drawn_on_the_node(server, page, name, class_type, rows):
    before = opened(page, server, name)
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_function(f"(type) => ({ANSWERS})(type)?.querySelector('td')", arg=class_type)
    page.evaluate(SHOW_NODE, class_type)
    page.evaluate(f"(type) => {{ ({ANSWERS})(type).id = 'shown'; }}", class_type)
    table = page.locator("#shown")
    table.locator("td").first.wait_for(state="visible")
    assert table.locator("tr").count() == rows + 1
    pictures = table.locator("td img")
    page.wait_for_function("() => [...document.querySelectorAll('#shown img')].every((image) => image.naturalWidth)")
    assert pictures.count() == rows * (2 if "Compare" in class_type else 1)
    assert "raccoon_clean.jpg" in table.inner_text() or "image A" in table.inner_text()
    box = table.bounding_box()
    assert box["width"] > 300 and box["height"] > 100
    names = page.evaluate("() => app.graph.nodes.flatMap((node) => (node.widgets ?? []).map((widget) => widget.name))")
    assert "depictqa_answers" in names and "$$node-text-preview" not in names  # the table stands in place of the text
    assert page.evaluate(SAVED) == before  # what is shown is not saved with the graph
    with_answers = screenshot(page, name)
    assert page.evaluate(OVERLAPS) == []  # nodes that have grown would cover others
    page.evaluate("() => document.querySelectorAll('.depictqa-answers').forEach((box) => box.replaceChildren())")
    assert page.screenshot() != with_answers


def test_templates_have_room_as_they_open(server, page):
    open_page(page, server)
    for path in WORKFLOWS:
        page.evaluate("(graph) => app.loadGraphData(graph)", json.loads(path.read_text(encoding="utf-8")))
        page.wait_for_function("() => app.graph.nodes.length > 3")
        assert page.evaluate(OVERLAPS) == [], path.stem


def test_distortions_are_chosen_from_a_list(server, page):
    """What is chosen is sent, is saved with the graph, and follows the node into a subgraph."""
    node = "() => app.graph.nodes.find((node) => node.type === 'DepictQA_FilterImages')"
    open_page(page, server)
    workflow = json.loads((PACK / "workflows" / "filter_bad_samples.json").read_text(encoding="utf-8"))
    page.evaluate("(graph) => app.loadGraphData(graph)", workflow)
    page.evaluate(SHOW_NODE, "DepictQA_FilterImages")
    assert page.locator(".depictqa-choices").count() == 1  # and ComfyUI's own list is gone
    assert page.evaluate("() => document.body.textContent.includes('Select items')") is False
    page.locator(".depictqa-choices label", has_text="pixelation").locator("input").dispatch_event("click")
    assert page.locator(".depictqa-choices p").text_content() == "reject: noise, pixelation"
    for step, chosen in (("undo", "noise"), ("redo", "noise, pixelation")):
        page.evaluate(f"() => app.extensionManager.workflow.activeWorkflow.changeTracker.{step}()")
        page.wait_for_function(SAYS, arg=f"reject: {chosen}")
    sent = page.evaluate("async () => (await app.graphToPrompt()).output")
    (inputs,) = [one["inputs"] for one in sent.values() if one["class_type"] == "DepictQA_FilterImages"]
    assert inputs["reject"] == {"__value__": ["noise", "pixelation"]} and inputs["report_format"] == "markdown"
    saved = page.evaluate("() => JSON.stringify(app.graph.serialize())")
    page.evaluate("(graph) => app.loadGraphData(JSON.parse(graph))", saved)
    assert page.evaluate(f"() => ({node})().serialize().widgets_values.at(-1)") == ["noise", "pixelation"]
    inner = page.evaluate(f"""() => {{
      const {{subgraph}} = app.graph.convertToSubgraph(new Set([({node})()]));
      return subgraph.nodes[0].serialize().widgets_values.at(-1);
    }}""")
    assert inner == ["noise", "pixelation"]


def test_the_page_is_in_the_language_of_comfyui(server, page):
    """Also when the language is changed while the page is open."""
    texts = json.loads((PACK / "locales" / "ja" / "main.json").read_text(encoding="utf-8"))["DepictQA"]
    label = """() => app.graph.nodes.find((node) => node.type === 'DepictQA_PickImages')
      .widgets.find((widget) => widget.name === 'Pick again').label"""
    nodes = graph_of(server, "DepictQA_PickImages", images=pictures("sharp.png"))
    server.post("/api/settings", {"Comfy.Locale": "ja"})
    try:
        open_page(page, server)
        load_nodes(page, {name: nodes[name] for name in ("node", "in_images")})
        wait_for_answer(page, texts["The answers appear here after a run."])
        assert page.evaluate(label) == texts["Pick again"]
        for language, shown in (("en", {text: text for text in texts}), ("ja", texts)):
            page.evaluate("(language) => app.extensionManager.setting.set('Comfy.Locale', language)", language)
            wait_for_answer(page, shown["The answers appear here after a run."])
            assert page.evaluate(label) == shown["Pick again"]
    finally:
        server.post("/api/settings", {"Comfy.Locale": "en"})


def test_a_pick_belongs_to_the_images_on_the_node(server, page):
    """As people do it: look, enter a number, run; other images then come with the same number."""
    enter = """([name, value]) => {
      const node = app.graph.nodes.find((node) => node.type === 'DepictQA_CollectPreferences');
      const widget = node.widgets.find((widget) => widget.name === name);
      widget.setValue(value, {e: new MouseEvent('click'), node, canvas: app.canvas});
    }"""
    show = "([names]) => { app.graph.nodes.find((n) => n.type === 'Test_Pictures').widgets[0].value = names; }"
    value = """() => Object.fromEntries(app.graph.nodes.find((node) => node.type === 'DepictQA_CollectPreferences')
      .widgets.map((widget) => [widget.name, widget.value]))"""

    def run(said, picked):
        assert queue(page).startswith("execution_success")
        wait_for_answer(page, said)
        page.wait_for_function(f"(picked) => ({value})().picked === picked", arg=picked)

    nodes = graph_of(server, "DepictQA_CollectPreferences", images=pictures("sharp.png, noisy.png"), collection="seen")
    open_page(page, server)
    load_nodes(page, {name: nodes[name] for name in ("node", "in_images")})
    stale, recorded = "was made on other images", "1 new"
    page.evaluate(enter, ["picked", "2"])  # before anything was shown
    run(stale, picked="")  # and is no longer there
    page.evaluate(enter, ["picked", "2"])
    run(recorded, picked="2")
    page.evaluate(show, ["wide.png, blurred.png"])
    run(stale, picked="")
    page.evaluate(enter, ["picked", "2"])
    run(recorded, picked="2")
    saved = page.evaluate("() => app.graph.serialize()")
    page.evaluate("(graph) => app.loadGraphData(graph)", saved)  # an opened workflow brings its pick along
    assert page.evaluate(value)["picked"] == "2"
    page.evaluate(show, ["sharp.png, noisy.png"])
    run(stale, picked="")


def test_without_the_script_the_answers_are_text_under_the_node(server, page):
    page.route("**/depictqa.js*", lambda route: route.abort())
    server.free()  # the node must run: text comes by message
    opened(page, server, "rank_a_batch")
    page.evaluate(WATCH, QUALITY)
    assert queue(page).startswith("execution_success")
    page.wait_for_function("() => window.seen")
    if page.evaluate(KEEPS_TEXT):
        page.wait_for_selector(f"text=/{QUALITY}/", state="attached")
    page.evaluate(SHOW_NODE, "DepictQA_RankImages")
    assert page.locator(".depictqa-answers").count() == 0
    screenshot(page, "text_only")
