"""What the pack registers in ComfyUI: nodes and their schemas, help pages, translations, templates, a free import."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from comfyui.comfy_server import PACK, comfy_folder

SNAPSHOT = Path(__file__).with_name("schema_snapshot.json")
NODES = [
    "DepictQA_BestOfFolder",
    "DepictQA_CheckImages",
    "DepictQA_ClassicalMetrics",
    "DepictQA_CollectPreferences",
    "DepictQA_CompareImages",
    "DepictQA_CompareModels",
    "DepictQA_DescribeImages",
    "DepictQA_FilterImages",
    "DepictQA_GenerateUntilGoodEnd",
    "DepictQA_GenerateUntilGoodStart",
    "DepictQA_IdentifyDistortions",
    "DepictQA_JudgeVideo",
    "DepictQA_KeepBest",
    "DepictQA_LoadFolder",
    "DepictQA_LoadModel",
    "DepictQA_LoadServer",
    "DepictQA_PickImages",
    "DepictQA_QualityMap",
    "DepictQA_QualitySheet",
    "DepictQA_RankImages",
    "DepictQA_SaveScoredImages",
    "DepictQA_ScoreImages",
    "DepictQA_StopAutoQueue",
]
TEXT_ENCODER = "DepictQA_JudgeFromTextEncoder"
"""The node that a ComfyUI has whose text encoders write text, which its own node TextGenerate shows."""


@pytest.fixture(scope="module")
def names(server):
    """Ids of the nodes that this ComfyUI should have."""
    return sorted([*NODES, *([TEXT_ENCODER] if "TextGenerate" in server.get("/object_info") else [])])


@pytest.fixture(scope="module")
def infos(server):
    return {name: info for name, info in server.get("/object_info").items() if name.startswith("DepictQA_")}


def test_nodes_are_listed(infos, server, names):
    assert sorted(infos) == names
    assert "IMPORT FAILED" not in server.log_text()


def test_schema_is_as_recorded(infos):
    """Ids, order and types are forever: saved graphs refer to them. After a wanted addition write the file anew."""
    schemas = {}
    for name, info in sorted(infos.items()):
        inputs = []
        for group in ("required", "optional"):
            for key in info["input_order"].get(group, []):
                kind, options = info["input"][group][key]
                known = {field: options[field] for field in ("default", "min", "max") if field in options}
                if kind == "COMBO" and key not in (
                    "checkpoint",
                    "folder",
                    "anchors",
                    "encoder",
                    "base",
                ):  # those list what is there
                    known["options"] = options["options"]
                inputs.append({"id": key, "type": kind, "optional": group == "optional", **known})
        columns = zip(info["output_name"], info["output"], info["output_is_list"], strict=True)
        outputs = [{"name": label, "type": kind, "list": is_list} for label, kind, is_list in columns]
        schemas[name] = {
            "category": info["category"],
            "title": info["display_name"],
            "inputs": inputs,
            "outputs": outputs,
        }
    recorded = json.loads(SNAPSHOT.read_text())
    assert schemas == {name: recorded[name] for name in schemas} and set(recorded) == {*NODES, TEXT_ENCODER}


def test_everything_is_explained(infos):
    for name, info in infos.items():
        assert info["description"], name
        for group in ("required", "optional"):
            for key, spec in info["input"].get(group, {}).items():
                assert spec[1].get("tooltip"), f"{name}.{key}"
        assert all(info["output_tooltips"]), name


def test_help_page_of_every_node_is_served(infos, server):
    for name, info in infos.items():
        page = server.fetch(f"/extensions/depictqa/docs/{name}.md").decode()
        assert page.startswith(f"# {info['display_name']}\n")
        keys = [key for group in ("required", "optional") for key in info["input_order"].get(group, [])]
        for key in keys + info["output_name"]:
            assert f"`{key}`" in page, f"{name}: {key} is not in its help page"


@pytest.mark.parametrize("page", ["{}.md", "{}/zh.md"])
def test_help_pages_list_the_outputs_by_slot_and_name(infos, server, page):
    for name, info in infos.items():
        text = server.fetch(f"/extensions/depictqa/docs/{page.format(name)}").decode()
        rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.MULTILINE)
        assert rows == [(str(slot), output) for slot, output in enumerate(info["output_name"])], name


def test_readme_lists_every_node_with_its_inputs_in_order(infos):
    lines = (PACK / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines if "<br>`" in line]
    table = {cells[1].strip(): cells[2] for cells in rows}
    listed = {f"{info['display_name']}<br>`{name}`" for name, info in infos.items()}
    assert set(table) == listed | {f"Judge From Text Encoder<br>`{TEXT_ENCODER}`"}
    for name, info in infos.items():
        keys = [key for group in ("required", "optional") for key in info["input_order"].get(group, [])]
        listed = re.sub(r"\(.*?\)", "", table[f"{info['display_name']}<br>`{name}`"])
        assert [key.strip() for key in listed.split(",")] == keys, name
        assert "optional" in table[f"{info['display_name']}<br>`{name}`"] or not info["input_order"].get("optional")


@pytest.mark.parametrize("language", sorted(path.name for path in (PACK / "locales").iterdir()))
def test_translations_cover_every_node(infos, server, language):
    translation = server.get("/i18n")[language]["nodeDefs"]
    for name, info in infos.items():
        node = translation[name]
        keys = [key for group in ("required", "optional") for key in info["input_order"].get(group, [])]
        assert node["display_name"] and node["description"]
        assert sorted(node["inputs"]) == sorted(keys)
        assert sorted(node["outputs"]) == sorted(str(index) for index in range(len(info["output"])))


def test_the_english_texts_are_those_of_the_schema(infos, server):
    translation = server.get("/i18n")["en"]["nodeDefs"]
    for name, info in infos.items():
        node = translation[name]
        assert (node["display_name"], node["description"]) == (info["display_name"], info["description"]), name
        specs = {**info["input"]["required"], **info["input"].get("optional", {})}
        shown = {key: spec[1]["tooltip"] for key, spec in specs.items()}
        assert {key: text["tooltip"] for key, text in node["inputs"].items()} == shown, name
        outputs = zip(info["output_name"], info["output_tooltips"], strict=True)
        shown = {str(slot): {"name": output, "tooltip": text} for slot, (output, text) in enumerate(outputs)}
        assert node["outputs"] == shown, name


def test_templates_are_listed_with_thumbnails(server):
    names = server.get("/api/workflow_templates")["depictqa"]
    assert sorted(names) == sorted(path.stem for path in (PACK / "workflows").glob("*.json"))
    for name in names:
        assert json.loads(server.fetch(f"/api/workflow_templates/depictqa/{name}.json"))["nodes"]
        assert server.fetch(f"/api/workflow_templates/depictqa/{name}.jpg").startswith(b"\xff\xd8\xff")


def test_the_blueprint_is_listed_and_holds_nodes_that_exist(server, infos):
    listed = {entry["name"]: key for key, entry in server.get("/global_subgraphs").items()}
    blueprint = json.loads(server.get(f"/global_subgraphs/{listed['Filter bad images']}")["data"])
    (node,), (inside,) = blueprint["nodes"], blueprint["definitions"]["subgraphs"]
    assert node["type"] == inside["id"]
    filters = next(one for one in inside["nodes"] if one["type"] == "DepictQA_FilterImages")
    assert [entry["name"] for entry in filters["outputs"]] == infos["DepictQA_FilterImages"]["output_name"]
    assert {one["type"] for one in inside["nodes"]} <= set(infos)


IMPORT_PROBE = """
import asyncio, dataclasses, importlib.util, sys
comfy, pack = sys.argv[1:3]
sys.argv = ["main.py", "--cpu"]
sys.path.insert(0, comfy)
import comfy.options; comfy.options.enable_args_parsing()
import comfy.cli_args, utils.extra_config, server, comfy_api.latest, comfy.model_patcher, folder_paths
HEAVY = ("transformers", "peft", "accelerate", "safetensors", "torchvision", "scipy", "cv2", "tokenizers", "matplotlib")
for name in [name for name in sys.modules if name.split(".")[0] in HEAVY]:
    del sys.modules[name]                 # ComfyUI's own imports must not hide the pack's
