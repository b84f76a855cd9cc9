"""The command line: what it prints, writes and refuses, with a tiny random checkpoint, and never with a traceback."""

import csv
import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import make_tiny_checkpoint
from trees import ROOT

from depictqa_core import load_judge
from depictqa_core.cli import commands as cli
from depictqa_core.cli import inputs, outputs
from depictqa_core.images import image_files as files
from depictqa_core.images import search
from depictqa_core.judge import Judge
from depictqa_core.network.model import DepictQAModel
from depictqa_core.reports import json_csv, progress, text_table
from depictqa_core.reports import text as reports
from depictqa_core.results import LabelProbability, RankedImage, Ranking, Score
from depictqa_core.runtime.byte_cache import ByteCache
from depictqa_core.storage.files import write_file


def one_line(text):
    return text.count("\n") == 1 and text.startswith("depictqa") and "Traceback" not in text


# ---------------------------------------------------------------------- answers


@pytest.mark.slow
def test_rank_prints_writes_and_draws(depictqa, folder):
    status, out, err = depictqa("rank", folder, "--csv", "r.csv", "--json", "r.json", "--sheet", "r.png")
    assert (status, err) == (0, "written: r.csv\nwritten: r.json\nwritten: r.png\n")
    facts = json.loads(Path("r.json").read_text())
    names = [place["picture"] for place in facts["results"]]
    assert sorted(names) == ["pics/X1.jpg", "pics/x10.png", "pics/x2.png"]
    assert facts["task"] == "rank" and facts["method"] == "pairs" and facts["comparisons"] == 3
    assert facts["failures"] == []
    rows = list(csv.DictReader(open("r.csv")))
    assert [row["picture"] for row in rows] == names
    assert [float(row["score"]) for row in rows] == [place["score"] for place in facts["results"]]
    lines = out.splitlines()
    assert [name in line for name, line in zip(names, lines[2:5])] == [True] * 3
    assert "3 images, all 3 pairs compared" in lines[-1]
    assert Image.open("r.png").width > 900


@pytest.mark.slow
def test_rank_says_its_budget_and_why_it_stopped(depictqa, folder):
    for words, expected in (
        ((), (3, 3, "all pairs")),
        (("--budget", "2"), (2, 2, "budget")),
        (("--budget", "99", "--top-k", "3"), (3, 3, "all pairs")),
        (("--method", "score"), (0, None, "scores")),
    ):
        facts = json.loads(depictqa("rank", folder, "--json", *words)[1])
        assert (facts["comparisons"], facts.get("budget"), facts["stopped"]) == expected
    assert "2 of 3 pairs compared, as many as the budget" in depictqa("rank", folder, "--budget", "2")[1]
    few = json.loads(depictqa("rank", folder, "--json", "--top-k", "1")[1])
    assert few["comparisons"] <= 3 and len(few["results"]) == 3


@pytest.mark.slow
def test_ranked_pictures_need_not_stay_in_memory(depictqa, folder, monkeypatch):
    whole = depictqa("rank", folder, "--json", "--sheet", "whole.png")[:2]
    monkeypatch.setattr(files, "PIXELS", ByteCache(0))
    assert depictqa("rank", folder, "--json", "--sheet", "few.png")[:2] == whole
    assert Path("whole.png").read_bytes() == Path("few.png").read_bytes()


@pytest.mark.slow
def test_rank_says_what_the_judge_says(depictqa, folder, checkpoint):
    names = [*search.search([folder]).names]
    ranking = load_judge(checkpoint, "cpu").rank(names)
    facts = json.loads(depictqa("rank", folder, "--json")[1])
    assert [place["index"] for place in facts["results"]] == list(ranking.order)
    assert [place["strength"] for place in facts["results"]] == [round(p.strength, 6) for p in ranking.pictures]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["identify", "describe", "score", "rank"])
def test_two_runs_give_the_same_bytes(depictqa, folder, verb):
    once, twice = (depictqa(verb, folder, "--json", "--csv", f"{i}.csv")[:2] for i in range(2))
    assert once == twice and once[0] == 0
    assert Path("0.csv").read_bytes() == Path("1.csv").read_bytes()
    results = json.loads(once[1])["results"]
    assert len(results) == len(list(csv.DictReader(open("0.csv")))) == 3
    assert str(Path.cwd()) not in once[1]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["identify", "describe", "score"])
