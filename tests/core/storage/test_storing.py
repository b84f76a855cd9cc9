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
from trees import ROOT

from depictqa_core.errors import StorageError
from depictqa_core.storage.appending import append_csv, append_jsonl
from depictqa_core.storage.file_names import below, file_part, fill, shortened
from depictqa_core.storage.files import new_folder, rewriting, write_file
from depictqa_core.storage.saved_images import save_image

WRITER = """
import sys
from depictqa_core.storage.appending import append_csv, append_jsonl
from depictqa_core.storage.files import rewriting
folder, who = sys.argv[1:]
for number in range(40):
    row = {"who": who, "number": number, "text": "long text, with a comma\\n" * 300}
    append_csv(folder + "/a.csv", row)
    append_jsonl(folder + "/a.jsonl", row)
    with rewriting(folder + "/a.json", []) as rows:
        rows.append([who, number])
"""


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "half", ["", "b.png,", 'b.png,"a word, and', 'b.png,"a line\n', 'b.png,"a ""quoted', 'b.png,"x"']
)
def test_a_row_that_broke_off_does_not_swallow_the_next(tmp_path, half):
    rows = [{"file": "a.png", "text": 'two\n"lines"'}, {"file": "c.png", "text": "whole"}]
    append_csv(tmp_path / "a.csv", rows[0])
    with open(tmp_path / "a.csv", "a", encoding="utf-8", newline="") as file:
        file.write(half)
    append_csv(tmp_path / "a.csv", rows[1])
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [read[0], read[-1]] == rows and len(read) == 2 + bool(half)


def test_a_file_that_a_spreadsheet_saved_gets_more_rows(tmp_path):
    (tmp_path / "a.csv").write_bytes("\ufefffile,text\r\na.png,x".encode())
    append_csv(tmp_path / "a.csv", {"file": "b.png", "text": "y"})
    with open(tmp_path / "a.csv", encoding="utf-8-sig", newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["a.png", "b.png"]


FULL = """
import resource, signal, sys
from pathlib import Path
from depictqa_core.errors import StorageError
from depictqa_core.storage.appending import append_csv, append_jsonl
from depictqa_core.storage.files import readable_file_errors, rewriting, write_file
from depictqa_core.storage.saved_images import save_image
from PIL import Image
import numpy as np
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
def rewrite():
    with rewriting(folder / "a.json", []) as rows:
        rows.append("long" * 500)
def write():
    with readable_file_errors(folder / "a.txt"):
        write_file(folder / "a.txt", "long" * 500)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
row = {"file": "b.png", "text": 'a "word", ' * 200}
for attempt in (lambda: append_csv(folder / "a.csv", row), lambda: append_jsonl(folder / "a.jsonl", row),
                rewrite, write, lambda: save_image(folder, "a", 1, noise, {})):
    try:
        attempt()
    except StorageError as error:
        assert "cannot be written" in str(error), error
    else:
        raise AssertionError("was written")
append_csv(folder / "a.csv", {"file": "c.png", "text": "short"})
"""


@pytest.mark.skipif(os.name == "nt", reason="limits the size of files")
def test_a_full_disk_leaves_every_file_as_it_was(tmp_path):
    append_csv(tmp_path / "a.csv", {"file": "a.png", "text": "x"})
    append_jsonl(tmp_path / "a.jsonl", {"x": 1})
    (tmp_path / "a.json").write_text("[1]")
    (tmp_path / "a.txt").write_text("before")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".lock"}
    subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, check=True, timeout=120)
    before[tmp_path / "a.csv"] += b"c.png,short\n"
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".lock"} == before


def test_replacing_keeps_links_permissions_and_devices(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("old")
    os.chmod(tmp_path / "real" / "a.txt", 0o640)
    (tmp_path / "link.txt").symlink_to(tmp_path / "real" / "a.txt")
    write_file(tmp_path / "link.txt", "new \udcff")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "real" / "a.txt").read_text() == "new \\udcff"
    assert (tmp_path / "real" / "a.txt").stat().st_mode & 0o777 == 0o640
    write_file("/dev/null", "nothing")
    assert Path("/dev/null").is_char_device()
    mask = os.umask(0)
    os.umask(mask)
    write_file(tmp_path / ("x" * 250 + ".txt"), b"as long as names can be")
    assert (tmp_path / ("x" * 250 + ".txt")).stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
