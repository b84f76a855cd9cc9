"""Rating records and voting files from human opinions: pairs whose opinions differ by a margin (method.md 6.5, 8.3)."""

import os
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np

from depictqa_core import tasks
from depictqa_core.errors import ImageError
from training.dataset.records.image_paths import image_path

from ..building.plan import Plan
from ..readers import READERS, Preferred, Rated, ReaderError, read_set
from .format import ListFile, Part, make_record, record_rng
from .scene_records import rating_turn

ENUMERATED = 1_000_000
"""Maximum number of possible pairs that are listed and shuffled; from more, pairs are drawn at random."""

TEST_SHARE = 5
"""One of this many references belongs to "test" if a set has no splits of its own."""


@dataclass(frozen=True)
class RatedPair:
    """A pair with a clear order; ``reference`` is None where the set has none or the images have different ones."""

    a: str
    b: str
    reference: str | None
    a_better: bool


def in_split(found: list[Rated | Preferred], split: str | None) -> list[Rated | Preferred]:
    """Those of a split; sets without splits of their own are divided by reference (by image where there is none).

    Raises:
        ReaderError: the set has no such split.
    """
    if split is None:
        return found
    own = sorted({item.split for item in found if item.split is not None})
    if not own:
        own = ["test", "train"]
    if split not in own:
        raise ReaderError(f"unknown split '{split}': choose one of {', '.join(own)}")
    return [item for item in found if (item.split or _assigned(item)) == split]


def _assigned(item: Rated | Preferred) -> str:
    key = item.reference or (item.image if isinstance(item, Rated) else item.a)
    return "test" if zlib.crc32(key.encode()) % TEST_SHARE == 0 else "train"


def draw_pairs(
    found: Sequence[Rated | Preferred], most: int, margin: float, rng: np.random.Generator
) -> list[RatedPair]:
    """Up to ``most`` different pairs in random order, each side first in half of the cases.

    Images are paired with images of the same reference; those without references with one another.

    Args:
        margin: opinions must differ by this share of the range (highest minus lowest) of all; of preferences, the
            shares of the two sides must.
    """
    preferred = [item for item in found if isinstance(item, Preferred)]
    if preferred:
        pairs = _preferences(preferred, margin, rng)
    else:
        rated = [item for item in found if isinstance(item, Rated)]
        opinions = [item.mos for item in rated]
        pairs = _opinions(rated, margin * (max(opinions) - min(opinions)), rng) if rated else iter(())
    chosen: list[RatedPair] = []
    for a, b, reference, a_better in pairs:
        if len(chosen) == most:
            break
        swap = rng.random() < 0.5
        chosen.append(RatedPair(b, a, reference, not a_better) if swap else RatedPair(a, b, reference, a_better))
    return chosen


def _preferences(found: list[Preferred], margin: float, rng: np.random.Generator) -> Iterator[tuple]:
    for index in rng.permutation(len(found)):
        item = found[index]
        lead = 2 * item.share - 1
        if lead and abs(lead) >= margin:
            yield item.a, item.b, item.reference, lead > 0


def _opinions(found: list[Rated], gap: float, rng: np.random.Generator) -> Iterator[tuple]:
    groups: dict[str | None, list[Rated]] = defaultdict(list)
    for item in found:
        groups[item.reference].append(item)
    members = list(groups.values())
    for group, i, j in _index_pairs([len(group) for group in members], rng):
        a, b = members[group][i], members[group][j]
        if a.mos != b.mos and abs(a.mos - b.mos) >= gap:
            yield a.image, b.image, a.reference, a.mos > b.mos


