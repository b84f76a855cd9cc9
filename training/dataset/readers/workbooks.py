"""Readers of rating sets in spreadsheets or MATLAB files: CSIQ, SPAQ, LIVE-MD, MDID2013, LIVE In the Wild."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from .base import NOT_STATED, Pictures, Rated, Reader, ReaderError, find_file, number, table

_CSIQ_TYPES = {"noise": "AWGN", "jpeg 2000": "jpeg2000"}
_MDID_PER_REFERENCE = 27
AGAIN = "download it again"


def _csiq(folder: Path, missing: list[str]) -> Iterator[Rated]:
    # DMOS from 0 (as the reference) to 1 (worst); images are called <image>.<type>.<level>.png
    file = find_file(folder, "csiq.DMOS.xlsx")
    distorted, references = Pictures(folder, missing, "dst_imgs"), Pictures(folder, missing, "src_imgs")
    for row in _sheet(file, "all_by_image", "image", "dst_type", "dst_lev", "dmos"):
        kind = str(row["dst_type"]).strip()
        name = f"{_text(row['image'])}.{_CSIQ_TYPES.get(kind, kind)}.{_text(row['dst_lev'])}.png"
        image, reference = distorted.get(name), references.get(f"{_text(row['image'])}.png")
        if image and reference:
            yield Rated(image, reference, 1 - number(row["dmos"], file, name))


def _spaq(folder: Path, missing: list[str]) -> Iterator[Rated]:
    stem = "Annotations/MOS and Image attribute scores"
    file, pictures = find_file(folder, f"{stem}.xlsx", f"{stem}.csv"), Pictures(folder, missing, "TestImage", "img")
    columns = "Image name", "MOS"
    for row in table(file, *columns) if file.suffix == ".csv" else _sheet(file, None, *columns):
        if image := pictures.get(str(row["Image name"])):
            yield Rated(image, None, number(row["MOS"], file, row["Image name"]))


def _livemd(folder: Path, missing: list[str]) -> Iterator[Rated]:
    # DMOS from 0 to 100, lower is better; ref4dist counts from 1
    parts = [
        (part, pictures)
        for names, pictures in ((("Part 1", "Part1"), "blurjpeg"), (("Part 2", "Part2"), "blurnoise"))
        for part in (base / name for base in (folder, folder / "To_Release") for name in names)
        if part.is_dir()
    ]
    if not parts:
        raise ReaderError(f"{folder} has no folders 'Part 1' and 'Part 2'")
    for part, inside in parts:
        file, scores = find_file(part, "Imagelists.mat"), find_file(part, "Scores.mat")
        lists, pictures = _matlab(file, "distimgs", "refimgs", "ref4dist"), Pictures(part, missing, inside)
        opinions = _matlab(scores, "DMOSscores")["DMOSscores"].ravel()
        names, references = _texts(lists["distimgs"]), _texts(lists["refimgs"])
        indexes = lists["ref4dist"].ravel()
        if not len(names) == len(opinions) == len(indexes):
            raise ReaderError(
                f"{file} lists {len(names)} images and {len(indexes)} numbers of references, {scores.name} has "
                f"{len(opinions)} scores; {AGAIN}"
            )
        for name, index, opinion in zip(names, indexes, opinions):
            place = number(index, file, f"{name}, as number of its reference,")
            if not (place.is_integer() and 1 <= place <= len(references)):
                raise ReaderError(f"{file}: {name} has reference {place:g} of {len(references)}; {AGAIN}")
            image, reference = pictures.get(name), pictures.get(references[int(place) - 1])
            if image and reference and image != reference:
                inner = part.relative_to(folder).as_posix()
                yield Rated(f"{inner}/{image}", f"{inner}/{reference}", 100 - number(opinion, scores, name))


def _mdid2013(folder: Path, missing: list[str]) -> Iterator[Rated]:
    # img001.png to img324.png are the images, 27 of each of org001.png to org012.png; a lower DMOS is better
    file = find_file(folder, "MDID_dmos.mat", "dmos.mat", "MDID2013/MDID_dmos.mat")
    pictures = Pictures(folder, missing, "MDID2013", ".")
    for index, dmos in enumerate(_matlab(file, "MDID_dmos")["MDID_dmos"].ravel()):
        name = f"img{index + 1:03d}.png"
        image = pictures.get(name)
        reference = pictures.get(f"org{index // _MDID_PER_REFERENCE + 1:03d}.png")
        if image and reference:
            yield Rated(image, reference, -number(dmos, file, name))


def _liveitw(folder: Path, missing: list[str]) -> Iterator[Rated]:
    # the first images, t1.bmp and so on, were used to train the raters: they are no test images
    names, scores = "AllImages_release", "AllMOS_release"
    file, rated = find_file(folder, f"Data/{names}.mat"), find_file(folder, f"Data/{scores}.mat")
    pictures, opinions = Pictures(folder, missing, "Images"), _matlab(rated, scores)[scores].ravel()
    found = _texts(_matlab(file, names)[names])
    if len(found) != len(opinions):
        raise ReaderError(f"{file} lists {len(found)} images, {rated.name} has {len(opinions)} scores; {AGAIN}")
    for name, opinion in zip(found, opinions):
        if image := pictures.get(name):
            split = "train" if name.lower().startswith("t") else "test"
            yield Rated(image, None, number(opinion, rated, name), split)


def _sheet(file: Path, sheet: str | None, *columns: str) -> Iterator[dict]:
    """Rows of a spreadsheet below the row that holds these column names, wherever that is.

    Raises:
        ReaderError: the file cannot be read to its last row, or lacks a sheet, a column or a cell.
    """
    header: list[str] | None = None
    for place, cells in enumerate(_rows(file, sheet), 1):
        if header is None:
            names = [str(cell).strip() for cell in cells]
            header = names if set(columns) <= set(names) else None
            continue
        row = dict(zip(header, cells))
        if row.get(columns[0]) is None:
            continue
        if empty := [name for name in columns if row.get(name) is None]:
            raise ReaderError(f"{file}: row {place} has no {empty[0]}; {AGAIN}")
        yield row
    if header is None:
        raise ReaderError(f"{file} has no row with the column names {', '.join(columns)}")


def _rows(file: Path, sheet: str | None) -> Iterator[tuple]:
    """Cells of a sheet (None: the first one), row by row; they are unpacked and parsed only as they are asked for."""
    from openpyxl import load_workbook

    try:
        with closing(load_workbook(file, read_only=True, data_only=True)) as book:
            if sheet is not None and sheet not in book.sheetnames:
                raise ReaderError(f"{file} has no sheet '{sheet}'; it has {', '.join(book.sheetnames)}")
            yield from (book[sheet] if sheet else book.worksheets[0]).iter_rows(values_only=True)
    except ReaderError:
        raise
    except Exception as error:  # openpyxl raises nearly anything on files that are damaged or no workbooks
        raise ReaderError(f"{file} cannot be read as a spreadsheet ({error}); {AGAIN}") from error


def _matlab(file: Path, *names: str) -> dict[str, np.ndarray]:
    from scipy.io import loadmat

    try:
        content = loadmat(file)
    except Exception as error:  # scipy raises nearly anything on files that are damaged or no MATLAB files
        raise ReaderError(f"{file} cannot be read as a MATLAB file ({error}); {AGAIN}") from error
    if missing := [name for name in names if not isinstance(content.get(name), np.ndarray)]:
        raise ReaderError(f"{file} has no array {', '.join(missing)}; {AGAIN}")
    return content


def _texts(cells: np.ndarray) -> list[str]:
    """A cell array of names, which may be nested, as texts."""

    def text(cell) -> str:
        while isinstance(cell, np.ndarray):
            cell = cell.ravel()[0] if cell.size else ""
        return str(cell)

    return [text(cell) for cell in cells.ravel()]


def _text(cell) -> str:
    """What a cell shows: a whole number without its decimals."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


