"""The list of packages that pictures come from: versions, licences, files, split and thresholds, read from YAML."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

KINDS = ("pip", "apt", "npm")


class ManifestError(ValueError):
    """The picture manifest is missing something or contradicts itself; the message names the entry."""


@dataclass(frozen=True)
class Rules:
    """Thresholds of the checks; a source may override any of them under `rules`.

    `min_short`, `max_long` are pixels; `min_mean`, `max_mean`, `min_std` are grey values in 0..255; `min_colours`
    counts colours of 5 bits per channel; `max_flat`, `max_transparent` are shares of the area; `min_chroma` is the
    99th percentile of max(R,G,B) - min(R,G,B); `min_detail` is the standard deviation of the grey Laplacian at the
    working size.
    """

    min_short: int = 256
    max_long: int = 1600
    min_mean: float = 30.0
    max_mean: float = 232.0
    min_std: float = 18.0
    min_colours: int = 250
    max_flat: float = 0.5
    max_transparent: float = 0.002
    min_chroma: float = 16.0
    min_detail: float = 4.0
    min_jpeg_quality: int = 60


@dataclass(frozen=True)
class Source:
    """One package of the manifest: `id` is the name of its unpacked folder and the prefix of its pictures."""

    id: str
    kind: str
    name: str
    version: str
    licence: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    group: str | None
    rules: Rules


@dataclass(frozen=True)
class Manifest:
    """The sources for training and validation, the reserved ones, and how to split and compare."""

    sources: tuple[Source, ...]
    reserved: tuple[Source, ...]
    seed: str
    validation_share: float
    near_duplicate_bits: int
    reserved_hashes: dict[str, str] = field(default_factory=dict)  # hash -> file name


def load_manifest(path: str | Path) -> Manifest:
    """Reads and checks a picture manifest (YAML).

    Raises:
        ManifestError: an entry lacks a field, names an unknown kind or rule, or stands in both the training and the
            reserved list.
    """
    path = Path(path)
    document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    base = _rules(Rules(), document.get("rules"), "rules")
    sources = tuple(_source(item, base) for item in document.get("sources") or ())
    reserved_block = document.get("reserved") or {}
    reserved = tuple(_source(item, base) for item in reserved_block.get("sources") or ())
    names = Counter((s.kind, s.name) for s in sources + reserved)
    for (kind, name), count in names.items():
        if count > 1:
            raise ManifestError(
                f"{path.name}: {kind} package {name} is listed {count} times; a reserved package must not be a source"
            )
    ids = Counter(s.id for s in sources + reserved)
    if max(ids.values(), default=0) > 1:
        raise ManifestError(f"{path.name}: source id {ids.most_common(1)[0][0]} is used twice")
    hashes = {}
    if reserved_block.get("hashes"):
        lines = (path.parent / reserved_block["hashes"]).read_text(encoding="utf-8").splitlines()
        hashes = dict(line.split(None, 1) for line in lines if line.strip() and not line.startswith("#"))
    share = float(document.get("validation_share", 0.12))
    if not 0.0 <= share < 1.0:
        raise ManifestError(f"{path.name}: validation_share is {share}, but must be at least 0 and below 1")
    return Manifest(
        sources, reserved, str(document.get("seed", "")), share, int(document.get("near_duplicate_bits", 14)), hashes
    )


def _source(item: dict, base: Rules) -> Source:
    missing = [key for key in ("kind", "name", "version", "licence") if not item.get(key)]
    label = item.get("name") or item
    if missing:
        raise ManifestError(f"source {label}: missing {', '.join(missing)}")
    if item["kind"] not in KINDS:
        raise ManifestError(f"source {label}: kind is {item['kind']!r}, but must be one of {', '.join(KINDS)}")
    identity = item.get("id") or item["name"].lstrip("@").replace("/", "-")
    group = item.get("group")
    if group and re.compile(group).groups != 1:
        raise ManifestError(f"source {label}: group must be a regular expression with exactly one group")
    include = tuple(item.get("include") or ("*",))
    return Source(
        identity,
        item["kind"],
        item["name"],
        str(item["version"]),
        item["licence"],
        include,
        tuple(item.get("exclude") or ()),
        group,
        _rules(base, item.get("rules"), f"source {label}"),
    )


def _rules(base: Rules, changes: dict | None, where: str) -> Rules:
    values = asdict(base)
    for key, value in (changes or {}).items():
        if key not in values:
            raise ManifestError(f"{where}: unknown rule {key!r}; known are {', '.join(values)}")
        values[key] = type(values[key])(value)
    return Rules(**values)


def assign_split(source: Source, inner: str, manifest: Manifest) -> str:
    """ "train" or "validation" for a picture, from a hash of seed, source and picture name alone.

    `source.group` names the part of the stem that variants of one scene share, so that they fall into the same split.
    """
    stem = Path(inner).stem
    match = re.match(source.group, stem) if source.group else None
    key = match.group(1) if match else stem
    number = int.from_bytes(hashlib.sha256(f"{manifest.seed}\n{source.id}\n{key}".encode()).digest()[:8], "big")
    return "validation" if number / 2**64 < manifest.validation_share else "train"
