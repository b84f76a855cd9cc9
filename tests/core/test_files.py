"""Picture files of a command line: read a few at a time, their pixels dropped and read again, changes noticed."""

import numpy as np
import pytest
from PIL import Image

from depictqa_core import files
from depictqa_core.caches import ByteCache
from depictqa_core.errors import ImageError
from depictqa_core.files import FilePicture, load_pictures
from depictqa_core.images import as_picture, as_pictures


@pytest.fixture
def names(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"p{i}.png" for i in range(6)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return [str(path) for path in paths]


@pytest.fixture
def decoded(monkeypatch):
    """An empty cache of three pictures, and the list of files that were decoded."""
    monkeypatch.setattr(files, "PIXELS", ByteCache(3 * 20 * 30 * 3))
    read = []
    monkeypatch.setattr(files, "as_picture", lambda name: read.append(name) or as_picture(name))
    return read


def test_a_file_is_the_picture_that_it_holds(names, decoded):
    picture, whole = FilePicture(names[0]), as_picture(names[0])
    assert (picture.key, picture.height, picture.width) == (whole.key, 20, 30)
    assert np.array_equal(picture.rgb, whole.rgb) and picture.name == names[0]
    assert as_pictures([picture])[0] is picture and decoded == names[:1]


def test_pixels_are_dropped_and_read_again(names, decoded):
    pictures = [FilePicture(name) for name in names]
    assert files.PIXELS.bytes <= files.PIXELS.budget and decoded == names
    for picture, name in zip(pictures, names):
        assert np.array_equal(picture.rgb, as_picture(name).rgb)
    assert len(decoded) == 12
    assert pictures[-1].rgb is pictures[-1].rgb and len(decoded) == 12


def test_a_file_that_changes_meanwhile_is_refused(names, decoded):
    pictures = [FilePicture(name) for name in names]
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(names[0])
    with pytest.raises(ImageError, match="p0.png: was changed while it was judged"):
        _ = pictures[0].rgb


def test_groups_are_bounded_in_number_and_pixels(names, decoded, monkeypatch, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    listed = [*names[:2], str(tmp_path / "broken.png"), *names[2:]]
    groups = list(load_pictures(listed))
    assert [len(pictures) for pictures, _ in groups] == [2, 2, 2]  # half of three pictures is reached by the second
    assert [p.name for pictures, _ in groups for p in pictures] == names
    assert [f.picture for _, failures in groups for f in failures] == [str(tmp_path / "broken.png")]
    monkeypatch.setattr(files, "AT_ONCE", 1)
    assert [len(pictures) + len(failures) for pictures, failures in load_pictures(listed)] == [1] * 7
    assert list(load_pictures([])) == []


def test_reading_is_lazy(names, decoded):
    next(load_pictures(names))
    assert len(decoded) == 2
