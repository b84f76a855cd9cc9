"""Save Scored Images in a real ComfyUI: names, metadata and lists, and what is kept when some of it fails."""

import csv
import json

import pytest
from comfyui.linked import graph_of, pictures, values
from comfyui.named_pictures import THREE
from PIL import Image

PREFIX = "scored_{}/%rank%_%score%_%label%"


@pytest.fixture(scope="module")
def output(server):
    return server.base / "output"


@pytest.fixture
def save(server, request):
    """Runs the node with a folder of its own for each test."""

    def run(expect_error=False, **inputs):
        given = {"images": pictures(THREE), "filename_prefix": PREFIX.format(request.node.name[:40]), **inputs}
        return server.run(graph_of(server, "DepictQA_SaveScoredImages", **given), expect_error=expect_error)

    return run


def rows_of(folder):
    with open(folder / "scores.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_names_metadata_and_list_tell_the_same(save, server, output):
    facts = {
        "scores": values(50.0, 93.25, 7.0),
        "labels": values("Modell Ö/1", "../b", "c"),
        "verdicts": values("noise", "none", "blur, noise"),
        "descriptions": values("Ein Satz, mit Komma.", "Two\nlines.", '"quoted"'),
        "confidences": values(0.5, 0.25, 1.0),
    }
    run = save(log="csv and jsonl", **facts)
    files = run.texts("files")
    names = [file.rsplit("/", 1)[1] for file in files]
    assert names == ["002_050.0_Modell Ö_1_00001_.png", "001_093.2____b_00001_.png", "003_007.0_c_00001_.png"]
    assert [entry["filename"] for entry in run.outputs["node"]["images"]] == names
    folder = (output / files[0]).parent
    assert sorted(path.name for path in folder.glob("*.png")) == sorted(names)
    with Image.open(output / files[1]) as saved, Image.open(server.input / "blurred.png") as sent:
        assert saved.tobytes() == sent.convert("RGB").tobytes()
        assert (saved.text["depictqa_score"], saved.text["depictqa_verdict"]) == ("93.25", "none")
        assert saved.text["depictqa_description"] == "Two\nlines."
        assert json.loads(saved.text["depictqa"])["label"] == "../b"
        assert json.loads(saved.text["prompt"])["node"]["class_type"] == "DepictQA_SaveScoredImages"
    lines = [json.loads(line) for line in (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    for row, line in zip(rows_of(folder), lines, strict=True):
        assert {key: str(value) for key, value in line.items()} == row
    assert [row["description"] for row in rows_of(folder)] == ["Ein Satz, mit Komma.", "Two\nlines.", '"quoted"']
    assert [row["file"] for row in rows_of(folder)] == names


def test_a_second_run_overwrites_nothing_and_adds_its_lines(save, server, output):
    first = save(scores=values(1.0, 2.0, 3.0), labels=values("same"))
    again = save(scores=values(1.0, 2.0, 3.0), labels=values("same"), log="csv", descriptions=values("new"))
    assert not set(first.texts("files")) & set(again.texts("files"))
    folder = (output / first.texts("files")[0]).parent
    assert len(list(folder.glob("*.png"))) == len(rows_of(folder)) == 6


@pytest.mark.parametrize("prefix", ["%rank%_%score%_%label%", "%label%_%label%/%label%_%width%_%label%", "x" * 400])
@pytest.mark.parametrize("label", ["樱花" * 60, "🌸" * 80, "👨‍👩‍👧‍👦" * 30, "golden hour, 85 mm, " * 5])
def test_long_names_are_shortened_to_what_a_file_system_takes(save, output, label, prefix):
    run = save(filename_prefix=f"long/{prefix}", labels=values(label))
    paths = [output / file for file in run.texts("files")]
    assert len(set(paths)) == 3 and all(path.is_file() for path in paths)
    rows = [row for path in paths for row in rows_of(path.parent) if row["file"] == path.name]
    assert {row["label"] for row in rows} == {label}  # whole in the list
    with Image.open(paths[0]) as saved:
        assert saved.text["depictqa_label"] == label


@pytest.mark.parametrize("name", ["grey", "alpha", "small"])
def test_channels_are_kept(save, output, name):
    with Image.open(output / save(images=pictures(name), log="none").text("files")) as saved:
        assert saved.mode == {"grey": "L", "alpha": "RGBA", "small": "RGB"}[name]


def test_ranks_as_linked_or_by_place(save):
    assert [file.split("/")[1][:3] for file in save(ranks=values(2, 1, 2)).texts("files")] == ["002", "001", "002"]
    names = [file.split("/")[1] for file in save().texts("files")]
    assert [name[:12] for name in names] == ["001_unscored", "002_unscored", "003_unscored"]


@pytest.mark.parametrize(
    "prefix", ["../outside", "a/../../b", "/tmp/absolute", "C:\\absolute", "~/home", "..\\up", "", "x\0y"]
)
def test_names_that_lead_out_are_refused(save, server, prefix):
    before = set(server.base.rglob("*.png"))
    run = save(filename_prefix=prefix, expect_error=True)
    message = run.error["exception_message"].strip()
    assert run.error["node_id"] == "node" and message.startswith("filename_prefix") and "\n" not in message
    assert {path for path in server.base.rglob("*.png") if "temp" not in path.parts} <= before


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_judged_again(server, tiny, output):
    (output / "blocked").mkdir(parents=True, exist_ok=True)
    (output / "blocked" / "file").write_text("in the place of a folder")
    graph = graph_of(server, "DepictQA_SaveScoredImages", filename_prefix="blocked/file/%score%")
    graph |= {
        "load": {
            "class_type": "DepictQA_LoadModel",
            "inputs": {"checkpoint": "tiny", "device": "auto", "dtype": "auto", "memory": "keep in memory"},
        },
        "source": {"class_type": "Test_Pictures", "inputs": {"names": THREE, "as_batch": False, "copies": 1}},
        "score": {"class_type": "DepictQA_ScoreImages", "inputs": {"model": ["load", 0], "images": ["source", 0]}},
    }
    graph["node"]["inputs"] |= {"images": ["source", 0], "scores": ["score", 0]}
    run = server.run(graph, expect_error=True)
    message = run.error["exception_message"].strip()
    assert "blocked" in message and "cannot be written" in message and "0 of 3 images are saved" in message
    graph["node"]["inputs"]["filename_prefix"] = "unblocked/%score%"
    again = server.run(graph)
    assert len(again.texts("files")) == 3 and "score" not in again.executed


def test_a_bad_picture_does_not_cost_the_good_ones(save, output):
    run = save(images=pictures("sharp.png, nan, noisy.png"), filename_prefix="partly/p", expect_error=True)
    message = run.error["exception_message"].strip()
    assert "image 2" in message and "NaN" in message and "2 of 3 images are saved" in message
    assert len(list((output / "partly").glob("*.png"))) == 2
    assert [row["index"] for row in rows_of(output / "partly")] == ["1", "3"]


def test_a_list_of_other_columns_is_left_alone(save, output):
    (output / "foreign").mkdir(parents=True)
    (output / "foreign" / "scores.csv").write_text("mine,only\n1,2\n")
    run = save(filename_prefix="foreign/p", expect_error=True)
    message = run.error["exception_message"]
    assert message.startswith("output/foreign/scores.csv: has other columns") and "3 of 3" in message
    assert (output / "foreign" / "scores.csv").read_text() == "mine,only\n1,2\n"


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"scores": values(1.0, 2.0)}, ["scores", "2 values", "3"]),
        ({"labels": values("a", "b", "c", "d")}, ["labels", "4 values"]),
        ({"images": pictures("empty")}, ["images", "no image"]),
        ({"log": "xml"}, ["log", "xml", "jsonl"]),
    ],
)
def test_bad_input_is_one_readable_line(save, inputs, words):
    run = save(expect_error=True, **inputs)
    message = run.error["exception_message"].strip()
    assert "\n" not in message and all(word in message for word in words), message


