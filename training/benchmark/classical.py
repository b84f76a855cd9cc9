"""Classical metrics as contenders: their values score images and decide pairs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from depictqa_core.metrics.registry import Metric

from ..dataset.readers import Preferred, Rated
from ..evaluation import peers
from .items import Workload, group_of
from .measures import measure_pairs, measure_scores
from .records import rated_pairs
from .summaries import RunOptions, store

Shown = list[tuple[Rated | Preferred, str | None]]
"""What metrics can answer of a workload: items with the reference that is shown."""


def metric_values(works: Sequence[Workload], metrics: Sequence[Metric], file: Path) -> peers.Values:
    """Compute the values of all metrics for all images of workloads of one folder.

    Values are stored in ``file`` as they come; images that have not changed are not measured again.
    """
    shown = [(path, reference) for work in works for item, reference in _shown(work) for path in _judged(item)]
    return peers.values_of(shown, works[0].root, file, metrics) if shown and metrics else {}


def measure_metrics(
    work: Workload, metrics: Sequence[Metric], values: peers.Values, folder: Path, options: RunOptions
) -> list[dict]:
    """Measure the metrics that a workload shows enough for, and store their summaries.

    An image without a value (another aspect ratio than the reference, too small) counts as failed, and its item is left
    out.

    Args:
        values: from ``metric_values``.

    Returns:
        the summaries; none for workloads that no metric can answer.
    """
    shown, summaries = _shown(work), []
    for metric in metrics if shown else ():
        if metric.reference and not any(reference for _, reference in shown):
            continue
        rows = []
        for item, reference in shown:
            found = [values[path, reference].get(metric.name) for path in _judged(item)]
            known = [metric.sign * value for value in found if value is not None]
            rows.append(known if len(known) == len(found) else None)
        measured = _measured([item for item, _ in shown], rows, options)
        about = {"judge": metric.name, "judge_kind": "metric", "info": {"name": metric.name}}
        answered = [
            {"id": "|".join(_judged(item)), **({"error": f"{metric.name} has no value"} if row is None else {})}
            for (item, _), row in zip(shown, rows)
        ]
        summaries.append(store(folder / f"{metric.name}.json", work, about, answered, measured, options))
    return summaries


def _shown(work: Workload) -> Shown:
    items: list[Rated | Preferred] = [item for item in work.items if isinstance(item, Rated | Preferred)]
    if work.records is not None:
        items += rated_pairs(work.records)
    return [(item, item.reference if work.reference else None) for item in items]


def _judged(item: Rated | Preferred) -> tuple[str, ...]:
    return (item.image,) if isinstance(item, Rated) else (item.a, item.b)


def _measured(items: Sequence[Rated | Preferred], rows: Sequence[list[float] | None], options: RunOptions) -> dict:
    known = [(item, row) for item, row in zip(items, rows) if row is not None]
    rated = [(item, row) for item, row in known if isinstance(item, Rated)]
    if rated:
        opinions, references = [item.mos for item, _ in rated], [item.reference for item, _ in rated]
        return measure_scores([row[0] for _, row in rated], opinions, references, **options.bootstrap)
    pairs = [(item, row) for item, row in known if isinstance(item, Preferred)]
    leads = [0.5 + 0.5 * float(np.sign(row[0] - row[1])) for _, row in pairs]
    groups = [group_of(item) for item, _ in pairs]
    return measure_pairs(leads, [item.share for item, _ in pairs], groups, **options.bootstrap)
