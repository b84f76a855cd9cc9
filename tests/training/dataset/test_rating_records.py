"""Pairs, records and voting files that are made of human ratings."""

import json
from itertools import combinations

import numpy as np
import pytest
from rating_sets import kadid10k, koniq10k, tid2013

from depictqa_core import tasks
from training.__main__ import main
from training.dataset.building.plan import Plan, RatingSet
from training.dataset.readers import Rated, ReaderError, read_set
from training.dataset.records.format import Mix, Part
from training.dataset.records.ratings import draw_pairs, in_split, rating_records, voting_files, write_ratings
from training.evaluation.voting import read_truth


def rated(seed=0, references=4, each=30):
    rng = np.random.default_rng(seed)
    return [
        Rated(f"r{r}_{i}.png", f"r{r}.png", float(rng.integers(0, 40)) / 10)
        for r in range(references)
        for i in range(each)
    ]


@pytest.mark.parametrize("limit", [10**6, 0])
def test_pairs_from_opinions(monkeypatch, limit):
    """All pairs are listed where they are few; of very many, pairs are drawn: both must obey the same rules."""
    monkeypatch.setattr("training.dataset.records.ratings.ENUMERATED", limit)
    found = rated()
    opinion = {one.image: one.mos for one in found}
    pairs = draw_pairs(found, 500, 0.25, np.random.default_rng(1))
    assert len(pairs) == 500 == len({frozenset((pair.a, pair.b)) for pair in pairs})
    for pair in pairs:
        assert pair.a.split("_")[0] == pair.b.split("_")[0] == pair.reference.removesuffix(".png")
        gap = opinion[pair.a] - opinion[pair.b]
        assert abs(gap) >= 0.25 * 3.9 - 1e-9 and (gap > 0) == pair.a_better
    assert 0.4 < np.mean([pair.a_better for pair in pairs]) < 0.6
    possible = {
        frozenset((a.image, b.image))
        for a, b in combinations(found, 2)
        if a.reference == b.reference and abs(a.mos - b.mos) >= 0.25 * 3.9
    }
    every = draw_pairs(found, 10**6, 0.25, np.random.default_rng(1))
    assert {frozenset((pair.a, pair.b)) for pair in every} == possible
    assert draw_pairs(found, 500, 0.25, np.random.default_rng(1)) == pairs


def test_pictures_without_references_are_paired_with_one_another():
    found = [Rated(f"{i}.png", None, float(i)) for i in range(10)]
    pairs = draw_pairs(found, 100, 0.0, np.random.default_rng(0))
    assert len(pairs) == 45 and all(pair.reference is None for pair in pairs)
    assert draw_pairs([], 5, 0.1, np.random.default_rng(0)) == []


def test_splits_by_reference():
    found = rated(references=60, each=2)
    train, test = in_split(found, "train"), in_split(found, "test")
    assert len(train) + len(test) == len(found) and not {o.reference for o in train} & {o.reference for o in test}
    assert 0.05 < len(test) / len(found) < 0.4 and in_split(found, None) == found


def test_rating_records(tmp_path):
    kadid10k(tmp_path / "sets" if (tmp_path / "sets").mkdir() is None else tmp_path)
    folder = tmp_path / "sets"
    pairs = draw_pairs(read_set("kadid10k", folder).found, 100, 0.1, np.random.default_rng(0))
    made = {}
    for setting in ("fr", "nr"):
        part = Part(f"rating_{setting}_kadid10k", setting == "fr", "train", Mix(rating_tail=0.5))
        made[setting] = list(rating_records("kadid10k", pairs, folder, tmp_path, part, seed=1))
    assert len(made["fr"]) == len(pairs) == 6
    for fr, nr in zip(made["fr"], made["nr"]):
        assert (fr["task_type"], nr["task_type"]) == ("quality_compare", "quality_compare_noref")
        assert nr == {**fr, "id": nr["id"], "task_type": nr["task_type"], "image_ref": None} and nr["id"] != fr["id"]
        assert all((tmp_path / fr[field]).is_file() for field in ("image_ref", "image_A", "image_B"))
        question, answer = (turn["value"] for turn in fr["conversations"])
        assert tasks.task_of(question, pair=True).name in ("rating", "comparison")
        assert ("Image A" in answer) == fr["A_better_B"] == ("Image B" not in answer)
    levels = {"01_01": 4.57, "01_05": 1.2, "02_03": 3.0}
    for fr in made["fr"]:
        a, b = (levels[fr[field][-9:-4]] for field in ("image_A", "image_B"))
        assert (a > b) == fr["A_better_B"]


def test_voting_files(tmp_path):
    kadid10k(tmp_path)
    records, truth = voting_files("kadid10k", read_set("kadid10k", tmp_path).found, tmp_path, tmp_path, references=1)
    assert truth == {
        "images/I01.png": {
            "dist_paths": [f"images/I01_{n}.png" for n in ("01_01", "01_05", "02_03")],
            "mos_list": [4.57, 1.2, 3.0],
        }
    }
    assert len(records) == 3 == len({frozenset((one["image_A"], one["image_B"])) for one in records})
    assert all(tasks.task_of(one["query"], pair=True) is tasks.RATING for one in records)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    assert read_truth(tmp_path / "truth.json")["images/I01.png"]["images/I01_01_05.png"] == 1.2
    with pytest.raises(ReaderError, match="voting needs them"):
        voting_files("koniq10k", [Rated("a.png", None, 1.0)], tmp_path, tmp_path)


def test_rating_sets_of_a_plan(tmp_path):
    folder = tmp_path / "sets" / "kadid10k"
    folder.mkdir(parents=True)
    kadid10k(folder)
    plan = Plan("p", 1, ratings=(RatingSet("kadid10k", "sets/kadid10k", 4, 0.1),))
    written = write_ratings(plan, tmp_path)
    assert written == {f"rating_{s}_kadid10k.json": {"records": 4, "missing images": 2} for s in ("fr", "nr")}
    records = json.loads((tmp_path / "records" / "rating_fr_kadid10k.json").read_text())
    assert all((tmp_path / one["image_A"]).is_file() for one in records)
    before = (tmp_path / "records" / "rating_fr_kadid10k.json").read_bytes()
    write_ratings(plan, tmp_path)
    assert (tmp_path / "records" / "rating_fr_kadid10k.json").read_bytes() == before
    with pytest.raises(ReaderError, match="no such folder"):
        write_ratings(Plan("p", 1, ratings=(RatingSet("pipal", "sets/pipal", 4),)), tmp_path)


def test_command(tmp_path, capsys):
    folder = tmp_path / "koniq"
    folder.mkdir()
    koniq10k(folder)
    out = tmp_path / "records.json"
    assert main(["read", "koniq10k", str(folder), "--out", str(out), "--root", str(tmp_path), "--form", "test"]) == 0
    (record,) = json.loads(out.read_text())
    assert record["image_ref"] is None and record["image_A"].startswith("koniq/1024x768/") and "query" in record
    assert record["answer"] == ("Image A" if "10004473376" in record["image_A"] else "Image B")
    tid = tmp_path / "tid"
    tid.mkdir()
    tid2013(tid)
    assert main(["read", "tid2013", str(tid), "--out", str(out), "--voting", str(tmp_path / "truth.json")]) == 0
    assert set(json.loads((tmp_path / "truth.json").read_text())) == {
        "reference_images/I01.BMP",
        "reference_images/i25.bmp",
    }
    assert main(["read", "spaq", str(folder), "--out", str(out)]) == 1
    assert "SPAQ is read from" in capsys.readouterr().err
