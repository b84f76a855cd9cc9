"""Images of a large run, decoded by threads while others are judged."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import DepictQAError, ImageError, quoted
from ..images.fingerprint import Fingerprint, fingerprint
from ..images.image import RGBImage, as_image
from ..images.image_files import AT_ONCE
from ..results import Failure
from ..runtime.machine import usable_cores
from .sources import Item

BATCH_PIXELS = 32 * 2**20
"""Pixels after which a batch is closed: 32 images of a megapixel. Three bytes each are in memory, for three batches."""


@dataclass(frozen=True)
class Loaded:
    """An image that is ready to be judged, or why it is not.

    Attributes:
        name: that of its Item.
        image: None where there is an error.
        error: one line without the name, or None.
        fingerprint: of the image.
    """

    name: str
    image: RGBImage | None = None
    error: str | None = None
    fingerprint: Fingerprint | None = None


def load(item: Item) -> Loaded:
    """Load, check and fingerprint one image; never raises because of its file."""
    try:
        source = item.load()
        image = as_image(source, item.name)
    except ImageError as error:
        return Loaded(item.name, error=Failure.of(item.name, error).error)
    except (OSError, DepictQAError) as error:
        return Loaded(item.name, error=f"cannot be read ({quoted(error)}). Check the path.")
    image.key  # noqa: B018  hashed here, in a thread, and kept by the image
    return Loaded(item.name, image, None, fingerprint(image.rgb))


def batches(
    items: Iterable[Item], start: int, part_rows: int, batch: int = AT_ONCE, threads: int | None = None
) -> Iterator[list[Loaded]]:
    """Load images in groups, the next group while the caller works on the last one.

    Args:
        items: what to load.
        start: place of the first one in the run, from 0.
        part_rows: rows of a part of the table.
        batch: images of a block: part n has the places from n * part_rows on, in blocks of this size.
        threads: decode at a time; None for one on each core.

    Yields:
        images in order. A group ends with its block or after ``BATCH_PIXELS``. So the groups of a run that was resumed,
        or whose blocks were judged on several machines, are those of one that was not.
    """
    threads = threads or usable_cores()
    with ThreadPoolExecutor(threads, "depictqa-decode") as pool, ThreadPoolExecutor(1, "depictqa-group") as ahead:
        groups = _groups(_in_order(items, pool, 2 * threads), start, part_rows, batch)
        following: Future = ahead.submit(next, groups, None)
        while (group := following.result()) is not None:
            following = ahead.submit(next, groups, None)
            yield group


def blocks(items: Iterable[Item], start: int, part_rows: int, batch: int) -> Iterator[tuple[int, list[Item]]]:
    """Yield the place of the first image of each block, and its items; arguments as in ``batches``."""
    block: list[Item] = []
    for place, item in enumerate(items, start):
        block.append(item)
        if block_ends(place, part_rows, batch):
            yield place + 1 - len(block), block
            block = []
    if block:
        yield place + 1 - len(block), block


def block_ends(place: int, part_rows: int, batch: int) -> bool:
    """Tell whether the image at a place of the run (from 0) is the last one of its block."""
    inside = place % part_rows + 1
    return inside % batch == 0 or inside == part_rows


def _in_order(items: Iterable[Item], pool: ThreadPoolExecutor, most: int) -> Iterator[Loaded]:
    waiting: deque[Future] = deque()
    for item in items:
        waiting.append(pool.submit(load, item))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _groups(loaded: Iterable[Loaded], start: int, part_rows: int, batch: int) -> Iterator[list[Loaded]]:
    group: list[Loaded] = []
    pixels = 0
    for place, one in enumerate(loaded, start):
        group.append(one)
        pixels += one.image.height * one.image.width if one.image else 0
        if pixels >= BATCH_PIXELS or block_ends(place, part_rows, batch):
            yield group
            group, pixels = [], 0
    if group:
        yield group
