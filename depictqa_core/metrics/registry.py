"""The metrics by name, each with what it needs and which way is better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from ..errors import DepictQAError, ImageError, PackageError, TaskError
from ..runtime.plugins import METRICS, load_plugin, plugins
from .naturalness import brisque, brisque_parameters, niqe

Measure = Callable[[np.ndarray, np.ndarray | None], float]


@dataclass(frozen=True)
class Metric:
    """A quality metric. Other packages provide one by an entry point ``depictqa.metrics``.

    Attributes:
        name: as tables show it.
        reference: whether it compares with a reference.
        sign: 1 where more is better, -1 where less is.
        measure: (image, reference or None), uint8 RGB [H, W, 3] each -> value. It may raise DepictQAError or
            ValueError for an image that it cannot measure.
        missing: says why it cannot be computed here, or gives None.
    """

    name: str
    reference: bool
    sign: int
    measure: Measure
    missing: Callable[[], str | None] = lambda: None

    def __call__(self, image: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Measure one image.

        Raises:
            ImageError: it has no value: another size than the reference, too small, of one colour.
            TaskError: the reference is missing.
        """
        if self.reference and reference is None:
            raise TaskError(f"{self.name} compares with a reference: give one, or leave {self.name} out")
        try:
            value = float(self.measure(image, reference if self.reference else None))
        except (ValueError, AssertionError, RuntimeError) as error:
            raise ImageError(f"{self.name}: {error}") from error
        if not np.isfinite(value):
            raise ImageError(f"{self.name}: the value is {value}; it has no meaning here")
        return value


def _piq(name: str, image: np.ndarray, reference: np.ndarray | None) -> float:
    import piq
    import torch

    if reference is None or image.shape != reference.shape:
        sizes = [f"{one.shape[1]} x {one.shape[0]}" for one in (image, reference) if one is not None]
        raise ValueError(f"the image has {sizes[0]} pixels, its reference {sizes[-1]}")
    pair = [torch.from_numpy(one.astype(np.float32) / 255).permute(2, 0, 1)[None] for one in (image, reference)]
    with torch.inference_mode():
        return float(getattr(piq, name)(*pair, data_range=1.0))


@cache
def _no_piq() -> str | None:
    try:
        import piq  # noqa: F401
    except ImportError:
        return "it needs the package piq: pip install piq"
    return None


def _no_parameters() -> str | None:
    try:
        brisque_parameters()
    except DepictQAError as error:
        return str(error)
    return None


BUILT_IN = (
    *(
        Metric(name, True, sign, partial(_piq, function), _no_piq)
        for name, sign, function in (
            ("PSNR", 1, "psnr"),
            ("SSIM", 1, "ssim"),
            ("MS-SSIM", 1, "multi_scale_ssim"),
            ("GMSD", -1, "gmsd"),
            ("HaarPSI", 1, "haarpsi"),
        )
    ),
    Metric("BRISQUE", False, -1, lambda image, _: brisque(image), _no_parameters),
    Metric("NIQE", False, -1, lambda image, _: niqe(image)),
)
"""The metrics of piq 0.8 on RGB; BRISQUE and NIQE on luma."""


def known() -> dict[str, Metric]:
    """All metrics by name, those of other packages last.

    Raises:
        PackageError: a package provides something else than a metric, or a name that is taken.
    """
    found = {metric.name: metric for metric in BUILT_IN}
    for name, entry in plugins(METRICS).items():
        metric = load_plugin(entry)
        if not isinstance(metric, Metric) or metric.name in found:
            raise PackageError(
                f"{name} ({entry.value}): an entry point {METRICS} must name a Metric of its own name; update the"
                " package"
            )
        found[metric.name] = metric
    return found


def usable(metrics: Sequence[Metric]) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that can be computed here, and why the others cannot, by name."""
    reasons = {metric.name: metric.missing() for metric in metrics}
    return [one for one in metrics if reasons[one.name] is None], {name: why for name, why in reasons.items() if why}


def chosen(names: Sequence[str] | None, reference: bool) -> list[Metric]:
    """The metrics to compute.

    Args:
        names: theirs, in any capitals; None for all that can be computed here.
        reference: whether there is one.

    Raises:
        TaskError: an unknown name, or a metric that needs a reference where there is none.
        PackageError: a metric that was named cannot be computed here.
    """
    metrics = known()
    if names is None:
        return usable([one for one in metrics.values() if reference or not one.reference])[0]
    by_name = {name.casefold(): metric for name, metric in metrics.items()}
    found = []
    for name in names:
        metric = by_name.get(name.casefold())
        if metric is None:
            raise TaskError(f"metric {name}: is not known; there are {', '.join(metrics)}")
        if metric.reference and not reference:
            raise TaskError(f"{metric.name} compares with a reference: give --reference, or leave {metric.name} out")
        if why := metric.missing():
            raise PackageError(f"{metric.name} cannot be computed here: {why}")
        found.append(metric)
    return found
