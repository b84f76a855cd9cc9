"""How many clicks a person needs from an empty graph to the best image of a folder, counted by a scripted one."""

import os
import shutil

import pytest
from comfyui.comfy_server import PACK
from comfyui.front_end import ENDS, NODES, needs_chromium, open_page
from PIL import Image

MOST = 10
WIDGET = """() => {
  const node = app.graph.nodes.find((one) => one.type === 'DepictQA_LoadFolder');
  const widget = node.widgets.find((one) => one.name === 'folder');
  const {ds, canvas} = app.canvas, box = canvas.getBoundingClientRect();
  const at = (x, place) => (x + place) * ds.scale;
  const x = at(node.pos[0] + node.size[0] / 2, ds.offset[0]), y = at(node.pos[1] + widget.y + 10, ds.offset[1]);
  return [box.left + x, box.top + y];
}"""


@pytest.mark.slow
@needs_chromium
def test_a_folder_is_ranked_and_its_best_image_saved_in_ten_clicks(server, page):
    folder = server.base / "input" / "holiday"
    folder.mkdir(exist_ok=True)
    for path in (PACK / "workflows" / "samples" / "photographs").glob("raccoon_*.jpg"):
        shutil.copy(path, folder)
    open_page(page, server)
    page.evaluate("() => app.graph.clear()")
    clicks = 0

    def click(*what):
        nonlocal clicks
        clicks += 1
        if len(what) == 2:
            page.mouse.click(*what)
        else:
            what[0].first.click()

    click(page.get_by_label("Templates", exact=True))
    click(page.get_by_text("rank_a_batch", exact=True))
    page.wait_for_function("() => app.graph.nodes.some((node) => node.type === 'DepictQA_LoadFolder')")
    if NODES == "2.0":
        click(page.locator("[data-widget-name=folder]").get_by_role("combobox"))
        click(page.get_by_role("option").filter(has_text="holiday"))
    else:
        page.wait_for_function("() => app.graph.nodes.find((node) => node.type === 'DepictQA_LoadFolder').widgets[0].y")
        click(*page.evaluate(WIDGET))
        click(page.locator(".litecontextmenu .litemenu-entry", has_text="holiday"))
    page.evaluate(ENDS)
    click(page.get_by_role("button", name="Run", exact=True))
    assert page.evaluate("() => window.ended").startswith("execution_success")
    saved = max((server.base / "output" / "DepictQA").glob("best*.png"), key=lambda path: path.stat().st_mtime)
    with Image.open(saved) as best, Image.open(folder / "raccoon_clean.jpg") as clean:
        assert best.convert("RGB").tobytes() == clean.convert("RGB").tobytes()
    assert clicks <= MOST
    if shown := os.environ.get("DEPICTQA_SCREENSHOTS"):
        page.screenshot(path=f"{shown}/clicks.png")