def test_a_write_that_is_stopped_leaves_the_old_file_alone(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")

    def stopped(part):
        part.write_text("half")
        raise error

    with pytest.raises(error):
        write_file(tmp_path / "a.txt", stopped)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("begin", ["=1+1", "+1", "-x", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1", "\uff20x"])
def test_no_cell_is_a_formula(tmp_path, begin):
    append_csv(tmp_path / "a.csv", {"label": begin, "score": -1.5, "text": "a-b"})
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {"label": "'" + begin.replace("\r", "\n"), "score": "-1.5", "text": "a-b"}


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
        save_image(tmp_path / "no" / "such", "a", 1, Image.new("RGB", (2, 2)), {})


def test_pictures_are_never_written_over(tmp_path):
    first = save_image(tmp_path, "a", 1, Image.new("RGB", (2, 2), "red"), {"note": "größer"})
    second = save_image(tmp_path, "a", 1, Image.new("RGB", (2, 2), "blue"), {})
    assert [first.name, second.name] == ["a_00001_.png", "a_00002_.png"]
    with Image.open(first) as image:
        assert np.asarray(image)[0, 0].tolist() == [255, 0, 0] and image.text == {"note": "größer"}


@pytest.mark.parametrize(("kind", "suffix"), [("jpeg", ".jpg"), ("webp", ".webp")])
def test_the_metadata_of_other_kinds_are_texts_that_comfyui_reads(tmp_path, kind, suffix):
    texts = {"prompt": '{"a": 1}', "workflow": "{}", "depictqa": '{"score": 5}'}
    saved = save_image(tmp_path, "a", 1, Image.new("RGB", (8, 8), "red"), texts, kind, quality=90)
    assert saved.name == f"a_00001_{suffix}"
    with Image.open(saved) as image:
        assert image.format == kind.upper()
        assert set(image.getexif().values()) == {f"{key}:{text}" for key, text in texts.items()}


def test_a_jpeg_stores_the_metadata_that_fit(tmp_path):
    texts = {"prompt": "x" * 70_000, "depictqa": "{}"}
    with Image.open(save_image(tmp_path, "a", 1, Image.new("RGB", (8, 8)), texts, "jpeg")) as image:
        assert list(image.getexif().values()) == ["depictqa:{}"]


@pytest.mark.parametrize("name", ["../a", "a/../b", "/a", "\\a", "C:/a", "c:a", "~/a", "a\\..\\b", "a\0"])
def test_names_that_lead_out(name):
    with pytest.raises(StorageError, match="^here: "):
        below(name, "here")


@pytest.mark.parametrize(("name", "kept"), [("./a//b/", "a/b"), ("a\\b", "a/b"), ("..a/b..", "..a/b..")])
def test_names_that_stay(name, kept):
    assert below(name, "here") == kept


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert save_image(folder, names[-1], 99_999_999, Image.new("RGB", (2, 2)), {}).exists()
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


@pytest.mark.parametrize("label", ["樱" * 80, "🌸" * 80, "golden hour " * 9, "x" * 5000], ids=range(4))
@pytest.mark.parametrize("pattern", ["%label%", "a/%label%_%label%_%label%_%label%", "%label%/%label%"])
def test_long_labels_make_names_that_file_systems_take(tmp_path, label, pattern):
    prefix = fill(pattern, {"label": label}, time.localtime(0))
    assert prefix.count("/") == pattern.count("/")
    folder = tmp_path / Path(prefix).parent
    folder.mkdir(parents=True, exist_ok=True)
    path = save_image(folder, Path(prefix).name, 1, Image.new("RGB", (4, 4)), {})
    assert path.name.startswith(label[0]) and "\ufffd" not in path.name


def test_labels_that_utf8_cannot_hold_are_spelled_otherwise(tmp_path):
    stem = file_part("a\ud800b\udcff")
    assert save_image(tmp_path, stem, 1, Image.new("RGB", (4, 4)), {}).name == "a_b__00001_.png"


# ---------------------------------------------------------------------- whole folders


def test_a_library_does_not_decide_about_permissions(tmp_path):
    def private(part):
        part.write_text("x")
        part.chmod(0o600)

    before = os.umask(0o027)
    try:
        write_file(tmp_path / "a.txt", private)
        with new_folder(tmp_path / "folder") as part:
            (part / "inner").mkdir()
            private(part / "inner" / "b.txt")
    finally:
        os.umask(before)
    if os.name != "nt":
        assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
        assert (tmp_path / "folder" / "inner" / "b.txt").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "b.txt", "folder", "inner"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_a_folder_is_written_whole_or_not_at_all(tmp_path, error):
    with pytest.raises(error), new_folder(tmp_path / "x" / "y" / "z") as part:
        (part / "a.txt").write_text("half")
        raise error
    assert not list(tmp_path.iterdir())
    (tmp_path / "z").mkdir()
    (tmp_path / "z.partial").mkdir()
    (tmp_path / "z.partial" / "old.txt").write_text("of a process that was killed")
    with new_folder(tmp_path / "z") as part:
        (part / "a.txt").write_text("whole")
    assert [path.name for path in tmp_path.rglob("*")] == ["z", "a.txt"]
    with pytest.raises(OSError), new_folder(tmp_path / "z"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["z", "a.txt"]