def _index_pairs(sizes: list[int], rng: np.random.Generator) -> Iterator[tuple[int, int, int]]:
    """Different unordered pairs (group, i, j) of members of one group, uniformly over all such pairs."""
    counts = np.array([size * (size - 1) // 2 for size in sizes], np.int64)
    total = int(counts.sum())
    if total <= ENUMERATED:
        listed = [(group, i, j) for group, size in enumerate(sizes) for i, j in combinations(range(size), 2)]
        for index in rng.permutation(total):
            yield listed[index]
        return
    ends, seen, misses = np.cumsum(counts), set(), 0
    while misses < 1000:  # by then nearly all have been seen
        group = int(np.searchsorted(ends, rng.integers(total), side="right"))
        i, j = sorted(int(k) for k in rng.choice(sizes[group], 2, replace=False))
        if (group, i, j) in seen:
            misses += 1
            continue
        misses = 0
        seen.add((group, i, j))
        yield group, i, j


def write_ratings(plan: Plan, root: str | Path) -> dict[str, dict[str, int]]:
    """Write the rating records of a plan's human rating sets: ``<root>/records/rating_<fr|nr>_<reader>.json``.

    Returns:
        File name -> {"records": written, "missing images": rated ones that are not there}.

    Raises:
        ReaderError: a set is not in its folder.
    """
    written = {}
    for one in plan.ratings:
        folder = Path(root) / one.folder
        if not folder.is_dir() and plan.decided_ratings:
            raise ReaderError(
                f"{folder}: no such folder; put {READERS[one.reader].title} there, or use --decided-ratings, which "
                "makes pairs of distorted images instead of all human rating sets"
            )
        data = read_set(one.reader, folder)
        margin = READERS[one.reader].margin if one.margin is None else one.margin
        rng = record_rng(plan.seed, f"pairs {one.reader}", 0)
        pairs = draw_pairs(in_split(data.found, one.split), one.pairs, margin, rng)
        for setting in ("fr", "nr"):
            part = Part(f"rating_{setting}_{one.reader}", setting == "fr", plan.form, plan.mix)
            with ListFile(Path(root) / "records" / f"{part.name}.json") as file:
                for record in rating_records(one.reader, pairs, folder, root, part, plan.seed):
                    file.append(record)
            written[file.path.name] = {"records": file.count, "missing images": len(data.missing)}
    return written


def rating_records(
    name: str, pairs: list[RatedPair], folder: str | Path, root: str | Path, part: Part, seed: int
) -> Iterator[dict]:
    """Rating records of pairs; a record with and one without a reference differ in nothing else (method.md 6.3).

    Args:
        name: name of the set, part of the ids.
        folder: what the paths of the pairs are relative to; those of the records are relative to ``root``.
        part: setting, form and question forms; with a reference, pairs without one are left out.
    """
    for number, pair in enumerate(pairs):
        if part.reference and pair.reference is None:
            continue
        paths = {"image_ref": pair.reference if part.reference else None, "image_A": pair.a, "image_B": pair.b}
        images = {field: path and relative(folder, path, root) for field, path in paths.items()}
        question, answer = rating_turn(part, pair.a_better, record_rng(seed, f"rating {name}", number))
        key = f"{part.name}_{number:06d}"
        yield make_record(part, "quality_compare", key, images, question, answer, {"A_better_B": pair.a_better})


def voting_files(
    name: str, found: Sequence[Rated | Preferred], folder: str | Path, root: str | Path, references: int | None = None
) -> tuple[list[dict], dict]:
    """What an evaluation by voting needs: all pairs of each reference, and opinions by reference (method.md 3.4, 8.3).

    Each unordered pair is asked once.

    Args:
        references: maximum number of references (the first by name); None: all.

    Returns:
        (records in test form without answers, {reference: {"dist_paths": [...], "mos_list": [...]}}).

    Raises:
        ReaderError: the set has no references.
    """
    groups: dict[str, list[Rated]] = defaultdict(list)
    for item in found:
        if not isinstance(item, Rated) or item.reference is None:
            raise ReaderError(f"{READERS[name].title} has no opinions by reference: voting needs them")
        groups[item.reference].append(item)
    records: list[dict] = []
    truth = {}
    for reference in sorted(groups)[:references]:
        group = groups[reference]
        paths = [relative(folder, item.image, root) for item in group]
        pristine = relative(folder, reference, root)
        truth[pristine] = {"dist_paths": paths, "mos_list": [item.mos for item in group]}
        for a, b in combinations(paths, 2):
            images = {"image_ref": pristine, "image_A": a, "image_B": b}
            records.append({"id": f"{name}_{len(records):06d}", **images, "query": tasks.RATING.ask()})
    return records, truth


@lru_cache(maxsize=2**20)
def relative(folder: str | Path, path: str, root: str | Path) -> str:
    """A path below ``folder`` as seen from ``root``, with forward slashes.

    Raises:
        ReaderError: the image is not below the root, or a link leads out of it.
    """
    name = Path(os.path.relpath(Path(folder).resolve() / path, Path(root).resolve())).as_posix()
    try:
        image_path(root, name)
    except ImageError as error:
        raise ReaderError(f"{folder} holds images that are not below the data root {root}: {error}") from None
    return name
