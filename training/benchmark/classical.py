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


def measure_metrics(work: Workload, metrics: Sequence[Metric], folder: Path, options: RunOptions) -> list[dict]:
    """Measure the metrics that a workload shows enough for, and store their summaries.

    Their values are stored in ``metrics.jsonl``, and computed once. An image without a value (another size than the
    reference, too small) counts as failed, and its item is left out.

    Returns:
        the summaries; none for workloads that no metric can answer.
    """
    items: list[Rated | Preferred] = [item for item in work.items if isinstance(item, Rated | Preferred)]
    if work.records is not None:
        items += rated_pairs(work.records)
    references = [item.reference if work.reference else None for item in items]
    usable = [metric for metric in metrics if any(references) or not metric.reference]
    if not items or not usable:
        return []
    shown = [(path, reference) for item, reference in zip(items, references) for path in _judged(item)]
    values = peers.values_of(shown, work.root, folder / "metrics.jsonl", usable)
    summaries = []
    for metric in usable:
        rows = []
        for item, reference in zip(items, references):
            found = [values[path, reference][metric.name] for path in _judged(item)]
            known = [metric.sign * value for value in found if value is not None]
            rows.append(known if len(known) == len(found) else None)
        measured = _measured(items, rows, options)
        about = {"judge": metric.name, "judge_kind": "metric", "info": {"name": metric.name}}
        answered = [
            {"id": "|".join(_judged(item)), **({"error": f"{metric.name} has no value"} if row is None else {})}
            for item, row in zip(items, rows)
        ]
        summaries.append(store(folder / f"{metric.name}.json", work, about, answered, measured, options))
    return summaries


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
