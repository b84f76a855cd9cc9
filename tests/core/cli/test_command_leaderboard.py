"""The commands map and leaderboard: what they print, write and say of images and folders that cannot be compared."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.mark.slow
def test_map_says_where_and_draws(depictqa, folder):
    status, out, err = depictqa("map", "pics/x2.png", "--tile", "32", "--out", "m.png", "--json", "m.json")
    assert (status, err) == (0, "written: m.json\nwritten: m.png\n")
    (found,) = json.loads(Path("m.json").read_text())["results"]
    assert np.shape(found["tiles"]) == (4, 5) and f"worst: {found['worst']['score']:.1f} at x " in out
    assert Image.open("m.png").width == 90


def test_leaderboard_over_folders_of_equal_names(depictqa, folder):
    for model in ("first", "second"):
        os.makedirs(model)
        for name in ("a.png", "b.png", f"{model}.png"):
            Image.open("pics/x2.png").save(f"{model}/{name}")
    status, out, err = depictqa("leaderboard", "first", "second/", "--csv", "l.csv", "--chart", "l.png")
    assert status == 0 and err.endswith("written: l.csv\nwritten: l.png\n")
    assert "2 comparisons in 2 groups" in out and "are tied" in out  # the same images: a tie
    rows = list(csv.DictReader(Path("l.csv").open()))
    standings = sorted((row["label"], row["rank"], row["ties"]) for row in rows)
    assert standings == [("first", "1", "2"), ("second", "1", "2")]
    assert min(Image.open("l.png").size) > 200
    status, out, err = depictqa("leaderboard", "first")
    assert status == 1 and err.count("\n") == 1 and "at least two" in err


def models(**named):
    """Folders of images that all differ: model -> numbers of its prompts."""
    rng = np.random.default_rng(0)
    for model, prompts in named.items():
        os.makedirs(model)
        for prompt in prompts:
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(f"{model}/{prompt}.png")
    return list(named)


@pytest.mark.slow
def test_a_tile_of_another_size_than_asked_for_is_said(depictqa, folder):
    status, out, err = depictqa("map", "pics/x2.png", "--tile", "5000", "--json", "m.json")
    assert err.splitlines()[0] == "depictqa: notice: --tile 5000: tiles of 35 pixels are used, the largest for 90 x 70"
    assert "tiles of 35 pixels" in out and "--tile 5000" in json.loads(Path("m.json").read_text())["notices"][0]
    assert depictqa("map", "pics/x2.png")[2] == ""  # the default is no wish


@pytest.mark.slow
def test_many_groups_go_through_json(depictqa, folder):
    status, out, _ = depictqa("leaderboard", *models(a=range(6), b=range(6)), "--json")
    facts = json.loads(out)
    assert status == 0 and facts["intervals"] == "bootstrap" and facts["groups"] == 6
    assert all(type(standing["tied_with_next"]) is bool for standing in facts["results"])


@pytest.mark.slow
def test_what_has_no_partner_is_named_and_a_label_without_any_has_no_rank(depictqa, folder):
    names = models(m1=["a", "b"], m4=["z"], m2=["a", "b", "c"])
    status, out, err = depictqa("leaderboard", *names, "--json", "l.json", "--csv", "l.csv", "--chart", "l.png")
    facts = json.loads(Path("l.json").read_text())
    last = facts["results"][-1]
    assert status == 0 and (last["label"], last["rank"], last["strength"], last["win_share"]) == (
        "m4",
        None,
        None,
        None,
    )
    assert [standing["rank"] for standing in facts["results"][:2]][0] == 1 and facts["shares"][-1] == [None] * 3
    assert err.splitlines()[:2] == [f"depictqa: notice: {notice}" for notice in facts["notices"]]
    assert facts["notices"][0].startswith("m4: no rank, not compared: z.png")
    assert facts["notices"][1].startswith("m2: not compared: c.png")
    row = out.splitlines()[4].split()
    assert row[:4] == ["-", "m4", "-", "not"] and "Not compared" in out and min(Image.open("l.png").size) > 200
    assert list(csv.DictReader(Path("l.csv").open()))[-1]["rank"] == ""
    assert "notice" not in depictqa("leaderboard", *names, "--quiet")[2]


def test_a_broken_file_is_reported_and_the_rest_is_compared(depictqa, folder):
    names = models(m1=["a", "b"], m2=["a", "b"], m3=["a"])
    for broken in ("m2/b.png", "m3/a.png"):
        Path(broken).write_bytes(Path(broken).read_bytes()[:200])
    status, out, err = depictqa("leaderboard", *names, "--json", "l.json", "--csv", "l.csv")
    facts = json.loads(Path("l.json").read_text())
    assert status == 3 and facts["comparisons"] == 1
    assert [failure["picture"] for failure in facts["failures"]] == ["m2/b.png", "m3/a.png"]
    assert "depictqa: m2/b.png: the file is truncated" in err and "notice: m1: not compared: b.png" in err
    assert "notice: m3: not compared, because none of its images could be read" in err
    rows = list(csv.DictReader(Path("l.csv").open()))
    assert [(row["label"], row["picture"], bool(row["error"])) for row in rows[2:]] == [
        ("", "m2/b.png", True),
        ("", "m3/a.png", True),
    ]
    assert {row["label"] for row in rows[:2]} == {"m1", "m2"} and rows[0]["picture"] == ""
