"""The node that shows where a picture is bad."""

import torch
from comfy_api.latest import io

from ..depictqa_core.images.references import common_size
from ..depictqa_core.ranking.quality_map import SMALLEST, TILE, cut, grid, quality_map
from ..depictqa_core.reports.heat_map import heat_picture
from .image_outputs import drawn_output, to_image
from .inputs import (
    IMAGES_TOOLTIP,
    MODEL_TOOLTIP,
    REFERENCE_TOOLTIP,
    DepictQAModel,
    choice,
    flatten,
    one,
    readable_errors,
    schema,
    to_pictures,
    to_reference,
)
from .ui import REPORT_TOOLTIP, report

SCALES = ["absolute", "relative"]


class QualityMap(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            ["heat map", "local quality", "where is it bad", "inpaint mask", "artifact map"],
            node_id="DepictQA_QualityMap",
            display_name="Quality Map",
            category="DepictQA/assess",
            description=(
                "Shows where a picture is bad: scores overlapping tiles and lays them over the picture as a heat map. "
                "The same map comes as a mask, for inpainting or detailing the worst places."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                DepictQAModel.Input("model", tooltip=MODEL_TOOLTIP),
                io.Image.Input("images", tooltip=IMAGES_TOOLTIP),
                io.Int.Input(
                    "tile",
                    default=TILE,
                    min=SMALLEST,
                    max=4096,
                    step=16,
                    tooltip="Side of a tile in pixels: smaller points closer, larger judges surer. Never more than "
                    "half of a picture's shorter side; grows where a picture would have more than 400 tiles.",
                ),
                io.Combo.Input(
                    "scale",
                    options=SCALES,
                    default="absolute",
                    tooltip="absolute: 0 points are 1 in the mask and 100 points are 0. relative: the worst place of "
                    "each picture is 1 and its best is 0 (stretched over at least 10 points).",
                ),
                io.Boolean.Input("boxes", default=True, tooltip="Mark the worst and the best tile on the heat map."),
                io.Boolean.Input(
                    "legend",
                    default=True,
                    tooltip="Add a strip with the meaning of the colours below; off keeps the size of the picture.",
                ),
                io.Image.Input("reference", optional=True, tooltip=REFERENCE_TOOLTIP),
            ],
            outputs=[
                io.Image.Output(
                    "heat_maps", display_name="heat_maps", is_output_list=True, tooltip="The map over each picture."
                ),
                io.Mask.Output(
                    "masks",
                    display_name="masks",
                    is_output_list=True,
                    tooltip="The map of each picture as a mask of its size, 0 to 1; 1 is the worst.",
                ),
                io.String.Output(
                    "worst_regions",
                    display_name="worst_regions",
                    is_output_list=True,
                    tooltip="Where each picture is worst, in pixels, with the score there.",
                ),
                io.String.Output(
                    "best_regions",
                    display_name="best_regions",
                    is_output_list=True,
                    tooltip="Where each picture is best, in pixels, with the score there.",
                ),
                io.Float.Output(
                    "worst_scores",
                    display_name="worst_scores",
                    is_output_list=True,
                    tooltip="Score of the worst tile of each picture, 0 to 100.",
                ),
                io.String.Output("report", display_name="report", tooltip=REPORT_TOOLTIP),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, images, tile, scale, boxes, legend, reference=None) -> io.NodeOutput:
        model = one(model)
        with readable_errors():
            relative = choice(one(scale), SCALES, "scale") == "relative"
            pictures = to_pictures(flatten(images), "image")
            references, notices = to_reference(reference, pictures)
            if references:
                pictures = [common_size((one,), whole)[0][0] for one, whole in zip(pictures, references)]
            grids = [grid(picture.height, picture.width, one(tile)) for picture in pictures]
            tiles = [part for picture, cells in zip(pictures, grids) for part in cut(picture, cells)]
            beside = references and [part for picture, cells in zip(references, grids) for part in cut(picture, cells)]
            answers = model.ask("score", tiles, beside)
            notices += model.doubts(answers)
            scores = iter(answers)
        maps = [
            quality_map(picture, cells, [next(scores).score for _ in cells.boxes])
            for picture, cells in zip(pictures, grids)
        ]
        drawn = [
            to_image(heat_picture(picture, found, relative, bool(one(boxes)), bool(one(legend))))
            for picture, found in zip(pictures, maps)
        ]
        worst, best = ([_region(*found.tile(best=side)) for found in maps] for side in (False, True))
        lines = [
            f"{found.picture}: worst {low}; best {high}; tiles of {found.grid.side} pixels"
            for found, low, high in zip(maps, worst, best)
        ]
        return drawn_output(
            cls,
            drawn,
            [torch.from_numpy(found.badness(relative))[None] for found in maps],
            worst,
            best,
            [found.tile(best=False)[1] for found in maps],
            report("map", model, [found.to_dict() for found in maps], notices),
            images=drawn,
            text="\n".join([*notices, *lines]),
        )


def _region(box, score: float) -> str:
    left, top, right, bottom = box
    return f"x {left} to {right}, y {top} to {bottom}: {score:.0f}"