def test_many_pictures_are_judged_a_few_at_a_time(depictqa, folder, verb, monkeypatch):
    whole = depictqa(verb, folder, "--json", "--reference", "pics/x2.png")
    monkeypatch.setattr(files, "AT_ONCE", 2)
    parts = depictqa(verb, folder, "--json", "--reference", "pics/x2.png")
    for a, b in zip(json.loads(whole[1])["results"], json.loads(parts[1])["results"], strict=True):
        assert a["picture"] == b["picture"] and a["confidence"] == pytest.approx(b["confidence"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["identify", "score", "rank"])
def test_a_picture_of_another_shape_than_the_reference_is_named_and_the_others_are_judged(depictqa, folder, verb):
    Image.new("RGB", (90, 90)).save("pics/square.png")
    Image.new("RGB", (180, 141)).save("large.png")  # of another size than the others, and of nearly their shape
    status, out, err = depictqa(verb, folder, "--json", "--reference", "large.png")
    facts = json.loads(out)
    assert status == 3 and len(facts["results"]) == 3
    assert [failure["picture"] for failure in facts["failures"]] == [
        "pics/square.png"
    ] and "another aspect ratio" in err
    status, _, err = depictqa("compare", "pics/x2.png", "pics/square.png", "--reference", "large.png")
    assert status == 1 and "pics/square.png" in err and "another aspect ratio" in err and one_line(err)


@pytest.mark.slow
def test_tables_of_every_verb(depictqa, folder):
    for verb, word in (
        ("identify", "consistency"),
        ("score", "interval"),
        ("describe", "(confidence"),
        ("rank", "strength"),
    ):
        status, out, err = depictqa(verb, folder)
        assert (status, err) == (0, "") and "pics/x10.png" in out and word in out
    assert "strength" not in depictqa("rank", folder, "--method", "score")[1]


@pytest.mark.slow
def test_identify_counts(depictqa, folder):
    for count, most in (("1", 1), ("2", 2), ("any", 2)):
        found = json.loads(depictqa("identify", folder, "--count", count, "--json")[1])["results"]
        assert all(len(result["labels"]) <= most for result in found)
        assert all(len(result["probabilities"]) == 13 for result in found)


@pytest.mark.slow
def test_describe_counts(depictqa, folder, tmp_path):
    status, _, err = depictqa("describe", folder, "--count", "1")
    assert status == 1 and one_line(err) and "leave count out" in err
    able = make_tiny_checkpoint(tmp_path / "names first", names_first=True)
    for count, names in (("1", 1), ("2", 2)):
        words = "pics/x2.png", "--count", count, "--checkpoint", able, "--json"
        said, found = (json.loads(depictqa(verb, *words)[1])["results"][0] for verb in ("describe", "identify"))
        assert len(found["labels"]) <= names and said["text"].startswith(found["text"])


@pytest.mark.slow
def test_compare(depictqa, folder):
    status, out, err = depictqa("compare", "pics/x2.png", "pics/x10.png", "--csv", "c.csv")
    assert (status, err) == (0, "written: c.csv\n") and "A  pics/x2.png" in out
    status, out, _ = depictqa(
        "compare", "pics/x2.png", "pics/x10.png", "--reference", "pics/X1.jpg", "--explain", "--json"
    )
    facts = json.loads(out)
    assert facts["reference"] == "pics/X1.jpg" and facts["results"][0]["text"]
    assert facts["results"][0]["picture_b"] == "pics/x10.png"
    assert [row["verdict"] in ("A", "B", "tie") for row in csv.DictReader(open("c.csv"))] == [True]


def test_info(depictqa, checkpoint, tmp_path):
    status, out, err = depictqa("info", checkpoint, "--verify")
    assert (status, err) == (0, "") and "tiny-cnn" in out and "(verified)" in out
    facts = json.loads(depictqa("info", checkpoint, "--json")[1])
    assert facts["checkpoint"] == "tiny-cnn" and facts["results"][0]["license"] == "Apache-2.0"
    changed = shutil.copytree(checkpoint, tmp_path / "changed")
    with open(changed / "model.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    status, out, err = depictqa("info", changed, "--verify")
    assert (status, out) == (1, "") and one_line(err) and "damaged" in err


def test_quiet_prints_nothing(depictqa, folder):
    assert depictqa("score", folder, "--quiet", "--json", "s.json") == (0, "", "")
    assert json.loads(Path("s.json").read_text())["results"]


# ---------------------------------------------------------------------- images


def test_folders_are_searched_in_natural_order(folder):
    assert [*search.search([folder]).names] == ["pics/X1.jpg", "pics/x2.png", "pics/x10.png"]
    assert [*search.search([folder], recursive=True).names][-1] == "pics/inner/deep.png"
    assert [*search.search(["pics/x2.png", "absent.png"]).names] == ["pics/x2.png", "absent.png"]
    assert [*search.search(["pics/x*.png"]).names] == ["pics/x2.png", "pics/x10.png"]
    assert [*search.search([folder], leave_out=["./pics/x2.png"]).names] == ["pics/X1.jpg", "pics/x10.png"]


@pytest.mark.slow
def test_a_bad_picture_is_reported_and_the_rest_is_judged(depictqa, folder):
    Path("pics/x3.png").write_bytes(Path("pics/x2.png").read_bytes()[:200])
    for verb in ("rank", "score", "identify"):
        status, out, err = depictqa(verb, folder, "missing.png", "--json", "--csv", "r.csv")
        assert status == 3 and "depictqa: pics/x3.png: the file is truncated" in err
        assert err.count("depictqa: ") == 2 and err.endswith("written: r.csv\n")
        facts = json.loads(out)
        assert len(facts["results"]) == 3
        assert [failure["picture"] for failure in facts["failures"]] == ["pics/x3.png", "missing.png"]
        assert facts["failures"][1]["error"] == "no such file; check the path."
        rows = list(csv.DictReader(open("r.csv")))
        assert [bool(row["error"]) for row in rows] == [False, False, False, True, True]


@pytest.mark.slow
def test_pictures_may_stand_anywhere(depictqa, folder):
    status, out, _ = depictqa(
        "score", "pics/x2.png", "--device", "cpu", "pics/x10.png", "--quiet", "pics/X1.jpg", "--json"
    )
    assert [result["picture"] for result in json.loads(out)["results"]] == [
        "pics/x2.png",
        "pics/x10.png",
        "pics/X1.jpg",
    ]
    assert depictqa("compare", "pics/x2.png", "--explain", "pics/x10.png", "--quiet") == (0, "", "")


def test_only_bad_pictures(depictqa, folder):
    for verb in ("rank", "score"):
        status, out, err = depictqa(verb, "no1.png", "no2.png", "--json", "--csv", "r.csv")
        assert (status, out) == (1, "") and err.splitlines()[-1] == "depictqa: none of the images could be judged"
        assert not Path("r.csv").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_file_names_may_hold_anything(depictqa, folder):
    for name in ("new\nline.png", "画像.png", os.fsdecode(b"\xff.png"), "=1+1.png"):
        shutil.copy("pics/x2.png", f"pics/{name}")
    status, out, err = depictqa("score", folder, "--csv", "s.csv", "--json", "s.json")
    assert status == 0 and len(out.splitlines()) == 9
    status, out, err = depictqa("rank", folder, "--json", "--sheet", "s.png")
    assert (status, err) == (0, "written: s.png\n")
    names = {place["picture"] for place in json.loads(out)["results"]}
    assert {"pics/new\nline.png", "pics/画像.png", os.fsdecode(b"pics/\xff.png")} < names


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "words, word",
    [
        ("rank", "required"),
        ("assess pics", "invalid choice"),
        ("rank pics --method best", "invalid choice"),
        ("rank --json pics/x2.png pics/x10.png", "does not end in .json"),
        ("score --csv pics/x2.png pics/x10.png", "does not end in .csv"),
        ("rank pics --sheet r.pdf", "does not end in"),
        ("compare pics/x2.png", "required"),
        ("identify pics --count 3", "invalid choice"),
        ("rank pics --top-k 0", "'0' is not a number from 1"),
        ("rank pics --budget many", "'many' is not a number from 1"),
    ],
)
def test_a_wrong_command_line_is_one_line(depictqa, folder, words, word):
    status, out, err = depictqa(*words.split())
    assert (status, out) == (2, "") and one_line(err) and word in err and "--help" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, word",
    [
        ("rank empty", "no images in this folder"),
        ("rank nothing*.png", "no file fits"),
        ("rank pics --reference missing.png", "reference (missing.png): no such file"),
        ("rank pics --reference pics", "is a folder"),
        ("compare pics/x2.png missing.png", "no such file"),
        ("compare pics/x2.png pics/notes.txt", "not an image of a supported format"),
        ("rank pics --json no/such/r.json", "there is no folder no/such"),
        ("rank pics --csv dir.csv", "this is a folder"),
        ("rank pics/x2.png --sheet pics/x2.png", "one of the images"),
        ("rank pics/x2.png --reference pics/x10.png --sheet ./pics/x10.png", "one of the images"),
        ("score pics --device abacus", "device 'abacus'"),
        ("score pics --device cuda:99", "device 'cuda:99'"),
        ("score pics --device gpu", "choose auto, cpu, cuda (or cuda:1, ...), mps or balanced"),
        ("score pics --checkpoint depictqa-maxi", "or 'bundled' for the included depictqa-mini"),
    ],
)
def test_what_cannot_be_done_is_one_line(depictqa, folder, words, word):
    os.makedirs("empty")
    os.makedirs("dir.csv")
    before = {path: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}
    status, out, err = depictqa(*words.split())
    assert (status, out) == (1, "") and one_line(err) and word in err
    assert before == {path: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


@pytest.mark.parametrize(
    "verb, damage",
    [("rank", "config")]  # info does not read the network's configuration
    + [
        (verb, damage) for verb in ("rank", "info") for damage in ("missing", "empty", "truncated", "pickle", "no_card")
    ],
)
def test_a_broken_checkpoint_is_one_line(checkpoint, folder, capsys, tmp_path, damage, verb):
    broken = tmp_path / "broken"
    if damage not in ("missing", "empty"):
        shutil.copytree(checkpoint, broken)
    weights = broken / "model.safetensors"
    if damage == "empty":
        broken.mkdir()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "pickle":
        weights.unlink()
        (broken / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    elif damage == "no_card":
        (broken / "depictqa.json").unlink()
    elif damage == "config":
        (broken / "config.json").write_text("{")
    words = ["info", str(broken)] if verb == "info" else ["rank", folder, "--json", "--checkpoint", str(broken)]
    status = cli.main(words)
    out, err = capsys.readouterr()
    assert (status, out) == (1, "") and one_line(err) and "broken" in err


def test_unforeseen_errors_are_one_line_too(depictqa, folder, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("line one\nline two")

    monkeypatch.setattr(inputs, "load_images", fail)
    status, out, err = depictqa("rank", folder)
    assert (status, out) == (1, "") and one_line(err) and "MemoryError: line one" in err
    monkeypatch.setenv("DEPICTQA_TRACEBACK", "1")
    with pytest.raises(MemoryError):
        cli.main(["rank", folder])


def test_interruption(depictqa, folder, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("depictqa_core.judge.Judge.rank", interrupt)
    assert depictqa("rank", folder) == (130, "", "depictqa: interrupted\n")


def test_an_interruption_keeps_what_was_judged(depictqa, folder, monkeypatch):
    monkeypatch.setattr(files, "AT_ONCE", 2)
    score, calls = Judge.score, []

    def second_time_interrupted(self, *args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(self, *args, **options)

    monkeypatch.setattr(Judge, "score", second_time_interrupted)
    status, _, err = depictqa("score", folder, "--json", "s.json")
    assert (status, err) == (130, "written: s.json\ndepictqa: interrupted\n")
    assert len(json.loads(Path("s.json").read_text())["results"]) == 2


@pytest.mark.slow
def test_a_picture_too_large_for_the_memory_is_reported_and_the_rest_is_judged(depictqa, folder, monkeypatch):
    encode = DepictQAModel.encode

    def limited(self, prepared):
        if any(picture.pixels.shape[-1] > 100 for picture in prepared):
            raise MemoryError
        return encode(self, prepared)

    whole = json.loads(depictqa("score", folder, "--json")[1])["results"]
    Image.fromarray(np.zeros((64, 128, 3), np.uint8)).save(Path(folder) / "wide.png")
    monkeypatch.setattr(DepictQAModel, "encode", limited)
    status, out, err = depictqa("score", folder, "--json")
    facts = json.loads(out)
    assert status == 3 and "not enough memory" in err
    assert [failure["picture"] for failure in facts["failures"]] == ["pics/wide.png"]
    assert [r["picture"] for r in facts["results"]] == [r["picture"] for r in whole]


@pytest.mark.slow
def test_own_outputs_are_not_ranked_the_next_time(depictqa, folder):
    words = ("rank", folder, "--sheet", "pics/a.png", "--json")
    assert depictqa(*words) == depictqa(*words)
    assert Path("pics/a.png").exists()


@pytest.mark.slow
def test_as_a_program(checkpoint, folder):
    """One whole process: import path, exit status, a closed pipe, and nothing but the answer on stdout and stderr."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "depictqa_core"]
    words = ["score", folder, "--checkpoint", str(checkpoint)]
    done = subprocess.run([*command, *words, "missing.png"], capture_output=True, text=True, env=environment)
    missing, coverage = done.stderr.splitlines()  # random weights cover no question
    assert done.returncode == 3 and missing == "depictqa: missing.png: no such file; check the path."
    assert coverage.startswith("depictqa: notice: coverage below 0.5 in 3 of 3 answers")
    assert coverage.endswith("run depictqa info --self-test on its folder")
    assert len(done.stdout.splitlines()) == 5
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "rank" in done.stdout


@pytest.mark.slow
def test_import_is_light():
    code = "import sys, depictqa_core.cli.commands; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------------- layout


def scores(*names):
    levels = tuple(LabelProbability(level, 0.2) for level in ("excellent", "good", "fair", "poor", "bad"))
    return [Score(name, 50.0, 35.0, 0.3, levels, 0.0, 100.0, "levels") for name in names]


def test_tables_are_aligned_and_fit_the_terminal():
    names = ["a.png", "画像画像.png", "very/" * 30 + "long.png", "bell\a.png"]
    wide = reports.score_table(scores(*names)).splitlines()
    assert "very/" * 30 + "long.png" in wide[4] and "\a" not in "".join(wide)
    narrow = reports.score_table(scores(*names), 60).splitlines()
    assert max(map(text_table.text_width, narrow)) <= 60 and narrow[4].split()[0].endswith("long.png")
    at = [line.index("50.0") + line.count("画") + line.count("像") for line in narrow[2:]]
    assert len(set(at)) == 1


def test_a_narrow_terminal_shows_less_of_a_ranking():
    place = RankedImage(
        1, 0, "some/folder/picture one.png", 1.0, 0.5, 1.5, 80.0, 9.0, ("noise",), "noise (87% confidence)", False
    )
    other = dataclasses.replace(place, rank=2, index=1, picture="some/folder/picture two.png")
    ranking = Ranking((place, other), "pairs", 1, 0.1, 1, "all pairs")
    everything = ["rank", "score", "spread", "strength", "95 % interval", "image", "why"]
    for width, missing in ((None, []), (120, []), (79, ["95 % interval"]), (63, ["spread", "95 % interval"])):
        lines = reports.ranking_table(ranking, width).splitlines()
        assert [name for name in everything if name not in lines[0]] == missing
        assert ("some/folder" in lines[2]) == (width is None)
        assert width is None or max(map(len, lines[:4])) <= width and "2 images in some/folder/" in lines[-1]


def test_csv_survives_any_text():
    text = json_csv.csv_text([{"picture": 'a,"b"\n', "text": "x\0y\r", "confidence": None, "labels": []}])
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert rows == [{"picture": 'a,"b"\n', "text": "x\ufffdy\n", "confidence": "", "labels": "none", "error": ""}]


def test_csv_gives_each_label_its_severity():
    both = {"labels": ["noise", "blur"], "severities": [2.5, 4.0]}
    text = json_csv.csv_text([both, {"labels": [], "severities": []}, {"labels": ["blur"], "severities": None}])
    rows = [(row["labels"], row["severities"]) for row in csv.DictReader(io.StringIO(text))]
    assert rows == [("noise and blur", "2.5 and 4.0"), ("none", ""), ("blur", "")]


def test_the_bar_is_drawn_on_terminals_only(monkeypatch, capsys):
    for terminal, quiet, drawn in ((True, False, True), (False, False, False), (True, True, False)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        with progress.ProgressBar("judging", "images", quiet) as bar:
            bar.note("loading the model ...")
            bar.offset, bar.total = 2, 8
            bar(2, 3)
        err = capsys.readouterr().err
        assert ("4/8 images" in err) == drawn and "\n" not in err
        assert err == "" or err.rsplit("\r", 2)[1].strip() == ""


def test_a_file_that_cannot_be_written_is_named_and_the_answer_is_still_printed(depictqa, folder, monkeypatch):
    def full(path, content):
        if path.endswith(".csv"):
            raise OSError(28, "No space left on device")
        write_file(path, content)

    monkeypatch.setattr(outputs, "write_file", full)
    status, out, err = depictqa("score", folder, "--csv", "s.csv", "--json", "s.json")
    assert status == 1 and err.splitlines()[0] == "written: s.json"
    assert err.splitlines()[1:] == ["depictqa: cannot write 's.csv': No space left on device"]
    assert "x2.png" in out and json.loads(Path("s.json").read_text())["results"]
