"""What judges and metrics say about the pairs of a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ImageError
from ..images.image import RGBImage
from ..images.references import require_shape
from ..metrics.measuring import measure
from .evaluation import Opinion
from .images import open_image
from .votes import Plan

if TYPE_CHECKING:
    from ..judge import Judge
    from ..metrics.registry import Metric

Progress = Callable[[int, int], None]


def open_images(plan: Plan, votes: Path) -> tuple[list[RGBImage], list[RGBImage]]:
    """Open the images and the references of a study.

    Raises:
        ImageError: one is gone or has changed.
    """
    try:
        return [open_image(one, votes) for one in plan.images], [open_image(one, votes) for one in plan.references]
    except ImageError as error:
        raise ImageError(f"{error} (paths are relative to the folder of {votes.name})") from None


def of_judge(
    judge: Judge, name: str, plan: Plan, images: Sequence[RGBImage], references: Sequence[RGBImage], progress: Progress
) -> Opinion:
    """Ask a judge about all pairs, each in both orders."""
    pairs = [(images[left], images[right]) for left, right in plan.pairs]
    of_pairs = [_reference(plan, left, references) for left, _ in plan.pairs]
    found = judge.compare_many(pairs, of_pairs if references else None, progress=progress)
    return Opinion(name, np.array([one.probability_a for one in found]))


def of_metric(
    metric: Metric, plan: Plan, images: Sequence[RGBImage], references: Sequence[RGBImage], progress: Progress
) -> Opinion:
    """Measure all images, and prefer the better value; an image without a value has no preference.

    Raises:
        ImageError: no image has a value, or a reference has another shape than its image; says why.
    """
    values, problem = np.full(len(images), np.nan), ""
    for index, image in enumerate(images):
        reference = _reference(plan, index, references)
        if reference is not None:
            require_shape(reference, (image,))
        found, reasons = measure([metric], image, reference)
        value, problem = found[metric.name], reasons.get(metric.name, problem)
        values[index] = np.nan if value is None else metric.sign * value
        progress(index + 1, len(images))
    if not np.isfinite(values).any():
        raise ImageError(f"{problem} (so it is for all images)")
    left, right = np.array(plan.pairs).T
    preferred = (np.sign(values[left] - values[right]) + 1) / 2  # NaN stays
    return Opinion(metric.name, preferred, values)


def _reference(plan: Plan, image: int, references: Sequence[RGBImage]) -> RGBImage | None:
    place = plan.images[image].reference
    return None if place is None else references[place]
