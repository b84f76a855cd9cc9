"""``depictqa judge``, ``cull`` and ``report`` as commands, from images to a page and back."""

import os
import re
import shutil
import struct
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from core.fake_judge import FakeJudge
from PIL import Image
from trees import ROOT

from depictqa_core import load_judge
from depictqa_core.bulk import schema
from depictqa_core.bulk.parts import read_rows
from depictqa_core.bulk.plan import Plan
from depictqa_core.bulk.run import Progress
from depictqa_core.bulk.schema import ALWAYS, VERBS
from depictqa_core.cli import commands, large_runs, reporting
from depictqa_core.images.image import as_image


@pytest.mark.slow
def test_the_table_equals_the_verbs_and_failures_are_named(depictqa, folder, checkpoint):
    (Path(folder) / "cut.png").write_bytes((Path(folder) / "x2.png").read_bytes()[:900])
    status, out, err = depictqa("judge", folder, "--out", "out", "--recursive")
    assert status == 3 and "5 images in out/part-*, 1 could not be judged" in out
    assert "pics/cut.png: the file is truncated" in err and "Traceback" not in err
    rows = {row["image"]: row for row in read_rows("out")}
    judge = load_judge(checkpoint, "cpu")
    names = ["pics/X1.jpg", "pics/x2.png", "pics/x10.png", "pics/inner/deep.png"]
    images = [as_image(name) for name in names]
    for name, score, found in zip(names, judge.score(images), judge.identify(images)):
        assert rows[name]["score"] == pytest.approx(score.score, abs=1e-3)
        assert rows[name]["labels"] == list(found.labels) and rows[name]["levels"][0] == pytest.approx(
            score.levels[0].probability, abs=1e-5
        )
    status, out, _ = depictqa("judge", folder, "--out", "out", "--recursive")
    assert status == 3 and "5 of them by an earlier run" in out


