"""Rows that were computed once are kept, however the work was stopped."""

import os

import pytest
import torch

from depictqa_core.errors import DocumentError, ImageError, StorageError
from training.trainer.row_file import RowFile


def row(name):
    if name == "broken":
        raise ImageError("broken: cannot be read")
    return torch.full((3,), float(name))


def filled(folder, names, compute=row):
    file = RowFile(folder, "rows", 3)
    file.fill(names, compute, "rows")
    return file


def test_rows_are_computed_once_and_unreadable_ones_named(tmp_path):
    filled(tmp_path, ["1", "2"])
    asked = []
    file = filled(tmp_path, ["2", "broken", "3"], lambda name: asked.append(name) or row(name))
    assert sorted(asked) == ["3", "broken"]
    assert [file[name].tolist() for name in "123"] == [[1.0] * 3, [2.0] * 3, [3.0] * 3]
    with pytest.raises(ImageError, match="cannot be read"):
        file["broken"]


@pytest.mark.parametrize("lost", ["names", "values"])
def test_a_row_that_was_cut_off_is_computed_again(tmp_path, lost):
    filled(tmp_path, ["1", "2", "3"])
    path = tmp_path / ("rows.jsonl" if lost == "names" else "rows.f32")
    os.truncate(path, path.stat().st_size - 2)
    file = filled(tmp_path, ["1", "2", "3"])
    assert [file[name].tolist() for name in "123"] == [[1.0] * 3, [2.0] * 3, [3.0] * 3]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_said_to_be_one(tmp_path):
    (tmp_path / "rows.f32").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="rows.f32 .*free some space"):
        filled(tmp_path, ["1"])


@pytest.mark.parametrize("line", [b"{broken\n", b"3\n", b"\xff\n"])
def test_a_damaged_list_of_names_is_named(tmp_path, line):
    filled(tmp_path, ["1", "2"])
    path = tmp_path / "rows.jsonl"
    path.write_bytes(line + path.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(DocumentError, match="rows.jsonl, line 1 .*delete it|rows.jsonl, line 1 is not UTF-8"):
        filled(tmp_path, ["3"])