before = set(sys.modules)
opened = []
sys.addaudithook(lambda event, details: opened.append(str(details[0])) if event == "open" else None)
spec = importlib.util.spec_from_file_location("pack", pack + "/__init__.py", submodule_search_locations=[pack])
module = sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
async def schemas():
    return [node.GET_SCHEMA().node_id for node in await (await module.comfy_entrypoint()).get_node_list()]
print("nodes:", *asyncio.run(schemas()))
new = set(sys.modules) - before
print("heavy:", *sorted(name for name in new if name.split(".")[0] in HEAVY))
print("foreign:", *sorted({name.split(".")[0] for name in new} - {"pack"} - set(sys.stdlib_module_names)))
fields = [("search_aliases", list, dataclasses.field(default_factory=list))]
comfy_api.latest.io.Schema = dataclasses.make_dataclass("NewerSchema", fields, bases=(comfy_api.latest.io.Schema,))
class NewerInt(comfy_api.latest.io.Int.Input):
    def __init__(self, *values, advanced=None, **named):
        super().__init__(*values, **named)
        self.marked = advanced
comfy_api.latest.io.Int.Input = NewerInt
nodes = asyncio.run(asyncio.run(module.comfy_entrypoint()).get_node_list())
print("advanced:", *(i.id for node in nodes for i in node.define_schema().inputs if getattr(i, "marked", None)))
print("aliases:", *(node.define_schema().node_id for node in nodes if node.define_schema().search_aliases))
print("weights:", *[path for path in opened if path.endswith((".safetensors", ".bin", ".pt", "tokenizer.json"))])
"""


def test_import_loads_neither_heavy_libraries_nor_weights(names):
    command = [sys.executable, "-c", IMPORT_PROBE, str(comfy_folder()), str(PACK)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=comfy_folder())
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    assert sorted(found["nodes"].split()) == names
    assert set(found["aliases"].split()) >= set(names) - {"DepictQA_LoadModel"}  # where the schema knows of them
    assert {"budget", "max_new_tokens", "quality"} <= set(found["advanced"].split()) and "top_k" not in found[
        "advanced"
    ]
    assert found["heavy"].strip() == ""
    assert found["foreign"].strip() == ""
    assert found["weights"].strip() == ""
