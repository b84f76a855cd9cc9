"""The manifest of image packages in YAML: versions, licences, files, split and thresholds."""

import hashlib
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from depictqa_core.errors import DepictQAError
from depictqa_core.storage.documents import describe, named, nearest, read_text
from depictqa_core.storage.rules import Rule, is_number, number, one_of, problem, whole

from ..validation import NAME, TEXT, Allowed, checked, data_model, instance_of, optional, read_yaml

KINDS = ("pip", "apt", "npm")
SOURCES = Rule("a list of sources", lambda v: v is None or isinstance(v, list))
KEYS = {
    "sources": SOURCES,
    "reserved": Rule("sources and hashes", lambda v: v is None or isinstance(v, dict)),
    "rules": Rule("thresholds by name", lambda v: v is None or isinstance(v, dict)),
    "seed": Rule("a text or a number", lambda v: TEXT.fits(v) or is_number(v)),
    "validation_share": Rule("a share that must be at least 0 and below 1", lambda v: is_number(v) and 0 <= v < 1),
    "near_duplicate_bits": whole(0, 128),
}
RESERVED = {"sources": SOURCES, "hashes": NAME}


class ManifestError(DepictQAError, ValueError):
    """The image manifest is missing something or contradicts itself; the message names the entry."""


SIDE, GREY, SHARE_OF_AREA = whole(1, 10**6), number(0, 255), number(0, 1)
TEXTS = Rule(
    "a text, or a list of texts", lambda v: isinstance(v, tuple) and len(v) <= 10_000 and all(map(TEXT.fits, v))
)


def _is_group(value) -> bool:
    try:
        return TEXT.fits(value) and len(value) <= 1000 and re.compile(value).groups == 1
    except (re.error, RecursionError, OverflowError):
        return False


@data_model
class Rules:
    """Thresholds of the checks; a source may override any of them under `rules`.

    `min_short`, `max_long` are pixels; `min_mean`, `max_mean`, `min_std` are grey values in 0..255; `min_colours`
    counts colours of 5 bits per channel; `max_flat`, `max_transparent` are shares of the area; `min_chroma` is the
    99th percentile of max(R,G,B) - min(R,G,B); `min_detail` is the standard deviation of the grey Laplacian at the
    working size.
    """

    min_short: Annotated[int, Allowed(SIDE)] = 256
    max_long: Annotated[int, Allowed(SIDE)] = 1600
    min_mean: Annotated[float, Allowed(GREY)] = 30.0
    max_mean: Annotated[float, Allowed(GREY)] = 232.0
    min_std: Annotated[float, Allowed(GREY)] = 18.0
    min_colours: Annotated[int, Allowed(whole(0, 2**24))] = 250
    max_flat: Annotated[float, Allowed(SHARE_OF_AREA)] = 0.5
    max_transparent: Annotated[float, Allowed(SHARE_OF_AREA)] = 0.002
    min_chroma: Annotated[float, Allowed(GREY)] = 16.0
    min_detail: Annotated[float, Allowed(number(0, 1e6))] = 4.0
    min_jpeg_quality: Annotated[int, Allowed(whole(0, 100))] = 60


@data_model
class Source:
    """One package of the manifest: `id` is the name of its unpacked folder and the prefix of its images."""

    id: Annotated[str, Allowed(Rule("a name without / and ..", lambda v: NAME.fits(v) and Path(v).name == v != ".."))]
    kind: Annotated[str, Allowed(one_of(*KINDS))]
    name: Annotated[str, Allowed(NAME)]
    version: Annotated[str, Allowed(NAME)]
    licence: Annotated[str, Allowed(NAME)]
    include: Annotated[tuple[str, ...], Allowed(TEXTS)]
    exclude: Annotated[tuple[str, ...], Allowed(TEXTS)]
    group: Annotated[str | None, Allowed(optional(Rule("a regular expression with exactly one group", _is_group)))]
    rules: Annotated[Rules, Allowed(instance_of(Rules, "thresholds by name"))]


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
    """Reads and checks an image manifest (YAML).

    Raises:
        ManifestError: an entry lacks a field, names an unknown kind or rule, or stands in both the training and the
            reserved list.
    """
    path = Path(path)
    document = read_yaml(path, where=f"the manifest {named(path)}", error=ManifestError)
    if unknown := [key for key in document if key not in KEYS]:
        raise ManifestError(
            f"{path.name}: unknown key {unknown[0]}{nearest(unknown[0], KEYS)}; known keys are {', '.join(KEYS)}"
        )
    reserved_block = document.get("reserved") or {}
    if wrong := problem(document, KEYS) or problem(reserved_block, RESERVED, "reserved."):
        raise ManifestError(f"{path.name}: {wrong}")
    base = _rules(Rules(), document.get("rules"), "rules")
    sources = tuple(_source(item, base) for item in document.get("sources") or ())
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
        hashes = _read_hashes(path.parent / reserved_block["hashes"])
    share, bits = document.get("validation_share", 0.12), document.get("near_duplicate_bits", 14)
    return Manifest(sources, reserved, str(document.get("seed", "")), share, bits, hashes)


def _read_hashes(path: Path) -> dict[str, str]:
    """Hash -> file name, from a file with a hash and a name in each line."""
    found = {}
    for line in read_text(path, error=ManifestError).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        code, _, name = line.strip().partition(" ")
        if not re.fullmatch("[0-9a-f]{32}", code):
            raise ManifestError(f"{path.name}: {describe(code)} is not a hash of 32 hex digits")
        found[code] = name.strip()
    return found


def _source(item, base: Rules) -> Source:
    if not isinstance(item, dict):
        raise ManifestError(f"source {describe(item)}: must hold keys and values")
    label = item.get("name") or describe(item)
    where = f"source {label}"
    if missing := [key for key in ("kind", "name", "version", "licence") if not item.get(key)]:
        raise ManifestError(f"{where}: missing {', '.join(missing)}")
    lists = {key: item.get(key) or default for key, default in (("include", ["*"]), ("exclude", []))}
    content = {
        "id": str(item["name"]).lstrip("@").replace("/", "-"),
        "group": None,
        **item,
        "version": str(item["version"]),
        **{key: tuple([value] if isinstance(value, str) else value) for key, value in lists.items() if _is_list(value)},
        "rules": _rules(base, item.get("rules"), where),
    }
    return checked(Source, content, where, ManifestError)


def _is_list(value) -> bool:
    return isinstance(value, list | str)


def _rules(base: Rules, changes, where: str) -> Rules:
    if not isinstance(changes or {}, dict):
        raise ManifestError(f"{where}: rules is {describe(changes)}; allowed: thresholds by name")
    return checked(Rules, {**asdict(base), **(changes or {})}, where, ManifestError)


def assign_split(source: Source, inner: str, manifest: Manifest) -> str:
    """ "train" or "validation" for an image, from a hash of seed, source and image name alone.

    `source.group` names the part of the stem that variants of one scene share, so that they fall into the same split.
    """
    stem = Path(inner).stem
    match = re.match(source.group, stem) if source.group else None
    key = match.group(1) if match else stem
    number = int.from_bytes(hashlib.sha256(f"{manifest.seed}\n{source.id}\n{key}".encode()).digest()[:8], "big")
    return "validation" if number / 2**64 < manifest.validation_share else "train"
