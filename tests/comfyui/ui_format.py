"""Turns a workflow in the editor's format (what templates ship) into the API format that the server runs."""

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
EDITOR_ONLY = {"Note", "MarkdownNote"}


def to_api(workflow: dict, object_info: dict) -> dict:
    """A graph in API format.

    Args:
        workflow: the editor's JSON, without sub-graphs.
        object_info: the server's ``/object_info``, which tells which inputs are widgets, and their order.
    """
    links = {link[0]: (str(link[1]), link[2]) for link in workflow["links"]}
    graph = {}
    for node in workflow["nodes"]:
        if node["type"] in EDITOR_ONLY or node.get("mode", 0) in (2, 4):
            continue
        info = object_info[node["type"]]
        values = list(node.get("widgets_values", []))
        inputs = {}
        for name, options in _widgets(info):
            if not values:
                break  # saved before this widget was added: the server takes its default
            value = values.pop(0)
            inputs[name] = {"__value__": value} if isinstance(value, list) else value  # a bare list would be a link
            if options.get("control_after_generate") or name in ("seed", "noise_seed"):
                values.pop(0)
            if options.get("image_upload"):
                values.pop(0)
        assert not values, f"{node['type']}: {len(values)} widget values too many"
        for entry in node.get("inputs", []):
            if entry.get("link") is not None:
                inputs[entry["name"]] = list(links[entry["link"]])
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return graph


def _widgets(info: dict):
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, []):
            spec = info["input"][group][name]
            options = spec[1] if len(spec) > 1 else {}
            if (isinstance(spec[0], list) or spec[0] in WIDGETS) and not options.get("forceInput"):
                yield name, options
