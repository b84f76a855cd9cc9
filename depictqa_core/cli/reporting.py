"""``depictqa report``: one HTML page about a large run, with quality maps of its worst images."""

import argparse
import heapq
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bulk.parts import read_rows, read_run
from ..errors import DepictQAError, ImageError, OutOfMemory
from ..images.image import as_image
from ..ranking.quality_map import QualityMap, cut, grid, quality_map
from ..reports.progress import ProgressBar
from ..reports.text_table import printable
from ..results import Failure
from .inputs import open_judge, progress_bar
from .outputs import check_outputs, complain, notify
from .values import Verbs, file_name, whole

if TYPE_CHECKING:
    from ..judge import Judge


def add_report(verbs: Verbs, model: argparse.ArgumentParser) -> None:
    """Add ``depictqa report`` to the commands of ``depictqa``."""
    more = "The options of the model are for --maps: only these need a judge."
    verb = verbs.add_parser(
        "report",
        help="write an HTML page about a large run: gallery, filters, histograms, quality maps",
        parents=[model],
        epilog=more,
    )
    verb.add_argument("results", metavar="RESULTS", type=Path, help="folder that depictqa judge wrote")
    verb.add_argument("--out", required=True, metavar="FILE", type=file_name(".html", ".htm"), help="the page (.html)")
    verb.add_argument(
        "--thumbnails",
        type=whole(0, 512),
        default=128,
        metavar="PIXELS",
        help="longest side of the small images; 0 for none",
    )
    verb.add_argument(
        "--maps",
        type=whole(0),
        default=0,
        metavar="N",
        help="add quality maps of the N images with the lowest scores, which show where an image is bad; their tiles "
        "are judged now, by the judge of the run: name its checkpoint unless it is the bundled one (default: 0)",
    )
    verb.add_argument("--quiet", action="store_true", help="no progress bar, no notices, no summary")
    verb.set_defaults(refuse=verb.error)


def report(options: argparse.Namespace) -> int:
    """Run ``depictqa report``."""
    from ..reports.gallery import Maps, write_gallery

    if options.maps and not options.thumbnails:
        options.refuse("--maps needs small images to lie over; leave --thumbnails 0 out")
    if options.checkpoint is not None and not options.maps:
        options.refuse("--checkpoint needs --maps N; nothing else is judged")
    with progress_bar(options, "tiles") as bar:
        mapper = _mapper(options, bar) if options.maps else None
        maps = Maps(mapper.places, mapper, mapper.note) if mapper else None
        count = write_gallery(read_rows(options.results), options.out, options.thumbnails, maps)
    if not options.quiet:
        made = f", {mapper.made} maps" if mapper else ""
        size = os.path.getsize(options.out) / 1e6
        print(f"written: {printable(options.out)}, {count} images{made}, {size:.1f} MB")
    return 0


def _mapper(options: argparse.Namespace, bar: ProgressBar) -> "_Mapper | None":
    """What computes the maps; None if no image can have one."""
    check_outputs(options, [])
    places = _worst(options.results, options.maps)
    if not places:
        notify(options, ["no maps: no image with a score is a separate file"])
        return None
    judge, note = _judge_of_run(options, bar)
    bar.note("")
    notify(options, judge.notices)
    return _Mapper(judge, places, note, bar)


def _worst(folder: Path, count: int) -> set[int]:
    """The places in the table of the images with the lowest scores, of those that are separate files.

    Raises:
        DepictQAError: the run asked for no scores.
    """
    columns = ("image", "error", "score")
    if "score" not in read_run(folder)["columns"]:
        raise DepictQAError(f"{folder}: --maps needs scores, and this run has none; judge with --verbs score")
    scored = (
        (row["score"], place)
        for place, row in enumerate(read_rows(folder, columns))
        if row["error"] is None and row["score"] is not None and os.path.isfile(row["image"])
    )
    return {place for _, place in heapq.nsmallest(count, scored)}


def _judge_of_run(options: argparse.Namespace, bar: ProgressBar) -> tuple["Judge", str]:
    """Load the judge that makes the maps.

    Returns:
        the judge, and a note for the page if another one made the scores.

    Raises:
        DepictQAError: it is not that of the run, and nobody asked for it by name.
    """
    judge, of_run = open_judge(options, bar), read_run(options.results)["judge"]
    if all(judge.info.get(key) == value for key, value in of_run.items()):
        return judge, ""
    scores, maps = _title(of_run), _title(judge.info)
    if scores == maps:
        maps += " with other weights"
    if options.checkpoint is None:
        raise DepictQAError(
            f"{options.results}: judged by {scores}, and the bundled judge is {maps}; name a judge with --checkpoint"
        )
    return judge, f"The maps are by {maps}, the scores of whole images by {scores}."


def _title(judge: dict[str, Any]) -> str:
    return " ".join(str(judge[key]) for key in ("name", "version") if judge.get(key))


class _Mapper:
    """Computes one quality map after another, with a progress bar for each.

    Args:
        judge: scores the tiles.
        places, note: as in ``Maps``.
        bar: counts tiles.

    Attributes:
        made: number of maps so far.
    """

    def __init__(self, judge: "Judge", places: set[int], note: str, bar: ProgressBar):
        self.places, self.note = places, note
        self._judge, self._bar = judge, bar
        self.made = self._asked = 0

    def __call__(self, name: str) -> QualityMap | None:
        """Return the map of an image file; None, and a notice, if it cannot be judged any more."""
        self._asked += 1
        self._bar.label = f"map {self._asked} of {len(self.places)}"
        try:
            image = as_image(name)
            tiles = grid(image.height, image.width)
            scores = self._judge.score(cut(image, tiles), progress=self._bar)
        except (ImageError, OutOfMemory) as error:
            self._bar.note("")
            complain(f"no map: {name}: {Failure.of(name, error).error}")
            return None
        self.made += 1
        return quality_map(image, tiles, [score.score for score in scores])
