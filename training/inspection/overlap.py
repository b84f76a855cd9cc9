"""Finds what two data roots share: a test set must not show images that were trained on."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from depictqa_core.errors import ImageError
from depictqa_core.images.fingerprint import HashIndex, difference_hash
from depictqa_core.loading.checkpoint_folder import file_hash

from ..dataset.records.image_paths import image_path, read_image
from .counts import Entry, built

NEAR_BITS = 14
"""Largest distance of the perceptual hashes (128 bits) of images that count as the same, as in ``images prepare``."""


class Overlap(NamedTuple):
    """What is in both of two data roots.

    Attributes:
        sources: names of source images of their builds, without those drawn by program.
        files: image files with equal bytes, of the first.
        near: images of the first that look like one of the second, each with that one.
        compared: number of images of the first and of the second whose looks were compared.
    """

    sources: list[str]
    files: list[str]
    near: list[tuple[str, str]]
    compared: tuple[int, int]


def overlap(
    first: tuple[Path, Iterable[Entry]],
    second: tuple[Path, Iterable[Entry]],
    progress: Callable[[str], object] | None = None,
) -> Overlap:
    """Compare two data roots by names of sources, bytes of files, and the looks of pristine images.

    The pristine images are the references; of a root without any, all images.

    Args:
        first, second: data root and its entries.
        progress: called with the path of every image that is read.
    """
    pristine = [_pristine(entries) for _, entries in (first, second)]
    named = [_sources(root) for root, _ in (first, second)]
    hashes, looks = [], []
    for (root, _), paths in zip((first, second), pristine):
        bytes_of, look_of = {}, {}
        for path in paths:
            if progress:
                progress(path)
            try:
                bytes_of[path] = file_hash(image_path(root, path))
                look_of[path] = difference_hash(Image.fromarray(read_image(root, path).rgb))
            except (OSError, ImageError):
                continue
        hashes.append(bytes_of)
        looks.append(look_of)
    index = HashIndex(NEAR_BITS)
    for path, code in looks[1].items():
        index.add(code, path)
    near = [(path, found) for path, code in looks[0].items() if (found := index.first(code)) is not None]
    known = set(hashes[1].values())
    same = [path for path, code in hashes[0].items() if code in known]
    return Overlap(sorted(named[0] & named[1]), same, near, (len(looks[0]), len(looks[1])))


def _sources(root: Path) -> set[str]:
    """Names of the source images of a build. Those of drawings are left out: another seed draws others by them."""
    names = {str(line.get("source")) for line in built(root)} - {"None"}
    return {name for name in names if not name.startswith("drawn/")}


def _pristine(entries: Iterable[Entry]) -> list[str]:
    entries = list(entries)
    references = {entry.record["image_ref"] for entry in entries if entry.record.get("image_ref")}
    return sorted(references or {path for entry in entries for path in entry.images.values()})


def lines(found: Overlap, most: int = 5) -> list[str]:
    """The overlap as text, with at most ``most`` examples of each kind."""
    rows = [("sources of the same name", found.sources), ("equal image files", found.files)]
    rows.append(("images that look alike", [f"{one} like {other}" for one, other in found.near]))
    out = [f"{found.compared[0]:,} images compared with {found.compared[1]:,}"]
    for what, names in rows:
        shown = f": {', '.join(names[:most])}{' ...' if len(names) > most else ''}" if names else ""
        out.append(f"  {what}: {len(names):,}{shown}")
    return out
