"""Readers of rating sets whose opinions are in text tables: KADID-10k, TID2013, PIPAL, KonIQ-10k, AGIQA-3K."""

from collections.abc import Iterator
from pathlib import Path

from .base import NOT_STATED, Pictures, Rated, Reader, ReaderError, find_file, lines, number, table


def _kadid10k(folder: Path, missing: list[str]) -> Iterator[Rated]:
    # the column is called dmos, but 5 means "imperceptible" and 1 "very annoying"
    file, pictures = find_file(folder, "dmos.csv"), Pictures(folder, missing, "images")
    for row in table(file, "dist_img", "ref_img", "dmos"):
        image, reference = pictures.get(row["dist_img"]), pictures.get(row["ref_img"])
        if image and reference:
            yield Rated(image, reference, number(row["dmos"], file, row["dist_img"]))


def _tid2013(folder: Path, missing: list[str]) -> Iterator[Rated]:
    # the list says I01_01_1.bmp, the files are called i01_01_1.bmp, and the references I01.BMP
    file = find_file(folder, "mos_with_names.txt")
    distorted, references = Pictures(folder, missing, "distorted_images"), Pictures(folder, missing, "reference_images")
    for line in lines(file):
        score, _, name = line.partition(" ")
        image, reference = distorted.get(name), references.get(f"{name.strip().split('_')[0]}.bmp")
        if image and reference:
            yield Rated(image, reference, number(score, file, name))


def _pipal(folder: Path, missing: list[str]) -> Iterator[Rated]:
    labels = sorted(folder.glob("Train_Label/*.txt")) or sorted(folder.glob("Label/*.txt"))
    if not labels:
        raise ReaderError(f"{folder} has no Train_Label/*.txt")
    distorted = Pictures(folder, missing, "Train_Dist", *(f"Distortion_{n}" for n in range(1, 5)))
    references = Pictures(folder, missing, "Train_Ref", "Ref")
    for file in labels:
        for line in lines(file):
            name, _, score = line.partition(",")
            image, reference = distorted.get(name), references.get(f"{name.split('_')[0]}.bmp")
            if image and reference:
                yield Rated(image, reference, number(score, file, name))


def _koniq10k(folder: Path, missing: list[str]) -> Iterator[Rated]:
    # the official split is a column of the second file only
    scores, sets = "koniq10k_scores_and_distributions.csv", "koniq10k_distributions_sets.csv"
    file, splits = find_file(folder, scores, sets), {}
    if (folder / sets).is_file():
        splits = {row["image_name"]: row["set"] for row in table(folder / sets, "image_name", "set")}
    pictures = Pictures(folder, missing, "1024x768", "512x384", "images")
    for row in table(file, "image_name", "MOS"):
        if image := pictures.get(row["image_name"]):
            score = number(row.get("MOS_zscore") or row["MOS"], file, row["image_name"])
            split = splits.get(row["image_name"])
            yield Rated(image, None, score, "train" if split == "training" else split)


def _agiqa3k(folder: Path, missing: list[str]) -> Iterator[Rated]:
    file, pictures = find_file(folder, "data.csv"), Pictures(folder, missing, "AGIQA-3K", "images", "file", ".")
    for row in table(file, "name", "mos_quality"):
        if image := pictures.get(row["name"]):
            yield Rated(image, None, number(row["mos_quality"], file, row["name"]))


READERS = (
    Reader(
        "kadid10k",
        "KADID-10k",
        "dmos.csv, images/",
        _kadid10k,
        address="https://database.mmsp-kn.de/kadid-10k-database.html",
    ),
    Reader(
        "tid2013",
        "TID2013",
        "mos_with_names.txt, distorted_images/, reference_images/",
        _tid2013,
        address="https://www.ponomarenko.info/tid2013.htm",
    ),
    Reader(
        "pipal",
        "PIPAL",
        "Train_Label/*.txt, Train_Dist/ or Distortion_1..4/, Train_Ref/",
        _pipal,
        address="https://github.com/HaomingCai/PIPAL-dataset",
        licence=NOT_STATED,
    ),
    Reader(
        "koniq10k",
        "KonIQ-10k",
        "koniq10k_scores_and_distributions.csv (for the splits also koniq10k_distributions_sets.csv), 1024x768/ or"
        " 512x384/",
        _koniq10k,
        address="https://database.mmsp-kn.de/koniq-10k-database.html",
    ),
    Reader(
        "agiqa3k",
        "AGIQA-3K",
        "data.csv with the images in the same folder or in a subfolder",
        _agiqa3k,
        address="https://github.com/lcysyzxdxc/AGIQA-3k-Database",
        licence=NOT_STATED,
    ),
)
