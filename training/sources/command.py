"""The command ``images`` of ``python -m training``."""

import argparse
from pathlib import Path

from .manifest import ManifestError, load_manifest
from .prepare import DEFAULT_MANIFEST, SUFFIXES, hash_reserved, prepare
from .qt_resources import unpack_folder


def add_images(parser: argparse.ArgumentParser) -> None:
    """``images``: prepare pristine images from unpacked packages."""
    commands = parser.add_subparsers(dest="part", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="print the packages of a manifest, one a line: kind, name, version, id")
    listing.add_argument("--reserved", action="store_true", help="the packages reserved for independent evaluation")
    listing.set_defaults(run=_list)
    unpacking = commands.add_parser("unpack", help="unpack the Qt resource files (.rcc) below a folder")
    unpacking.add_argument("folder", type=Path)
    unpacking.set_defaults(run=lambda a: print(f"{unpack_folder(a.folder, SUFFIXES)} files unpacked"))
    hashing = commands.add_parser("hashes", help="print the perceptual hashes of the reserved images")
    hashing.add_argument("folder", type=Path, help="folder that fetch_pictures.sh --reserved filled")
    hashing.set_defaults(run=_hashes)
    making = commands.add_parser("prepare", help="check, de-duplicate, split and write the images")
    making.add_argument("out", type=Path)
    making.add_argument("--raw", type=Path, help="folder that fetch_pictures.sh filled")
    making.add_argument("--reserved", type=Path, help="folder that fetch_pictures.sh --reserved filled")
    making.add_argument("--verbose", action="store_true", help="print every dropped file with the reason")
    making.set_defaults(run=_prepare)
    for command in (listing, hashing, making):
        command.add_argument("--manifest", type=Path, default=DEFAULT_MANIFEST)


def _list(arguments: argparse.Namespace) -> None:
    manifest = load_manifest(arguments.manifest)
    for source in manifest.reserved if arguments.reserved else manifest.sources:
        print(source.kind, source.name, source.version, source.id)


def _hashes(arguments: argparse.Namespace) -> None:
    manifest = load_manifest(arguments.manifest)
    for code, name in sorted(hash_reserved(arguments.folder, manifest).items(), key=lambda item: item[1]):
        print(code, name)


def _prepare(arguments: argparse.Namespace) -> None:
    if arguments.raw is None and arguments.reserved is None:
        raise ManifestError("images prepare: give --raw, --reserved or both")
    for folder in filter(None, (arguments.raw, arguments.reserved)):
        if not folder.is_dir():
            raise ManifestError(f"there is no folder {folder}: fill it by fetch_pictures.sh first")
    manifest = load_manifest(arguments.manifest)
    verbose = print if arguments.verbose else None
    summary = prepare(arguments.raw, arguments.out, manifest, arguments.reserved, verbose)
    for name, counts in summary["sources"].items():
        print(f"{name}: " + (", ".join(f"{n} {split}" for split, n in counts.items()) or "none"))
    counted = ", ".join(f"{n} {split}" for split, n in summary["pictures"].items())
    print(f"total: {counted}; dropped {len(summary['dropped'])}")
    if summary["missing"]:
        print("not found: " + ", ".join(summary["missing"]))
