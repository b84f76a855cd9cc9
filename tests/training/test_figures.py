"""The measured figures of the documents: they are those of the file, in tables that hold what it holds."""

import pytest

from benchmarks import figures
from benchmarks.figure_rows import everyday, row_table
from benchmarks.shares import RESULTS, share, wilson
from depictqa_core.errors import DepictQAError
from depictqa_core.loading.checkpoint_folder import BUNDLED
from depictqa_core.storage.documents import read_json


@pytest.fixture(scope="module")
def content():
    return figures.measured(RESULTS)


def test_documents_have_the_measured_figures(content):
    assert figures.differing(content, write=False) == []


def test_the_figures_are_those_of_the_bundled_weights(content):
    card = read_json(BUNDLED / "depictqa.json")
    assert content["settings"]["weights"] == card["files"]["model.safetensors"]["sha256"]
    assert content["settings"]["model"] == f"{card['name']} {card['version']}"
    evidence = [content[name]["settings"]["weights"] for name in figures.EVIDENCE]
    assert evidence == [content["settings"]["weights"]] * 3


def test_a_changed_figure_is_found_and_written(content, tmp_path, monkeypatch, capsys):
    text = "# Title\n\n<!-- figures: ladders -->\n\nSRCC of 0.5\n\n<!-- end of figures -->\n\nBehind.\n"
    (tmp_path / "README.md").write_text(text)
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figures, "DOCUMENTS", ("README.md",))
    assert figures.main(["--check"]) == 1 and (tmp_path / "README.md").read_text() == text
    assert "README.md: differs" in capsys.readouterr().out
    assert figures.main([]) == 0 and figures.main(["--check"]) == 0
    new = (tmp_path / "README.md").read_text()
    assert new.startswith("# Title\n\n<!--") and new.endswith("-->\n\nBehind.\n")
    assert f"{content['parts']['score ladders']['mean']:.3f}" in new and "0.5\n" not in new


@pytest.mark.parametrize(
    "text, message",
    [
        ("<!-- figures: ladder -->\n<!-- end of figures -->", "unknown block of figures 'ladder'.*ladders"),
        ("<!-- figures: ladders -->\n", "two marks"),
    ],
)
def test_wrong_marks_are_refused(content, text, message):
    with pytest.raises(DepictQAError, match=message):
        figures.updated(text, content, "README.md")


def test_every_measured_row_is_in_a_document(content):
    text = "\n".join(everyday(content))
    for part in ("sizes", "looks", "drawings", "local damage", "faults", "saved again"):
        assert all(f"| {name} |" in text for name in content["parts"][part])


def test_what_was_not_measured_makes_no_table():
    assert everyday({"parts": {}}) == []
    row = {"images": 4, "preferred": share([1, 1, 1, 0])}
    assert row_table("pairs", {"a": row, "b": {"images": 4, "none": share([1])}}, ("preferred", "named")) == [
        "| pairs | images | clean preferred by compare |",
        "| --- | --- | --- |",
        "| a | 4 | 0.75 (0.30–0.95) |",
        "",
    ]


@pytest.mark.parametrize("hits, count", [(0, 5), (3, 7), (24, 24), (655, 700)])
def test_intervals_are_those_of_scipy(hits, count):
    from scipy.stats import binomtest

    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits / count, count) == pytest.approx((expected.low, expected.high), abs=1e-6)
    with pytest.raises(ValueError):
        wilson(0.5, 0)
