"""Quality sheets and bar charts of any number: pages of one size, everything in its place, nothing left out."""

import dataclasses

import numpy as np
import pytest

from depictqa_core import answers, tasks
from depictqa_core.errors import TaskError
from depictqa_core.images.image import RGBImage
from depictqa_core.images.pillow import instance
from depictqa_core.reports.charts import quality_charts
from depictqa_core.reports.sheets import Judged, quality_sheets

OPTIONS = tasks.identification_answers(2)


def entry(number, name="image {}.png", height=40, width=50):
    rng = np.random.default_rng(number)
    picture = RGBImage(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), f"image {number}")
    score = answers.level_score(picture.name, rng.dirichlet(np.ones(5)))
    found = answers.identification(picture.name, OPTIONS, rng.dirichlet(np.full(len(OPTIONS), 0.01)))
    return Judged(picture, name.format(number), score, found)


@pytest.fixture
def written(monkeypatch):
    """Per page (told apart by its canvas), the (box, text) of everything that is written on it."""
    texts = {}
    write = instance().ImageDraw.ImageDraw.text

    def record(self, place, text, fill=None, font=None, anchor=None, **more):
        if text:
            box = self.textbbox(place, text, font=font, anchor=anchor)
            texts.setdefault(id(self._image), []).append((box, text, self._image))
        write(self, place, text, fill, font, anchor, **more)

    monkeypatch.setattr(instance().ImageDraw.ImageDraw, "text", record)
    return texts


def check(pages, written):
    assert len({page.size for page in pages}) == 1 and len(written) == len(pages)
    for page in written.values():
        for (left, top, right, bottom), text, image in page:
            assert 0 <= left and 0 <= top and right <= image.width and bottom <= image.height, text
        boxes = sorted(box for box, _, _ in page)
        for number, (_, top, right, bottom) in enumerate(boxes):
            for left, other_top, _, other_bottom in boxes[number + 1 :]:
                if left >= right:
                    break
                assert bottom <= other_top or other_bottom <= top


@pytest.mark.slow
@pytest.mark.parametrize("draw", [quality_sheets, quality_charts])
@pytest.mark.parametrize(("count", "per_page"), [(1, 40), (4, 40), (13, 40), (41, 40), (90, 45)])
def test_any_number_of_pictures(written, draw, count, per_page):
    entries = [entry(number) for number in range(count)]
    pages = draw(entries, per_page, "best first")
    assert len(pages) == -(-count // per_page)
    check(pages, written)
    joined = " ".join(text for page in written.values() for _, text, _ in page)
    for number in (0, count // 2, count - 1):
        assert f"{number}.png" in joined
        assert f"{entries[number].found.confidence:.0%}" in joined
    assert ("of 2" in joined) == (len(pages) == 2)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [quality_sheets, quality_charts])
@pytest.mark.parametrize("name", ["", "x" * 300, "a\n\x1b[31m\t" * 20, "folder/very_long_name_" * 9 + "{:05}.png"])
@pytest.mark.parametrize("count", [2, 50])
def test_extreme_names_stay_in_their_place(written, draw, name, count):
    check(draw([entry(number, name) for number in range(count)], 200), written)


@pytest.mark.parametrize("draw", [quality_sheets, quality_charts])
def test_what_was_not_asked_for_is_left_out(written, draw):
    plain = [dataclasses.replace(entry(number), score=None, found=None) for number in range(3)]
    check(draw(plain), written)


def test_pictures_of_any_shape():
    shapes = [(1, 1), (3000, 2), (2, 3000), (300, 200)]
    page = quality_sheets([entry(i, height=h, width=w) for i, (h, w) in enumerate(shapes)])[0]
    assert page.width < 1500 and page.height < 800


@pytest.mark.parametrize("count", [0, 201])
def test_impossible_pages_are_refused(count):
    with pytest.raises(TaskError, match="per_page is|not possible"):
        quality_sheets([entry(0)], count)
    with pytest.raises(TaskError, match="no images"):
        quality_sheets([])
