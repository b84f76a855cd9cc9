"""Files that many write at once: every line whole, the header once, records never lost, names that stay inside."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from depictqa_core.errors import StorageError
from depictqa_core.storing import append_csv, append_jsonl, below, file_part, fill, rewriting, save_png, shortened

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from depictqa_core.storing import append_csv, append_jsonl, rewriting
folder, who = sys.argv[1:]
for number in range(40):
    row = {"who": who, "number": number, "text": "long text, with a comma\\n" * 300}
    append_csv(folder + "/a.csv", row)
    append_jsonl(folder + "/a.jsonl", row)
    with rewriting(folder + "/a.json", []) as rows:
        rows.append([who, number])
"""


def test_rows_of_many_processes_stay_whole(tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(who)], cwd=ROOT) for who in range(4)]
    assert [writer.wait(120) for writer in writers] == [0] * 4
    expected = sorted((str(who), str(number)) for who in range(4) for number in range(40))
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["who"], row["number"]) for row in rows) == expected
    assert {row["text"] for row in rows} == {"long text, with a comma\n" * 300}
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert sorted((line["who"], str(line["number"])) for line in lines) == expected
    kept = json.loads((tmp_path / "a.json").read_text())
    assert sorted((who, str(number)) for who, number in kept) == expected


def test_a_line_that_broke_off_does_not_spoil_the_next(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"half": ')
    append_jsonl(tmp_path / "a.jsonl", {"x": 1})
    assert json.loads((tmp_path / "a.jsonl").read_text().splitlines()[-1]) == {"x": 1}


def test_other_columns_and_damaged_records_are_left_alone(tmp_path):
    append_csv(tmp_path / "a.csv", {"x": 1})
    with pytest.raises(StorageError, match="other columns"):
        append_csv(tmp_path / "a.csv", {"y": 1})
    (tmp_path / "a.json").write_text("[1, ")
    with pytest.raises(StorageError, match="damaged"), rewriting(tmp_path / "a.json", []):
        pass
    assert (tmp_path / "a.csv").read_text() == "x\n1\n" and (tmp_path / "a.json").read_text() == "[1, "


def test_a_change_that_fails_changes_nothing(tmp_path):
    with rewriting(tmp_path / "a.json", []) as rows:
        rows.append("ä")
    with pytest.raises(KeyError), rewriting(tmp_path / "a.json", []) as rows:
        rows.append("lost")
        raise KeyError
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == ["ä"]


def test_errors_name_the_file(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(StorageError, match="folder.csv: cannot be written"):
        append_csv(tmp_path / "folder.csv", {"x": 1})
    with pytest.raises(StorageError, match="cannot be written"):
        save_png(tmp_path / "no" / "such", "a", 1, Image.new("RGB", (2, 2)), {})


def test_pictures_are_never_written_over(tmp_path):
    first = save_png(tmp_path, "a", 1, Image.new("RGB", (2, 2), "red"), {"note": "größer"})
    second = save_png(tmp_path, "a", 1, Image.new("RGB", (2, 2), "blue"), {})
    assert [first.name, second.name] == ["a_00001_.png", "a_00002_.png"]
    with Image.open(first) as image:
        assert np.asarray(image)[0, 0].tolist() == [255, 0, 0] and image.text == {"note": "größer"}


@pytest.mark.parametrize("name", ["../a", "a/../b", "/a", "\\a", "C:/a", "c:a", "~/a", "a\\..\\b", "a\0"])
def test_names_that_lead_out(name):
    with pytest.raises(StorageError, match="^here: "):
        below(name, "here")


@pytest.mark.parametrize(("name", "kept"), [("./a//b/", "a/b"), ("a\\b", "a/b"), ("..a/b..", "..a/b..")])
def test_names_that_stay(name, kept):
    assert below(name, "here") == kept


@given(st.text(max_size=200))
def test_any_label_makes_a_file_name_of_one_part(text):
    part = file_part(text)
    assert part not in (".", "..") and not set(part) & set('<>:"/\\|?*%\0\r\n') and len(part) <= 81
    assert not part.endswith((" ", ".")) and os.path.basename(part) == part


@pytest.mark.parametrize(("label", "part"), [("CON", "CON_"), ("nul.txt", "nul.txt_"), ("..", "__"), (".x", "_x")])
def test_names_that_some_systems_refuse(label, part):
    assert file_part(label) == part


def test_patterns_are_filled_in():
    now = time.struct_time((2026, 3, 9, 8, 5, 7, 0, 68, 0))
    values = {"score": "093.2", "label": "a/b%rank%"}
    assert fill("x/%score%_%label%", values, now) == "x/093.2_a_b_rank_"  # a label neither makes folders nor fills in
    assert fill("%date% %time%", values, now) == "2026-03-09 08-05-07"
    assert fill("%date:yy-MM-dd hh.mm.ss%", values, now) == "26-03-09 08.05.07"
    assert fill("%width%_%unknown%_100%", values, now) == "%width%_%unknown%_100%"


NOW = time.struct_time((2026, 3, 9, 8, 5, 7, 0, 68, 0))
CHARACTERS = {
    "Chinese": "樱",
    "emoji": "🌸",
    "family": "👨‍👩‍👧‍👦",
    "skin tone": "👍🏽",
    "flag": "🇩🇪",
    "variation": "❤️",
    "accents": "e\u0301\u0323",
    "Devanagari": "नि",
    "Latin": "a",
}
PATTERNS = [
    "%rank%_%score%_%label%",
    "%label%_%label%_%label%_%label%",
    "%label%/%label%",
    "a%label%b" * 8,
    "x" * 300 + "/%label%_" + "y" * 300,
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("character", CHARACTERS.values(), ids=CHARACTERS)
def test_names_fit_and_no_character_is_cut(tmp_path, character, pattern):
    values = {"rank": "001", "score": "090.0", "label": character * 120}
    names = fill(pattern, values, NOW).split("/")
    for name in names:
        rest = name.replace(character, "")
        assert len(name.encode()) <= 255 and set(rest) <= set("xyab_0123456789.")
    folder = tmp_path.joinpath(*names[:-1])
    folder.mkdir(parents=True, exist_ok=True)
    assert save_png(folder, names[-1], 99_999_999, Image.new("RGB", (2, 2)), {}).exists()
    if pattern == PATTERNS[0]:
        assert names[0].startswith("001_090.0_") and len(names[0].encode()) >= 90


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_pattern_and_label_make_names_that_fit(literal, label):
    for name in fill(f"{literal}%label%{literal}", {"label": label}, NOW).split("/"):
        assert len(name.encode()) <= 255 and not set(name) & set('<>:"|?*')


@given(st.text(max_size=40), st.integers(1, 60))
def test_shortened_is_a_beginning_that_fits(text, length):
    cut = shortened(text, length)
    assert text.startswith(cut) and len(cut.encode()) <= length and (cut == text or len(text.encode()) > length)


def test_a_label_that_utf_8_cannot_hold_makes_a_name():
    assert fill("%label%", {"label": "a\udcffb"}, NOW) == "a_b"
