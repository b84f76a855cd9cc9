"""The best images of a long run: what stays, what is removed, and what an interruption leaves."""

import json

import pytest

from depictqa_core.errors import StorageError
from depictqa_core.storage.best_images import LIST, Candidate, best_in, keep_best


def candidate(score, key=None, fails=False):
    def save(folder):
        if fails:
            raise StorageError("the disk is full")
        path = folder / f"{score} {key}.png"
        path.write_text(str(score))
        return path

    return Candidate(score, str(key or score), {"seed": int(score)}, save)


def files(folder):
    return sorted(path.name for path in folder.glob("*.png"))


def test_the_best_of_many_runs_stay_and_the_others_go(tmp_path):
    folder = tmp_path / "best"
    for score in (5.0, 9.0, 1.0, 7.0, 8.0):
        best, seen = keep_best(folder, [candidate(score)], 3)
    assert [one.score for one in best] == [9, 8, 7] and seen == 5
    assert files(folder) == ["7.0 None.png", "8.0 None.png", "9.0 None.png"]
    assert best_in(folder) == (best, 5)  # after a restart
    assert best[0].facts == {"seed": 9} and best[0].path.read_text() == "9.0"


def test_an_image_counts_once_and_of_equal_scores_the_first_stays(tmp_path):
    keep_best(tmp_path, [candidate(5.0, "a"), candidate(5.0, "b"), candidate(5.0, "a")], 2)
    best, seen = keep_best(tmp_path, [candidate(5.0, "b"), candidate(5.0, "c")], 2)
    assert [one.key for one in best] == ["a", "b"] and seen == 3


def test_what_is_not_among_the_best_is_never_written(tmp_path):
    keep_best(tmp_path, [candidate(5.0)], 1)
    best, _ = keep_best(tmp_path, [candidate(4.0, fails=True)], 1)
    assert [one.score for one in best] == [5]


def test_a_shorter_list_removes_no_file(tmp_path):
    keep_best(tmp_path, [candidate(float(score)) for score in range(4)], 4)
    best, _ = keep_best(tmp_path, [], 1)
    assert len(best) == 1 and len(files(tmp_path)) == 4


def test_a_file_that_was_removed_leaves_the_list(tmp_path):
    best, _ = keep_best(tmp_path, [candidate(5.0), candidate(6.0)], 2)
    best[0].path.unlink()
    assert [one.score for one in best_in(tmp_path)[0]] == [5]


def test_a_failure_leaves_files_and_list_as_they_were(tmp_path):
    before, _ = keep_best(tmp_path, [candidate(5.0)], 1)
    with pytest.raises(StorageError, match="disk is full"):
        keep_best(tmp_path, [candidate(8.0), candidate(7.0, fails=True)], 2)
    assert best_in(tmp_path) == (before, 1) and files(tmp_path) == ["5.0 None.png"]


@pytest.mark.parametrize(
    "content",
    [
        {"schema": 2, "seen": 1, "images": []},
        {"schema": 1, "seen": -1, "images": []},
        {"schema": 1, "seen": 1, "images": {}},
        {"schema": 1, "seen": 1, "images": [3]},
        {"schema": 1, "seen": 1, "images": [{"file": "../a.png", "score": 1, "key": "k", "facts": {}}]},
        {"schema": 1, "seen": 1, "images": [{"file": "a.png", "score": "1", "key": "k", "facts": {}}]},
    ],
)
def test_a_list_of_another_kind_is_refused_and_stays(tmp_path, content):
    (tmp_path / LIST).write_text(json.dumps(content))
    with pytest.raises(StorageError, match="best.json"):
        keep_best(tmp_path, [candidate(5.0)], 1)
    assert json.loads((tmp_path / LIST).read_text()) == content and not files(tmp_path)
