"""The node that shows where an image is bad."""

from collections.abc import Sequence

import torch
from comfy_api.latest import io

from ..depictqa_core.images.references import common_size
from ..depictqa_core.ranking.quality_map import SMALLEST, TILE, Box, cut, grid, quality_map
from ..depictqa_core.reports.heat_map import heat_image
from .image_outputs import drawn_output, to_image
from .inputs import (
    FOR_PROGRAMS,
    checked_images,
    choice,
    flatten,
    images_input,
    in_format,
    model_input,
    one,
    readable_errors,
    reference_input,
    report_format_input,
    schema,
    to_reference,
)
from .loaded_judge import LoadedJudge
from .ui import Table, report, report_output

SCALES = ["absolute", "relative"]


class QualityMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["heat map", "local quality", "where is it bad", "inpaint mask", "artifact map"],
            node_id="DepictQA_QualityMap",
            display_name="Quality Map",
            category="DepictQA/assess",
            description=(
                "Shows where an image is bad: scores overlapping tiles and draws the scores over the image as"
                " a heat map. The same map is available as a mask, to inpaint or detail the worst regions."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                model_input(),
                images_input(),
                io.Int.Input(
                    "tile",
                    default=TILE,
                    min=SMALLEST,
                    max=4096,
                    step=16,
                    tooltip=(
                        "Side of a tile in pixels. Smaller tiles locate damage better, larger tiles are "
                        "scored more reliably. At most half of the shorter side of the image; larger if "
                        "an image would have more than 400 tiles."
                    ),
                ),
                io.Combo.Input(
                    "scale",
                    options=SCALES,
                    default="absolute",
                    tooltip=(
                        "absolute: score 0 is 1 in the mask and score 100 is 0. relative: the worst "
                        "region of each image is 1 and the best is 0 (over a range of at least 10 "
                        "points)."
                    ),
                ),
                io.Boolean.Input("boxes", default=True, tooltip="Mark the worst and the best tile on the heat map."),
                io.Boolean.Input(
                    "legend",
                    default=True,
                    tooltip="Add a color legend below the image. Off: the heat map has the size of the image.",
                ),
                reference_input(),
                report_format_input(),
            ],
            outputs=[
                io.Image.Output(
                    "heat_maps",
                    display_name="heat_maps",
                    is_output_list=True,
                    tooltip="The heat map drawn over each image.",
                ),
                io.Mask.Output(
                    "masks",
                    display_name="masks",
                    is_output_list=True,
                    tooltip="The map of each image as a mask of the same size, 0 to 1. 1 is the worst.",
                ),
                io.String.Output(
                    "worst_regions",
                    display_name="worst_regions",
                    is_output_list=True,
                    tooltip="The worst region of each image, in pixels, with its score.",
                ),
                io.String.Output(
                    "best_regions",
                    display_name="best_regions",
                    is_output_list=True,
                    tooltip="The best region of each image, in pixels, with its score.",
                ),
                io.Float.Output(
                    "worst_scores",
                    display_name="worst_scores",
                    is_output_list=True,
                    tooltip="Score of the worst tile of each image, 0 to 100.",
                ),
                report_output(),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Sequence[LoadedJudge],
        images: list[torch.Tensor],
        tile: Sequence[int],
        scale: Sequence[str],
        boxes: Sequence[bool],
        legend: Sequence[bool],
        reference: list[torch.Tensor] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
    ) -> io.NodeOutput:
        judge = one(model)
        with readable_errors():
            relative = choice(one(scale), SCALES, "scale") == "relative"
            pictures = checked_images(flatten(images), "image")
            references, notices = to_reference(reference, pictures)
            if references:
                pictures = [common_size((one,), whole)[0][0] for one, whole in zip(pictures, references)]
            grids = [grid(picture.height, picture.width, one(tile)) for picture in pictures]
            tiles = [part for picture, cells in zip(pictures, grids) for part in cut(picture, cells)]
            beside = references and [part for picture, cells in zip(references, grids) for part in cut(picture, cells)]
            answers = judge.ask("score", tiles, beside)
            notices += judge.doubts(answers)
            scores = iter(answers)
        maps = [
            quality_map(picture, cells, [next(scores).score for _ in cells.boxes])
            for picture, cells in zip(pictures, grids)
        ]
        drawn = [
            to_image(heat_image(picture, found, relative, bool(one(boxes)), bool(one(legend))))
            for picture, found in zip(pictures, maps)
        ]
        worst, best = ([_region(*found.tile(best=side)) for found in maps] for side in (False, True))
        lines = [
            f"{found.picture}: worst {low}; best {high}; tiles of {found.grid.side} pixels"
            for found, low, high in zip(maps, worst, best)
        ]
        rows = [list(row) for row in zip([found.picture for found in maps], worst, best)]
        table = Table(["image", "worst", "best"], rows, notes=notices)
        return drawn_output(
            cls,
            drawn,
            [torch.from_numpy(found.badness(relative))[None] for found in maps],
            worst,
            best,
            [found.tile(best=False)[1] for found in maps],
            in_format(report_format, report("map", judge, [found.to_dict() for found in maps], notices), table),
            images=drawn,
            text="\n".join([*notices, *lines]),
        )


def _region(box: Box, score: float) -> str:
    left, top, right, bottom = box
    return f"x {left} to {right}, y {top} to {bottom}: {score:.0f}"
