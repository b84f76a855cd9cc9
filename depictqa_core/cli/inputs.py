"""What the commands read: images as they are named, the reference, the judge."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import DepictQAError, ImageError, quoted
from ..images.image import RGBImage, as_image
from ..images.image_files import load_images, lost
from ..images.references import OTHER_SHAPE, Fitted
from ..images.search import Found, search
from ..reports import progress
from ..results import Failure
from .outputs import check_outputs, complain, outputs_of
from .server import server_options, vllm_arguments

if TYPE_CHECKING:
    from ..judge import Judge


def load_with_reference(
    names: Sequence[str], reference: Fitted
) -> Iterator[tuple[list[RGBImage], list[RGBImage] | None, list[Failure]]]:
    """Load images with the reference of each; images with another aspect ratio than the reference are failures."""
    for images, failures in load_images(names):
        fitting: list[RGBImage] = []
        references: list[RGBImage] = []
        for image in images:
            try:
                its_reference = reference.beside(image)
            except ImageError as error:
                failures.append(Failure.of(image.name, error))
                continue
            fitting.append(image)
            if its_reference is not None:
                references.append(its_reference)
        yield fitting, references if reference.reference else None, failures


def find_images(options: argparse.Namespace) -> Found:
    """The image files that the command names; refuses outputs that would replace one of them."""
    found = search(options.pictures, options.recursive, [path for _, path in outputs_of(options)])
    check_outputs(options, found.names)
    return found


def skipped(found: Found) -> dict:
    """Return the files left out for the JSON; an empty dict if there are none."""
    return {"skipped": [one.to_dict() for one in found.left_out] or None}


def without_lost(error: ImageError, pictures: list[RGBImage], failures: list[Failure]) -> list[int]:
    """Return the indexes of the images that can still be read, after one of them could not be read again.

    The others are added to ``failures`` and reported. Raise ``error`` if all can be read, or none.
    """
    gone = {failure.picture: failure for failure in lost(pictures)}
    kept = [index for index, picture in enumerate(pictures) if picture.name not in gone]
    if not gone or not kept:
        raise error
    failures += gone.values()
    for failure in gone.values():
        complain(f"{failure.picture}: {failure.error}")
    return kept


def open_reference(options: argparse.Namespace) -> Fitted:
    """The reference of the command, if it names one."""
    return Fitted(None if options.reference is None else as_image(options.reference, "reference"))


def report_failures(failures: list[Failure], total: int) -> None:
    """Report the images that cannot be judged; raise ImageError, with their common cause, if none can."""
    for failure in failures:
        complain(f"{failure.picture}: {failure.error}")
    if failures and len(failures) == total:
        if all(OTHER_SHAPE in failure.error for failure in failures):
            raise ImageError("no image has the aspect ratio of the reference")
        raise ImageError("none of the images could be judged" if total > 1 else "the image could not be judged")


def open_judge(options: argparse.Namespace, bar: progress.ProgressBar) -> "Judge":
    """Load the judge that the options name.

    Raises:
        DepictQAError: it cannot be loaded.
    """
    bar.note("loading the model ...")
    return opening(options)()


def opening(options: argparse.Namespace) -> Callable[[], "Judge"]:
    """Return what loads the judge that the options name, in this process or, pickled, in another one."""
    more = {"anchors": options.anchors, "encoder": options.encoder, "compiled": options.compile}
    more["base"] = options.base
    if options.cache is not None:
        more["cache_bytes"] = options.cache * 2**20
    more |= {**server_options(options), "vllm": vllm_arguments(options)}
    return partial(_load, options.checkpoint, options.device, options.dtype, **more)


def _load(checkpoint: str | None, device: str, dtype: str, **more: Any) -> "Judge":
    from ..judge import load_judge
    from ..runtime.threads import keep_freed_memory

    keep_freed_memory()
    try:
        return load_judge(checkpoint, device=device, dtype=dtype, **more)
    except (RuntimeError, AssertionError) as error:  # raised by torch for an unusable device
        raise DepictQAError(f"the model cannot be moved to device '{device}': {quoted(error)}") from error


def progress_bar(options: argparse.Namespace, unit: str) -> progress.ProgressBar:
    """The bar of a command that counts ``unit``."""
    return progress.ProgressBar("judging", unit, options.quiet)
