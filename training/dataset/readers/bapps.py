"""Reader of BAPPS, whose opinions are preferences between two patches (two alternatives, forced choice)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .base import Preferred, Reader, ReaderError


def _bapps(folder: Path, missing: list[str]) -> Iterator[Preferred]:
    # judge/<number>.npy holds the share of the people who find p1 closer to the reference than p0
    splits = {"train": ("2afc/train", "twoafc_train"), "val": ("2afc/val", "twoafc_val")}
    judges = [
        (split, file)
        for split, names in splits.items()
        for name in names
        for file in sorted((folder / name).glob("*/judge/*.npy"))
    ]
    if not judges:
        raise ReaderError(f"{folder} has no 2afc/train/*/judge/*.npy (nor twoafc_train, 2afc/val, twoafc_val)")
    for split, file in judges:
        paths = [file.parents[1] / side / f"{file.stem}.png" for side in ("ref", "p0", "p1")]
        absent = [path.relative_to(folder).as_posix() for path in paths if not path.is_file()]
        missing += absent
        if not absent:
            reference, p0, p1 = (path.relative_to(folder).as_posix() for path in paths)
            yield Preferred(p0, p1, reference, 1 - _share(file), split)


def _share(file: Path) -> float:
    try:
        share = float(np.load(file, allow_pickle=False).ravel()[0])
    except (ValueError, OSError, EOFError, IndexError) as error:
        raise ReaderError(f"{file} holds no judgement ({error})") from error
    if not 0 <= share <= 1:
        raise ReaderError(f"{file} holds {share}, no share from 0 to 1")
    return share


READERS = (
    Reader(
        "bapps",
        "BAPPS",
        "2afc/{train,val}/<kind>/{ref,p0,p1,judge}/",
        _bapps,
        margin=0.5,
        address="https://github.com/richzhang/PerceptualSimilarity",
    ),
)
