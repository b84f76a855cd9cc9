"""Preferences: which pairs picks and ratings make, one record per pair, and a folder that the trainer takes."""

import threading

import numpy as np
import pytest
from PIL import Image
from tiny import make_tiny_model

from depictqa_core.errors import StorageError, TaskError
from depictqa_core.images.image import RGBImage
from depictqa_core.prompts import REFERENCE, A, B
from depictqa_core.storage.preferences import Preference, collect, levels, pairs_of, picked
from depictqa_core.tasks import RATING, SETTINGS, task_of
from training.trainer.examples import make_example
from training.trainer.record_files import picture_paths, read_records


def a_picture(seed):
    rng = np.random.default_rng(seed)
    return RGBImage(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), f"image {seed}")


def records(root):
    return read_records(root / "records" / "preferences.json")


@pytest.mark.parametrize(
    ("text", "found"), [("", [0, 0, 0]), ("2", [1, 0, 1]), ("3, 1", [1, 2, 0]), ("3 1 2", [1, 2, 0])]
)
def test_picks_become_levels(text, found):
    assert picked(3, text) == found


def test_ratings_become_levels():
    assert levels([3, 5, 5, 1]) == [1, 0, 0, 2]
    assert levels([3.0, 3.4, 5.0, 2.9], margin=0.5) == [1, 1, 0, 1]
    assert levels([1.0, 1.4, 1.8], margin=0.5) == [1, 0, 0]  # small steps do not add up to one long tie
    with pytest.raises(TaskError, match="NaN"):
        levels([1.0, float("nan")])


def test_pairs_of_levels():
    assert pairs_of([1, 0, 1, 2]) == [(0, 3), (1, 0), (1, 2), (1, 3), (2, 3)]
    assert pairs_of([1, 0, 1, 2], "best against the rest") == [(1, 0), (1, 2), (1, 3)]
    assert pairs_of([1, 0, 1, 2], "neighbours") == [(0, 3), (1, 0), (1, 2), (2, 3)]
    assert pairs_of([0, 0, 0]) == []


def test_records_have_the_published_format_and_pictures_lie_beside(tmp_path):
    better, worse, reference = map(a_picture, range(3))
    collect(tmp_path, [Preference(better, worse), Preference(better, worse, reference)])
    plain, beside = records(tmp_path)
    assert (plain["task_type"], beside["task_type"]) == ("quality_compare_noref", "quality_compare")
    assert plain["image_ref"] is None
    for record in (plain, beside):
        assert record["task_type"] in SETTINGS
        question, answer = (turn["value"] for turn in record["conversations"])
        assert task_of(question, pair=True) is RATING
        paths = picture_paths(record, record["task_type"])
        winner = A if record["A_better_B"] else B
        assert answer == {A: "Image A", B: "Image B"}[winner]
        for role, expected in ((winner, better), (B if winner == A else A, worse), (REFERENCE, reference)):
            if role in paths:
                with Image.open(tmp_path / paths[role]) as image:
                    assert np.array_equal(np.asarray(image), expected.rgb)


def test_the_trainer_reads_them(tmp_path):
    collect(tmp_path, [Preference(a_picture(0), a_picture(1), a_picture(2))])
    _, tokenizer = make_tiny_model()
    example = make_example(records(tmp_path)[0], tokenizer)
    assert len(example.pictures) == 3


def test_one_record_per_pair_and_the_newest_wins(tmp_path):
    a, b = a_picture(0), a_picture(1)
    assert (collect(tmp_path, [Preference(a, b)]).new, collect(tmp_path, [Preference(a, b)]).known) == (1, 1)
    first = records(tmp_path)[0]["A_better_B"]
    result = collect(tmp_path, [Preference(b, a)])
    assert (result.changed, result.total) == (1, 1)
    (record,) = records(tmp_path)
    assert record["A_better_B"] is not first
    assert [old["A_better_B"] for old in record["earlier"]] == [first]
    assert len(list((tmp_path / "pictures").iterdir())) == 2


def test_the_better_one_is_a_as_often_as_b(tmp_path):
    collect(tmp_path, [Preference(a_picture(i), a_picture(i + 100)) for i in range(60)])
    assert 0.3 < np.mean([record["A_better_B"] for record in records(tmp_path)]) < 0.7


def test_picks_of_many_at_once_are_all_kept(tmp_path):
    def add(start):
        for number in range(start, start + 5):
            collect(tmp_path, [Preference(a_picture(number), a_picture(number + 1000))])

    threads = [threading.Thread(target=add, args=(start,)) for start in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(records(tmp_path)) == 20


def test_a_picture_against_itself_and_damaged_records(tmp_path):
    with pytest.raises(TaskError, match="same image"):
        collect(tmp_path, [Preference(a_picture(0), a_picture(0))])
    (tmp_path / "records").mkdir()
    file = tmp_path / "records" / "preferences.json"
    for content, said in {
        "{}": "must hold a list",
        "[" * 10**5: "nested more than",
        "[3]": "record 1 is 3",
        '[{"id": "x"}]': "record 1 has no A_better_B",
        '[{"A_better_B": true}]': "record 1 has no id",
        '[{"id": ["x"], "A_better_B": true}]': "record 1 id is",
        '[{"id": "x", "A_better_B": "yes"}]': "record 1 A_better_B is 'yes'",
        '[{"id": "x", "A_better_B": true, "earlier": 3}]': "record 1 earlier is 3",
        '[{"id": "x", "A_better_B": true, "time": "\\ud800"}]': "surrogate",
    }.items():
        file.write_text(content)
        with pytest.raises(StorageError, match=said):
            collect(tmp_path, [Preference(a_picture(0), a_picture(1))])
        assert file.read_text() == content
