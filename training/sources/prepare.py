"""Prepare pristine images from unpacked public packages: check, de-duplicate and split them (method.md 6.1, 6.2).

The packages are listed in a manifest such as `training/recipes/mini/pictures.yaml` and are fetched by a person with
`fetch_pictures.sh`; nothing here uses the network. Data flow: manifest + unpacked folder -> candidates -> checks ->
near-duplicates -> split -> files + pictures.json.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from PIL import Image

from depictqa_core.images.fingerprint import HashIndex, difference_hash
from depictqa_core.images.search import PHOTOGRAPH_EXTENSIONS

from ..output_files import write_file, write_text
from .image_checks import UNREADABLE, load_rgb, measure, open_checked
from .manifest import Manifest, ManifestError, Source, assign_split, load_manifest

SUFFIXES = (*PHOTOGRAPH_EXTENSIONS, ".jxl")
SPLITS = ("train", "validation", "reserved")
MIN_PROTECTED_SIDE = 64  # pixels; below this a hash says too little
LONGEST_STEM = 200  # of the 255 bytes of a file name; a hash and a suffix may follow
DEFAULT_MANIFEST = Path(__file__).parents[1] / "recipes" / "mini" / "pictures.yaml"


@dataclass(frozen=True)
class ManifestEntry:
    """One accepted image as in pictures.json; `file` is relative to the output folder, sizes are pixels."""

    file: str
    split: str
    source: str
    version: str
    licence: str
    original: str
    height: int
    width: int
    original_height: int
    original_width: int
    hash: str


def candidates(source: Source, raw_dir: str | Path) -> list[Path]:
    """Files of the source under `raw_dir/<id>` with an image's suffix that pass include and exclude, sorted by path.

    Globs are matched without regard to case against the path inside the source's folder; `*` also matches `/`.
    """
    root = Path(raw_dir) / source.id
    found = []
    for file in sorted(root.rglob("*"), key=lambda f: f.relative_to(root).as_posix()):
        inner = file.relative_to(root).as_posix().lower()
        if file.suffix.lower() not in SUFFIXES or file.is_symlink() or not file.is_file():
            continue
        if _matches(inner, source.include) and not _matches(inner, source.exclude):
            found.append(file)
    return found


def _matches(inner: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(inner, glob.lower()) for glob in globs)


def prepare(
    raw_dir: str | Path | None,
    out_dir: str | Path,
    manifest: str | Path | Manifest,
    reserved_dir: str | Path | None = None,
    log: Callable[[str], None] | None = None,
) -> dict:
    """Checks, de-duplicates, splits and writes the images, and writes `out_dir/pictures.json`.

    Args:
        raw_dir: folder with one unpacked folder per source id; None to prepare the reserved images alone.
        out_dir: receives `train/`, `validation/`, `reserved/` (replaced) and `pictures.json`.
        manifest: manifest file or the loaded manifest.
        reserved_dir: folder with the unpacked reserved packages, if they are there. Training images that resemble
            any readable image of theirs, fit or not, are dropped; the hashes that the manifest lists protect them
            where the folder is missing.
        log: called with one line of text per dropped file, if given.

    Returns:
        {"images": {split: count}, "sources": {id: {split: count}}, "missing": [id],
        "dropped": [{"source", "original", "reason"}]}.
        The same dictionary and the list of entries stand in pictures.json.

    Raises:
        ManifestError: the manifest is unusable, or not one listed source is in the folders.
    """
    manifest = manifest if isinstance(manifest, Manifest) else load_manifest(manifest)
    parts = [(source, Path(reserved_dir), True) for source in manifest.reserved] if reserved_dir is not None else []
    parts += [(source, Path(raw_dir), False) for source in manifest.sources] if raw_dir is not None else []
    missing = [source.id for source, folder, _ in parts if not (folder / source.id).is_dir()]
    if len(missing) == len(parts):
        raise ManifestError("none of the listed sources is in the given folders; run fetch_pictures.sh first")
    protected = dict(manifest.reserved_hashes)
    if reserved_dir is not None:
        protected.update(hash_reserved(reserved_dir, manifest))
    dropped: list[dict] = []

    def drop(source: Source, inner: str, reason: str) -> None:
        dropped.append({"source": source.id, "original": inner, "reason": reason})
        if log:
            log(f"dropped {source.id}/{inner}: {reason}")

    checked = []  # reserved first, then larger first, ties by name: the order in which near-duplicates are kept
    for source, folder, is_reserved in parts:
        for file in candidates(source, folder):
            inner = file.relative_to(folder / source.id).as_posix()
            try:
                picture, reason = open_checked(file, source.rules)
            except UNREADABLE as error:
                drop(source, inner, f"cannot be read: {type(error).__name__}")
                continue
            if picture is None:
                drop(source, inner, reason or "")
                continue
            checked.append(
                (
                    not is_reserved,
                    -picture.width * picture.height,
                    source.id,
                    inner,
                    source,
                    file,
                    difference_hash(picture),
                )
            )
    checked.sort(key=lambda item: item[:4])

    out = Path(out_dir)
    for split in SPLITS:
        shutil.rmtree(out / split, ignore_errors=True)
    entries: list[ManifestEntry] = []
    taken: set[str] = set()
    kept, guarded = HashIndex(manifest.near_duplicate_bits), HashIndex(manifest.near_duplicate_bits)
    for other, name in protected.items():
        guarded.add(other, name)
    for for_training, _, _, inner, source, file, code in checked:
        twin = kept.first(code)
        if twin is None and for_training:
            twin = guarded.first(code)
            twin = f"reserved {twin}" if twin else None
        if twin:
            drop(source, inner, f"near-duplicate of {twin}")
            continue
        split = assign_split(source, inner, manifest) if for_training else "reserved"
        entry = _write(file, inner, source, split, out, taken, code)
        entries.append(entry)
        taken.add(Path(entry.file).stem.lower())
        kept.add(code, entry.file)
    entries.sort(key=lambda entry: entry.file)
    summary = {
        "pictures": {split: sum(e.split == split for e in entries) for split in SPLITS},
        "sources": {
            source.id: {
                split: n for split in SPLITS if (n := sum(e.source == source.id and e.split == split for e in entries))
            }
            for source, _, _ in parts
            if source.id not in missing
        },
        "dropped": sorted(dropped, key=lambda item: (item["source"], item["original"])),
        "missing": missing,
    }
    out.mkdir(parents=True, exist_ok=True)
    document = {"pictures": [asdict(entry) for entry in entries], "summary": summary}
    write_text(out / "pictures.json", json.dumps(document, indent=1) + "\n")
    return summary


def hash_reserved(reserved_dir: str | Path, manifest: Manifest) -> dict[str, str]:
    """{hash: "source/file"} of every readable image of the reserved sources, excluded ones too, but no constant ones.

    This is what `reserved_hashes.txt` holds, so that training images are checked against the reserved ones without
    downloading them.
    """
    found: dict[str, str] = {}
    for source in manifest.reserved:
        for file in candidates(replace(source, exclude=()), reserved_dir):
            try:
                picture = load_rgb(file)
            except UNREADABLE:
                continue
            if min(picture.size) >= MIN_PROTECTED_SIDE and measure(picture)["std"] >= source.rules.min_std:
                found.setdefault(difference_hash(picture), f"{source.id}/{file.name}")
    return found


def _write(file: Path, inner: str, source: Source, split: str, out: Path, taken: set[str], code: str) -> ManifestEntry:
    picture = load_rgb(file)
    height, width = picture.height, picture.width
    scale = source.rules.max_long / max(height, width)
    with Image.open(file) as opened:  # an upright RGB JPEG or PNG that is small enough is copied byte for byte
        as_is = (
            scale >= 1.0
            and opened.mode == "RGB"
            and opened.format in ("JPEG", "PNG")
            and opened.getexif().get(0x0112, 1) == 1
        )
        suffix = ".jpg" if as_is and opened.format == "JPEG" else ".png"
    stem = f"{source.id}__" + (re.sub(r"[^A-Za-z0-9._-]+", "-", Path(inner).stem).strip("-.") or "picture")
    stem = stem[:LONGEST_STEM]
    if stem.lower() in taken:
        stem += "-" + hashlib.sha256(inner.encode()).hexdigest()[:6]
    target = out / split / (stem + suffix)
    target.parent.mkdir(parents=True, exist_ok=True)
    if as_is:
        write_file(target, lambda part: shutil.copyfile(file, part))
    else:
        if scale < 1.0:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        write_file(target, lambda part: picture.save(part, "PNG", compress_level=3))
    return ManifestEntry(
        target.relative_to(out).as_posix(),
        split,
        source.id,
        source.version,
        source.licence,
        inner,
        picture.height,
        picture.width,
        height,
        width,
        code,
    )
