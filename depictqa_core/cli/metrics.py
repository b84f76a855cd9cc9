"""``depictqa metrics``: classical quality metrics of images, with or without a reference."""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import ImageError
from ..images.image import RGBImage
from ..images.image_files import load_images
from ..images.references import Fitted
from ..images.search import left_out_lines
from ..reports.progress import ProgressBar
from ..reports.text_table import table
from ..results import Failure
from .inputs import find_images, open_reference
from .outputs import complain, write_answers
from .values import Verbs, file_name, names

if TYPE_CHECKING:
    from ..metrics.registry import Metric


def add_metrics(verbs: Verbs, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add the command to those of ``depictqa``."""
    more = "With a reference: PSNR, SSIM, MS-SSIM, GMSD, HaarPSI (pip install piq). Without: BRISQUE, NIQE."
    verb = verbs.add_parser("metrics", help="compute classical quality metrics", parents=list(parents), epilog=more)
    verb.add_argument(
        "--metrics", type=names, metavar="NAMES", help="which, separated by commas (default: all that can be computed)"
    )
    verb.add_argument("--csv", metavar="FILE", type=file_name(".csv"), help="write the values as rows to FILE (.csv)")


def measure(options: argparse.Namespace) -> int:
    """Run ``depictqa metrics``."""
    from ..metrics.registry import chosen

    found, reference = find_images(options), open_reference(options)
    metrics = chosen(options.metrics, reference.reference is not None)
    rows: list[dict[str, Any]] = []
    failures: list[Failure] = []
    without: dict[str, list[str]] = {}
    with ProgressBar("measuring", "images", options.quiet) as bar:
        for images, unreadable in load_images(found.names):
            failures += unreadable
            for image in images:
                try:
                    rows.append(_values(image, reference, metrics, without))
                except ImageError as error:
                    failures.append(Failure.of(image.name, error))
                bar(len(rows) + len(failures), len(found.names))
    for failure in failures:
        complain(f"{failure.picture}: {failure.error}")
    if not rows:
        raise ImageError("none of the images could be measured")
    notices = [*left_out_lines(found.left_out), *reference.notices]
    notices += [f"{reason} ({len(names)} images, such as {names[0]})" for reason, names in without.items()]
    better = {metric.name: "more" if metric.sign > 0 else "less" for metric in metrics}
    shown = partial(_table, rows, better)
    write_answers(options, {"name": None}, rows, failures, lambda width, _: shown(width), notices, better=better)
    return 3 if failures else 0


def _values(
    image: RGBImage, reference: Fitted, metrics: Sequence["Metric"], without: dict[str, list[str]]
) -> dict[str, Any]:
    """One row: the value of each metric, None where it has none; ``without`` gets the image by the reason."""
    from ..metrics.measuring import measure as measured

    values, reasons = measured(metrics, image, reference.beside(image))
    for reason in reasons.values():
        without.setdefault(reason, []).append(image.name)
    return {"picture": image.name, **values}


def _table(rows: Sequence[dict[str, Any]], better: dict[str, str], width: int | None) -> str:
    columns = ["picture", *(f"{name} ({way} is better)" for name, way in better.items())]
    cells = [[row["picture"], *("-" if row[name] is None else f"{row[name]:.4g}" for name in better)] for row in rows]
    return table(columns, cells, "<" + ">" * len(better), width, shrink=0)
