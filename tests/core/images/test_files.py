"""Image files of a command line: read a few at a time, their pixels dropped and read again, changes noticed."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depictqa_core.errors import ImageError
from depictqa_core.images import image_files as files
from depictqa_core.images.equal_names import equal_names
from depictqa_core.images.image import as_image, as_images
from depictqa_core.images.image_files import FileImage, load_images
from depictqa_core.images.search import left_out_lines, search
from depictqa_core.runtime.byte_cache import ByteCache


@pytest.fixture
def names(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"p{i}.png" for i in range(6)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return [str(path) for path in paths]


@pytest.fixture
def decoded(monkeypatch):
    """An empty cache of three images, and the list of files that were decoded."""
    monkeypatch.setattr(files, "PIXELS", ByteCache(3 * 20 * 30 * 3))
    read = []
    monkeypatch.setattr(files, "as_image", lambda name: read.append(name) or as_image(name))
    return read


def test_a_file_is_the_picture_that_it_holds(names, decoded):
    picture, whole = FileImage(names[0]), as_image(names[0])
    assert (picture.key, picture.height, picture.width) == (whole.key, 20, 30)
    assert np.array_equal(picture.rgb, whole.rgb) and picture.name == names[0]
    assert as_images([picture])[0] is picture and decoded == names[:1]


def test_pixels_are_dropped_and_read_again(names, decoded):
    pictures = [FileImage(name) for name in names]
    assert files.PIXELS.bytes <= files.PIXELS.budget and decoded == names
    for picture, name in zip(pictures, names):
        assert np.array_equal(picture.rgb, as_image(name).rgb)
    assert len(decoded) == 12
    assert pictures[-1].rgb is pictures[-1].rgb and len(decoded) == 12


def test_a_file_that_changes_meanwhile_is_refused(names, decoded):
    pictures = [FileImage(name) for name in names]
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(names[0])
    with pytest.raises(ImageError, match="p0.png: was changed during the run"):
        _ = pictures[0].rgb


def test_groups_are_bounded_in_number_and_pixels(names, decoded, monkeypatch, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    listed = [*names[:2], str(tmp_path / "broken.png"), *names[2:]]
    groups = list(load_images(listed))
    assert [len(pictures) for pictures, _ in groups] == [2, 2, 2]  # half of three images is reached by the second
    assert [p.name for pictures, _ in groups for p in pictures] == names
    assert [f.picture for _, failures in groups for f in failures] == [str(tmp_path / "broken.png")]
    monkeypatch.setattr(files, "AT_ONCE", 1)
    assert [len(pictures) + len(failures) for pictures, failures in load_images(listed)] == [1] * 7
    assert list(load_images([])) == []


def test_reading_is_lazy(names, decoded):
    next(load_images(names))
    assert len(decoded) == 2


# ---------------------------------------------------------------------- what folders and patterns name


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Makes files and links below the working directory: a name that ends in / is a folder, "a -> b" a link."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            path, _, target = name.partition(" -> ")
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            if target:
                Path(path).symlink_to(target)
            elif path.endswith("/"):
                Path(path).mkdir(parents=True, exist_ok=True)
            else:
                Image.new("RGB", (4, 4)).save(path, "PNG")

    return make


def reasons(found):
    return {one.path: one.reason for one in found.left_out}


def test_linked_folders_are_searched_once_and_never_in_circles(tree):
    tree(
        "disk/far.png",
        "disk/up -> ../p",
        "p/near.png",
        "p/a -> ../disk",
        "p/b -> ../disk",
        "p/itself -> .",
        "p/z/x.png",
    )
    tree("p/around -> ..", "p/a_link_to_z -> z")
    found = search(["p"], recursive=True)
    assert found.names == ("p/near.png", "p/a/far.png", "p/z/x.png")
    assert reasons(found) == {
        "p/itself": "is the same folder as p",
        "p/around": "is a circular link",
        "p/a_link_to_z": "is the same folder as p/z",
        "p/b": "is the same folder as p/a",
        "p/a/up": "is the same folder as p",
    }
    assert search(["p"]).names == ("p/near.png",) and {one.expected for one in search(["p"]).left_out} == {True}


@pytest.mark.parametrize("name", ["2.heic", "3.HEIF", "4.jxl", "5.CR2", "6.psd", "7.svg"])
def test_images_of_other_formats_are_named(tree, name):
    tree("p/1.png", f"p/{name}")
    Path("p/notes.txt").write_text("no image")
    found = search(["p"])
    assert found.names == ("p/1.png",)
    (line,) = left_out_lines(found.left_out)
    assert line.startswith(f"p: left out: {name} (this format is not searched for in folders")
    assert any("notes.txt" in line for line in left_out_lines(found.left_out, expected=True))
    os.remove("p/1.png")
    with pytest.raises(ImageError, match=name):
        search(["p"])


@pytest.mark.parametrize("name", ["a.MPO", "b.apng", "c.pnm", "d.JPG", "e.pbm"])
def test_what_the_reader_knows_is_found(tree, name):
    tree(f"p/{name}")
    assert search(["p"]).names == (f"p/{name}",)


def test_brackets_in_names_are_no_patterns(tree):
    tree("p [2024]/a[1].png", "p [2024]/a1.png", "p 2/a1.png", "[x]/in [y]/b.png", "[x]/in y/b.png")
    assert search(["p [2024]"]).names == ("p [2024]/a1.png", "p [2024]/a[1].png")
    assert search(["p [2024]/*.png"]).names == ("p [2024]/a1.png", "p [2024]/a[1].png")
    assert search(["p [2024]/a[1].png"]).names == ("p [2024]/a[1].png",)
    assert search(["p [2024]/a[0-9].png"]).names == ("p [2024]/a1.png",)
    assert search(["p [0-9]/*.png"]).names == ("p 2/a1.png",)
    assert search(["[x]/in [y]/*"]).names == ("[x]/in [y]/b.png",)


def test_two_stars_are_any_number_of_folders(tree):
    tree("p/1.png", "p/a/2.png", "p/a/b/3.png", "p/.h/4.png", "p/a/loop -> ..", "q/5.png")
    assert search(["p/**/*.png"]).names == ("p/1.png", "p/a/2.png", "p/a/b/3.png")
    assert search(["p/**"]).names == ("p/1.png", "p/a/2.png", "p/a/b/3.png")
    assert search(["**/b/*.png"]).names == ("p/a/b/3.png",)
    tree("p/out -> ..")
    assert search(["p/**"]).names == ("p/1.png", "p/a/2.png", "p/a/b/3.png")
    with pytest.raises(ImageError, match="no file fits this pattern"):
        search(["p/*/*.jpg"])


def test_a_file_that_is_given_twice_is_taken_once_and_reported(tree):
    tree("p/a.png", "p/b.png", "p/newest.png -> b.png")
    found = search(["p/a.png", "./p/a.png", "p", str(Path("p/b.png").absolute())])
    assert found.names == ("p/a.png", "p/b.png")
    assert [(one.path, one.reason) for one in found.left_out] == [
        ("./p/a.png", "is the same file as p/a.png"),
        ("p/a.png", "is the same file as p/a.png"),
        ("p/newest.png", "is the same file as p/b.png"),
        (str(Path("p/b.png").absolute()), "is the same file as p/b.png"),
    ]


def test_a_folder_that_cannot_be_opened_is_left_out(tree, monkeypatch):
    tree("p/a.png", "p/closed/b.png")
    scandir = os.scandir

    def closed(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    found = search(["p"], recursive=True)
    assert found.names == ("p/a.png",)
    assert reasons(found) == {"p/closed": "cannot be opened: Permission denied"}


COMPOSED, DECOMPOSED = "\u00e9.png", "e\u0301.png"


@pytest.mark.parametrize(
    "first, second, shared",
    [
        (["a.png"], ["a.jpg"], [("a.png", "a.jpg")]),
        (["A.PNG"], ["a.png"], [("A.PNG", "a.png")]),
        ([COMPOSED], [DECOMPOSED], [(COMPOSED, DECOMPOSED)]),
        (["a.png", "a.jpg"], ["a.jpg", "a.png"], [("a.png", "a.png"), ("a.jpg", "a.jpg")]),
        (["a.png", "a.jpg"], ["a.PNG"], [("a.png", "a.PNG")]),
        (["a.png", "a.jpg"], ["a.webp"], []),
        (["A.png", "a.png"], ["a.png", "A.png"], [("A.png", "A.png"), ("a.png", "a.png")]),
        ([COMPOSED, DECOMPOSED], [COMPOSED], []),
        (["a.b.png", "a.b.c.png"], ["a.b.png"], [("a.b.png", "a.b.png")]),
        (["x.png.jpg", "x.png", "x.jpg"], ["x.png", "x.png.png"], [("x.png.jpg", "x.png.png"), ("x.png", "x.png")]),
    ],
)
def test_equal_names(first, second, shared):
    folders = ["m1"] * len(first) + ["m2"] * len(second)
    groups, left_out = equal_names(folders, first + second)
    of_second = {group: name for group, name in zip(groups[len(first) :], second) if group}
    assert [(name, of_second[group]) for group, name in zip(groups, first) if group in of_second] == shared
    named = [group for group in groups[: len(first)] if group]
    assert len(set(named)) == len(named)  # no folder has two of one name
    assert len(left_out) == groups.count(None) and len(left_out) == 2 * (DECOMPOSED in first and COMPOSED in first)
