"""Readers of human rating sets, each on a small set in its native layout."""

import re
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from rating_sets import LAYOUTS, bapps, diffiqa, kadid10k, koniq10k, liveitw, livemd, spaq
from scipy.io import loadmat, savemat

from training.dataset.readers import READERS, Preferred, ReaderError, read_set
from training.dataset.records.ratings import draw_pairs, in_split


def test_the_official_splits_are_read(tmp_path):
    koniq10k(tmp_path)
    assert {one.split for one in read_set("koniq10k", tmp_path).found} == {None}
    (tmp_path / "koniq10k_distributions_sets.csv").write_text(
        "image_name,MOS,SD,set\n10004473376.jpg,77.38,14,training\n11.jpg,47.5,14,test\n"
    )
    assert [one.split for one in read_set("koniq10k", tmp_path).found] == ["train", "test"]
    liveitw(tmp_path)
    assert [one.split for one in read_set("liveitw", tmp_path).found] == ["train", "test", "test"]


def test_diffiqa(tmp_path):
    diffiqa(tmp_path)
    data = read_set("diffiqa", tmp_path)
    one, three, original = (f"images/{name}.png" for name in ("01/7x2_01", "03/7x2_03", "Original/7x2"))
    assert data.found == [
        Preferred(three, original, original, 0.0, "test"),
        Preferred(one, three, original, 1.0, "test"),
    ]
    assert data.missing == ["7x2_05.png"]
    (tmp_path / "testlabel" / "TripletEachType" / "NYY.txt").write_text("7x2_03.png,7x2.png\n")
    with pytest.raises(ReaderError, match=r"NYY.txt: '7x2_03.png,7x2.png' is not x1,x2,original,score"):
        read_set("diffiqa", tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_native_layout(tmp_path, name):
    expected, count, missing = LAYOUTS[name](tmp_path)
    data = read_set(name, tmp_path)
    assert len(data.found) == count and len(data.missing) == missing
    found = {(one.image, one.reference): one.mos for one in data.found}
    for image, reference, mos in expected:
        assert found[image, reference] == pytest.approx(mos)
    for one in data.found:
        assert (tmp_path / one.image).is_file() and (one.reference is None or (tmp_path / one.reference).is_file())


def test_bapps(tmp_path):
    bapps(tmp_path)
    data = read_set("bapps", tmp_path)
    base = "2afc/train/cnn"
    assert data.found[0] == Preferred(
        f"{base}/p0/000000.png", f"{base}/p1/000000.png", f"{base}/ref/000000.png", 0.0, "train"
    )
    assert [one.share for one in data.found] == pytest.approx([0, 1, 0.6, 0.5])
    (tmp_path / base / "p1" / "000001.png").unlink()
    assert read_set("bapps", tmp_path).missing == [f"{base}/p1/000001.png"]
    pairs = draw_pairs(data.found, 10, 0.5, np.random.default_rng(0))
    assert len(pairs) == 2  # 0.6 and 0.5 are too near
    for pair in pairs:  # judge 1: all prefer p1
        assert ("p1/000000" in (pair.a if pair.a_better else pair.b)) or (
            "p0/000001" in (pair.a if pair.a_better else pair.b)
        )
    assert len(draw_pairs(data.found, 10, 0.1, np.random.default_rng(0))) == 3
    assert [one.split for one in in_split(data.found, "val")] == ["val", "val"]
    with pytest.raises(ReaderError, match="unknown split 'test': choose one of train, val"):
        in_split(data.found, "test")


def test_every_reader_is_tested():
    assert set(READERS) == {*LAYOUTS, "bapps", "diffiqa"}


@pytest.mark.parametrize("name", READERS)
def test_other_folders_are_refused_with_the_layout(tmp_path, name):
    with pytest.raises(ReaderError) as caught:
        read_set(name, tmp_path)
    assert READERS[name].layout in str(caught.value) and "\n" not in str(caught.value)
    assert READERS[name].address.startswith("http") and READERS[name].address in str(caught.value)
    assert f"(terms: {READERS[name].licence})" in str(caught.value)
    with pytest.raises(ReaderError, match="no such folder"):
        read_set(name, tmp_path / "gone")


def test_damaged_tables_are_named(tmp_path):
    kadid10k(tmp_path)
    text = (tmp_path / "dmos.csv").read_text()
    (tmp_path / "dmos.csv").write_text(text.replace("4.57", "n/a"))
    with pytest.raises(ReaderError, match=r"dmos\.csv: the score of I01_01_01\.png is not a number: 'n/a'"):
        read_set("kadid10k", tmp_path)
    (tmp_path / "dmos.csv").write_text(text.replace("dist_img,", "image,"))
    with pytest.raises(ReaderError, match="no column dist_img"):
        read_set("kadid10k", tmp_path)
    (tmp_path / "csiq.DMOS.xlsx").write_bytes(b"no workbook")
    with pytest.raises(ReaderError, match="cannot be read as a spreadsheet"):
        read_set("csiq", _with_folders(tmp_path, "dst_imgs", "src_imgs"))
    (tmp_path / "MDID_dmos.mat").write_bytes(b"no matlab")
    with pytest.raises(ReaderError, match="cannot be read as a MATLAB file"):
        read_set("mdid2013", tmp_path)


@pytest.mark.parametrize(
    "name, file, content, message",
    [
        ("tid2013", "mos_with_names.txt", b"5.5 I01_01_1\xe9.bmp\n", "is not UTF-8 text"),
        ("tid2013", "mos_with_names.txt", "5.5 I01_01_1.bmp\n".encode("utf-16"), "is not UTF-8 text"),
        ("tid2013", "mos_with_names.txt", b"nan I01_01_1.bmp\n", "is not a number: 'nan'"),
        ("kadid10k", "dmos.csv", b"dist_img,ref_img,dmos\nI\xe9.png,I01.png,3\n", "is not UTF-8 text"),
        ("kadid10k", "dmos.csv", b"dist_img,ref_img,dmos\nI01_01_01.png\n", "line 2 has no ref_img"),
        ("kadid10k", "dmos.csv", b"dist_img,ref_img,dmos\n" + b"x" * 200_000 + b",b,3\n", "line 2 is not a row"),
        ("kadid10k", "dmos.csv", b"dist_img,ref_img,dmos\nI01_01_01.png,I01.png,-inf\n", "is not a number: '-inf'"),
    ],
)
def test_odd_tables_are_named(tmp_path, name, file, content, message):
    LAYOUTS[name](tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ReaderError, match=f"{file}.*{message}"):
        read_set(name, tmp_path)


@pytest.mark.parametrize("name, file", [("tid2013", "mos_with_names.txt"), ("kadid10k", "dmos.csv")])
def test_tables_may_begin_with_a_byte_order_mark(tmp_path, name, file):
    LAYOUTS[name](tmp_path)
    wanted = read_set(name, tmp_path)
    (tmp_path / file).write_bytes(b"\xef\xbb\xbf" + (tmp_path / file).read_bytes())
    assert read_set(name, tmp_path) == wanted


def _changed_inside(file, change):
    """Rewrite the XML of a workbook's sheets."""
    with zipfile.ZipFile(file) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    with zipfile.ZipFile(file, "w") as book:
        for name, part in parts.items():
            book.writestr(name, change(part) if "worksheets/" in name else part)


SHEET_DAMAGE = {
    "cut": lambda xml: xml[: len(xml) * 2 // 3],
    "no XML": lambda xml: xml.replace(b"</row><row", b"</row><<row"),
    "another cell type": lambda xml: xml.replace(b't="n"', b't="d"'),
    "the number of no string": lambda xml: xml.replace(b't="n"><v>12.5', b't="s"><v>999'),
    "no number": lambda xml: xml.replace(b"<v>12.5<", b"<v>x<"),
    "a missing cell": lambda xml: re.sub(rb'<c r="B2".*?</c>', b"", xml),
}


@pytest.mark.parametrize("damage", SHEET_DAMAGE)
def test_a_spreadsheet_that_is_damaged_in_its_rows_is_named(tmp_path, damage):
    """They are parsed row by row, so errors come when the first rows were read already."""
    spaq(tmp_path)
    _changed_inside(tmp_path / "Annotations" / "MOS and Image attribute scores.xlsx", SHEET_DAMAGE[damage])
    with pytest.raises(ReaderError, match=r"attribute scores\.xlsx.*; SPAQ is read from"):
        read_set("spaq", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_a_spreadsheet_with_changed_bytes_is_read_or_named(tmp_path, seed):
    spaq(tmp_path)
    file, rng = tmp_path / "Annotations" / "MOS and Image attribute scores.xlsx", np.random.default_rng(seed)

    def change(xml):
        damaged = bytearray(xml)
        for place in rng.integers(len(xml) // 3, len(xml), 3):
            damaged[place] = rng.integers(32, 127)
        return bytes(damaged)

    _changed_inside(file, change)
    with suppress(ReaderError):
        read_set("spaq", tmp_path)


@pytest.mark.parametrize("change", ["reference 0", "reference 9", "reference nan", "fewer references", "score nan"])
def test_damaged_matlab_tables_are_named(tmp_path, change):
    livemd(tmp_path)
    lists, scores = tmp_path / "Part 1" / "Imagelists.mat", tmp_path / "Part 1" / "Scores.mat"
    what, value = change.split()
    known = {name: array for name, array in loadmat(lists).items() if not name.startswith("__")}
    if what == "score":
        savemat(scores, {"DMOSscores": np.full_like(loadmat(scores)["DMOSscores"], np.nan, float)})
    elif what == "fewer":
        savemat(lists, {**known, "ref4dist": known["ref4dist"].ravel()[:1]})
    else:
        savemat(lists, {**known, "ref4dist": np.full_like(known["ref4dist"], float(value), float)})
    with pytest.raises(ReaderError, match=r"\.mat.*LIVE-MD is read from"):
        read_set("livemd", tmp_path)


def _with_folders(folder, *names):
    for name in names:
        (folder / name).mkdir(exist_ok=True)
    return folder
