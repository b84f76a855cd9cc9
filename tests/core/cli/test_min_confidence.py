"""Answers that are less sure than asked for are marked, listed and counted, and left out only on request."""

import csv
import json
import statistics

import numpy as np
import pytest
from PIL import Image
from tiny import make_tiny_checkpoint

from depictqa_core.cli import commands as cli
from depictqa_core.cli import outputs
from depictqa_core.confidence import reliable
from depictqa_core.reports import text as reports
from depictqa_core.results import Description, RankedImage, Ranking

pytestmark = pytest.mark.usefixtures("covered", "short_texts")


def test_the_rule():
    assert reliable(0.8, 0.8) and not reliable(0.79, 0.8)
    assert reliable(None, 0) and not reliable(None, 0.01)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Five images, and a tiny checkpoint that is more or less sure of them."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(2)
    for n in range(5):
        scale = 40 * (n + 1)
        Image.fromarray(rng.integers(0, scale, (70, 90, 3), dtype=np.uint8)).save(folder / f"{n}.png")
    make_tiny_checkpoint(folder / "judge")
    return folder


def run(pictures, capsys, verb, *words):
    given = [str(pictures / f"{n}.png") for n in range(2 if verb == "compare" else 5)]
    capsys.readouterr()
    status = cli.main([verb, *given, "--checkpoint", str(pictures / "judge"), "--device", "cpu", *map(str, words)])
    return status, capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["identify", "score", "rank"])
def test_unsure_answers_are_marked_in_every_output(pictures, capsys, tmp_path, verb):
    status, out = run(pictures, capsys, verb, "--json")
    plain = json.loads(out)
    assert status == 0 and "min_confidence" not in plain and "reliable" not in plain["results"][0]
    middle = statistics.median(row["confidence"] for row in plain["results"])
    status, out = run(pictures, capsys, verb, "--min-confidence", middle, "--csv", tmp_path / "rows.csv")
    expected = [row["confidence"] >= middle for row in plain["results"]]
    unsure = expected.count(False)
    assert status == 0 and unsure in (1, 2)
    lines = [line for line in out.splitlines() if ".png" in line]
    assert ["uncertain: " not in line for line in lines] == expected
    assert out.rstrip().endswith(f"{unsure} of 5 uncertain: confidence below {middle:g}")
    rows = list(csv.DictReader(open(tmp_path / "rows.csv", encoding="utf-8")))
    assert [row["reliable"] for row in rows] == list(map(str, expected))
    document = json.loads(run(pictures, capsys, verb, "--min-confidence", middle, "--json")[1])
    assert [row["reliable"] for row in document["results"]] == expected and document["min_confidence"] == middle
    assert [{**row, "reliable": None} for row in plain["results"]] == [
        {**row, "reliable": None} for row in document["results"]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["identify", "describe", "score"])
def test_unsure_answers_are_left_out_on_request(pictures, capsys, tmp_path, verb):
    plain = json.loads(run(pictures, capsys, verb, "--json")[1])["results"]
    middle = statistics.median(row["confidence"] or 0 for row in plain) + 1e-9
    expected = [row["picture"] for row in plain if (row["confidence"] or 0) >= middle]
    assert len(expected) < 5
    words = "--min-confidence", middle, "--only-reliable"
    status, out = run(pictures, capsys, verb, *words, "--csv", tmp_path / "rows.csv")
    assert status == 0 and "uncertain" not in out
    assert [row["picture"] for row in csv.DictReader(open(tmp_path / "rows.csv", encoding="utf-8"))] == expected
    document = json.loads(run(pictures, capsys, verb, *words, "--json")[1])
    assert [row["picture"] for row in document["results"]] == expected
    assert document["notices"] == [f"{5 - len(expected)} of 5 left out: confidence below {middle:g}"]
    header = next(csv.reader(open(tmp_path / "rows.csv", encoding="utf-8")))
    words = "--min-confidence", 1, "--only-reliable", "--csv", tmp_path / "none.csv"  # nothing is sure
    assert run(pictures, capsys, verb, *words)[0] == 0
    assert list(csv.reader(open(tmp_path / "none.csv", encoding="utf-8"))) == [header]


def test_leaving_out_needs_a_confidence(pictures, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(pictures, capsys, "score", "--only-reliable")
    assert stopped.value.code == 2 and "--min-confidence" in capsys.readouterr().err


@pytest.mark.slow
def test_a_comparison_is_marked(pictures, capsys):
    confidence = json.loads(run(pictures, capsys, "compare", "--json")[1])["results"][0]["confidence"]
    assert confidence < 0.999
    out = run(pictures, capsys, "compare", "--min-confidence", 0.999)[1]
    assert "uncertain: " in out and "1 of 1 uncertain: confidence below 0.999" in out
    assert "uncertain" not in run(pictures, capsys, "compare", "--min-confidence", 0.5)[1]


def test_words_without_a_confidence_are_uncertain():
    said = [Description("a.png", "Fine.", 0.9, "verdict words"), Description("b.png", "", None, "empty answer")]
    assert reports.description_text(said).splitlines()[0] == "a.png (confidence 0.90)"
    marked = reports.description_text(said, minimum=0.5).splitlines()
    assert marked[0] == "a.png (confidence 0.90)" and marked[3] == "b.png (uncertain: no confidence)"


def test_a_place_without_reasons_claims_nothing(pictures, capsys):
    place = RankedImage(1, 0, "a.png", 1.0, 0.5, 1.5, 80.0, 9.0, None, "quality good", False)
    ranking = Ranking((place,), "pairs", 0, 0.0, 1, "all pairs")
    assert "uncertain" not in reports.ranking_table(ranking, minimum=0.9)
    assert outputs._reliable({"rank": 1, "labels": None, "confidence": None}, 0.9) is None


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "sure"])
def test_a_minimum_outside_0_to_1_is_refused(pictures, capsys, value):
    with pytest.raises(SystemExit) as stop:
        run(pictures, capsys, "score", f"--min-confidence={value}")
    assert stop.value.code == 2 and "from 0 to 1" in capsys.readouterr().err