READERS = (
    Reader(
        "csiq",
        "CSIQ",
        "csiq.DMOS.xlsx, dst_imgs/<type>/, src_imgs/",
        _csiq,
        address="https://s2.smu.edu/~eclarson/csiq.html",
    ),
    Reader(
        "spaq",
        "SPAQ",
        "Annotations/MOS and Image attribute scores.xlsx, TestImage/",
        _spaq,
        address="https://github.com/h4nwei/SPAQ",
        licence=NOT_STATED,
    ),
    Reader(
        "livemd",
        "LIVE-MD",
        "Part 1/{Imagelists.mat, Scores.mat, blurjpeg/}, Part 2/{..., blurnoise/}",
        _livemd,
        address="https://live.ece.utexas.edu/research/Quality/live_multidistortedimage.html",
    ),
    Reader(
        "mdid2013",
        "MDID2013",
        "MDID_dmos.mat, MDID2013/{img001.png.., org001.png..}",
        _mdid2013,
        address="http://gvsp.sjtu.edu.cn/",
    ),
    Reader(
        "liveitw",
        "LIVE In the Wild",
        "Data/{AllImages_release.mat, AllMOS_release.mat}, Images/",
        _liveitw,
        address="https://live.ece.utexas.edu/research/ChallengeDB/index.html",
        licence="free to use, copy and change with its copyright notice and a citation",
    ),
)
