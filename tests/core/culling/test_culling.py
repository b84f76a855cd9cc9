"""What is rejected and why; files that move, and come back; ratings that other software reads."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from trees import ROOT

from depictqa_core.culling import moves
from depictqa_core.culling.moves import COPY, MOVE, WRITE, Step, apply, steps_to, undo
from depictqa_core.culling.ratings import rated, rating_steps, stars
from depictqa_core.culling.selection import Rules, best, select
from depictqa_core.errors import StorageError


def row(name, score=50.0, **changes):
    facts = {"image": name, "error": None, "width": 64, "height": 64, "content": name, "hash": name * 32}
    return {**facts, "blank": False, "cut": False, "score": score, **changes}


def rejected(rows, **rules):
    return {one.image: one.kind for one in select(rows, Rules(**rules))[1]}


ROWS = [
    row("a", 20),
    row("b", 90),
    row("c", 95, blank=True),
    row("d", 80, content="b"),
    row("e", 40, hash="b" * 31 + "a"),
    row("f", None, error="truncated", width=None, height=None, content=None, hash=None, blank=None, cut=None),
    row("9", 60, cut=True),
    row("8", 70, width=65),
]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, {}),
        ({"below": 40}, {"a": "low score"}),
        ({"blank": True}, {"c": "blank", "9": "cut"}),
        ({"unreadable": True}, {"f": "unreadable"}),
        ({"duplicates": True}, {"d": "duplicate"}),
        ({"near": 2}, {"e": "near duplicate"}),
        ({"near": 0}, {}),
        ({"below": 50, "near": 2}, {"a": "low score", "e": "low score"}),
    ],
)
def test_each_rule_rejects_what_it_is_for(rules, expected):
    assert rejected(ROWS, **rules) == expected


def test_of_duplicates_the_best_is_kept_whatever_the_order():
    rows = [row("a", 10, content="x"), row("b", 30, content="x"), row("c", 20, content="x")]
    for some in (rows, rows[::-1]):
        kept, out = select(some, Rules(duplicates=True))
        assert [one["image"] for one in kept] == ["b"] and {one.reason for one in out} == {"has the pixels of b"}
    without = [{key: value for key, value in one.items() if key != "score"} for one in rows]
    assert rejected(without, duplicates=True) == {"b": "duplicate", "c": "duplicate"}  # the first one, without scores


def test_odd_sizes_and_the_best():
    rows = [row(f"{n}", n) for n in range(150)] + [row("odd", 1, width=63)]
    assert rejected(rows, odd_sizes=True) == {"odd": "odd size"}
    kept, _ = select(rows, Rules(below=100))
    assert best(kept, 2) == ["149", "148"] and best(kept, 999)[-1] == "100"


# ---------------------------------------------------------------------- files


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pics/a.png", "pics/in/a.png", "pics/b.png", "pics/b.png.xmp"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    return tmp_path


def tree(top="."):
    return {
        str(p.relative_to(top)): p.read_text() for p in Path(top).rglob("*") if p.is_file() and ".lock" not in p.name
    }


def test_moves_keep_folders_and_sidecars_and_replace_nothing(here):
    Path("out/in").mkdir(parents=True)
    Path("out/in/a.png").write_text("older")
    before = tree()
    steps, missing = steps_to(["pics/a.png", "pics/in/a.png", "pics/b.png", "x.tar/1.png"], "out")
    assert missing == ["x.tar/1.png"]
    assert [error for _, error in apply(steps, "undo.jsonl")] == [None] * 4
    found = tree()
    del found["undo.jsonl"]
    assert found == {
        "out/a.png": "pics/a.png",
        "out/in/a.png": "older",
        "out/in/a (2).png": "pics/in/a.png",
        "out/b.png": "pics/b.png",
        "out/b.png.xmp": "pics/b.png.xmp",
    }
    assert [error for _, error in undo("undo.jsonl")] == [None] * 4
    found = tree()
    del found["undo.jsonl"]
    assert found == before
    assert [error for _, error in undo("undo.jsonl")] == [None] * 4  # once more changes nothing


def test_copies_are_taken_back_unless_they_were_changed(here):
    steps, _ = steps_to(["pics/a.png", "pics/b.png"], "best", COPY)
    list(apply(steps, "undo.jsonl"))
    assert tree("best") == {"a.png": "pics/a.png", "b.png": "pics/b.png", "b.png.xmp": "pics/b.png.xmp"}
    Path("best/a.png").write_text("retouched")
    errors = [error for _, error in undo("undo.jsonl") if error]
    assert len(errors) == 1 and "a.png: stays there" in errors[0] and tree("best") == {"a.png": "retouched"}
    assert Path("pics/a.png").read_text() == "pics/a.png"


def test_a_move_to_another_disk_copies_first(here, monkeypatch):
    def other_disk(source, target):
        raise OSError(18, "Invalid cross-device link", source)

    steps, _ = steps_to(["pics/a.png"], "out")
    with monkeypatch.context() as patched:
        patched.setattr(moves.os, "rename", other_disk)
        assert [error for _, error in apply(steps, "undo.jsonl")] == [None]
    assert tree("out") == {"a.png": "pics/a.png"} and not Path("pics/a.png").exists()


def test_a_kill_between_the_list_and_the_step_can_be_taken_back(here):
    code = """
