"""What the command line says beside its answers: notices, files that were written, names, and why there is nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depictqa_core import __version__, load_judge
from depictqa_core.cli import commands as cli
from depictqa_core.images.image import as_image
from depictqa_core.images.references import fit_reference
from depictqa_core.reports import text as reports
from depictqa_core.results import Ranking


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert (stop.value.code, capsys.readouterr().out) == (0, f"depictqa {__version__}\n")


@pytest.mark.slow
def test_a_name_may_begin_with_a_dash_behind_two(depictqa, folder):
    shutil.copy("pics/x2.png", "-dash.png")
    for words in (("--json", "--", "-dash.png", "pics/x2.png"), ("--json", "-", "--", "-dash.png", "pics/x2.png")):
        status, out, err = depictqa("score", *words)
        assert (status, err) == (0, "")
        assert [one["picture"] for one in json.loads(out)["results"]] == ["./-dash.png", "pics/x2.png"]
    assert depictqa("compare", "pics/x2.png", "--quiet", "--", "-dash.png") == (0, "", "")
    assert depictqa("score", "-dash.png")[0] == 2


def large_reference():
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (140, 180, 3), np.uint8)).save("large.png")
    return "large.png"


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["identify", "describe", "score", "rank", "compare", "map"])
def test_a_reference_of_another_size_is_fitted_with_a_notice(depictqa, folder, verb):
    shown = {"compare": ["pics/x2.png", "pics/x10.png"], "map": ["pics/x2.png"]}.get(verb, [folder])
    status, out, err = depictqa(verb, *shown, "--reference", large_reference(), "--json")
    notice = "reference: 180 x 140, resized to 90 x 70, the size of "
    assert (
        status == 0 and err.count("resized to") == 1 and f"depictqa: notice: {notice}" in err
    )  # one for all of a size
    assert json.loads(out)["notices"][0].startswith(notice)
    assert "resized to" not in depictqa(verb, *shown, "--reference", "pics/x2.png", "--json")[2]
    assert depictqa(verb, *shown, "--reference", "large.png", "--quiet") == (0, "", "")


def test_a_reference_of_another_scene_is_doubted(depictqa, folder):
    doubt = "notice: reference: seems to show another scene than pics/x10.png"
    assert doubt in depictqa("score", "pics/x2.png", "pics/x10.png", "--reference", "pics/x2.png")[2]
    assert depictqa("score", "pics/x2.png", "--reference", "pics/x2.png")[2] == ""


def test_the_fitted_copy_is_what_is_judged_beside(depictqa, folder, checkpoint):
    found = json.loads(depictqa("score", "pics/x2.png", "--reference", large_reference(), "--json")[1])["results"][0]
    copy, _ = fit_reference(as_image("large.png"), (as_image("pics/x2.png"),))
    assert found["score"] == pytest.approx(load_judge(checkpoint, "cpu").score("pics/x2.png", copy)[0].score, abs=1e-4)


@pytest.mark.slow
def test_limits_that_change_nothing_are_said(depictqa, folder):
    words = ("rank", folder, "--method", "score")
    assert depictqa(*words)[2] == ""
    notice = "depictqa: notice: --top-k and --budget works only with --method pairs\n"
    assert depictqa(*words, "--top-k", "2", "--budget", "3")[2] == notice
    assert depictqa("rank", folder, "--top-k", "2")[2] == ""


def test_why_there_is_nothing_is_the_true_reason(depictqa, folder):
    Image.new("RGB", (90, 90)).save("square.png")
    status, out, err = depictqa("score", folder, "--reference", "square.png")
    assert (status, out) == (1, "") and err.splitlines()[
        -1
    ] == "depictqa: no image has the aspect ratio of the reference"
    assert err.count("another aspect ratio") == 3
    assert depictqa("score", folder, "none.png", "--reference", "square.png")[2].endswith(" could be judged\n")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
@pytest.mark.parametrize(
    "words",
    [("rank", "pics", "--sheet", "full.png"), ("map", "pics/x2.png", "--out", "full.png")],
)
def test_a_full_disk_is_told_with_the_name_of_the_file(depictqa, folder, words):
    Path("full.png").symlink_to("/dev/full")
    status, out, err = depictqa(*words)
    assert status == 1 and out and err == "depictqa: cannot write 'full.png': No space left on device\n"


def test_a_picture_alone_has_no_interval(depictqa, folder):
    out = depictqa("rank", "pics/x2.png", "--sheet", "one.png")[1]
    assert "+0.00 .." not in out and " - " in out.splitlines()[2] and Path("one.png").exists()


@pytest.mark.parametrize(
    ("count", "comparisons", "budget", "stopped", "words"),
    [
        (26, 153, 153, "budget", "153 of 325 pairs compared, chosen automatically"),
        (26, 40, 40, "budget", "40 of 325 pairs compared, as many as the budget"),
        (8, 9, 28, "top-k decided", "9 of 28 pairs compared, enough to decide the best"),
        (8, 28, 28, "all pairs", "all 28 pairs compared"),
        (2, 1, 1, "all pairs", "1 pair compared"),
    ],
)
def test_how_many_pairs_were_compared_and_why(count, comparisons, budget, stopped, words):
    assert reports.pairs_asked(Ranking((None,) * count, "pairs", comparisons, 0.1, budget, stopped)) == words