@pytest.mark.parametrize(("kind", "suffix", "mode"), [("jpeg", ".jpg", "RGB"), ("webp", ".webp", "RGBA")])
def test_formats(save, output, kind, suffix, mode):
    """Other files than PNG have the graph and the answers, too; a label loses its extension in the name alone."""
    run = save(images=pictures("alpha"), scores=values(5.0), labels=values("b/a.v2.PNG"), format=kind)
    (file,) = run.texts("files")
    assert file.endswith(f"/001_005.0_b_a.v2_00001_{suffix}")
    with Image.open(output / file) as saved:
        assert (saved.format, saved.mode) == (kind.upper(), mode)
        found = dict(text.split(":", 1) for text in saved.getexif().values())
    assert json.loads(found["depictqa"]) == {"rank": 1, "score": 5.0, "label": "b/a.v2.PNG"}
    assert json.loads(found["prompt"])["node"]["inputs"]["format"] == kind


def test_seeds_and_prompts_travel_into_name_metadata_and_list(save, output):
    facts = {"seeds": values(2**64 - 1, 7, 0), "prompts": values("a/b", "<lora:x:1> cat", "dog")}
    files = save(filename_prefix="origins/%seed%_%prompt%", log="csv and jsonl", **facts).texts("files")
    assert [file.removesuffix("_00001_.png") for file in files] == [
        f"origins/{2**64 - 1}_a_b",
        "origins/7__lora_x_1_ cat",
        "origins/0_dog",
    ]
    with Image.open(output / files[1]) as saved:
        assert (saved.text["depictqa_seed"], saved.text["depictqa_prompt"]) == ("7", "<lora:x:1> cat")
    assert [(row["seed"], row["prompt"]) for row in rows_of(output / "origins")][0] == (str(2**64 - 1), "a/b")
    plain = save(filename_prefix="plain/%seed%").texts("files")
    assert plain[0] == "plain/unknown_00001_.png" and "seed" not in rows_of(output / "plain")[0]
