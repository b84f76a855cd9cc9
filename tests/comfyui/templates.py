"""The templates of workflows/ as graphs that a test or a script can run."""

import json

from .comfy_server import PACK
from .ui_format import to_api

WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))
STAND_INS = ("CheckpointLoaderSimple", "KSampler")


def template_graph(name: str, server) -> dict:
    """A template in API format as it ships; stand-ins take the place of a diffusion model and of its sampling."""
    workflow = json.loads((PACK / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    graph = to_api(workflow, server.get("/object_info"))
    for node in graph.values():
        if node["class_type"] in STAND_INS:
            node["class_type"] = f"Test_{node['class_type']}"
    return graph


def node_of(graph: dict, class_type: str, **inputs) -> str:
    """The id of the first node of a class that has these inputs."""
    return next(
        key
        for key, node in graph.items()
        if node["class_type"] == class_type and inputs.items() <= node["inputs"].items()
    )


def rows_of(run, node: str) -> list[list[str]]:
    """The cells of the table that a node of the pack shows; of a node in a loop, that of its last round."""
    shown = [output for key, output in run.outputs.items() if key == node or key.endswith(f".{node}")]
    return [row["cells"] for row in shown[-1]["depictqa"][0]["rows"]]


def with_pick(server, number: int):
    """For ``server.run``: pick the image of this number as soon as *Pick Images* asks."""

    def on_message(kind, data):
        if kind == "depictqa.pick":
            server.post(f"/depictqa/picks/{data['id']}", {"picked": [number - 1]})

    return on_message
