"""Small human rating sets, each in its native layout: what ``read_set`` finds in them."""

import csv

import numpy as np
from openpyxl import Workbook
from PIL import Image
from scipy.io import savemat


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


def diffiqa(folder):
    base = folder / "testlabel" / "TripletEachType"
    base.mkdir(parents=True)
    (base / "PSY.txt").write_text("7x2_01.png,7x2_03.png,7x2.png,1\n")
    (base / "NYY.txt").write_text("7x2_03.png,7x2.png,7x2.png,0.0\n7x2_05.png,7x2.png,7x2.png,1\n")
    for place, name in (("01", "7x2_01"), ("03", "7x2_03"), ("Original", "7x2")):
        picture(folder / "images" / place / f"{name}.png")


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
