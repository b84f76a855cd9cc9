"""What is in a data root: counts that a reader can check by hand, a sheet, and what two roots share."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from training.__main__ import main
from training.inspection.counts import count, entries, truth
from training.inspection.overlap import overlap
from training.inspection.sheet import chosen, sheet

SHORT = "Which ONE is the most critical quality issue? Answer the question using a single word or phrase."


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    small.resize((96, 80), Image.Resampling.BICUBIC).save(path)


def root_of(folder, seeds, form="conversations"):
    records, scenes = [], []
    for number, seed in enumerate(seeds):
        label, severity = (("Noise", 2), ("Blur", 4), ("None", 0))[number % 3]
        names = {"image_ref": f"images/{number}_ref.png", "image_A": f"images/{number}_0.png", "image_B": None}
        picture(folder / names["image_ref"], seed)
        picture(folder / names["image_A"], 1000 + seed)
        known = {"distortion_class": label.lower(), "distortion_name": label.lower(), "severity": severity}
        asked = {"query": SHORT, "answer": label}
        if form == "conversations":
            asked = {form: [{"from": "human", "value": SHORT}, {"from": "gpt", "value": label}]}
        known = known if severity else {"distortion_class": None, "distortion_name": None, "severity": 0}
        records.append({"id": str(number), "task_type": "quality_single_A", **names, **known, **asked})
        scenes.append({"scene": number, "source": f"photo{seed}.jpg"})
    (folder / "records").mkdir(exist_ok=True)
    (folder / "records" / "identification_fr.json").write_text(json.dumps(records))
    (folder / "scenes-00000.jsonl").write_text("".join(json.dumps(scene) + "\n" for scene in scenes))
    return folder


@pytest.mark.parametrize("form", ["conversations", "query"])
def test_counts_are_those_of_the_records(tmp_path, form):
    root = root_of(tmp_path / "data", range(7), form)
    found = count(entries(root), root)
    assert found.tasks == {"identification": 7} and found.files == {"identification_fr": 7}
    assert found.labels["identification"] == {"Noise": 3, "Blur": 2, "None": 2}
    assert found.severities == {2: 3, 4: 2, 0: 2} and found.distortions["none"] == 2
    assert len(found.images) == 14 and len(found.sources) == 7


def test_the_truth_of_pairs_and_doubles_is_counted_for_each_image():
    double = {"distortion_names": ["noise", "blur"], "severities": [1, 3]}
    assert list(truth(double)) == [("noise", 1), ("blur", 3)]
    pair = {"distortions_A": double, "distortions_B": {"distortion_name": None, "severity": 0}}
    assert list(truth(pair)) == [("noise", 1), ("blur", 3), ("none", 0)]


def test_examples_have_every_label_before_any_twice(tmp_path):
    root = root_of(tmp_path / "data", range(9))
    some = chosen(entries(root), 4)
    assert {entry.label for entry in some} == {"Noise", "Blur", "None"} and len(some) == 4
    assert np.asarray(sheet(some, root)).std() > 20


def test_the_command_prints_draws_and_finds_images_of_both_roots(tmp_path, capsys):
    train, test = root_of(tmp_path / "train", range(6)), root_of(tmp_path / "test", range(10, 13), "query")
    arguments = ["inspect", str(train), "--sheet", str(tmp_path / "sheet.png"), "--against", str(test)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "6 records in 1 files, 12 images" in said and "identification 6: Noise 2 (33%)" in said
    assert "sources of the same name: 0" in said and "images that look alike: 0" in said
    assert min(Image.open(tmp_path / "sheet.png").size) > 300
    # the same photograph under another name, saved again
    Image.open(train / "images/3_ref.png").save(tmp_path / "again.jpg", quality=80)
    Image.open(tmp_path / "again.jpg").save(test / "images/1_ref.png")
    shutil.copy(train / "images/5_ref.png", test / "images/2_ref.png")
    assert main(arguments) == 1
    said = capsys.readouterr().out
    assert "equal image files: 1: images/5_ref.png" in said and "images that look alike: 2" in said
    assert "images/3_ref.png like images/1_ref.png" in said


def test_drawings_of_the_same_name_are_not_shared_sources(tmp_path):
    """Their names are those of kind and number: other seeds draw others."""
    roots = [root_of(tmp_path / name, seeds) for name, seeds in (("train", [1, 2]), ("test", [3, 4]))]
    for root in roots:
        scenes = [{"scene": 0, "source": "drawn/chart/0"}, {"scene": 1, "source": "photo.jpg"}]
        (root / "scenes-00000.jsonl").write_text("".join(json.dumps(scene) + "\n" for scene in scenes))
    found = overlap(*((root, list(entries(root))) for root in roots))
    assert found.sources == ["photo.jpg"] and not found.near


def test_a_missing_or_empty_root_is_said_to_be_so(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "nowhere")]) == 1
    assert "there is no data root" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path)]) == 1
    assert "has no record files" in capsys.readouterr().err
