"""ComfyUI's page in headless Chromium.

Needs a Chromium or Chrome on the machine (Debian: apt-get install chromium), which a virtual environment cannot hold;
without one the tests are skipped, and say so. COMFYUI_FRONT_END names the folder ``static`` of another front end;
COMFYUI_NODES=2.0 has the page draw the nodes as its "Nodes 2.0", which the oldest front ends do not know.
"""

import os
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
WAIT = 120_000  # milliseconds
NODES = os.environ.get("COMFYUI_NODES", "classic")
ENDS = """() => {
  window.ended = new Promise((resolve) => {
    for (const kind of ['execution_success', 'execution_error'])
      app.api.addEventListener(kind, (event) => resolve(`${kind} ${JSON.stringify(event.detail)}`));
  });
}"""


def open_page(page, server) -> None:
    """Open the front end and wait until it can take a graph."""
    page.goto(f"http://{server.address}", wait_until="load", timeout=WAIT)
    page.wait_for_function("window.app?.graph && window.app?.extensionManager?.workflow?.activeWorkflow")


def load_nodes(page, nodes: dict, name: str = "test") -> None:
    """Put a graph in API format on the canvas; the titles of its nodes are their ids.

    Newer front ends store one draft per name of a workflow. A second graph of the same name is not stored before it is
    changed: a graph that must survive a reload of the page needs a name of its own.
    """
    titled = {key: {**node, "_meta": {"title": key}} for key, node in nodes.items()}
    page.evaluate("([graph, name]) => app.loadApiJson(graph, name)", [titled, name])


def wait_for_answer(page, words: str) -> str:
    """Wait until the first node that shows answers says these words; all that it says."""
    page.wait_for_function(
        "(words) => document.querySelector('.depictqa-answers')?.textContent.includes(words)", arg=words
    )
    return page.locator(".depictqa-answers").first.text_content()


def queue(page) -> str:
    """Queue the graph as the button does; the message that ended it, its kind first."""
    page.evaluate(ENDS)
    page.evaluate("() => app.queuePrompt(0)")
    return page.evaluate("() => window.ended")