def test_the_bar_shows_rate_and_time_left_once_the_inputs_are_counted(tmp_path, monkeypatch):
    pty, termios, fcntl = (pytest.importorskip(name) for name in ("pty", "termios", "fcntl"))
    (tmp_path / "list.csv").write_text("image\n" + "".join(f"{n}.png\n" for n in range(40)))
    terminal, written = pty.openpty()
    fcntl.ioctl(written, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    with os.fdopen(written, "w") as shown_on, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", shown_on)
        with large_runs._Shown(Plan((str(tmp_path / "list.csv"),), tmp_path / "out"), quiet=False) as shown:
            shown._counting.join()
            time.sleep(0.15)  # a bar is drawn ten times a second at most
            shown(Progress(done=10, resumed=4))
            text = os.read(terminal, 2**16).decode()
            text += os.read(terminal, 2**16).decode()
    os.close(terminal)
    assert re.search(r"10/40 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+ ?(images/s|s/ images)", text), text


@pytest.mark.slow
def test_processes_write_the_same_table(depictqa, folder):
    for name in "12":
        status, out, _ = depictqa("judge", folder, "--out", name, "--recursive", "--processes", name)
        assert status == 0 and "4 images in" in out
    for one, two in zip(read_rows("1"), read_rows("2"), strict=True):
        assert one["image"] == two["image"] and one["score"] == pytest.approx(two["score"], abs=1e-3)


def test_wrong_command_lines(depictqa, folder):
    for words, message in (
        (("judge", folder, "--out", "o", "--verbs", "score,taste"), "'taste' is not one of score, identify, check"),
        (("judge", folder, "--out", "o", "--verbs", "score,check"), "--verbs check needs --question"),
        (("judge", folder, "--out", "o", "--question", "Is it?"), "--question and --answers need check in --verbs"),
        (("judge", folder, "--out", "o", "--actors", "2"), "--actors and --gpus need --engine ray"),
        (("judge", folder, "--out", "o", "--engine", "ray", "--processes", "2"), "--processes needs --engine local"),
        (("judge", folder, "--out", "o", "--batch", "0"), "'0' is not a number from 1"),
        (("judge", folder, "--out", "o", "--rows", "0"), "'0' is not a number from 1"),
        (("judge", "gone/*.png", "--out", "o"), "no file fits this pattern"),
        (("judge", folder, "--out", "o", "--checkpoint", "gone"), "gone"),
    ):
        status, out, err = depictqa(*words)
        assert status in (1, 2) and message in err and out == "" and err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("cull", "name the folder"),
        ("cull x --copy-best 3", "belong together"),
        ("cull x --move-below 101", "'101' is not a number from 0 to 100"),
        ("cull pics", "name the folder that depictqa judge wrote"),
        ("report pics --out page.txt", "does not end in .html"),
        ("report pics --out page.html --maps 3 --thumbnails 0", "--maps needs small images"),
        ("report pics --out page.html --maps -1", "'-1' is not a number from 0"),
        ("report pics --out page.html --checkpoint x", "--checkpoint needs --maps N"),
        ("report pics --out page.html --maps 3", "name the folder that depictqa judge wrote"),
        ("report pics --out page.html", "name the folder that depictqa judge wrote"),
    ],
)
def test_wrong_command_lines_about_results(folder, capsys, words, message):
    try:
        status = commands.main(words.split())
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status in (1, 2) and message in err and out == ""


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Five grey images of rising brightness, a copy of one, a damaged one, and their table."""
    monkeypatch.chdir(tmp_path)
    os.makedirs("pics")
    rng = np.random.default_rng(0)
    for n in range(5):
        noise = rng.integers(0, 40, (64, 64, 3))
        Image.fromarray((noise + 45 * n).astype(np.uint8)).save(f"pics/{n}.png")
    shutil.copy("pics/4.png", "pics/copy.png")
    Path("pics/bad.png").write_bytes(b"no image")
    monkeypatch.setattr(large_runs, "open_judge", lambda options, bar: FakeJudge())
    monkeypatch.setattr(large_runs, "default_format", lambda: "jsonl")
    assert commands.main(["judge", "pics", "--out", "out", "--quiet"]) == 3
    return tmp_path


def test_cull_shows_then_does_then_takes_back(judged, capsys):
    def files():
        return sorted(str(path) for top in ("pics", "away", "best") for path in Path(top).rglob("*.*"))

    before = files()
    words = ["cull", "out", "--move-below", "20", "--duplicates", "--unreadable", "--to", "away"]
    words += ["--copy-best", "1", "--best", "best"]
    capsys.readouterr()
    assert commands.main(words) == 0
    out = capsys.readouterr().out
    assert "low score: 1\n  pics/0.png: score 7." in out and "duplicate: 1\n  pics/copy.png: has the pixels of" in out
    assert "unreadable: 1\n  pics/bad.png" in out and "1 to copy, 3 to move" in out and "add --apply" in out
    assert files() == before
    assert commands.main([*words, "--apply"]) == 0
    assert "4 changes made" in capsys.readouterr().out
    assert files() == [
        *("away/0.png", "away/bad.png", "away/copy.png", "best/4.png"),
        *(f"pics/{n}.png" for n in range(1, 5)),
    ]
    assert commands.main(["cull", "--undo", "out/undo-001.jsonl"]) == 0
    assert files() == before


def test_ratings_and_report(judged, capsys):
    assert commands.main(["cull", "out", "--ratings", "--apply"]) == 0
    assert 'xmp:Rating="4"' in Path("pics/4.png.xmp").read_text() and not Path("pics/bad.png.xmp").exists()
    assert 'xmp:Rating="0"' in Path("pics/0.png.xmp").read_text()
    capsys.readouterr()
    assert commands.main(["report", "out", "--out", "page.html"]) == 0
    assert "written: page.html, 7 images" in capsys.readouterr().out
    assert "pics/copy.png" in Path("page.html").read_text()


@pytest.fixture
def mapped(judged, monkeypatch, capsys):
    """Runs ``depictqa report`` with a judge; gives (exit status, stdout, stderr, names of the images with a map)."""

    def run(*words, results="out", judge=FakeJudge):
        monkeypatch.setattr(reporting, "open_judge", lambda options, bar: judge())
        Path("page.html").unlink(missing_ok=True)
        capsys.readouterr()
        status = commands.main(["report", results, "--out", "page.html", *words])
        text = Path("page.html").read_text() if Path("page.html").exists() else ""
        assert not list(judged.glob(".*.part"))
        return (status, *capsys.readouterr(), re.findall(r'{"name": "([^"]*)"[^\n]*"map": {', text))

    return run


def test_maps_of_the_worst_images(judged, mapped):
    status, out, _, names = mapped("--maps", "2")
    assert status == 0 and "7 images, 2 maps" in out and names == ["pics/0.png", "pics/1.png"]
    status, out, _, names = mapped("--maps", "1000")
    assert status == 0 and "7 images, 6 maps" in out
    assert names == [*(f"pics/{n}.png" for n in range(5)), "pics/copy.png"]
    Path("pics/0.png").write_bytes(Path("pics/0.png").read_bytes()[:700])
    os.remove("pics/1.png")
    status, out, err, names = mapped("--maps", "2")
    assert status == 0 and "7 images, 1 maps" in out and names == ["pics/2.png"]
    assert err.startswith("depictqa: no map: pics/0.png: the file is truncated") and err.count("\n") == 1


def test_without_maps_no_judge_is_loaded(judged, mapped):
    def judge():
        raise AssertionError("a judge was loaded")

    plain = mapped(judge=judge), Path("page.html").read_bytes()
    assert (mapped("--maps", "0", judge=judge), Path("page.html").read_bytes()) == plain
    assert " maps" not in plain[0][1] and b'"maps": {' not in plain[1]
    with tarfile.open("pics.tar", "w") as tar:
        tar.add("pics/1.png")
    assert commands.main(["judge", "pics.tar", "--out", "shard", "--quiet"]) == 0
    status, out, err, _ = mapped("--maps", "3", results="shard", judge=judge)
    assert status == 0 and "1 images, 0.0 MB" in out and "no image with a score is a separate file" in err


def test_maps_are_by_the_judge_of_the_run(judged, mapped):
    class Newer(FakeJudge):
        info = {**FakeJudge.info, "version": "2"}

    class Tuned(FakeJudge):
        info = {**FakeJudge.info, "files": {"weights": "of another"}}

    status, out, err, _ = mapped("--maps", "2", judge=Newer)
    assert status == 1 and not Path("page.html").exists() and out == ""
    assert "out: judged by fake 1, and the bundled judge is fake 2; name a judge with --checkpoint" in err
    assert len(mapped("--maps", "2", "--checkpoint", "x", judge=Newer)[3]) == 2
    assert "The maps are by fake 2, the scores of whole images by fake 1." in Path("page.html").read_text()
    assert len(mapped("--maps", "2", "--checkpoint", "x", judge=Tuned)[3]) == 2
    assert "The maps are by fake 1 with other weights," in Path("page.html").read_text()
    assert len(mapped("--maps", "2", "--checkpoint", "x")[3]) == 2
    assert "The maps are by" not in Path("page.html").read_text()


def test_maps_that_cannot_be_made_leave_no_page(judged, mapped):
    class Stopped(FakeJudge):
        def score(self, images, reference=None, *, progress=None):
            raise KeyboardInterrupt

    status, out, err, _ = mapped("--maps", "2", judge=Stopped)
    assert status == 130 and "interrupted" in err and out == "" and not Path("page.html").exists()
    words = ["judge", "pics", "--out", "asked", "--quiet", "--verbs", "check", "--question", "Is it bright?"]
    assert commands.main(words) == 3
    status, out, err, _ = mapped("--maps", "2", results="asked")
    assert status == 1 and "--maps needs scores" in err and not Path("page.html").exists()


def test_ratings_inside_files(judged, capsys):
    def rating(name):
        with Image.open(f"pics/{name}.png") as image:
            return image.info.get("xmp", b"").partition(b"xmp:Rating=")[2][:3]

    before = {path.name: path.read_bytes() for path in Path("pics").iterdir()}
    Image.open("pics/3.png").save("pics/3.bmp")
    os.replace("pics/3.bmp", "pics/3.png")
    before["3.png"] = Path("pics/3.png").read_bytes()
    words = ["cull", "out", "--ratings", "--ratings-in", "file"]
    capsys.readouterr()
    assert commands.main(words) == 0
    out, err = capsys.readouterr()
    assert "5 to rate" in out and "pics/3.png: only JPEG, PNG and WebP files can hold a rating here" in err
    assert {path.name: path.read_bytes() for path in Path("pics").iterdir()} == before
    assert commands.main([*words, "--apply"]) == 0
    assert [rating(name) for name in ("0", "4", "copy")] == [b'"0"', b'"4"', b'"4"']
    capsys.readouterr()
    assert commands.main(["cull", "out", "--ratings-in", "file", "--apply"]) == 0
    assert "changes: none" in capsys.readouterr().out
    assert commands.main(["cull", "--undo", "out/undo-001.jsonl"]) == 0
    assert "5 changes taken back" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in Path("pics").iterdir()} == before


def test_an_own_question_in_a_table(judged, capsys):
    words = ["judge", "pics", "--out", "asked", "--quiet", "--verbs", "check", "--question", "Is it bright?"]
    assert commands.main([*words, "--answers", "yes, no, partly"]) == 3
    rows = list(read_rows("asked"))
    assert [row["answer"] for row in rows if not row["error"]] == ["no", "no", "yes", "yes", "yes", "yes"]
    assert len(rows[0]["answer_probabilities"]) == 3
    assert commands.main(words) == 1
    assert "another check" in capsys.readouterr().err


def test_own_questions_are_refused_before_anything_is_read(judged, monkeypatch, capsys):
    class Closed(FakeJudge):
        backend = SimpleNamespace(
            name="closed",
            capabilities=SimpleNamespace(tasks=(), free_questions=False),
            limit_caches=lambda images: None,
        )

    monkeypatch.setattr(large_runs, "open_judge", lambda options, bar: Closed())
    words = ["judge", "pics", "--out", "asked", "--verbs", "score,check", "--question", "Are the hands right?"]
    capsys.readouterr()
    assert commands.main(words) == 1
    out, err = capsys.readouterr()
    assert "own questions are not supported by closed" in err and out == "" and err.count("\n") == 1
    assert not Path("asked").exists()


def test_the_guide_has_the_columns_of_the_table():
    text = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    assert f"schema {schema.SCHEMA}" in text
    for column in (*ALWAYS, *(column for verb in VERBS.values() for column in verb.columns)):
        assert f"| `{column.name}` | {column.kind} | {column.text} |" in text


@pytest.mark.slow
def test_the_command_line_starts_without_pyarrow_and_torch():
    import subprocess
    import sys

    code = "import sys, depictqa_core.cli.commands; print([m for m in ('torch', 'pyarrow', 'piq') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "[]"
