"""The image sheet of a ranking: nothing overlaps or is cut off, whatever the images and their names are."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from depictqa_core.errors import TaskError
from depictqa_core.images.image import RGBImage
from depictqa_core.images.pillow import instance
from depictqa_core.reports import sheets
from depictqa_core.reports.sheets import ranking_sheet
from depictqa_core.results import RankedImage, Ranking

LONG = "outputs/ComfyUI_2026-08-14_portrait_of_somebody_with_a_very_long_prompt_{:05d}_seed_1234567890123.png"
PLAIN = "outputs/image {}.png"
WORST_REASON = "overly high saturation and insufficient brightness (100% confidence), quality excellent"


def a_picture(index, height=60, width=80):
    rng = np.random.default_rng(index)
    return RGBImage(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), f"image {index}")


def a_ranking(
    count, method="pairs", name=PLAIN, score=50.0, reason="noise (87% confidence), quality poor", labels=("noise",)
):
    spread = None if score is None else 33.3
    places = tuple(
        RankedImage(
            rank=1 + index - index % 2,
            index=count - 1 - index,
            picture=name.format(index),
            strength=-index / 3,
            low=-index / 3 - 1,
            high=-index / 3 + 1,
            score=score,
            spread=spread,
            labels=labels,
            reason=reason,
            tied_with_next=index % 2 == 0 and index + 1 < count,
        )
        for index in range(count)
    )
    pairs = count * (count - 1) // 2 if method == "pairs" else 0
    return Ranking(places, method, pairs, 0.03, pairs or None, "all pairs" if pairs else "scores")


@pytest.fixture
def written(monkeypatch):
    """The (box, text) of everything that is written on a sheet."""
    texts = []
    write = instance().ImageDraw.ImageDraw.text

    def record(self, place, text, fill=None, font=None, anchor=None, **more):
        texts.append((self.textbbox(place, text, font=font, anchor=anchor), text))
        write(self, place, text, fill, font, anchor, **more)

    monkeypatch.setattr(instance().ImageDraw.ImageDraw, "text", record)
    return texts


def check_layout(sheet, texts):
    for (left, top, right, bottom), text in texts:
        inside = 0 <= left and 0 <= top and right <= sheet.width and bottom <= sheet.height
        assert inside, f"{text!r} leaves the sheet"
    boxes = sorted(texts)
    for number, ((left, top, right, bottom), text) in enumerate(boxes):
        for (other_left, other_top, other_right, other_bottom), other in boxes[number + 1 :]:
            apart = right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top
            assert apart, f"{text!r} and {other!r} overlap"


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9, 21, 100])
@pytest.mark.parametrize("method", ["pairs", "score"])
def test_nothing_overlaps_at_any_number(written, count, method):
    sheet = ranking_sheet(a_ranking(count, method), [a_picture(i) for i in range(count)])
    assert sheet.mode == "RGB"
    check_layout(sheet, written)
    joined = " ".join(text for _, text in written)
    for index in range(count):
        assert f"image {index}.png" in joined


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize(
    "change",
    [
        {"name": LONG},
        {"name": "x"},
        {"name": "dir/{}\n\x1b[31m\t.png"},
        {"score": None},
        {"score": 0.0},
        {"score": 100.0},
        {"labels": (), "reason": "no distortion found (93% confidence), quality excellent"},
        {"labels": ("overly high saturation", "insufficient brightness"), "reason": WORST_REASON},
        {"labels": None, "reason": ""},
        {"reason": "word " * 200},
        {"reason": "x" * 500},
    ],
)
def test_extreme_words_stay_in_their_place(written, count, change):
    sheet = ranking_sheet(a_ranking(count, **change), [a_picture(i) for i in range(count)])
    check_layout(sheet, written)


def test_ties_share_a_mark(written):
    ranking_sheet(a_ranking(3), [a_picture(i) for i in range(3)])
    texts = [text for _, text in written]
    assert texts.count("1=") == 2 and texts.count("3") == 1
    assert any("are tied" in text for text in texts)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (7, 500), (900, 1600)])
def test_pictures_of_any_shape(shape):
    sheet = ranking_sheet(a_ranking(2), [a_picture(0, *shape), a_picture(1, *reversed(shape))])
    assert sheet.width < 1000 and sheet.height < 1000


def test_cards_stand_in_rank_order():
    """The best image of this ranking is the last of the input: its card comes first."""
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    pictures = [RGBImage(np.full((80, 80, 3), colour, np.uint8), "flat") for colour in colours]
    sheet = np.asarray(ranking_sheet(a_ranking(3), pictures)).astype(int)
    found = [np.argwhere(np.abs(sheet - colour).sum(2) == 0)[:, 1].mean() for colour in colours]
    assert found[2] < found[1] < found[0]


def test_the_same_ranking_gives_the_same_pixels():
    pictures = [a_picture(i) for i in range(5)]
    once, twice = (ranking_sheet(a_ranking(5), pictures) for _ in range(2))
    assert once.tobytes() == twice.tobytes()


def test_a_long_ranking_shows_its_best(monkeypatch, written):
    monkeypatch.setattr(sheets, "MOST_SHOWN", 4)
    ranking_sheet(a_ranking(6), [a_picture(i) for i in range(6)])
    texts = " ".join(text for _, text in written)
    assert "6 images" in texts and "best 4 are shown" in texts and "image 4.png" not in texts


def test_pictures_of_another_ranking_are_refused():
    with pytest.raises(TaskError, match="cannot be made from 2"):
        ranking_sheet(a_ranking(3), [a_picture(i) for i in range(2)])


@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
def test_sheets_can_be_saved(tmp_path, extension):
    path = tmp_path / f"sheet.{extension}"
    sheet = ranking_sheet(a_ranking(2), [a_picture(i, 500, 500) for i in range(2)])
    sheet.save(path)
    assert Image.open(path).size == sheet.size


def test_one_picture_with_an_interval_without_length():
    """A single image is compared with none: its strength is 0 and so are both bounds."""
    alone = a_ranking(1)
    place = dataclasses.replace(alone.pictures[0], strength=0.0, low=0.0, high=0.0)
    sheet = ranking_sheet(dataclasses.replace(alone, pictures=(place,)), [a_picture(0)])
    assert min(sheet.size) > 200
