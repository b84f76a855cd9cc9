"""The node that draws judged images as contact sheets or bar charts."""

from collections.abc import Sequence

import torch
from comfy_api.latest import io

from ..depictqa_core import tasks
from ..depictqa_core.reports.charts import quality_charts
from ..depictqa_core.reports.sheets import MOST_SHOWN, Judged, quality_sheets
from .image_outputs import drawn_output, to_batch
from .inputs import (
    FOR_PROGRAMS,
    checked_images,
    choice,
    flatten,
    images_input,
    in_format,
    model_input,
    one,
    per_image,
    readable_errors,
    reference_input,
    report_format_input,
    schema,
    to_reference,
)
from .loaded_judge import LoadedJudge
from .ui import Table, report

STYLES = {"cards": quality_sheets, "bars": quality_charts}
ORDERS = ["as given", "best first"]


class QualitySheet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["contact sheet", "overview", "image grid", "quality chart", "score chart"],
            node_id="DepictQA_QualitySheet",
            display_name="Quality Sheet",
            category="DepictQA/assess",
            description=(
                "Draws images with their scores, distortions and confidences, as contact sheets or bar charts."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                model_input(),
                images_input(),
                io.Combo.Input(
                    "style",
                    options=list(STYLES),
                    default="cards",
                    tooltip="cards: a contact sheet. bars: a bar chart with one row per image.",
                ),
                io.Combo.Input(
                    "order",
                    options=ORDERS,
                    default="as given",
                    tooltip=(
                        "as given: in the order of the input, for example the one of Rank Images. best first: by score."
                    ),
                ),
                io.Int.Input(
                    "per_page",
                    default=40,
                    min=1,
                    max=MOST_SHOWN,
                    tooltip="Maximum number of images per page. The more images on a page, the smaller they are.",
                ),
                io.String.Input(
                    "captions",
                    optional=True,
                    force_input=True,
                    tooltip="Optional: a caption for each image, such as its file name. One per image.",
                ),
                reference_input(),
                report_format_input(),
            ],
            outputs=[
                io.Image.Output(
                    "sheets", display_name="sheets", tooltip="The pages, as a batch of images of one size."
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="All answers, in the order of the sheet, as report_format says.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Sequence[LoadedJudge],
        images: list[torch.Tensor],
        style: Sequence[str],
        order: Sequence[str],
        per_page: Sequence[int],
        captions: list[str] | None = None,
        reference: list[torch.Tensor] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
    ) -> io.NodeOutput:
        judge = one(model)
        with readable_errors():
            draw = STYLES[choice(one(style), list(STYLES), "style")]
            choice(one(order), ORDERS, "order")
            pictures = checked_images(flatten(images), "image")
            names = [picture.name for picture in pictures]
            if captions is not None:
                names = [str(caption) for caption in per_image("captions", captions, len(pictures))]
            references, notices = to_reference(reference, pictures)
            known = judge.tasks
            scores = found = [None] * len(pictures)
            if tasks.SCORE.name in known or one(order) == "best first":
                scores = judge.ask("score", pictures, references)
            if tasks.IDENTIFICATION.name in known:
                found = judge.ask("identify", pictures, references, count=None)
            notices += judge.doubts([answer for answer in (*scores, *found) if answer is not None])
            entries = [Judged(*entry) for entry in zip(pictures, names, scores, found, strict=True)]
            if one(order) == "best first":
                entries.sort(key=lambda entry: -entry.score.score)
            pages = draw(entries, one(per_page), one(order))
        sheets = to_batch(pages)
        results = [
            {
                "picture": entry.picture.name,
                "caption": entry.name,
                "score": entry.score and entry.score.to_dict(),
                "identification": entry.found and entry.found.to_dict(),
            }
            for entry in entries
        ]
        text = f"{len(entries)} image{'s' * (len(entries) != 1)} on {len(pages)} page{'s' * (len(pages) != 1)}"
        rows = [
            [
                entry.name,
                f"{entry.score.score:.1f}" if entry.score else "",
                (", ".join(entry.found.labels) or tasks.NONE) if entry.found else "",
            ]
            for entry in entries
        ]
        table = Table(["image", "score", "distortions"], rows, notes=[*notices, text])
        written = report("sheet", judge, results, notices, order=one(order), pages=len(pages))
        return drawn_output(
            cls,
            sheets,
            in_format(report_format, written, table),
            images=[sheets],
            text="\n".join([*notices, text]),
        )
