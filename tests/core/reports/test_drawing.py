"""Words on drawn pages: any script that the system has a typeface for, within the width that they are given."""

import warnings
from pathlib import Path

import matplotlib
import pytest
from PIL import Image, ImageChops

from depictqa_core.reports import drawing
from depictqa_core.reports import fonts as typefaces

DEJAVU = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"


@pytest.fixture
def only(monkeypatch):
    """Makes the built-in typeface and at most one other the only ones of the system."""

    def choose(file=None):
        monkeypatch.setattr(typefaces, "WIDE", ())
        monkeypatch.setenv("DEPICTQA_FONT", str(file or ""))
        typefaces._best.cache_clear()

    yield choose
    typefaces._best.cache_clear()


def drawn(text, size=20):
    sheet = Image.new("L", (300, 40))
    drawing.write(sheet, (5, 20), text, size, "#ffffff", "lm")
    return sheet


def differ(a, b):
    return ImageChops.difference(a, b).getbbox() is not None


def test_latin_text_is_drawn_by_the_built_in_typeface(only):
    only(DEJAVU)
    assert typefaces.font(17, "an image, 87 % ± 3…").getname() == typefaces.font(17).getname()


@pytest.mark.parametrize("text", ["für.png", "Снимок", "εικόνα"])
def test_what_it_lacks_comes_from_another(only, text):
    only()
    boxes = drawn(text)
    only(DEJAVU)
    assert typefaces.font(17, text).getname()[0] == "DejaVu Sans"
    assert differ(drawn(text), boxes) and differ(drawn(text), drawn(text[::-1]))


def test_characters_that_nothing_has_are_boxes_and_no_error(only):
    only("/no/such/font.ttf")
    assert typefaces.font(17, "für 照片").getname() == typefaces.font(17).getname()
    assert drawn("照片").getbbox() is not None


def test_the_face_that_lacks_the_fewest_characters_is_taken(only):
    only(DEJAVU)
    assert typefaces.font(17, "für 照").getname()[0] == "DejaVu Sans"


@pytest.mark.parametrize("most", [None, 1, 2])
@pytest.mark.parametrize(
    "text", ["the quick  brown fox jumps over the lazy dog", "一" * 40, "照片 very_long_name_" + "x" * 60, "", "word"]
)
def test_lines_fit_and_lose_nothing_but_what_the_ellipsis_stands_for(text, most):
    lines = drawing.wrapped(text, 15, 120, most)
    assert all(drawing.width(line, 15) <= 120 for line in lines) and (most is None or len(lines) <= most)
    kept = "".join(lines).replace(" ", "")
    if "…" not in kept:
        assert kept == text.replace(" ", "")
    endless = "x" * 60 in text  # a word that no line is wide enough for
    assert ("…" in kept) == (endless or most is not None and len(text) > 9)


def test_scripts_without_spaces_break_anywhere_and_spaces_stay_where_they_were():
    lines = drawing.wrapped("照片" * 20, 15, 120, None)
    fit = int(120 // drawing.width("照", 15))  # how wide they are depends on the system's typefaces
    assert len(lines) == -(-40 // fit) > 1 and "".join(lines) == "照片" * 20
    assert drawing.wrapped("最好 of  三张", 15, 500, 1) == ["最好 of 三张"]


@pytest.mark.parametrize("limit", [10, None])
def test_limits_of_the_process_neither_matter_nor_change(monkeypatch, limit):
    wanted = drawn("Ranking of 12 images")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not differ(drawn("Ranking of 12 images"), wanted)
    assert Image.MAX_IMAGE_PIXELS == limit
