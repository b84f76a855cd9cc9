"""Metrics of one image: the values, and why some have none."""

from collections.abc import Sequence

from ..errors import DepictQAError
from ..images.image import RGBImage
from ..images.references import common_size
from .registry import Metric


def measure(
    metrics: Sequence[Metric], image: RGBImage, reference: RGBImage | None = None
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Compute metrics of one image.

    Args:
        metrics: which.
        image: the image.
        reference: its undistorted original, of the same aspect ratio; both are brought to their ``common_size``.

    Returns:
        the value by the name of the metric, None where it has none; and the reasons for those, one line each.
    """
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    if reference is not None:
        (fitted,), reference = common_size((image,), reference)
    for metric in metrics:
        try:
            if metric.reference and reference is not None:
                values[metric.name] = metric(fitted.rgb, reference.rgb)
            else:
                values[metric.name] = metric(image.rgb)
        except DepictQAError as error:
            values[metric.name], reasons[metric.name] = None, str(error)
    return values, reasons
