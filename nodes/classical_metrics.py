"""The node that computes classical quality metrics: no model, and with a reference the full-reference ones."""

import json
import sys
from collections.abc import Sequence

import comfy.utils
import torch
from comfy_api.latest import io

from ..depictqa_core.errors import DepictQAError, ImageError, PackageError, TaskError
from ..depictqa_core.metrics.measuring import measure
from ..depictqa_core.metrics.registry import BUILT_IN, Metric, known, usable
from .inputs import (
    FOR_PROGRAMS,
    checked_images,
    choice,
    flatten,
    images_input,
    in_format,
    names_input,
    one,
    readable_errors,
    reference_input,
    report_format_input,
    schema,
    to_reference,
)
from .ui import Table, node_output, report_output

ALL, CHOSEN = "all", "chosen metric"
USUAL = "NIQE"
"""The default: it needs neither a reference nor another package."""


class ClassicalMetrics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["PSNR", "SSIM", "MS-SSIM", "GMSD", "HaarPSI", "BRISQUE", "NIQE", "image quality metrics", "IQA"],
            node_id="DepictQA_ClassicalMetrics",
            display_name="Classical Metrics",
            category="DepictQA/assess",
            description=(
                "Computes classical image quality metrics without a model: BRISQUE and NIQE, and with a reference PSNR,"
                " SSIM, MS-SSIM, GMSD and HaarPSI."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                images_input(),
                io.Combo.Input(
                    "metric",
                    options=_names(),
                    default=USUAL,
                    tooltip="The metric of the output values. NIQE and BRISQUE need no reference, all others do.",
                ),
                io.Combo.Input(
                    "table",
                    options=[ALL, CHOSEN],
                    default=ALL,
                    tooltip="What the table shows: all metrics that can be computed, or the chosen one (faster).",
                ),
                reference_input(),
                names_input(),
                report_format_input(),
            ],
            outputs=[
                io.Float.Output(
                    "values",
                    display_name="values",
                    is_output_list=True,
                    tooltip="The value of the chosen metric for each image.",
                ),
                io.String.Output(
                    "all_values",
                    display_name="all_values",
                    is_output_list=True,
                    tooltip="The values of all metrics in the table for each image, as JSON; null where there is none.",
                ),
                io.Boolean.Output(
                    "higher_is_better",
                    display_name="higher_is_better",
                    tooltip="Whether more of the chosen metric is better: false for GMSD, BRISQUE and NIQE.",
                ),
                report_output(),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        images: list[torch.Tensor],
        metric: Sequence[str],
        table: Sequence[str],
        reference: list[torch.Tensor] | None = None,
        names: list[str] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
    ) -> io.NodeOutput:
        with readable_errors():
            pictures = checked_images(flatten(images), "image", names=names)
            references, notices = to_reference(reference, pictures)
            everything = choice(one(table), [ALL, CHOSEN], "table") == ALL
            chosen, metrics, missing = _metrics(one(metric), everything, references is not None)
            bar = comfy.utils.ProgressBar(len(pictures))
            rows: list[dict[str, float | None]] = []
            without: dict[str, list[str]] = {}
            for index, picture in enumerate(pictures):
                values, reasons = measure(metrics, picture, references and references[index])
                if chosen.name in reasons:
                    raise ImageError(f"{picture.name}: {reasons[chosen.name]}; leave it out, or choose another metric.")
                rows.append(values)
                for reason in reasons.values():
                    without.setdefault(reason, []).append(picture.name)
                bar.update(1)  # also where Cancel takes effect
        notices += missing
        notices += [f"{reason} ({len(found)} images, such as {found[0]})" for reason, found in without.items()]
        columns = ["image", *(f"{one.name} {'↑' if one.sign > 0 else '↓'}" for one in metrics)]
        cells = [
            [picture.name, *("-" if value is None else f"{value:.4g}" for value in values.values())]
            for picture, values in zip(pictures, rows, strict=True)
        ]
        drawn = Table(columns, cells, [(picture,) for picture in pictures], notices)
        results = [{"picture": picture.name, **values} for picture, values in zip(pictures, rows, strict=True)]
        return node_output(
            cls,
            [values[chosen.name] for values in rows],
            [json.dumps(values) for values in rows],
            chosen.sign > 0,
            in_format(report_format, _report(metrics, results, notices), drawn),
            table=drawn,
        )


def _names() -> list[str]:
    """All metrics, also of other packages; a package that cannot be loaded must not take the node away."""
    try:
        return list(known())
    except DepictQAError:
        return [metric.name for metric in BUILT_IN]


def _metrics(name: str, everything: bool, reference: bool) -> tuple[Metric, list[Metric], list[str]]:
    """Find the chosen metric and those of the table.

    Returns:
        the chosen one; those to compute, in the order of the table; lines about metrics that cannot be computed here.

    Raises:
        TaskError: the metric is not known, or needs a reference and there is none.
        PackageError: it needs a package that is not installed.
    """
    metrics = known()
    chosen = metrics[choice(name, list(metrics), "metric")]
    if chosen.reference and not reference:
        raise TaskError(f"{name} compares with a reference: link one, or choose a metric without, such as {USUAL}.")
    if why := chosen.missing():
        raise PackageError(f"{name} cannot be computed here: {why}. The Python of this ComfyUI is {sys.executable}")
    if not everything:
        return chosen, [chosen], []
    able, unable = usable([one for one in metrics.values() if reference or not one.reference])
    reasons: dict[str, list[str]] = {}
    for name, why in unable.items():
        reasons.setdefault(why, []).append(name)
    return chosen, able, [f"{', '.join(names)}: not computed, {why}" for why, names in reasons.items()]


def _report(metrics: Sequence[Metric], results: list[dict], notices: Sequence[str]) -> str:
    better = {metric.name: "more" if metric.sign > 0 else "less" for metric in metrics}
    content = {"task": "metrics", "better": better, "results": results}
    if notices:
        content["notices"] = list(notices)
    return json.dumps(content, indent=2, ensure_ascii=False).replace("<", "\\u003c")  # as in ui.report
