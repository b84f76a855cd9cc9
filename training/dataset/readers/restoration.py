"""Readers of restored images (super-resolution, enhancement) next to originals that may be worse: SRIQA-Bench, DiffIQA.

Layouts: https://github.com/ChrisDud0257/AFINE (Chen et al. 2025).
"""

from collections.abc import Iterator
from pathlib import Path

from .base import Pictures, Preferred, Rated, Reader, ReaderError, lines, number

RESEARCH = "non-commercial academic research only"
ADDRESS = "https://github.com/ChrisDud0257/AFINE"
_SPLITS = ("train", "val", "test")


def _sriqa(folder: Path, missing: list[str]) -> Iterator[Rated]:
    # MOS/x1.txt has "x1_SwinIRx4.png,63.2" and so on; the original was rated like the others
    files = sorted(folder.glob("MOS/*.txt"))
    if not files:
        raise ReaderError(f"{folder} has no MOS/*.txt")
    pictures = Pictures(folder, missing, "images")
    for file in files:
        for line in lines(file):
            name, _, score = line.partition("," if "," in line else " ")
            image, original = pictures.get(name), pictures.get(f"{name.split('_')[0]}_Original.png")
            if image and original:
                yield Rated(image, original, number(score, file, name))


def _diffiqa(folder: Path, missing: list[str]) -> Iterator[Preferred]:
    # lines are x1,x2,original,score: 1 if x1 is better, 0 if x2 is, 0.5 if they are alike; x2 may be the original
    files = sorted(folder.glob("**/TripletEachType/*.txt"))
    if not files:
        raise ReaderError(f"{folder} has no TripletEachType/*.txt in any folder")
    pictures = Pictures(folder, missing, ".")
    for file in files:
        parts = [part.lower() for part in file.relative_to(folder).parts]
        split = next((one for one in _SPLITS for part in parts if part.startswith(one)), None)
        for line in lines(file):
            names = [name.strip() for name in line.split(",")]
            if len(names) < 4:
                raise ReaderError(f"{file}: '{line[:80]}' is not x1,x2,original,score; download it again")
            score = number(names[3], file, names[0])
            if not 0 <= score <= 1:
                raise ReaderError(f"{file}: the score of {names[0]} is {score:g}, not from 0 to 1")
            a, b, original = (pictures.get(name) for name in names[:3])
            if a and b and original:
                yield Preferred(a, b, original, score, split)


READERS = (
    Reader("sriqa", "SRIQA-Bench", "MOS/x1.txt.., images/<method>/", _sriqa, address=ADDRESS, licence=RESEARCH),
    Reader(
        "diffiqa",
        "DiffIQA",
        "**/TripletEachType/*.txt, <index>/ and Original/ with the images",
        _diffiqa,
        margin=0.5,
        address=ADDRESS,
        licence=RESEARCH,
    ),
)
