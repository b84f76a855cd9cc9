"""Graphs of one node with lists of texts and numbers linked to it, and a sink behind every output."""

import json

LOAD = {"checkpoint": "tiny", "device": "auto", "dtype": "auto", "memory": "keep in memory"}


class Linked:
    """A value of an input that comes from another node: images by name, or a list of texts or numbers."""

    def __init__(self, class_type: str, inputs: dict):
        self.class_type, self.inputs = class_type, inputs


def pictures(names: str, as_batch: bool = False, copies: int = 1) -> Linked:
    return Linked("Test_Pictures", {"names": names, "as_batch": as_batch, "copies": copies})


def values(*items) -> Linked:
    return Linked("Test_Values", {"json": json.dumps(items)})


def graph_of(server, class_type: str, checkpoint: str = "tiny", **inputs) -> dict:
    """A graph in API format: the node is "node", its inputs are nodes of their names, each output has a sink."""
    info = server.get(f"/object_info/{class_type}")[class_type]
    specs = {**info["input"]["required"], **info["input"].get("optional", {})}
    given = {name: spec[1]["default"] for name, spec in info["input"]["required"].items() if "default" in spec[1]}
    nodes = {"node": {"class_type": class_type, "inputs": given}}
    if "model" in specs:
        nodes["load"] = {"class_type": "DepictQA_LoadModel", "inputs": {**LOAD, "checkpoint": checkpoint}}
        given["model"] = ["load", 0]
    for name, value in inputs.items():
        if isinstance(value, Linked):
            nodes[f"in_{name}"] = {"class_type": value.class_type, "inputs": value.inputs}
            value = [f"in_{name}", 0]
        given[name] = value
    for index, name in enumerate(info["output_name"]):
        nodes[name] = {"class_type": "Test_Arrived", "inputs": {"items": ["node", index]}}
    return nodes
