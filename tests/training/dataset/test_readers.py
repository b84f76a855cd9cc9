"""Readers of human rating sets, each on a small set in its native layout, and what is made of their opinions."""

import csv
import json
import re
import zipfile
from contextlib import suppress
from itertools import combinations

import numpy as np
import pytest
import yaml
from openpyxl import Workbook
from PIL import Image
from scipy.io import loadmat, savemat

from depictqa_core import tasks
from training.__main__ import main
from training.dataset.building.plan import Plan, RatingSet
from training.dataset.readers import READERS, Preferred, Rated, ReaderError, read_set
from training.dataset.records.format import Mix, Part
from training.dataset.records.ratings import draw_pairs, in_split, rating_records, voting_files, write_ratings
from training.evaluation.voting import read_truth
from training.trainer.record_files import read_parts


def picture(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(file)


def kadid10k(folder):
    with (folder / "dmos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["dist_img", "ref_img", "dmos", "var"])
        for ref in ("I01", "I02"):
            picture(folder / "images" / f"{ref}.png")
            for kind, level, dmos in ((1, 1, 4.57), (1, 5, 1.2), (2, 3, 3.0)):
                picture(folder / "images" / f"{ref}_{kind:02d}_{level:02d}.png")
                rows.writerow([f"{ref}_{kind:02d}_{level:02d}.png", f"{ref}.png", dmos, 0.5])
        rows.writerow(["I03_01_01.png", "I03.png", 2.0, 0.5])  # not downloaded
    return {("images/I01_01_01.png", "images/I01.png", 4.57), ("images/I02_01_05.png", "images/I02.png", 1.2)}, 6, 2


def tid2013(folder):
    picture(folder / "reference_images" / "I01.BMP")
    picture(folder / "reference_images" / "i25.bmp")
    for name in ("i01_01_1.bmp", "I01_24_5.bmp", "i25_02_3.bmp"):
        picture(folder / "distorted_images" / name)
    (folder / "mos_with_names.txt").write_text("5.51429 I01_01_1.bmp\n2.10000 i01_24_5.bmp\n3.50000 I25_02_3.bmp\n")
    return (
        {
            ("distorted_images/i01_01_1.bmp", "reference_images/I01.BMP", 5.51429),
            ("distorted_images/i25_02_3.bmp", "reference_images/i25.bmp", 3.5),
        },
        3,
        0,
    )


def pipal(folder):
    picture(folder / "Train_Ref" / "A0001.bmp")
    picture(folder / "Distortion_1" / "A0001_00_00.bmp")
    picture(folder / "Distortion_4" / "A0001_05_21.bmp")
    (folder / "Train_Label").mkdir()
    (folder / "Train_Label" / "A0001.txt").write_text("A0001_00_00.bmp,1392.7563\nA0001_05_21.bmp,1521.6\n")
    return (
        {
            ("Distortion_1/A0001_00_00.bmp", "Train_Ref/A0001.bmp", 1392.7563),
            ("Distortion_4/A0001_05_21.bmp", "Train_Ref/A0001.bmp", 1521.6),
        },
        2,
        0,
    )


def koniq10k(folder):
    (folder / "koniq10k_scores_and_distributions.csv").write_text(
        '"image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"\n'
        '"10004473376.jpg",0,0,25,73,7,105,3.83,0.52,77.38\n"11.jpg",1,2,25,73,7,105,2.83,0.52,47.5\n'
    )
    for name in ("10004473376.jpg", "11.jpg"):
        picture(folder / "1024x768" / name)
    return {("1024x768/10004473376.jpg", None, 77.38), ("1024x768/11.jpg", None, 47.5)}, 2, 0


def agiqa3k(folder):
    (folder / "data.csv").write_text(
        "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align\n"
        'sdxl_normal_001.jpg,"a cat, sitting",,,anime,3.25,0.4,2.0,0.3\nglide_low_002.jpg,a dog,,,,0.75,0.4,2.0,0.3\n'
    )
    for name in ("sdxl_normal_001.jpg", "glide_low_002.jpg"):
        picture(folder / name)
    return {("sdxl_normal_001.jpg", None, 3.25), ("glide_low_002.jpg", None, 0.75)}, 2, 0


def csiq(folder):
    book = Workbook()
    book.active.title = "all_by_distortion"
    sheet = book.create_sheet("all_by_image")
    sheet["A1"] = "results by image"
    for column, name in enumerate(["image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"], 4):
        sheet.cell(4, column, name)
    rows = [
        (1600, 1, "noise", 1, 0.1, 0.062),
        ("aerial_city", 6, "jpeg 2000", 5, 0.1, 0.9),
        ("aerial_city", 3, "fnoise", 2, 0, 0.4),
    ]
    for line, row in enumerate(rows, 5):
        for column, value in enumerate(row, 4):
            sheet.cell(line, column, value)
    book.save(folder / "csiq.DMOS.xlsx")
    for name in ("src_imgs/1600", "src_imgs/aerial_city", "dst_imgs/awgn/1600.AWGN.1"):
        picture(folder / f"{name}.png")
    picture(folder / "dst_imgs/jpeg2000/aerial_city.jpeg2000.5.png")
    picture(folder / "dst_imgs/fnoise/aerial_city.fnoise.2.png")
    return (
        {
            ("dst_imgs/awgn/1600.AWGN.1.png", "src_imgs/1600.png", 1 - 0.062),
            ("dst_imgs/jpeg2000/aerial_city.jpeg2000.5.png", "src_imgs/aerial_city.png", 1 - 0.9),
        },
        3,
        0,
    )


def spaq(folder):
    book = Workbook()
    for row in (["Image name", "MOS", "Brightness"], ["00001.jpg", 65.4, 50], ["00002.jpg", 12.5, 40]):
        book.active.append(row)
    (folder / "Annotations").mkdir()
    book.save(folder / "Annotations" / "MOS and Image attribute scores.xlsx")
    for name in ("00001.jpg", "00002.jpg"):
        picture(folder / "TestImage" / name)
    return {("TestImage/00001.jpg", None, 65.4), ("TestImage/00002.jpg", None, 12.5)}, 2, 0


def livemd(folder):
    for part, inside in (("Part 1", "blurjpeg"), ("Part 2", "blurnoise")):
        refs = np.array([["babygirl.bmp"], ["iceskater.bmp"]], dtype=object)
        dist = np.array([[f"iceskater_{inside}_2.bmp"], [f"babygirl_{inside}_1.bmp"]], dtype=object)
        for name in (*refs.ravel(), *dist.ravel()):
            picture(folder / part / inside / name)
        lists = {"refimgs": refs, "distimgs": dist, "ref4dist": np.array([[2], [1]], np.uint8)}
        savemat(folder / part / "Imagelists.mat", lists)
        savemat(folder / part / "Scores.mat", {"DMOSscores": np.array([[70.5, 20.25]])})
    base = "Part 1/blurjpeg"
    return (
        {
            (f"{base}/iceskater_blurjpeg_2.bmp", f"{base}/iceskater.bmp", 29.5),
            (f"{base}/babygirl_blurjpeg_1.bmp", f"{base}/babygirl.bmp", 79.75),
        },
        4,
        0,
    )


def mdid2013(folder):
    dmos = np.linspace(0.1, 0.9, 28)
    savemat(folder / "MDID_dmos.mat", {"MDID_dmos": dmos[:, None]})
    for number in range(1, 29):
        picture(folder / "MDID2013" / f"img{number:03d}.png")
    for number in (1, 2):
        picture(folder / "MDID2013" / f"org{number:03d}.png")
    return {
        ("MDID2013/img001.png", "MDID2013/org001.png", -0.1), ("MDID2013/img027.png", "MDID2013/org001.png", -dmos[26]),
        ("MDID2013/img028.png", "MDID2013/org002.png", -0.9),
    }, 28, 0  # fmt: skip


def liveitw(folder):
    names = np.array([["t1.bmp"], ["1.bmp"], ["1023.JPG"]], dtype=object)
    (folder / "Data").mkdir()
    savemat(folder / "Data" / "AllImages_release.mat", {"AllImages_release": names})
    savemat(folder / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.array([[63.9, 24.5, 71.25]])})
    for name in ("trainingImages/t1.bmp", "1.bmp", "1023.JPG"):
        picture(folder / "Images" / name)
    return {("Images/trainingImages/t1.bmp", None, 63.9), ("Images/1023.JPG", None, 71.25)}, 3, 0


def sriqa(folder):
    (folder / "MOS").mkdir()
    (folder / "MOS" / "x1.txt").write_text("x1_SwinIRx4.png,12.5\nx1_Original.png,80\n")
    (folder / "MOS" / "x2.txt").write_text("x2_SeeSRx4.png 99.5\nx2_BSRGANx4.png,1\n")  # the second is not downloaded
    picture(folder / "LRImages" / "x1_Original.png")
    for method, name in (("SwinIR", "x1_SwinIRx4"), ("SeeSR", "x2_SeeSRx4"), ("Original", "x1_Original")):
        picture(folder / "images" / method / f"{name}.png")
    picture(folder / "images" / "Original" / "x2_Original.png")
    return (
        {
            ("images/SwinIR/x1_SwinIRx4.png", "images/Original/x1_Original.png", 12.5),
            ("images/Original/x1_Original.png", "images/Original/x1_Original.png", 80),
            ("images/SeeSR/x2_SeeSRx4.png", "images/Original/x2_Original.png", 99.5),
        },
        3,
        1,
    )


RATED = (kadid10k, tid2013, pipal, koniq10k, agiqa3k, csiq, spaq, livemd, mdid2013, liveitw, sriqa)
LAYOUTS = {make.__name__: make for make in RATED}


def test_the_official_splits_are_read(tmp_path):
    koniq10k(tmp_path)
    assert {one.split for one in read_set("koniq10k", tmp_path).found} == {None}
    (tmp_path / "koniq10k_distributions_sets.csv").write_text(
        "image_name,MOS,SD,set\n10004473376.jpg,77.38,14,training\n11.jpg,47.5,14,test\n"
    )
    assert [one.split for one in read_set("koniq10k", tmp_path).found] == ["train", "test"]
    liveitw(tmp_path)
    assert [one.split for one in read_set("liveitw", tmp_path).found] == ["train", "test", "test"]


def diffiqa(folder):
    base = folder / "testlabel" / "TripletEachType"
    base.mkdir(parents=True)
    (base / "PSY.txt").write_text("7x2_01.png,7x2_03.png,7x2.png,1\n")
    (base / "NYY.txt").write_text("7x2_03.png,7x2.png,7x2.png,0.0\n7x2_05.png,7x2.png,7x2.png,1\n")
    for place, name in (("01", "7x2_01"), ("03", "7x2_03"), ("Original", "7x2")):
        picture(folder / "images" / place / f"{name}.png")


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


def bapps(folder):
    for split, kind, number, judge in (
        ("train", "cnn", 0, 1.0),
        ("train", "cnn", 1, 0.0),
        ("val", "color", 2, 0.4),
        ("val", "color", 3, 0.5),
    ):
        base = folder / "2afc" / split / kind
        for side in ("ref", "p0", "p1"):
            picture(base / side / f"{number:06d}.png")
        (base / "judge").mkdir(exist_ok=True)
        np.save(base / "judge" / f"{number:06d}.npy", np.array([judge], np.float32))


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


# ---- pairs


def rated(seed=0, references=4, each=30):
    rng = np.random.default_rng(seed)
    return [
        Rated(f"r{r}_{i}.png", f"r{r}.png", float(rng.integers(0, 40)) / 10)
        for r in range(references)
        for i in range(each)
    ]


@pytest.mark.parametrize("limit", [10**6, 0])
def test_pairs_from_opinions(monkeypatch, limit):
    """All pairs are listed where they are few; of very many, pairs are drawn: both must obey the same rules."""
    monkeypatch.setattr("training.dataset.records.ratings.ENUMERATED", limit)
    found = rated()
    opinion = {one.image: one.mos for one in found}
    pairs = draw_pairs(found, 500, 0.25, np.random.default_rng(1))
    assert len(pairs) == 500 == len({frozenset((pair.a, pair.b)) for pair in pairs})
    for pair in pairs:
        assert pair.a.split("_")[0] == pair.b.split("_")[0] == pair.reference.removesuffix(".png")
        gap = opinion[pair.a] - opinion[pair.b]
        assert abs(gap) >= 0.25 * 3.9 - 1e-9 and (gap > 0) == pair.a_better
    assert 0.4 < np.mean([pair.a_better for pair in pairs]) < 0.6
    possible = {
        frozenset((a.image, b.image))
        for a, b in combinations(found, 2)
        if a.reference == b.reference and abs(a.mos - b.mos) >= 0.25 * 3.9
    }
    every = draw_pairs(found, 10**6, 0.25, np.random.default_rng(1))
    assert {frozenset((pair.a, pair.b)) for pair in every} == possible
    assert draw_pairs(found, 500, 0.25, np.random.default_rng(1)) == pairs


def test_pictures_without_references_are_paired_with_one_another():
    found = [Rated(f"{i}.png", None, float(i)) for i in range(10)]
    pairs = draw_pairs(found, 100, 0.0, np.random.default_rng(0))
    assert len(pairs) == 45 and all(pair.reference is None for pair in pairs)
    assert draw_pairs([], 5, 0.1, np.random.default_rng(0)) == []


def test_splits_by_reference():
    found = rated(references=60, each=2)
    train, test = in_split(found, "train"), in_split(found, "test")
    assert len(train) + len(test) == len(found) and not {o.reference for o in train} & {o.reference for o in test}
    assert 0.05 < len(test) / len(found) < 0.4 and in_split(found, None) == found


# ---- records and voting files


def test_rating_records(tmp_path):
    kadid10k(tmp_path / "sets" if (tmp_path / "sets").mkdir() is None else tmp_path)
    folder = tmp_path / "sets"
    pairs = draw_pairs(read_set("kadid10k", folder).found, 100, 0.1, np.random.default_rng(0))
    made = {}
    for setting in ("fr", "nr"):
        part = Part(f"rating_{setting}_kadid10k", setting == "fr", "train", Mix(rating_tail=0.5))
        made[setting] = list(rating_records("kadid10k", pairs, folder, tmp_path, part, seed=1))
    assert len(made["fr"]) == len(pairs) == 6
    for fr, nr in zip(made["fr"], made["nr"]):
        assert (fr["task_type"], nr["task_type"]) == ("quality_compare", "quality_compare_noref")
        assert nr == {**fr, "id": nr["id"], "task_type": nr["task_type"], "image_ref": None} and nr["id"] != fr["id"]
        assert all((tmp_path / fr[field]).is_file() for field in ("image_ref", "image_A", "image_B"))
        question, answer = (turn["value"] for turn in fr["conversations"])
        assert tasks.task_of(question, pair=True).name in ("rating", "comparison")
        assert ("Image A" in answer) == fr["A_better_B"] == ("Image B" not in answer)
    levels = {"01_01": 4.57, "01_05": 1.2, "02_03": 3.0}
    for fr in made["fr"]:
        a, b = (levels[fr[field][-9:-4]] for field in ("image_A", "image_B"))
        assert (a > b) == fr["A_better_B"]


def test_voting_files(tmp_path):
    kadid10k(tmp_path)
    records, truth = voting_files("kadid10k", read_set("kadid10k", tmp_path).found, tmp_path, tmp_path, references=1)
    assert truth == {
        "images/I01.png": {
            "dist_paths": [f"images/I01_{n}.png" for n in ("01_01", "01_05", "02_03")],
            "mos_list": [4.57, 1.2, 3.0],
        }
    }
    assert len(records) == 3 == len({frozenset((one["image_A"], one["image_B"])) for one in records})
    assert all(tasks.task_of(one["query"], pair=True) is tasks.RATING for one in records)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    assert read_truth(tmp_path / "truth.json")["images/I01.png"]["images/I01_01_05.png"] == 1.2
    with pytest.raises(ReaderError, match="voting needs them"):
        voting_files("koniq10k", [Rated("a.png", None, 1.0)], tmp_path, tmp_path)


def test_rating_sets_of_a_plan(tmp_path):
    folder = tmp_path / "sets" / "kadid10k"
    folder.mkdir(parents=True)
    kadid10k(folder)
    plan = Plan("p", 1, ratings=(RatingSet("kadid10k", "sets/kadid10k", 4, 0.1),))
    written = write_ratings(plan, tmp_path)
    assert written == {f"rating_{s}_kadid10k.json": {"records": 4, "missing images": 2} for s in ("fr", "nr")}
    records = json.loads((tmp_path / "records" / "rating_fr_kadid10k.json").read_text())
    assert all((tmp_path / one["image_A"]).is_file() for one in records)
    before = (tmp_path / "records" / "rating_fr_kadid10k.json").read_bytes()
    write_ratings(plan, tmp_path)
    assert (tmp_path / "records" / "rating_fr_kadid10k.json").read_bytes() == before
    with pytest.raises(ReaderError, match="no such folder"):
        write_ratings(Plan("p", 1, ratings=(RatingSet("pipal", "sets/pipal", 4),)), tmp_path)


def test_command(tmp_path, capsys):
    folder = tmp_path / "koniq"
    folder.mkdir()
    koniq10k(folder)
    out = tmp_path / "records.json"
    assert main(["read", "koniq10k", str(folder), "--out", str(out), "--root", str(tmp_path), "--form", "test"]) == 0
    (record,) = json.loads(out.read_text())
    assert record["image_ref"] is None and record["image_A"].startswith("koniq/1024x768/") and "query" in record
    assert record["answer"] == ("Image A" if "10004473376" in record["image_A"] else "Image B")
    tid = tmp_path / "tid"
    tid.mkdir()
    tid2013(tid)
    assert main(["read", "tid2013", str(tid), "--out", str(out), "--voting", str(tmp_path / "truth.json")]) == 0
    assert set(json.loads((tmp_path / "truth.json").read_text())) == {
        "reference_images/I01.BMP",
        "reference_images/i25.bmp",
    }
    assert main(["read", "spaq", str(folder), "--out", str(out)]) == 1
    assert "SPAQ is read from" in capsys.readouterr().err


# ---- published files


def published(root):
    def train(key, **changes):
        turns = [{"from": "human", "value": "Which?"}, {"from": "gpt", "value": "Image A"}]
        record = {
            "id": key,
            "task_type": "quality_compare",
            "image_ref": "ref.png",
            "image_A": "a.png",
            "image_B": "b.png",
        }
        return {**record, "conversations": turns, "A_better_B": True, **changes}

    for name in ("ref.png", "a.png", "b.png", "c.png"):
        picture(root / name)
    (root / "link.png").symlink_to(__file__)
    metas = root / "KADIS700K" / "metas"
    metas.mkdir(parents=True)
    good = [train("1"), train("2", task_type="quality_single_A_noref", image_ref=None, image_B=None)]
    good.append({"id": "3", "task_type": "description", "image": "c.png", "conversations": train("x")["conversations"]})
    bad = [
        train("1"), train("4", image_B="gone.png"), train("5", task_type="quality_both"), train("6", image_B=None),
        train("7", conversations=[{"from": "gpt", "value": "x"}]), "text",
        train("8", image_A="link.png"), train("9", image_A=str(root / "link.png")), train("10", image_B="../a.png"),
    ]  # fmt: skip
    (metas / "train.json").write_text(json.dumps(good + bad))
    test = {"id": "t1", "image_ref": None, "image_A": "a.png", "image_B": None, "query": "What?", "answer": "Noise"}
    (metas / "test.json").write_text(json.dumps([test]))
    (metas / "split.json").write_text(json.dumps({"train": ["a"], "test": []}))
    return good, test


def test_published_files(tmp_path, capsys):
    good, test = published(tmp_path)
    out = tmp_path / "joined.json"
    read = ["read", "depictqa", str(tmp_path), "--out", str(out)]
    for _ in range(2):  # the second run does not read what the first wrote
        assert main(read) == 0
        name = "KADIS700K/metas/train#"
        assert json.loads(out.read_text()) == [{**record, "id": name + record["id"]} for record in good]
    said = capsys.readouterr()
    for reason in (
        "it was there before", "an image that is not there", "an unknown task type (quality_both)", "no image_B",
        "conversations must alternate", "no record", "1 left out: test form (query); --form test reads it",
        "1 left out: an image path that leads out of the folder",
        "1 left out: image_A is not a path in the data root", "1 left out: image_B is not a path in the data root",
    ):  # fmt: skip
        assert reason in said.out
    assert "1 images are not there: gone.png" in said.err
    for option in (["--form", "test"], ["--split", "test"]):
        assert main([*read, *option]) == 0
        assert json.loads(out.read_text()) == [{**test, "id": "KADIS700K/metas/test#t1"}]
    assert main([*read, "--files", "*/metas/split.json"]) == 1
    assert "no files of records" in capsys.readouterr().err
    assert main([*read, "--split", "validation"]) == 1
    assert "unknown split 'validation'" in capsys.readouterr().err


def test_published_files_keep_their_weights_in_a_folder(tmp_path, capsys):
    published(tmp_path)
    words = [{"from": "human", "value": "Describe it."}, {"from": "gpt", "value": "word " * 30}]
    one = {"id": "1", "image_ref": None, "image_A": "a.png", "image_B": None, "task_type": "quality_single_A_noref"}
    caption = {"id": "1", "task_type": "description", "image": "a.png", "conversations": words}
    for name, record in (
        ("KADIS700K/metas/detail.json", {**one, "conversations": words}),
        ("LAMM/metas/train.json", caption),
        ("QPathway/metas/train.json", {**one, "conversations": words}),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps([record]))
    records = tmp_path / "records"
    assert main(["read", "depictqa", str(tmp_path), "--out", str(records)]) == 0
    parts = yaml.safe_load((records / "parts.yaml").read_text())["parts"]
    assert parts == {
        "KADIS700K/metas/detail.json": 5,
        "KADIS700K/metas/train.json": 1,
        "LAMM/metas/train.json": 4,
        "QPathway/metas/train.json": 2,
    }
    assert json.loads((records / "LAMM/metas/train.json").read_text()) == [caption]
    found, weights = read_parts(tmp_path, parts)
    assert [len(part) for part in found] == [1, 3, 1, 1] and weights == [5, 1, 4, 2]
    assert main(["read", "depictqa", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "choose another folder" in capsys.readouterr().err


def test_a_set_outside_the_data_root_is_refused(tmp_path, capsys):
    koniq10k_folder, root = tmp_path / "koniq", tmp_path / "root"
    koniq10k_folder.mkdir()
    root.mkdir()
    koniq10k(koniq10k_folder)
    (root / "linked").symlink_to(koniq10k_folder)
    for folder in (koniq10k_folder, root / "linked"):
        out = ["--out", str(tmp_path / "records.json"), "--root", str(root)]
        assert main(["read", "koniq10k", str(folder), *out]) == 1
        assert "not below the data root" in capsys.readouterr().err