import os, signal
from depictqa_core.culling import moves
steps, _ = moves.steps_to(["pics/a.png", "pics/b.png"], "out")
rename, count = os.rename, []
def killed(source, target):
    count.append(1)
    if len(count) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
moves.os.rename = killed
list(moves.apply(steps, "undo.jsonl"))
"""
    before = tree()
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == -9 and tree("out") == {"a.png": "pics/a.png"}
    assert [error for _, error in undo("undo.jsonl")] == [None, None]
    found = tree()
    del found["undo.jsonl"]
    assert found == before


def test_what_cannot_be_moved_is_reported_and_the_rest_is_moved(here):
    steps = [Step(MOVE, os.path.abspath(f"pics/{n}.png"), os.path.abspath(f"out/{n}.png")) for n in ("gone", "a")]
    errors = [error for _, error in apply(steps, "undo.jsonl")]
    assert "gone.png: No such file" in errors[0] and errors[1] is None
    Path("bad.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(StorageError, match="bad.jsonl, line 1: is not a step"):
        list(undo("bad.jsonl"))


# ---------------------------------------------------------------------- ratings

XMP = "{http://ns.adobe.com/xap/1.0/}Rating"
DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:darktable="http://darktable.sf.net/"
 {} darktable:history_end="3">{}<darktable:history>edits</darktable:history></rdf:Description></rdf:RDF></x:xmpmeta>
"""


def rating_in(text):
    text = text.replace("\ufeff", "")
    (found,) = [
        element.get(XMP) or element.findtext(XMP)
        for element in ElementTree.fromstring(text.split("?>", 1)[1].split("<?xpacket end")[0]).iter()
        if element.get(XMP) or element.find(XMP) is not None
    ]
    return int(found)


def test_ratings_are_xmp_and_keep_what_a_sidecar_holds():
    assert rating_in(rated(None, 4)) == 4
    for before in (
        DARKTABLE.format("xmp:Rating='1'", ""),
        DARKTABLE.format("", "<xmp:Rating>-1</xmp:Rating>"),
        DARKTABLE.format("", ""),
        DARKTABLE.format("", "").replace('xmlns:xmp="http://ns.adobe.com/xap/1.0/" ', ""),
    ):
        after = rated(before, 5)
        assert rating_in(after) == 5 and "edits</darktable:history>" in after and 'history_end="3"' in after
        assert rated(after, 5) == after
    with pytest.raises(StorageError, match="not an XMP"):
        rated("<html/>", 3)


def test_rating_steps_write_next_to_images_and_are_taken_back(here):
    Path("pics/b.png.xmp").write_text(DARKTABLE.format('xmp:Rating="1"', ""))
    before = tree()
    steps, notices = rating_steps([("pics/a.png", 100.0), ("pics/b.png", 30.0), ("x.tar/1.png", 9.0)])
    assert [step.action for step in steps] == [WRITE, WRITE] and len(notices) == 1 and "x.tar/1.png" in notices[0]
    list(apply(steps, "undo.jsonl"))
    assert rating_in(Path("pics/a.png.xmp").read_text()) == 5 == stars(100)
    assert rating_in(Path("pics/b.png.xmp").read_text()) == 2
    assert rating_steps([("pics/a.png", 100.0)])[0] == []
    list(undo("undo.jsonl"))
    found = tree()
    del found["undo.jsonl"]
    assert found == before


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_sidecars_with_other_ends_of_lines_are_taken_back_to_the_byte(here, mark):
    text = mark + DARKTABLE.format('xmp:Rating="1"', "").replace("\n", "\r\n").replace("edits", "\u2028 \x85 edits")
    before = text.encode()
    Path("pics/a.png.xmp").write_bytes(before)
    steps, _ = rating_steps([("pics/a.png", 100.0)])
    assert [error for _, error in apply(steps, "undo.jsonl")] == [None]
    assert Path("pics/a.png.xmp").read_bytes() == before.replace(b'Rating="1"', b'Rating="5"')
    assert [error for _, error in undo("undo.jsonl")] == [None]
    assert Path("pics/a.png.xmp").read_bytes() == before


def test_a_sidecar_that_is_written_now_goes_with_its_image(tmp_path):
    image = tmp_path / "one.png"
    image.write_bytes(b"pixels")
    rating, _ = rating_steps([(str(image), 80.0)])
    steps, _ = steps_to([str(image)], tmp_path / "best", COPY, [step.target for step in rating])
    assert all(error is None for _, error in apply([*rating, *steps], tmp_path / "undo.jsonl"))
    assert 'xmp:Rating="4"' in (tmp_path / "best" / "one.png.xmp").read_text(encoding="utf-8")
