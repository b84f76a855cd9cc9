"""The published files of preferences and records, and the command that reads them."""

import json

import yaml
from rating_sets import koniq10k, picture

from training.__main__ import main
from training.trainer.record_files import read_parts


def published(root):
    def train(key, **changes):
        turns = [{"from": "human", "value": "Which?"}, {"from": "gpt", "value": "Image A"}]
        record = {
            "id": key,
            "task_type": "quality_compare",
            "image_ref": "ref.png",
            "image_A": "a.png",
            "image_B": "b.png",
        }
        return {**record, "conversations": turns, "A_better_B": True, **changes}

    for name in ("ref.png", "a.png", "b.png", "c.png"):
        picture(root / name)
    (root / "link.png").symlink_to(__file__)
    metas = root / "KADIS700K" / "metas"
    metas.mkdir(parents=True)
    good = [train("1"), train("2", task_type="quality_single_A_noref", image_ref=None, image_B=None)]
    good.append({"id": "3", "task_type": "description", "image": "c.png", "conversations": train("x")["conversations"]})
    bad = [
        train("1"), train("4", image_B="gone.png"), train("5", task_type="quality_both"), train("6", image_B=None),
        train("7", conversations=[{"from": "gpt", "value": "x"}]), "text",
        train("8", image_A="link.png"), train("9", image_A=str(root / "link.png")), train("10", image_B="../a.png"),
    ]  # fmt: skip
    (metas / "train.json").write_text(json.dumps(good + bad))
    test = {"id": "t1", "image_ref": None, "image_A": "a.png", "image_B": None, "query": "What?", "answer": "Noise"}
    (metas / "test.json").write_text(json.dumps([test]))
    (metas / "split.json").write_text(json.dumps({"train": ["a"], "test": []}))
    return good, test


def test_published_files(tmp_path, capsys):
    good, test = published(tmp_path)
    out = tmp_path / "joined.json"
    read = ["read", "depictqa", str(tmp_path), "--out", str(out)]
    for _ in range(2):  # the second run does not read what the first wrote
        assert main(read) == 0
        name = "KADIS700K/metas/train#"
        assert json.loads(out.read_text()) == [{**record, "id": name + record["id"]} for record in good]
    said = capsys.readouterr()
    for reason in (
        "it was there before", "an image that is not there", "an unknown task type (quality_both)", "no image_B",
        "conversations must alternate", "no record", "1 left out: test form (query); --form test reads it",
        "1 left out: an image path that leads out of the folder",
        "1 left out: image_A is not a path in the data root", "1 left out: image_B is not a path in the data root",
    ):  # fmt: skip
        assert reason in said.out
    assert "1 images are not there: gone.png" in said.err
    for option in (["--form", "test"], ["--split", "test"]):
        assert main([*read, *option]) == 0
        assert json.loads(out.read_text()) == [{**test, "id": "KADIS700K/metas/test#t1"}]
    assert main([*read, "--files", "*/metas/split.json"]) == 1
    assert "no files of records" in capsys.readouterr().err
    assert main([*read, "--split", "validation"]) == 1
    assert "unknown split 'validation'" in capsys.readouterr().err


def test_published_files_keep_their_weights_in_a_folder(tmp_path, capsys):
    published(tmp_path)
    words = [{"from": "human", "value": "Describe it."}, {"from": "gpt", "value": "word " * 30}]
    one = {"id": "1", "image_ref": None, "image_A": "a.png", "image_B": None, "task_type": "quality_single_A_noref"}
    caption = {"id": "1", "task_type": "description", "image": "a.png", "conversations": words}
    for name, record in (
        ("KADIS700K/metas/detail.json", {**one, "conversations": words}),
        ("LAMM/metas/train.json", caption),
        ("QPathway/metas/train.json", {**one, "conversations": words}),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps([record]))
    records = tmp_path / "records"
    assert main(["read", "depictqa", str(tmp_path), "--out", str(records)]) == 0
    parts = yaml.safe_load((records / "parts.yaml").read_text())["parts"]
    assert parts == {
        "KADIS700K/metas/detail.json": 5,
        "KADIS700K/metas/train.json": 1,
        "LAMM/metas/train.json": 4,
        "QPathway/metas/train.json": 2,
    }
    assert json.loads((records / "LAMM/metas/train.json").read_text()) == [caption]
    found, weights = read_parts(tmp_path, parts)
    assert [len(part) for part in found] == [1, 3, 1, 1] and weights == [5, 1, 4, 2]
    assert main(["read", "depictqa", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "choose another folder" in capsys.readouterr().err


def test_a_set_outside_the_data_root_is_refused(tmp_path, capsys):
    koniq10k_folder, root = tmp_path / "koniq", tmp_path / "root"
    koniq10k_folder.mkdir()
    root.mkdir()
    koniq10k(koniq10k_folder)
    (root / "linked").symlink_to(koniq10k_folder)
    for folder in (koniq10k_folder, root / "linked"):
        out = ["--out", str(tmp_path / "records.json"), "--root", str(root)]
        assert main(["read", "koniq10k", str(folder), *out]) == 1
        assert "not below the data root" in capsys.readouterr().err
